"""One session as columns: tasks, data objects, attempts that came to nothing; and how they were at any time.

Every task and object carries the times of what happened to it, so that the present is only the case of a time
after all of them: the live pages and a replay ask the same questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rainzmq.common.states import AttemptState, SessionState, TaskState
from rainzmq.monitoring.bulk import Finished
from rainzmq.monitoring.columns import FloatArray, IdColumns, IdList, IntArray, ranges
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, TaskBody

WAITING, READY, ASSIGNED, RUNNING, FINISHED, FAILED, CANCELLED = range(7)
STATES = tuple(TaskState)
"""The states, by their code."""

ABSENT = 255
"""Code of a task that is not submitted yet at the time that is asked for."""

StateArray = NDArray[np.uint8]


@dataclass(slots=True)
class PastAttempt:
    """An attempt that is not a task's last one. Times in s since the epoch, NaN for what did not happen.

    Attributes:
        row: the task's row.
        attempt: from 0.
        worker: number of the worker.
        cpu: lowest index of its cpus, -1 unless it finished.
        assigned, started, ended: its times.
        outcome: what came of it; one that finished is here when its outputs were lost afterwards.
        until: when the task went on to something else.
        note: what happened, human-readable.
    """

    row: int
    attempt: int
    worker: int
    cpu: int
    assigned: float
    started: float
    ended: float
    outcome: AttemptState
    until: float
    note: str = ""


@dataclass(slots=True)
class PrintedTails:
    """What a task wrote: the ends of both streams, and how many bytes there were."""

    attempt: int
    stdout: str
    stderr: str
    stdout_bytes: int
    stderr_bytes: int


@dataclass
class SessionLog:
    """What is known of a session.

    Attributes:
        session_id, name, client: as when it was opened.
        came: when it was opened, s since the epoch.
        ended: when it ended, NaN while it is open.
        failure: why it failed or was cancelled.
        reasons: pairs (time, reasons) of why nothing runs, in order of time.
        bodies: task bodies by key.
        names: names of tasks; a task's `name` column is an index into it.
        inputs: ids of all inputs; a task's are `inputs[first_input:first_input + input_count]`.
        past: attempts that are not their task's last one.
        tasks: columns: ids (local), name, body (key), state (stored: never READY), attempt, worker (number, 0
            for none), cpu (lowest index, -1 unknown), submitted, assigned, started, ended, committed (s since
            the epoch, NaN for what has not happened), first_input, input_count, output_count.
        objects: columns: ids (local), producer (row of the task, -1 for a constant), size (bytes, -1
            unfinished), finished, removed (times, NaN), keep, is_directory.
    """

    session_id: int
    name: str
    client: str
    came: float
    ended: float = float("nan")
    state: SessionState = SessionState.OPEN
    failure: Failure | None = None
    reasons: list[tuple[float, list[str]]] = field(default_factory=list)
    bodies: dict[int, TaskBody] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    inputs: IdList = field(default_factory=IdList)
    past: list[PastAttempt] = field(default_factory=list)
    printed: dict[int, PrintedTails] = field(default_factory=dict)
    debugs: dict[int, str] = field(default_factory=dict)
    configs: dict[int, bytes] = field(default_factory=dict)
    users: dict[int, bytes] = field(default_factory=dict)
    info_users: dict[int, bytes] = field(default_factory=dict)
    content_types: dict[int, str | None] = field(default_factory=dict)
    executables: set[int] = field(default_factory=set)
    labels: dict[int, str] = field(default_factory=dict)
    tasks: IdColumns = field(
        default_factory=lambda: IdColumns(
            name="i4",
            body="i4",
            state="u1",
            attempt="u2",
            worker="i4",
            cpu="i2",
            submitted="f8",
            assigned="f8",
            started="f8",
            ended="f8",
            committed="f8",
            first_input="i8",
            input_count="i4",
            output_count="i4",
        )
    )
    objects: IdColumns = field(
        default_factory=lambda: IdColumns(
            producer="i8", size="i8", finished="f8", removed="f8", keep="u1", is_directory="u1"
        )
    )
    _name_numbers: dict[str, int] = field(default_factory=dict)

    # What happened.

    def submitted(self, event: e.TasksSubmitted) -> None:
        """Tasks and constants came. Those that are known already stay as they are."""
        self.bodies.update((body.key, body) for body in event.bodies)
        self.configs.update(event.configs)
        self.users.update(event.users)
        ids = np.array(event.ids, dtype=np.int64)
        keys = np.array(event.body_keys, dtype=np.int64)
        counts = np.array(event.input_counts, dtype=np.int64)
        inputs = np.array(event.inputs, dtype=np.int64)
        new = self.tasks.rows(ids) < 0
        if not new.all():
            inputs = inputs[np.repeat(new, counts)]
            ids, keys, counts = ids[new], keys[new], counts[new]
        order = np.argsort(ids, kind="stable")
        if len(ids) > 1 and not np.all(ids[1:] > ids[:-1]):
            starts = np.cumsum(counts) - counts
            inputs = inputs[ranges(starts[order], counts[order])]
            ids, keys, counts = ids[order], keys[order], counts[order]
        names, outputs = self._of_bodies(keys, dict(event.names), ids)
        first_input = len(self.inputs) + np.cumsum(counts) - counts
        self.inputs.extend(inputs)
        added = self.tasks.append(
            len(ids),
            ids=ids,
            name=names,
            body=keys,
            state=WAITING,
            attempt=0,
            worker=0,
            cpu=-1,
            submitted=event.time,
            assigned=np.nan,
            started=np.nan,
            ended=np.nan,
            committed=np.nan,
            first_input=first_input,
            input_count=counts,
            output_count=outputs,
        )
        self._add_objects(event, ids, outputs, added.start)

    def assigned(self, ids: IntArray, attempts: IntArray, workers: IntArray, times: FloatArray) -> None:
        """Tasks were given to workers."""
        rows = self.tasks.rows(ids)
        known = rows >= 0
        rows = rows[known]
        tasks = self.tasks
        tasks["state"][rows] = ASSIGNED
        tasks["attempt"][rows] = attempts[known]
        tasks["worker"][rows] = workers[known]
        tasks["assigned"][rows] = times[known]
        tasks["started"][rows] = tasks["ended"][rows] = tasks["committed"][rows] = np.nan

    def started(self, ids: IntArray, times: FloatArray) -> None:
        """Workers began to run tasks."""
        rows = self.tasks.rows(ids)
        known = np.flatnonzero(rows >= 0)
        known = known[self.tasks["state"][rows[known]] == ASSIGNED]
        self.tasks["state"][rows[known]] = RUNNING
        self.tasks["started"][rows[known]] = times[known]

    def finished(self, done: Finished) -> None:
        """Results were committed."""
        rows = self.tasks.rows(done.ids)
        known = rows >= 0
        at, tasks = rows[known], self.tasks
        tasks["state"][at] = FINISHED
        tasks["worker"][at] = done.workers[known]
        tasks["attempt"][at] = done.attempts[known]
        tasks["cpu"][at] = done.cpus[known]
        times = done.times[known]
        start, end = self._placed(at, done.starts[known], done.durations[known], times)
        tasks["started"][at], tasks["ended"][at], tasks["committed"][at] = start, end, times
        self._outputs_finished(done.ids, done.counts, done.sizes, np.repeat(done.times, done.counts))

    def _placed(self, rows: Any, starts: Any, durations: Any, times: Any) -> tuple[FloatArray, FloatArray]:
        """(starts, ends) of runs by the server's clock. Of their times by the worker's clock only durations
        are sure; they lie between assignment and commit (`times`).
        """
        tasks = self.tasks
        earliest = np.fmax(tasks["assigned"][rows], tasks["submitted"][rows])
        ends = np.fmin(np.fmax(starts + durations, earliest + durations), times)
        return np.fmax(ends - durations, np.fmin(earliest, ends)), ends

    def _outputs_finished(
        self, ids: IntArray, counts: IntArray, sizes: IntArray, times: FloatArray
    ) -> IntArray:
        """Outputs have sizes (those of -1 not) since a time; the ids of all of them."""
        outputs = np.repeat(ids + 1, counts) + ranges(np.zeros(len(counts), dtype=np.int64), counts)
        rows = self.objects.rows(outputs)
        known = (rows >= 0) & (sizes >= 0)
        at = rows[known]
        self.objects["size"][at] = sizes[known]
        before = self.objects["finished"][at]
        self.objects["finished"][at] = np.where(np.isnan(before), times[known], before)
        return outputs

    def returned(self, event: e.TasksReturned, ids: Iterable[int], notes: Iterable[str]) -> None:
        """Attempts ended without a result."""
        tasks = self.tasks
        for row, note in zip(self.tasks.rows(list(ids)).tolist(), notes, strict=True):
            if row < 0 or tasks["state"][row] not in (ASSIGNED, RUNNING):
                continue
            self._to_past(row, event.outcome, event.time, note)
            tasks["attempt"][row] += event.outcome is not AttemptState.RETRACTED

    def rerun(self, ids: Iterable[int], attempts: Iterable[int], time: float) -> None:
        """Finished tasks must run again."""
        for row, attempt in zip(self.tasks.rows(list(ids)).tolist(), attempts, strict=True):
            if row >= 0 and self.tasks["state"][row] == FINISHED:
                self._to_past(row, AttemptState.FINISHED, time, "what it made was lost")
                self.tasks["attempt"][row] = attempt

    def failed(self, event: e.TaskFailed, local_id: int) -> None:
        """A task failed for good."""
        row, tasks = self.tasks.row(local_id), self.tasks
        if row < 0:
            return
        tasks["state"][row] = FAILED
        tasks["attempt"][row] = event.failure.attempt
        tasks["worker"][row] = event.worker
        if event.duration_us >= 0 and event.start_time:
            start, end = self._placed(row, event.start_time, event.duration_us / 1e6, event.time)
            tasks["started"][row], tasks["ended"][row] = start, end
        else:
            tasks["ended"][row] = event.time
        tasks["committed"][row] = event.time
        if event.failure.debug:
            self.debugs[local_id] = event.failure.debug

    def removed(self, ids: IntArray, times: FloatArray) -> None:
        """Objects are not needed any more."""
        rows = self.objects.rows(ids)
        known = rows >= 0
        self.objects["removed"][rows[known]] = times[known]

    def lost(self, ids: IntArray) -> None:
        """Objects are to be made again."""
        rows = self.objects.rows(ids)
        rows = rows[rows >= 0]
        self.objects["finished"][rows] = self.objects["removed"][rows] = np.nan

    def not_removed(self, ids: IntArray) -> None:
        """Objects are there, whatever was said before."""
        rows = self.objects.rows(ids)
        self.objects["removed"][rows[rows >= 0]] = np.nan

    def states_of(self, event: e.TaskStates, codes: IntArray) -> None:
        """Part of a snapshot."""
        ids = np.array(event.uids, dtype=np.int64) & 0xFFFFFFFF
        rows = self.tasks.rows(ids)
        known = rows >= 0
        at, tasks = rows[known], self.tasks
        new = codes[known]
        tasks["state"][at] = new
        tasks["attempt"][at] = np.array(event.attempts, dtype=np.int64)[known]
        tasks["worker"][at] = np.array(event.workers, dtype=np.int64)[known]
        on_worker = np.isin(new, (ASSIGNED, RUNNING, FINISHED, FAILED)) & np.isnan(tasks["assigned"][at])
        start = np.array(event.start_times, dtype=np.float64)[known]
        end = start + np.array(event.durations_us, dtype=np.float64)[known] / 1e6
        done = new == FINISHED
        began = np.where(start > 0, start, event.time)
        tasks["assigned"][at[on_worker]] = began[on_worker]
        tasks["started"][at[done]] = start[done]
        tasks["ended"][at[done]] = end[done]
        late = done & np.isnan(tasks["committed"][at])
        tasks["committed"][at[late]] = end[late]
        running = (new == RUNNING) & np.isnan(tasks["started"][at])
        tasks["started"][at[running]] = began[running]
        ended = np.full(len(ids), event.time)
        ended[known] = np.where(done, end, event.time)
        counts, sizes = np.array(event.output_counts, dtype=np.int64), np.array(event.sizes, dtype=np.int64)
        outputs = self._outputs_finished(ids, counts, sizes, np.repeat(ended, counts))
        self.not_removed(outputs)
        self.lost(outputs[sizes < 0])
        gone = np.array(event.removed, dtype=np.int64) & 0xFFFFFFFF
        self.removed(gone, np.full(len(gone), event.time))

    def ended_with(self, event: e.SessionEnded) -> None:
        """The session ended: what had not finished is cancelled."""
        if self.state is not SessionState.OPEN:
            return
        self.state, self.failure, self.ended = event.state, event.failure, event.time
        tasks, objects = self.tasks, self.objects
        left = tasks["state"] < FINISHED
        tasks["state"][left] = CANCELLED
        tasks["ended"][left] = event.time
        there = np.isnan(objects["removed"])
        objects["removed"][there] = event.time

    # How it was.

    def is_open(self, time: float | None = None) -> bool:
        """Whether it had not ended, now or at a time (s since the epoch)."""
        return self.state is SessionState.OPEN or (time is not None and self.ended > time)

    def states(self, time: float | None = None) -> StateArray:
        """State of each task, now or at a time (s since the epoch); ABSENT for those submitted later.

        Shape (tasks,), codes as in `STATES`. At a time a task runs from its start until its end.
        """
        tasks = self.tasks
        if time is None:
            codes: StateArray = tasks["state"].copy()
        else:
            codes = self._states_at(time)
        waiting = np.flatnonzero(codes == WAITING)
        if len(waiting):
            codes[waiting[self.missing_inputs(waiting, time) == 0]] = READY
        return codes

    def _states_at(self, time: float) -> StateArray:
        tasks = self.tasks
        stored = tasks["state"]
        codes = np.full(len(tasks), WAITING, dtype=np.uint8)
        codes[tasks["assigned"] <= time] = ASSIGNED
        codes[tasks["started"] <= time] = RUNNING
        over = tasks["ended"] <= time
        done = over & (stored == FINISHED)
        codes[done] = FINISHED
        codes[over & (stored == FAILED)] = FAILED
        codes[over & (stored == CANCELLED)] = CANCELLED
        for past in self.past:
            begun = past.started if past.started == past.started else past.ended
            if past.assigned <= time < past.until:
                row = past.row
                if time >= past.ended:
                    codes[row] = FINISHED if past.outcome is AttemptState.FINISHED else WAITING
                else:
                    codes[row] = RUNNING if begun <= time else ASSIGNED
        codes[tasks["submitted"] > time] = ABSENT
        return codes

    def missing_inputs(self, rows: IntArray, time: float | None = None) -> IntArray:
        """How many inputs of each task of `rows` are unfinished. Shape (len(rows),)."""
        counts = self.tasks["input_count"][rows].astype(np.int64)
        missing = np.zeros(len(rows), dtype=np.int64)
        if not counts.any():
            return missing
        wanted = self.inputs.view()[ranges(self.tasks["first_input"][rows], counts)]
        there = self.finished_objects(time)
        at = self.objects.rows(wanted)
        lacking = np.where(at >= 0, ~there[at], False)
        np.add.at(missing, np.repeat(np.arange(len(rows)), counts)[lacking], 1)
        return missing

    def finished_objects(self, time: float | None = None) -> NDArray[np.bool_]:
        """Which objects are finished (removed ones too), now or at a time. Shape (objects,)."""
        finished: FloatArray = self.objects["finished"]
        return ~np.isnan(finished) if time is None else finished <= time

    def input_ids(self, row: int) -> list[int]:
        """Local ids of the inputs of a task, in order."""
        start = int(self.tasks["first_input"][row])
        ids: list[int] = self.inputs.view()[start : start + int(self.tasks["input_count"][row])].tolist()
        return ids

    def task_name(self, row: int) -> str:
        """Name of a task; that of its type when it has none."""
        return self.names[int(self.tasks["name"][row])]

    def waits_at(self, time: float | None = None) -> list[str]:
        """Why nothing ran, as the server said last before a time."""
        said: list[str] = []
        for when, reasons in self.reasons:
            if time is not None and when > time:
                break
            said = reasons
        return [] if time is None and self.state is not SessionState.OPEN else said

    # Helpers.

    def _to_past(self, row: int, outcome: AttemptState, time: float, note: str) -> None:
        tasks = self.tasks
        ended = float(tasks["ended"][row]) if outcome is AttemptState.FINISHED else time
        self.past.append(
            PastAttempt(
                row=row,
                attempt=int(tasks["attempt"][row]),
                worker=int(tasks["worker"][row]),
                cpu=int(tasks["cpu"][row]),
                assigned=float(tasks["assigned"][row]),
                started=float(tasks["started"][row]),
                ended=ended,
                outcome=outcome,
                until=time,
                note=note,
            )
        )
        tasks["state"][row], tasks["worker"][row], tasks["cpu"][row] = WAITING, 0, -1
        for column in ("assigned", "started", "ended", "committed"):
            tasks[column][row] = np.nan

    def _of_bodies(
        self, keys: IntArray, own_names: dict[int, str], ids: IntArray
    ) -> tuple[IntArray, IntArray]:
        """Name and number of outputs of tasks, from their bodies and names of their own."""
        kinds, which = np.unique(keys, return_inverse=True)
        names, outputs = [], []
        for key in kinds.tolist():
            body = self.bodies.get(key)
            names.append(self._name_number((body.name or body.task_type) if body else "?"))
            outputs.append(len(body.outputs) if body else 0)
        name_column = np.array(names, dtype=np.int64)[which] if len(kinds) else keys
        output_column = np.array(outputs, dtype=np.int64)[which] if len(kinds) else keys
        if own_names:
            own = np.array(list(own_names), dtype=np.int64)
            place = np.searchsorted(ids, own)
            for at, (task, name) in zip(place.tolist(), own_names.items(), strict=True):
                if at < len(ids) and ids[at] == task:
                    name_column[at] = self._name_number(name)
        return name_column, output_column

    def _name_number(self, name: str) -> int:
        number = self._name_numbers.get(name)
        if number is None:
            number = self._name_numbers[name] = len(self.names)
            self.names.append(name)
        return number

    def _add_objects(self, event: e.TasksSubmitted, ids: IntArray, counts: IntArray, first_row: int) -> None:
        consts = [row for row in event.constants if self.objects.row(row[0]) < 0]
        for local_id, label, _, content_type, _ in consts:
            if label:
                self.labels[local_id] = label
            if content_type:
                self.content_types[local_id] = content_type
        outputs = np.repeat(ids + 1, counts) + ranges(np.zeros(len(ids), dtype=np.int64), counts)
        producers = np.repeat(np.arange(first_row, first_row + len(ids)), counts)
        directories = np.zeros(len(outputs), dtype=np.uint8)
        keep = np.zeros(len(outputs) + len(consts), dtype=np.uint8)
        all_ids = np.concatenate([np.array([row[0] for row in consts], dtype=np.int64), outputs])
        order = np.argsort(all_ids, kind="stable")
        columns = {
            "ids": all_ids,
            "producer": np.concatenate([np.full(len(consts), -1, dtype=np.int64), producers]),
            "size": np.concatenate(
                [np.array([row[4] for row in consts], dtype=np.int64), np.full(len(outputs), -1)]
            ),
            "finished": np.concatenate([np.full(len(consts), event.time), np.full(len(outputs), np.nan)]),
            "is_directory": np.concatenate(
                [np.array([row[2] for row in consts], dtype=np.uint8), directories]
            ),
            "keep": keep,
        }
        self.objects.append(
            len(all_ids), removed=np.nan, **{name: column[order] for name, column in columns.items()}
        )
        if event.keep:
            rows = self.objects.rows(event.keep)
            self.objects["keep"][rows[rows >= 0]] = 1
