"""Tasks by the parts of their names between `/`: a tree, with what is to say of each branch.

The tree is made of the distinct names of a session, once, and grows with them; what is counted are columns of
names and states, so that a million tasks under a few names take some milliseconds.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rainzmq.monitoring.columns import FloatArray, IntArray
from rainzmq.monitoring.session import ABSENT, FINISHED, STATES, SessionLog
from rainzmq.monitoring.shapes import GroupView, StateCounts

MAX_DEPTH = 16
"""Parts of a name that become groups; the rest of a longer name is one part."""

MOST_NAMES = 24
"""More names than this are folded where colours and tables cannot show each."""

_LOW_GAIN = 0.5
"""Once names are folded, those are too of which at least so many are lost per task: each task has its own."""


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
            name=tree.paths[node],
            depth=int(tree.depths[node]),
            is_leaf=tree.is_leaf(node),
            own=int(self.own[node]),
            total=sum(row),
            counts=StateCounts(*row),
            done=done,
            mean_s=mean,
            std_s=std,
            sum_s=total,
            min_s=least,
            max_s=most,
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
    return GroupTable(
        tree=tree,
        nodes=nodes,
        counts=counts,
        own=own,
        sums=sums,
        squares=squares,
        least=least,
        most=most,
        centre=centre,
    )


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


def folded_names(counts: Mapping[str, int], most: int = MOST_NAMES) -> dict[str, str]:
    """What each name is shown as so that there are at most `most` of them, where `/` in names allows that.

    Names with the same first part are cut together, at their deepest `/` first: `train/fold 3` becomes
    `train/`. Those are cut first that have many names for few tasks; the result depends on the names and
    numbers only, not on their order. A name that would be alone under its cut stays as it is.

    Args:
        counts: tasks of each name.
    """
    shown = {name: name for name in counts}
    if len(shown) <= most:
        return shown
    families: dict[str, list[str]] = {}
    for name in sorted(counts):
        families.setdefault(name.partition("/")[0], []).append(name)
    cuts = {root: _cut(names, counts) for root, names in families.items()}
    left = len(shown)
    while True:
        some = [(cut[0], root) for root, cut in cuts.items() if cut is not None]
        if not some:
            break
        gain, root = min(some, key=lambda item: (-item[0], item[1]))
        if left <= most and gain < _LOW_GAIN:
            break
        chosen = cuts[root]
        assert chosen is not None, "only those were looked at"
        before = {shown[name] for name in families[root]}
        shown.update(chosen[1])
        left += len({shown[name] for name in families[root]}) - len(before)
        cuts[root] = _cut(families[root], counts, shown)
    return _unfold_single(shown)


def _cut(
    names: Sequence[str], counts: Mapping[str, int], shown: Mapping[str, str] | None = None
) -> tuple[float, dict[str, str]] | None:
    """(names saved per task, what each name becomes) of the deepest cut that saves some; None without one."""
    now = {name: name if shown is None else shown[name] for name in names}
    distinct = len(set(now.values()))
    tasks = sum(counts[name] for name in names)
    for depth in range(max(key.rstrip("/").count("/") for key in now.values()), 0, -1):
        made = {name: _first_parts(key, depth) for name, key in now.items()}
        saved = distinct - len(set(made.values()))
        if saved:
            return saved / max(1, tasks), made
    return None


def _first_parts(name: str, depth: int) -> str:
    """The first `depth` parts of a name with the `/` after them; a name of no more parts as it is."""
    parts = name.split("/", depth)
    return "/".join(parts[:depth]) + "/" if len(parts) > depth else name


def _unfold_single(shown: dict[str, str]) -> dict[str, str]:
    sizes: dict[str, int] = {}
    for key in shown.values():
        sizes[key] = sizes.get(key, 0) + 1
    return {name: name if sizes[key] == 1 else key for name, key in shown.items()}


def shown_names(sessions: Iterable[SessionLog], most: int = MOST_NAMES) -> dict[str, str]:
    """`folded_names` of all tasks of some sessions, whatever time is shown: colours stay over time. Names
    that no task has come last.
    """
    counts: dict[str, int] = {}
    for session in sessions:
        numbers = np.bincount(session.tasks["name"], minlength=len(session.names)).tolist()
        for name, number in zip(session.names, numbers, strict=False):
            counts[name] = counts.get(name, 0) + number
    shown = folded_names({name: number for name, number in counts.items() if number}, most)
    return {**shown, **{name: name for name in counts if name not in shown}}


def folded_groups(session: SessionLog, most: int = MOST_NAMES) -> list[GroupView]:
    """The tasks of a session, as they are now, by their folded names: a group each, in order of the names'
    coming, each of depth 0. A name that ends in `/` stands for all that begin with it.
    """
    shown = shown_names([session], most)
    order: dict[str, int] = {}
    of_name = np.array([order.setdefault(shown[name], len(order)) for name in session.names], dtype=np.int64)
    if not len(of_name) or not len(session.tasks):
        return []
    codes, size, states = session.states(), len(order), len(STATES)
    there = codes != ABSENT
    group = of_name[session.tasks["name"]]
    counts = np.bincount(group[there] * states + codes[there], minlength=size * states).reshape(size, states)
    done = np.flatnonzero(codes == FINISHED)
    durations = np.nan_to_num(np.maximum(session.tasks["ended"][done] - session.tasks["started"][done], 0.0))
    of = group[done]
    sums = np.bincount(of, durations, size)
    means = sums / np.maximum(1, counts[:, FINISHED])
    squares = np.bincount(of, (durations - means[of]) ** 2, size)
    least, most_s = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(least, of, durations)
    np.maximum.at(most_s, of, durations)
    made = []
    for key, at in order.items():
        row = counts[at].tolist()
        total, finished = sum(row), row[FINISHED]
        if not total:
            continue
        view = GroupView(
            key,
            depth=0,
            is_leaf=not key.endswith("/"),
            own=total,
            total=total,
            counts=StateCounts(*row),
            done=finished,
            mean_s=None,
            std_s=None,
            sum_s=float(sums[at]),
            min_s=None,
            max_s=None,
        )
        if finished:
            view.mean_s, view.std_s = float(means[at]), float(squares[at] / finished) ** 0.5
            view.min_s, view.max_s = float(least[at]), float(most_s[at])
        made.append(view)
    return made
