"""Groups of tasks by name, over one session or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rainzmq.dashboard.page import PageQuery
from rainzmq.monitoring.session import STATES, SessionLog
from rainzmq.monitoring.views import GroupView, StateCounts, groups

SORTS: dict[str, Callable[[GroupView], Any]] = {
    "name": lambda group: group.name,
    "total": lambda group: group.total,
    "done": lambda group: group.done,
    "mean": lambda group: group.mean_s or 0.0,
    "std": lambda group: group.std_s or 0.0,
    "sum": lambda group: group.sum_s,
    "max": lambda group: group.max_s or 0.0,
}
"""What groups can be sorted by; with a `-` before it the largest come first."""


def groups_of(ask: PageQuery) -> list[GroupView]:
    """Groups of the chosen sessions, depth first; those of one name count together."""

    def make() -> list[GroupView]:
        lists = [_groups(ask, session) for session in ask.sessions]
        return lists[0] if len(lists) == 1 else merged(lists)

    return ask.once("merged groups", make)


def _groups(ask: PageQuery, session: SessionLog) -> list[GroupView]:
    return ask.site.once(("groups", ask.time, session.session_id), lambda: groups(session, ask.time))


def merged(lists: Iterable[list[GroupView]]) -> list[GroupView]:
    """Groups of several sessions as of one."""
    found: dict[tuple[int, str], GroupView] = {}
    for groups_ in lists:
        for group in groups_:
            key = (group.depth, group.name)
            found[key] = _sum(found[key], group) if key in found else group
    children: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for depth, name in found:
        parent = (depth - 1, name.rpartition("/")[0] if depth else "")
        while depth and parent not in found and "/" in parent[1]:
            parent = (depth - 1, parent[1].rpartition("/")[0])
        children.setdefault(parent, []).append((depth, name))
    made: list[GroupView] = []
    stack = children.get((-1, ""), [])[::-1]
    while stack:
        key = stack.pop()
        made.append(found[key])
        stack += children.get(key, [])[::-1]
    return made


def _sum(one: GroupView, other: GroupView) -> GroupView:
    done = one.done + other.done
    total = one.sum_s + other.sum_s
    mean = total / done if done else None
    std = None
    if mean is not None:
        parts = ((group.done, group.mean_s or 0.0, group.std_s or 0.0) for group in (one, other))
        std = (sum(n * (s**2 + (m - mean) ** 2) for n, m, s in parts) / done) ** 0.5
    least = [value for value in (one.min_s, other.min_s) if value is not None]
    most = [value for value in (one.max_s, other.max_s) if value is not None]
    return replace(
        one,
        is_leaf=one.is_leaf and other.is_leaf,
        own=one.own + other.own,
        total=one.total + other.total,
        counts=StateCounts(*(one.counts[state] + other.counts[state] for state in STATES)),
        done=done,
        sum_s=total,
        mean_s=mean,
        std_s=std,
        min_s=min(least, default=None),
        max_s=max(most, default=None),
    )


def tree(groups_: list[GroupView], sort: str, is_open: frozenset[str], most: int) -> list[GroupView]:
    """The rows of a tree: groups whose parents are all open, siblings sorted. At most `most` rows."""
    key = SORTS.get(sort.removeprefix("-"))
    children: dict[int, list[int]] = {}
    path: list[int] = []
    for index, group in enumerate(groups_):
        del path[group.depth :]
        children.setdefault(path[-1] if path else -1, []).append(index)
        path.append(index)
    found: list[GroupView] = []
    stack = _sorted(groups_, children.get(-1, []), key, sort)
    while stack and len(found) < most:
        index = stack.pop()
        found.append(groups_[index])
        if groups_[index].name in is_open:
            stack += _sorted(groups_, children.get(index, []), key, sort)
    return found


def _sorted(
    groups_: list[GroupView], members: list[int], key: Callable[[GroupView], Any] | None, sort: str
) -> list[int]:
    """Last first, as a stack wants them."""
    if key is None:
        return members[::-1]
    return sorted(members, key=lambda index: key(groups_[index]), reverse=not sort.startswith("-"))
