"""Tasks: a tree by the parts of their names, and lists of the tasks themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rainzmq.dashboard.groups import SORTS, groups_of, tree
from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.monitoring.columns import IntArray
from rainzmq.monitoring.session import ABSENT, STATES, SessionLog, StateArray
from rainzmq.monitoring.views import GroupView, TaskView, name_matches, task_views

PER_PAGE = 50
"""Tasks of a page of a list."""

_MOST_ROWS = 400
"""Rows of the tree that are shown at once."""


@dataclass(slots=True)
class TaskSlice:
    """Part of a list of tasks: `tasks` from `start` on, of `total`."""

    tasks: list[TaskView]
    start: int
    total: int

    @property
    def before(self) -> int | None:
        """Start of the page before it."""
        return max(0, self.start - PER_PAGE) if self.start else None

    @property
    def after(self) -> int | None:
        """Start of the page after it."""
        return self.start + PER_PAGE if self.start + PER_PAGE < self.total else None


class TasksPage(Page):
    """See the module."""

    path, title = "tasks", "Tasks"

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """The tree, and the list of what is chosen."""
        everything = groups_of(ask)
        sort = ask.query.get("sort")
        opened = opened_groups(ask, everything)
        rows = tree(everything, sort, opened, _MOST_ROWS + 1)
        return {
            "tree": ask.render(
                self.parts,
                "tree",
                rows=rows[:_MOST_ROWS],
                is_cut=len(rows) > _MOST_ROWS,
                opened=opened,
                sort=sort,
                sorts=SORTS,
                sessions=ask.session_views(),
            ),
            "filters": ask.render(self.parts, "filters"),
            "list": ask.render(self.parts, "list", page=task_page(ask)),
        }


def opened_groups(ask: PageQuery, everything: list[GroupView]) -> frozenset[str]:
    """Names of the groups whose parts are shown; without a choice those of small trees are."""
    text = ask.query.get("open", "\n")
    if text != "\n":
        return frozenset(text.split("\n"))
    return frozenset(group.name for group in everything) if len(everything) <= 30 else frozenset()


def task_page(ask: PageQuery) -> TaskSlice:
    """The tasks that the query asks for: by name or part of it, state and worker."""
    query = ask.query
    name, find, state = query.get("name"), query.get("find").strip(), query.get("state")
    worker, slow = query.get("worker"), query.get("order") == "slow"

    def make() -> list[tuple[SessionLog, IntArray]]:
        return [(session, _rows(ask, session, name, find, state, worker, slow)) for session in ask.sessions]

    found = ask.once("tasks", make, name, find, state, worker, slow)
    total = sum(len(rows) for _, rows in found)
    start = min(query.number("after") or 0, max(0, total - 1))
    left, wanted, tasks = start, PER_PAGE, []
    for session, rows in found:
        part = rows[left : left + wanted]
        left = max(0, left - len(rows))
        if len(part):
            tasks += task_views(session, part, ask.model, ask.time, _codes(ask, session)[part])
            wanted -= len(part)
    return TaskSlice(tasks, start, total)


def _codes(ask: PageQuery, session: SessionLog) -> StateArray:
    return ask.site.once(("states", ask.time, session.session_id), lambda: session.states(ask.time))


def _rows(
    ask: PageQuery, session: SessionLog, name: str, find: str, state: str, worker: str, slow: bool
) -> IntArray:
    tasks, codes = session.tasks, _codes(ask, session)
    wanted = codes != ABSENT
    if name:
        wanted &= np.isin(tasks["name"], name_matches(session, name))
    if find:
        low = find.lower()
        numbers = [number for number, own in enumerate(session.names) if low in own.lower()]
        wanted &= np.isin(tasks["name"], numbers)
    if state in STATES:
        wanted &= codes == STATES.index(state)
    if worker:
        numbers = [log.number for log in ask.model.workers.values() if log.worker_id == worker]
        wanted &= np.isin(tasks["worker"], numbers) & (tasks["assigned"] <= ask.until)
    rows = np.flatnonzero(wanted)
    if slow:
        started, ended = tasks["started"][rows], tasks["ended"][rows]
        ran = np.where(ended <= ask.until, ended, ask.until) - started
        rows = rows[np.argsort(-np.where(started <= ask.until, ran, -1.0), kind="stable")]
    return rows
