"""Random graphs of Python tasks whose results, and every run of them, can be checked."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rainzmq import Session, remote


@dataclass
class Node:
    """One task: it waits for `duration_s` and makes `size` bytes of a digest of itself and its inputs."""

    inputs: list[int]
    size: int
    duration_s: float


def random_graph(rng: random.Random, count: int, sizes: list[int], durations_s: list[float]) -> list[Node]:
    """A graph of `count` tasks that read up to three of the sixty before them."""
    nodes = []
    for index in range(count):
        reads = rng.choice((0, 1, 1, 2, 2, 3)) if index else 0
        inputs = {rng.randrange(max(0, index - 60), index) for _ in range(reads)}
        nodes.append(Node(sorted(inputs), rng.choice(sizes), rng.choice(durations_s)))
    return nodes


def results(nodes: list[Node]) -> list[bytes]:
    """What all tasks make, worked out here, one after the other."""
    made: list[bytes] = []
    for index, node in enumerate(nodes):
        digest = hashlib.sha256(str(index).encode())
        for source in node.inputs:
            digest.update(made[source])
        made.append((digest.digest() * (node.size // 32 + 1))[: node.size])
    return made


def ends(nodes: list[Node]) -> list[int]:
    """The tasks that no other one reads."""
    read = {item for node in nodes for item in node.inputs}
    return [index for index in range(len(nodes)) if index not in read]


def submit(session: Session, nodes: list[Node], effects: Path) -> dict[int, Any]:
    """Submit a graph; the outputs of its ends, which are kept. Each run adds a line to `effects`."""
    log = str(effects)

    @remote()
    def node(ctx: Any, index: int, size: int, duration_s: float, *inputs: Any) -> bytes:
        import hashlib
        import os
        import time

        with open(log, "a") as file:
            file.write(f"{index} {os.environ['RAINZMQ_ATTEMPT']}\n")
        time.sleep(duration_s)
        digest = hashlib.sha256(str(index).encode())
        for item in inputs:
            digest.update(item.get_bytes())
        return (digest.digest() * (size // 32 + 1))[:size]

    made: list[Any] = []
    for index, item in enumerate(nodes):
        made.append(node(index, item.size, item.duration_s, *[made[source] for source in item.inputs]))
    kept = {index: made[index].output for index in ends(nodes)}
    for output in kept.values():
        output.keep()
    session.submit()
    return kept


def runs(effects: Path) -> Counter[tuple[int, int]]:
    """How often each (task, attempt) ran."""
    lines = effects.read_text().splitlines()
    return Counter((int(index), int(attempt)) for index, attempt in map(str.split, lines))
