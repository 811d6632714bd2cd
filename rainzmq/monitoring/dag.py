"""The graph of a session: every task, or groups of tasks by name, in layers from inputs to results.

A group is a prefix of names by `/`. Folded groups can depend on each other in a circle (a task of `a` feeds
one of `b` that feeds another of `a`); such groups share a layer. Layers are the topological generations of
the condensation; within a layer nodes stand near the mean of their neighbours (barycenter, Sugiyama 1981).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from rainzmq.monitoring.columns import IntArray, ranges
from rainzmq.monitoring.session import ABSENT, STATES, SessionLog, StateArray

MOST_TASKS = 300
"""A graph of more tasks than this is folded by name."""

MOST_IN_LAYER = 40
"""So is one of which more tasks than this would stand above each other."""

MOST_GROUPS = 24
"""Names are folded after as many of their parts as give no more nodes than this."""

_SWEEPS = 4


@dataclass(slots=True)
class Node:
    """A task or a folded group.

    Attributes:
        key: prefix of a group with its `/`, whole name of a leaf group, or `3/17` of a task.
        name: of the group or task.
        is_task, is_leaf: one task; a group of one name.
        count: tasks in it.
        counts: tasks by state, in order of `STATES`.
        x, y: layer, and place in it, from 0 downwards.
    """

    key: str
    name: str
    is_task: bool
    is_leaf: bool
    count: int
    counts: list[int]
    x: float = 0.0
    y: float = 0.0


@dataclass(slots=True)
class Dag:
    """Nodes and edges (from, to, number of dependencies) as indices into them."""

    nodes: list[Node]
    edges: list[tuple[int, int, int]]
    is_folded: bool
    tasks: int


def task_edges(session: SessionLog) -> tuple[IntArray, IntArray]:
    """(rows of producers, rows of consumers), one entry for each input that a task made."""
    counts = session.tasks["input_count"].astype(np.int64)
    if not counts.sum():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    wanted = session.inputs.view()[ranges(session.tasks["first_input"], counts)]
    consumers = np.repeat(np.arange(len(counts)), counts)
    at = session.objects.rows(wanted)
    producers = np.where(at >= 0, session.objects["producer"][at], -1)
    made = producers >= 0
    return producers[made], consumers[made]


def graph(
    session: SessionLog,
    time: float | None = None,
    opened: Collection[str] = (),
    folded: bool | None = None,
) -> Dag:
    """The graph of a session as it was at a time.

    Args:
        time: s since the epoch, None for now.
        opened: prefixes (with their `/`) of groups to show by their parts.
        folded: by name rather than by task; None: when there are more than `MOST_TASKS`, or more than
            `MOST_IN_LAYER` in a layer.
    """
    states = session.states(time)
    there = states != ABSENT
    tasks = int(there.sum())
    fold = tasks > MOST_TASKS if folded is None else folded
    if fold:
        nodes, node_of = _groups(session, states, there, opened)
    else:
        rows = np.flatnonzero(there)
        node_of = np.full(len(states), -1, dtype=np.int64)
        node_of[rows] = np.arange(len(rows))
        nodes = []
        for row in rows.tolist():
            key = f"{session.session_id}/{int(session.tasks['ids'][row])}"
            counts = [int(states[row] == code) for code in range(len(STATES))]
            nodes.append(Node(key, session.task_name(row), True, True, 1, counts))
    edges = _edges(session, node_of, len(nodes))
    most = _place(nodes, edges)
    if folded is None and not fold and most > MOST_IN_LAYER:
        return graph(session, time, opened, folded=True)
    return Dag(nodes, edges, fold, tasks)


def _groups(
    session: SessionLog, states: StateArray, there: NDArray[np.bool_], opened: Collection[str]
) -> tuple[list[Node], IntArray]:
    """Folded nodes, and the node of each task (-1: not submitted yet)."""
    names = session.names
    numbers = session.tasks["name"].astype(np.int64)
    sizes = np.bincount(numbers[there], minlength=len(names)) if len(names) else np.empty(0, dtype=np.int64)
    present = [index for index in range(len(names)) if sizes[index]]
    keys = _fold({names[index] for index in present}, opened)
    order: dict[str, int] = {}
    group_of = np.full(max(1, len(names)), -1, dtype=np.int64)
    for index in present:
        group_of[index] = order.setdefault(keys[names[index]], len(order))
    node_of = np.where(there, group_of[numbers], -1) if len(numbers) else numbers
    mine = node_of >= 0
    size = len(STATES)
    table = np.bincount(node_of[mine] * size + states[mine], minlength=len(order) * size).reshape(-1, size)
    leaves = {names[index] for index in present}
    nodes = [
        Node(key, key.rstrip("/") or key, False, key in leaves, int(table[at].sum()), table[at].tolist())
        for key, at in order.items()
    ]
    return nodes, node_of


def _fold(names: Collection[str], opened: Collection[str]) -> dict[str, str]:
    """The node of each name: the name itself, or the prefix (with its `/`) that it is folded into."""
    keys = {name: _prefix(name, 0) for name in names}
    while True:
        deeper = {name: _prefix(name, len(key)) for name, key in keys.items()}
        if deeper == keys or len(set(deeper.values())) > MOST_GROUPS:
            break
        keys = deeper
    for name in names:
        while keys[name] in opened and keys[name] != name:
            keys[name] = _prefix(name, len(keys[name]))
    sizes: dict[str, int] = {}
    for key in keys.values():
        sizes[key] = sizes.get(key, 0) + 1
    return {name: name if sizes[key] == 1 else key for name, key in keys.items()}


def _prefix(name: str, start: int) -> str:
    """Up to the next `/` after `start`, that included; the whole name when there is none."""
    end = name.find("/", start)
    return name if end < 0 else name[: end + 1]


def _edges(session: SessionLog, node_of: IntArray, count: int) -> list[tuple[int, int, int]]:
    producers, consumers = task_edges(session)
    source, target = node_of[producers], node_of[consumers]
    seen = (source >= 0) & (target >= 0) & (source != target)
    pairs, counts = np.unique(source[seen] * max(1, count) + target[seen], return_counts=True)
    return [
        (int(pair) // count, int(pair) % count, int(number))
        for pair, number in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]


def _place(nodes: list[Node], edges: list[tuple[int, int, int]]) -> int:
    """Set `x` and `y` of all nodes; how many there are in the largest layer."""
    plain: nx.DiGraph[int] = nx.DiGraph()
    plain.add_nodes_from(range(len(nodes)))
    plain.add_edges_from((source, target) for source, target, _ in edges)
    condensed = nx.condensation(plain)
    columns: list[list[int]] = []
    for generation in nx.topological_generations(condensed):
        members = [node for part in generation for node in condensed.nodes[part]["members"]]
        columns.append(sorted(members))
    place = {node: float(at) for column in columns for at, node in enumerate(column)}
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for column in columns if forward else reversed(columns):
            wanted = {}
            for node in column:
                near = list(plain.predecessors(node) if forward else plain.successors(node))
                wanted[node] = sum(place[other] for other in near) / len(near) if near else place[node]
            column.sort(key=lambda node: (wanted[node], place[node]))
            middle = (len(column) - 1) / 2
            place.update((node, at - middle) for at, node in enumerate(column))
    for x, column in enumerate(columns):
        for node in column:
            nodes[node].x, nodes[node].y = float(x), place[node]
    return max((len(column) for column in columns), default=0)
