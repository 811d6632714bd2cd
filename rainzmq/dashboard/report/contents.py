"""What stands in a report, computed; the template only says how it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rainzmq.common.states import AttemptState
from rainzmq.common.units import format_duration
from rainzmq.monitoring import views
from rainzmq.monitoring.analysis import CLIENT, PART_TITLES, PARTS, TaskTimes, task_times, totals
from rainzmq.monitoring.critical import CriticalPath, critical_path
from rainzmq.monitoring.groups import folded_groups, shown_names
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import STATES, PrintedTails, SessionLog
from rainzmq.monitoring.speed import Speed, speed
from rainzmq.monitoring.summary import (
    OUTCOMES_IN_VAIN,
    WorkerUse,
    in_vain,
    moved_bytes,
    run_span,
    worker_use,
)
from rainzmq.monitoring.views import parse_id

MOST_DETAILED = 8
"""Sessions that get a chapter of their own; those that took longest."""

MOST_GRAPHS = 4
"""Chapters with a drawing of the graph."""

MOST_ROWS = 200
"""Lines of a table of sessions or workers."""

TITLES = dict(zip(PARTS, PART_TITLES, strict=True))

CPU_TITLES = {
    "run": "ran tasks",
    "vain": "ran what came to nothing",
    "ready": "idle, though work was ready",
    "inputs": "idle, as all work waited",
    "nothing": "idle, without any work",
}
"""`CPU_PARTS` human-readable."""

_WHY_IDLE = {
    "ready": "although work was ready: on its way to them, too short to be handed out in time, or too wide",
    "inputs": "because all work that was left waited for other tasks",
    "nothing": "because nothing was submitted",
}
_LITTLE = 0.9
"""What twice the workers would not bring below this part of the wall time, they would hardly help."""

_MOST_STEPS = 60
_MOST_GROUPS = 20
_MOST_SLOW = 10
_MOST_ATTEMPTS = 50
_MOST_MOVES = 20
_MOST_NAMES = 10


@dataclass(slots=True)
class Part:
    """One part of a bar. `key`: as in `PARTS`; `share`: of the whole, 0 to 1."""

    key: str
    title: str
    seconds: float
    share: float


@dataclass(slots=True)
class Step:
    """A task of the critical path. `begin_s`: since the first submit; `parts`: of the step itself."""

    begin_s: float
    seconds: float
    task: str
    name: str
    worker: str | None
    parts: list[Part]


@dataclass(slots=True)
class Failed:
    """A failure, with what its task printed."""

    session: views.SessionView
    failure: Any
    printed: PrintedTails | None


@dataclass(slots=True)
class InVain:
    """An attempt that came to nothing."""

    task: str
    name: str
    attempt: int
    worker: str | None
    outcome: str
    time: float
    note: str


@dataclass(slots=True)
class Chapter:
    """A session in detail.

    Attributes:
        view: the session.
        wall_s: from its first submit to its last commit.
        speed: how fast it was, over that time.
        wall, task: how the wall time splits, and the time of a mean task from its submit to its commit.
        steps, step_count: the longest steps of the critical path in order of time, and how many there are.
        path_groups: (folded name, steps, s) of the names that took most of the critical path.
        groups, group_count: groups by folded name with most time, and how many groups there are.
        slowest: tasks that ran longest.
        attempts_in_vain: by outcome.
        moved_bytes: of its objects.
        graph: index of its drawing, None without one.
    """

    view: views.SessionView
    wall_s: float
    speed: Speed
    wall: list[Part]
    task: list[Part]
    steps: list[Step]
    step_count: int
    path_groups: list[tuple[str, int, float]]
    groups: list[views.GroupView]
    group_count: int
    run_s: float
    slowest: list[views.TaskView]
    attempts_in_vain: dict[str, int]
    moved_bytes: int
    graph: int | None = None


@dataclass(slots=True)
class Contents:
    """Everything in a report.

    Attributes:
        begin, end: first submit and last commit, s since the epoch.
        speed: how fast all of it was; None when nothing was submitted.
        cpu_time: how the time of all cpus splits.
        left_out: sessions with tasks that have no chapter.
    """

    server: views.ServerView
    begin: float
    end: float
    sessions: list[views.SessionView]
    counts: views.StateCounts
    speed: Speed | None
    cpu_time: list[Part]
    chapters: list[Chapter]
    left_out: int
    workers: list[WorkerUse]
    failures: list[Failed]
    attempts: list[InVain]
    attempt_count: int
    moves: list[views.MoveView]
    move_pairs: int
    moved_bytes: int


def contents(hub: Hub) -> Contents:
    """Everything to be told of a run."""
    model = hub.model
    sessions = list(model.sessions.values())
    seen = [views.session_view(session) for session in sessions]
    begin, end = run_span(model)
    worked = [session for session in sessions if len(session.tasks)]
    times = [task_times(model, session) for session in worked]
    whole = speed(model, worked, times, (begin, end)) if worked else None
    chapters = _chapters(model, worked, times)
    attempts = [attempt for session in sessions for attempt in _attempts(model, session)]
    pairs = views.moves(model)
    counts = views.StateCounts(*(sum(view.counts[state] for view in seen) for state in STATES))
    return Contents(
        server=views.server_view(hub),
        begin=begin,
        end=end,
        sessions=seen,
        counts=counts,
        speed=whole,
        cpu_time=[] if whole is None else _split(whole.parts, CPU_TITLES),
        chapters=chapters,
        left_out=len(worked) - len(chapters),
        workers=worker_use(model),
        failures=[
            Failed(view, view.failure, _printed(session, view))
            for session, view in zip(sessions, seen, strict=True)
            if view.failure is not None
        ],
        attempts=attempts[:_MOST_ATTEMPTS],
        attempt_count=len(attempts),
        moves=pairs[:_MOST_MOVES],
        move_pairs=len(pairs),
        moved_bytes=moved_bytes(model),
    )


def longest_names(model: Model, most: int = 12) -> list[str]:
    """Names of the tasks that took most of the time, all sessions together, folded as in the drawing of what
    ran when; most time first.
    """
    sums: Counter[str] = Counter()
    shown = shown_names(model.sessions.values())
    for session in model.sessions.values():
        tasks = session.tasks
        length = np.nan_to_num(tasks["ended"] - tasks["started"])
        per_name = np.bincount(tasks["name"], np.clip(length, 0.0, None), len(session.names))
        for number, seconds in enumerate(per_name.tolist()):
            sums[shown[session.names[number]]] += seconds
    return [name for name, seconds in sums.most_common(most) if seconds > 0]


def _chapters(model: Model, sessions: list[SessionLog], times: list[TaskTimes]) -> list[Chapter]:
    made = []
    for session, of_tasks in zip(sessions, times, strict=True):
        path = critical_path(model, session, of_tasks)
        made.append((path.last - path.first, session, views.session_view(session), of_tasks, path))
    longest = sorted(made, key=lambda item: (-item[0], item[2].session_id))[:MOST_DETAILED]
    chapters = [
        _chapter(model, session, view, times, path)
        for _, session, view, times, path in sorted(longest, key=lambda item: item[2].session_id)
    ]
    for place, chapter in enumerate(sorted(chapters, key=lambda item: -item.wall_s)[:MOST_GRAPHS]):
        chapter.graph = place
    return chapters


def _chapter(
    model: Model, session: SessionLog, view: views.SessionView, times: TaskTimes, path: CriticalPath
) -> Chapter:
    groups = [group for group in folded_groups(session) if group.done]
    run = np.where(times.committed, times.end - times.start, 0.0)
    slowest = np.argsort(-run, kind="stable")[:_MOST_SLOW]
    first, last = float(times.submitted.min()), float(times.until.max())
    span = (path.first, path.last) if len(path.rows) else (first, last)
    steps = np.sort(np.argsort(-(path.end - path.begin), kind="stable")[:_MOST_STEPS])
    return Chapter(
        view=view,
        wall_s=path.last - path.first,
        speed=speed(model, [session], [times], span),
        wall=_split(path.wall_split()),
        task=_split({name: seconds / len(session.tasks) for name, seconds in totals(times).items()}),
        steps=[_step(model, session, path, int(place)) for place in steps],
        step_count=len(path.rows),
        path_groups=_path_groups(session, path),
        groups=sorted(groups, key=lambda group: -group.sum_s)[:_MOST_GROUPS],
        group_count=len(groups),
        run_s=float(sum(group.sum_s for group in groups)),
        slowest=views.task_views(session, slowest[run[slowest] > 0], model),
        attempts_in_vain=in_vain(session),
        moved_bytes=moved_bytes(model, session),
    )


def _split(seconds: dict[str, float], titles: Mapping[str, str] = TITLES) -> list[Part]:
    whole = sum(seconds.values())
    return [
        Part(name, titles[name], value, value / whole if whole > 0 else 0.0)
        for name, value in seconds.items()
    ]


def _step(model: Model, session: SessionLog, path: CriticalPath, place: int) -> Step:
    row = int(path.rows[place])
    seconds = dict(zip(PARTS, path.parts[place].tolist(), strict=True))
    return Step(
        float(path.begin[place] - path.first),
        float(path.end[place] - path.begin[place]),
        f"{session.session_id}/{int(session.tasks['ids'][row])}",
        session.task_name(row),
        model.worker_id(int(session.tasks["worker"][row])),
        [part for part in _split(seconds) if part.seconds > 0],
    )


def _path_groups(session: SessionLog, path: CriticalPath) -> list[tuple[str, int, float]]:
    """Names by the time that the critical path spends on them, the client's left out."""
    if not len(path.rows):
        return []
    names = session.tasks["name"][path.rows].tolist()
    length = (path.end - path.begin - path.parts[:, CLIENT]).tolist()
    shown = shown_names([session])
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for number, seconds in zip(names, length, strict=True):
        name = shown[session.names[number]]
        sums[name] += seconds
        counts[name] += 1
    return [(name, counts[name], seconds) for name, seconds in sums.most_common(_MOST_NAMES)]


def _printed(session: SessionLog, view: views.SessionView) -> PrintedTails | None:
    if view.failure is None or view.failure.task is None:
        return None
    return session.printed.get(parse_id(view.failure.task).id)


def _attempts(model: Model, session: SessionLog) -> list[InVain]:
    return [
        InVain(
            task=f"{session.session_id}/{int(session.tasks['ids'][past.row])}",
            name=session.task_name(past.row),
            attempt=past.attempt,
            worker=model.worker_id(past.worker),
            outcome="outputs lost" if past.outcome is AttemptState.FINISHED else past.outcome,
            time=past.until,
            note=past.note,
        )
        for past in session.past
        if past.outcome in OUTCOMES_IN_VAIN
    ]


def in_short(speed: Speed) -> tuple[str, str]:
    """Why a run took as long as it did: in one sentence, and in some more."""
    busy, took = speed.busy, format_duration(speed.wall_s)
    if busy is None:
        return "No cpu was there while it ran.", ""
    about, least, most = (format_duration(value) for value in speed.twice_s)
    if speed.twice_s[0] < _LITTLE * speed.wall_s:
        first = f"twice the workers would take about {about} instead of {took}."
    else:
        first = f"twice the workers would hardly help: about {about} instead of {took}."
    said = []
    if speed.chain_tasks:
        one = speed.chain_tasks == 1
        tasks = "one task" if one else f"{speed.chain_tasks:,} tasks that wait for each other"
        said.append(
            f"The longest chain, {tasks}, takes {format_duration(speed.chain_s)} on any number of workers."
        )
    idle = max(_WHY_IDLE, key=lambda name: speed.parts[name])
    if busy < _LITTLE and speed.parts[idle] > 0:
        share = 100 * speed.parts[idle] / sum(speed.parts.values())
        said.append(f"For {share:.0f} % of their time cpus were idle {_WHY_IDLE[idle]}.")
    said.append(
        f"What twice the workers would take is an estimate, between the bounds of {least} and {most}."
    )
    return f"The cpus were {100 * busy:.0f} % busy; {first}", " ".join(said)
