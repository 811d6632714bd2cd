"""What is kept of tasks that will never run again and whose outputs are gone, until their session ends.

A client may still ask for their states, times and workers. Records of a million tasks with an output each are
half a gigabyte; here a task takes some 30 bytes, and as many for each output: columns in pages of consecutive
uids. Names, users and debug messages of tasks that have some stay in the session.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rainzmq.server.core.records import BodyRecord, ObjectRecord, TaskRecord

PAGE_BITS = 8

_SIZE = 1 << PAGE_BITS
_OFFSET = _SIZE - 1
_TASK, _OUTPUT = 1, 2


@dataclass(slots=True)
class PastTask:
    """A finished task. `start_time`: s since the epoch; `worker`: the name of where it ran."""

    body: BodyRecord
    start_time: float
    duration_us: int
    worker: str | None


@dataclass(slots=True)
class PastOutput:
    """An output that was removed. `index`: which one of its task's."""

    body: BodyRecord
    index: int
    size: int


class _Page:
    """Columns of 256 uids. `link`: a task's worker, an output's index; `number`: duration or size."""

    __slots__ = ("body", "kind", "link", "number", "start_time")

    def __init__(self) -> None:
        self.kind = bytearray(_SIZE)
        self.body = array("I", bytes(4 * _SIZE))
        self.link = array("I", bytes(4 * _SIZE))
        self.number = array("q", bytes(8 * _SIZE))
        self.start_time = array("d", bytes(8 * _SIZE))


class History:
    """The past tasks of one session."""

    def __init__(self) -> None:
        self._pages: dict[int, _Page] = {}
        self._bodies: list[BodyRecord] = []
        self._body_numbers: dict[int, int] = {}
        self._workers: list[str | None] = []
        self._worker_numbers: dict[str | None, int] = {}
        self._tasks = 0

    def __len__(self) -> int:
        """How many tasks there are."""
        return self._tasks

    def __contains__(self, uid: int) -> bool:
        page = self._pages.get(uid >> PAGE_BITS)
        return page is not None and page.kind[uid & _OFFSET] != 0

    def add(self, task: TaskRecord, outputs: Sequence[ObjectRecord]) -> None:
        """Keep what matters of a finished task and its outputs, whose uids follow its own; their records may
        go.
        """
        body = self._body_numbers.get(id(task.body))
        if body is None:
            body = self._body_numbers[id(task.body)] = len(self._bodies)
            self._bodies.append(task.body)
        name = None if task.worker is None else task.worker.name
        worker = self._worker_numbers.get(name)
        if worker is None:
            worker = self._worker_numbers[name] = len(self._workers)
            self._workers.append(name)
        page, offset = self._page(task.uid), task.uid & _OFFSET
        page.kind[offset] = _TASK
        page.body[offset] = body
        page.link[offset] = worker
        page.number[offset] = task.duration_us
        page.start_time[offset] = task.start_time
        self._tasks += 1
        for index, item in enumerate(outputs):
            offset += 1
            if offset == _SIZE:
                page, offset = self._page(item.uid), 0
            page.kind[offset] = _OUTPUT
            page.body[offset] = body
            page.link[offset] = index
            page.number[offset] = item.size

    def blocks(self, bits: int) -> Iterator[int]:
        """Numbers of the blocks of 2 to the power of `bits` uids (at least a page) that have tasks."""
        return (page >> (bits - PAGE_BITS) for page in self._pages)

    def runs(self) -> Iterator[tuple[int, int]]:
        """(first, last) uid of consecutive ones that are here."""
        for number, page in self._pages.items():
            first = number << PAGE_BITS
            if 0 not in page.kind:
                yield first, first + _OFFSET
                continue
            for is_here, run in groupby(enumerate(page.kind, first), key=lambda item: item[1] != 0):
                if is_here:
                    uids = [uid for uid, _ in run]
                    yield uids[0], uids[-1]

    def task(self, uid: int) -> PastTask | None:
        """The task of a uid, None when it is none or not past."""
        page, offset = self._pages.get(uid >> PAGE_BITS), uid & _OFFSET
        if page is None or page.kind[offset] != _TASK:
            return None
        body, worker = self._bodies[page.body[offset]], self._workers[page.link[offset]]
        return PastTask(body, page.start_time[offset], page.number[offset], worker)

    def output(self, uid: int) -> PastOutput | None:
        """The output of a uid, None when it is none or not past."""
        page, offset = self._pages.get(uid >> PAGE_BITS), uid & _OFFSET
        if page is None or page.kind[offset] != _OUTPUT:
            return None
        return PastOutput(self._bodies[page.body[offset]], page.link[offset], page.number[offset])

    def _page(self, uid: int) -> _Page:
        page = self._pages.get(uid >> PAGE_BITS)
        if page is None:
            page = self._pages[uid >> PAGE_BITS] = _Page()
        return page
