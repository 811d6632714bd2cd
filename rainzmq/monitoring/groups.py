"""Tasks by the parts of their names between `/`: a tree, with what is to say of each branch.

The tree is made of the distinct names of a session, once, and grows with them; what is counted are columns of
names and states, so that a million tasks under a few names take some milliseconds.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np

from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.session import ABSENT, FINISHED, STATES, SessionLog
from rainzmq.monitoring.shapes import GroupView, StateCounts

MAX_DEPTH = 16
"""Parts of a name that become groups; the rest of a longer name is one part."""


class NameTree:
    """All beginnings of the names of a session. Nodes have numbers; parents come before their children.

    Attributes:
        paths: what the names below each node begin with.
        parents, depths: of each node, -1 and 0 at the top.
        order: all nodes, each followed by those below it; beside each other in the order of their coming.
        node_of_name: the node of each name of the session.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.parents = self.depths = self.order = self.node_of_name = np.empty(0, dtype=np.int64)
        self._ends: list[int] = []
        self._parents: list[int] = []
        self._depths: list[int] = []
        self._children: list[list[int] | None] = []
        self._roots: list[int] = []
        self._nodes: dict[tuple[int, str], int] = {}

    def grow(self, names: list[str]) -> None:
        """Take in names that were added to the end of the list since last time."""
        known = len(self._ends)
        if len(names) == known:
            return
        nodes = len(self.paths)
        self._ends += [self._add(name) for name in names[known:]]
        self.node_of_name = np.array(self._ends, dtype=np.int64)
        if len(self.paths) > nodes:
            self.parents = np.array(self._parents, dtype=np.int64)
            self.depths = np.array(self._depths, dtype=np.int64)
            self.order = np.array(self._depth_first(), dtype=np.int64)

    def _depth_first(self) -> list[int]:
        order = []
        stack = self._roots[::-1]
        while stack:
            node = stack.pop()
            order.append(node)
            stack += reversed(self._children[node] or ())
        return order

    def is_leaf(self, node: int) -> bool:
        """Whether nothing is below a node."""
        return not self._children[node]

    def _add(self, name: str) -> int:
        parent, start = -1, 0
        for depth in range(MAX_DEPTH):
            end = name.find("/", start) if depth < MAX_DEPTH - 1 else -1
            path = name if end < 0 else name[:end]
            node = self._nodes.get((depth, path))
            if node is None:
                node = self._nodes[depth, path] = len(self.paths)
                self.paths.append(path)
                self._parents.append(parent)
                self._depths.append(depth)
                self._children.append(None)
                self._siblings(parent).append(node)
            parent, start = node, end + 1
            if end < 0:
                break
        return parent

    def _siblings(self, parent: int) -> list[int]:
        if parent < 0:
            return self._roots
        found = self._children[parent]
        if found is None:
            found = self._children[parent] = []
        return found


_TREES: dict[int, tuple[weakref.ref[SessionLog], NameTree]] = {}


def tree_of(session: SessionLog) -> NameTree:
    """The tree of a session's names; kept as long as the session is."""
    key = id(session)
    known = _TREES.get(key)
    if known is None or known[0]() is not session:
        known = _TREES[key] = (weakref.ref(session, lambda _: _TREES.pop(key, None)), NameTree())
    known[1].grow(session.names)
    return known[1]


@dataclass(slots=True)
class GroupTable:
    """What is to say of each node of a tree, as columns.

    Attributes:
        tree: the names.
        nodes: nodes that have tasks, in depth-first order.
        counts: tasks in each state, shape (all nodes of the tree, states).
        own: tasks that have a node's name as their whole name.
        sums, squares, least, most: of the durations of finished tasks, s; `squares` around `centre`.
    """

    tree: NameTree
    nodes: IntArray
    counts: IntArray
    own: IntArray
    sums: FloatArray
    squares: FloatArray
    least: FloatArray
    most: FloatArray
    centre: float

    def view(self, node: int) -> GroupView:
        """A node in words."""
        tree, row = self.tree, self.counts[node].tolist()
        done = row[FINISHED]
        mean = std = least = most = None
        total = float(self.sums[node])
        if done:
            mean = total / done
            variance = float(self.squares[node]) / done - (mean - self.centre) ** 2
            std = max(0.0, variance) ** 0.5
            least, most = float(self.least[node]), float(self.most[node])
        return GroupView(
            tree.paths[node],
            int(tree.depths[node]),
            tree.is_leaf(node),
            int(self.own[node]),
            sum(row),
            StateCounts(*row),
            done,
            mean,
            std,
            total,
            least,
            most,
        )


def group_table(session: SessionLog, time: float | None = None) -> GroupTable:
    """The groups of a session as columns, now or at a time; for those who show a part of them."""
    tree, states = tree_of(session), len(STATES)
    codes, names, tasks = session.states(time), session.tasks["name"], session.tasks
    if (codes == ABSENT).any():
        there = codes != ABSENT
        codes, names = codes[there], names[there]
        done = np.flatnonzero(there)[codes == FINISHED]
    else:
        done = np.flatnonzero(codes == FINISHED)
    name_count, node_count = len(session.names), len(tree.paths)
    keys = names.astype(np.int64) * states + codes
    by_name = np.bincount(keys, minlength=name_count * states).reshape(name_count, states)
    node = tree.node_of_name
    counts = np.empty((node_count, states), dtype=np.int64)
    for code in range(states):
        counts[:, code] = np.bincount(node, by_name[:, code], node_count)
    own = counts.sum(axis=1)
    durations = np.maximum(tasks["ended"][done] - tasks["started"][done], 0.0)
    durations[np.isnan(durations)] = 0.0
    centre = float(durations.mean()) if len(durations) else 0.0
    of = node[tasks["name"][done]] if len(done) else np.empty(0, dtype=np.int64)
    sums: FloatArray = np.bincount(of, durations, node_count).astype(np.float64)
    squares: FloatArray = np.bincount(of, (durations - centre) ** 2, node_count).astype(np.float64)
    least, most = np.full(node_count, np.inf), np.full(node_count, -np.inf)
    np.minimum.at(least, of, durations)
    np.maximum.at(most, of, durations)
    for depth in range(int(tree.depths.max(initial=0)), 0, -1):
        below = np.flatnonzero(tree.depths == depth)
        above = tree.parents[below]
        for column in (sums, squares, *counts.T):
            column += np.bincount(above, column[below], node_count).astype(column.dtype)
        np.minimum.at(least, above, least[below])
        np.maximum.at(most, above, most[below])
    nodes = tree.order[counts.sum(axis=1)[tree.order] > 0]
    return GroupTable(tree, nodes, counts, own, sums, squares, least, most, centre)


def groups(session: SessionLog, time: float | None = None) -> list[GroupView]:
    """The groups of a session in depth-first order, now or at a time."""
    table = group_table(session, time)
    return [table.view(node) for node in table.nodes.tolist()]


def name_matches(session: SessionLog, wanted: str) -> IntArray:
    """Numbers of the session's names that are `wanted`, or begin with it when it ends in `/`."""
    if wanted.endswith("/"):
        found = [number for number, name in enumerate(session.names) if name.startswith(wanted)]
    else:
        found = [number for number, name in enumerate(session.names) if name == wanted]
    return np.array(found, dtype=np.int64)
