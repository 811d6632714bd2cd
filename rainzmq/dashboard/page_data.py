"""Data: objects, where they are, and what moved between whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.monitoring.columns import IntArray
from rainzmq.monitoring.session import ABSENT, SessionLog
from rainzmq.monitoring.standing import MADE, OBJECT_STATES, REMOVED, object_codes
from rainzmq.monitoring.views import MoveView, ObjectView, moves, object_views

PER_PAGE = 50
"""Objects of a page of the list."""

_MOST_CORNERS = 16
"""Rows and columns of the table of moves; those that moved most."""


@dataclass(slots=True)
class Totals:
    """How many objects there are in each state (of `OBJECT_STATES`), and their bytes."""

    counts: list[int]
    sizes: list[int]


@dataclass(slots=True)
class Matrix:
    """Bytes moved from each source (row) to each worker (column)."""

    sources: list[str]
    workers: list[str]
    cells: dict[tuple[str, str], MoveView]
    most: int
    is_cut: bool


class DataPage(Page):
    """See the module."""

    path, title = "data", "Data"

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """Sums, what moved, and a list of objects."""
        mine = {session.session_id for session in ask.sessions}
        moved = ask.once("moves", lambda: moves(ask.model, ask.time, mine))
        objects, start, total = object_page(ask)
        after = start + PER_PAGE if start + PER_PAGE < total else None
        return {
            "totals": ask.render(self.parts, "totals", totals=totals(ask), moved=moved, states=OBJECT_STATES),
            "moves": ask.render(self.parts, "moves", matrix=matrix(moved)),
            "filters": ask.render(self.parts, "filters", states=OBJECT_STATES),
            "objects": ask.render(
                self.parts,
                "objects",
                objects=objects,
                start=start,
                total=total,
                before=max(0, start - PER_PAGE) if start else None,
                after=after,
            ),
        }


def totals(ask: PageQuery) -> Totals:
    """Sums over the chosen sessions."""

    def make() -> Totals:
        made = Totals([0] * len(OBJECT_STATES), [0] * len(OBJECT_STATES))
        for session in ask.sessions:
            codes, sizes = object_codes(session, slice(None), ask.time), session.objects["size"]
            for code in range(len(OBJECT_STATES)):
                mine = codes == code
                made.counts[code] += int(mine.sum())
                if code in (MADE, REMOVED):
                    made.sizes[code] += int(np.maximum(sizes[mine], 0).sum())
        return made

    return ask.once("object totals", make)


def matrix(moved: list[MoveView]) -> Matrix:
    """What moved, as a table; the largest when there is too much."""
    by_source: dict[str, int] = {}
    by_worker: dict[str, int] = {}
    for move in moved:
        by_source[move.source] = by_source.get(move.source, 0) + move.bytes
        by_worker[move.worker] = by_worker.get(move.worker, 0) + move.bytes
    sources = sorted(by_source, key=lambda name: -by_source[name])[:_MOST_CORNERS]
    workers = sorted(by_worker, key=lambda name: -by_worker[name])[:_MOST_CORNERS]
    cells = {
        (move.source, move.worker): move
        for move in moved
        if move.source in sources and move.worker in workers
    }
    most = max((move.bytes for move in cells.values()), default=0)
    is_cut = len(sources) < len(by_source) or len(workers) < len(by_worker)
    return Matrix(sorted(sources), sorted(workers), cells, most, is_cut)


def object_page(ask: PageQuery) -> tuple[list[ObjectView], int, int]:
    """(objects, place of the first, number of all) that the query asks for, the largest first."""
    state = ask.query.get("state")

    def make() -> list[tuple[SessionLog, IntArray]]:
        return [(session, _largest(session, ask.time, state)) for session in ask.sessions]

    found = ask.once("objects", make, state)
    total = sum(len(rows) for _, rows in found)
    start = min(ask.query.number("after") or 0, max(0, total - 1))
    left, wanted = start, PER_PAGE
    shown: list[ObjectView] = []
    for session, rows in found:
        part = rows[left : left + wanted]
        left = max(0, left - len(rows))
        if len(part):
            shown += object_views(ask.model, session, part, ask.time)
            wanted -= len(part)
    return shown, start, total


def _largest(session: SessionLog, time: float | None, state: str) -> IntArray:
    codes = object_codes(session, slice(None), time)
    chosen = (
        codes == list[str](OBJECT_STATES).index(state) if state in set(OBJECT_STATES) else codes != ABSENT
    )
    rows = np.flatnonzero(chosen)
    made = codes[rows] != 0
    size = np.where(made, session.objects["size"][rows], -1)
    return rows[np.argsort(-size, kind="stable")]
