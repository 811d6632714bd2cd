"""What is said of data objects: who makes them, who holds them, who reads them."""

from __future__ import annotations

import numpy as np

from rainzmq.common.ids import make_uid
from rainzmq.common.states import DataObjectState
from rainzmq.monitoring.columns import IntArray
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.session import FINISHED, SessionLog
from rainzmq.monitoring.shapes import ObjectView, PartView
from rainzmq.monitoring.standing import (
    MADE,
    OBJECT_STATES,
    moment,
    object_codes,
    object_id,
    standing,
    task_id,
)
from rainzmq.protocol.messages.shared import OutputTemplate

MAX_PARTS = 1000
"""Inputs or outputs of one task that are listed."""


def object_view(model: Model, session: SessionLog, row: int, time: float | None = None) -> ObjectView:
    """An object. Use `object_views` for many."""
    return object_views(model, session, np.array([row]), time)[0]


def object_views(
    model: Model, session: SessionLog, rows: IntArray, time: float | None = None
) -> list[ObjectView]:
    """The objects of `rows`, in that order."""
    objects = session.objects
    codes = object_codes(session, rows, time)
    holders = _holders(model, session, rows, time)
    consumers = _consumers(session, rows, time)
    found = []
    for place, row in enumerate(rows.tolist()):
        code = int(codes[place])
        is_made = code in (MADE, MADE + 1)
        producer = int(objects["producer"][row])
        found.append(
            ObjectView(
                id=object_id(session, row),
                session_id=session.session_id,
                label=object_label(session, row),
                state=OBJECT_STATES[code] if code < len(OBJECT_STATES) else DataObjectState.UNFINISHED,
                size_bytes=int(objects["size"][row]) if is_made and objects["size"][row] >= 0 else None,
                content_type=_content_type(session, row, is_made),
                is_directory=_is_directory(session, row),
                executable=is_made and int(objects["ids"][row]) in session.executables,
                keep=bool(objects["keep"][row]),
                producer=task_id(session, producer) if producer >= 0 else None,
                consumers=int(consumers[place]),
                holders=holders[place] if code == MADE else [],
                finished=moment(objects["finished"][row]) if is_made else None,
                removed=moment(objects["removed"][row]) if code == MADE + 1 else None,
            )
        )
    return found


def no_task(session: SessionLog, local_id: int) -> str:
    """What to tell who asks for a task by the number of something else."""
    number = f"{session.session_id}/{local_id}"
    row = session.objects.row(local_id)
    if row < 0:
        return f"there is no task {number}"
    label, producer = object_label(session, row), int(session.objects["producer"][row])
    named = "" if label is None else f" {label!r},"
    made = f"made by task {task_id(session, producer)}" if producer >= 0 else "a constant"
    return f"there is no task {number}: it is a data object,{named} {made}"


def held_by(model: Model, session: SessionLog, worker: int, time: float | None = None) -> IntArray:
    """Rows of the objects of a session that a worker is known to hold; its number is given, 0: the server."""
    codes = object_codes(session, slice(None), time)
    producers = session.objects["producer"]
    if worker == 0:
        return np.flatnonzero((codes == MADE) & (producers < 0))
    log = model.workers.get(worker)
    if log is None or not log.is_there(time):
        return np.empty(0, dtype=np.int64)
    stands = standing(session, np.arange(len(session.tasks)), time)
    makes = (stands.state == FINISHED) & (stands.worker == worker)
    held = np.zeros(len(session.objects), dtype=np.bool_)
    made = producers >= 0
    held[made] = makes[producers[made]]
    table = model.moves
    came = table["worker"] == worker
    came &= table["uid"] >> 32 == session.session_id
    if time is not None:
        came &= table["start"] + table["duration"] <= time
    rows = session.objects.rows(table["uid"][came] & 0xFFFFFFFF)
    held[rows[rows >= 0]] = True
    return np.flatnonzero(held & (codes == MADE))


def part_views(
    session: SessionLog, ids: list[int], labels: list[str | None], time: float | None = None
) -> list[PartView]:
    """Inputs or outputs of a task, the first MAX_PARTS. `labels`: those by which the task knows them."""
    ids = ids[:MAX_PARTS]
    rows = session.objects.rows(ids)
    known = rows >= 0
    codes = np.zeros(len(ids), dtype=np.uint8)
    codes[known] = object_codes(session, rows[known], time)
    found = []
    for place, (local_id, row) in enumerate(zip(ids, rows.tolist(), strict=True)):
        code = int(codes[place])
        label = labels[place] if place < len(labels) else None
        size, producer = -1, -1
        if row >= 0:
            label = label if label is not None else object_label(session, row)
            size = int(session.objects["size"][row])
            producer = int(session.objects["producer"][row])
        found.append(
            PartView(
                f"{session.session_id}/{local_id}",
                label,
                OBJECT_STATES[code] if code < len(OBJECT_STATES) else DataObjectState.UNFINISHED,
                size if code in (MADE, MADE + 1) and size >= 0 else None,
                task_id(session, producer) if producer >= 0 else None,
            )
        )
    return found


def object_label(session: SessionLog, row: int) -> str | None:
    """Label of an object as an output or as a constant, None without one."""
    template = _template(session, row)
    if template is not None:
        return template.label
    return session.labels.get(int(session.objects["ids"][row]))


def lacks_on(
    model: Model, session: SessionLog, row: int, worker: int, time: float | None = None
) -> tuple[int, int]:
    """How many inputs of a task are not known to be on a worker, and the sum of their sizes in bytes."""
    rows = session.objects.rows(session.input_ids(row))
    rows = np.unique(rows[rows >= 0])
    if not len(rows):
        return 0, 0
    producers = session.objects["producer"][rows]
    there = np.zeros(len(rows), dtype=np.bool_)
    made = producers >= 0
    if made.any():
        there[made] = standing(session, producers[made], time).worker == worker
    table = model.moves
    came = (table["worker"] == worker) & (table["uid"] >> 32 == session.session_id)
    if time is not None:
        came &= table["start"] + table["duration"] <= time
    there |= np.isin(session.objects["ids"][rows], table["uid"][came] & 0xFFFFFFFF)
    sizes = session.objects["size"][rows[~there]]
    return int((~there).sum()), int(sizes[sizes > 0].sum())


# Helpers.


def _template(session: SessionLog, row: int) -> OutputTemplate | None:
    producer = int(session.objects["producer"][row])
    if producer < 0:
        return None
    body = session.bodies.get(int(session.tasks["body"][producer]))
    place = int(session.objects["ids"][row]) - int(session.tasks["ids"][producer]) - 1
    return body.outputs[place] if body is not None and 0 <= place < len(body.outputs) else None


def _content_type(session: SessionLog, row: int, is_made: bool) -> str | None:
    template, local_id = _template(session, row), int(session.objects["ids"][row])
    actual = session.content_types.get(local_id) if is_made else None
    return actual or (template.content_type if template is not None else None)


def _is_directory(session: SessionLog, row: int) -> bool:
    template = _template(session, row)
    return bool(session.objects["is_directory"][row]) or (template is not None and template.is_directory)


def _holders(model: Model, session: SessionLog, rows: IntArray, time: float | None) -> list[list[str]]:
    producers = session.objects["producer"][rows]
    numbers: list[dict[int, None]] = [{} for _ in range(len(rows))]
    made = np.flatnonzero(producers >= 0)
    for place in np.flatnonzero(producers < 0).tolist():
        numbers[place][0] = None
    stands = standing(session, producers[made], time)
    for place, state, worker in zip(
        made.tolist(), stands.state.tolist(), stands.worker.tolist(), strict=True
    ):
        if state == FINISHED:
            numbers[place][worker] = None
    table = model.moves
    uids = np.array([make_uid(session.session_id, int(item)) for item in session.objects["ids"][rows]])
    found = np.flatnonzero(np.isin(table["uid"], uids))
    places = {uid: place for place, uid in enumerate(uids.tolist())}
    for at in found.tolist():
        if time is None or table["start"][at] + table["duration"][at] <= time:
            numbers[places[int(table["uid"][at])]][int(table["worker"][at])] = None
    return [[name for number in held if (name := _holder(model, number, time))] for held in numbers]


def _holder(model: Model, number: int, time: float | None) -> str | None:
    if number == 0:
        return "server"
    worker = model.workers.get(number)
    return worker.worker_id if worker is not None and worker.is_there(time) else None


def _consumers(session: SessionLog, rows: IntArray, time: float | None) -> IntArray:
    """How many tasks have each object as an input. Shape (len(rows),)."""
    ids = session.objects["ids"][rows]
    order = np.argsort(ids, kind="stable")
    inputs = session.inputs.view()
    counts = np.zeros(len(rows), dtype=np.int64)
    if not len(rows) or not len(inputs):
        return counts
    place = np.searchsorted(ids, inputs, sorter=order)
    place[place == len(ids)] = 0
    hits = np.flatnonzero(ids[order[place]] == inputs)
    # Inputs stand in the order of their tasks' rows; a task without inputs begins where the next one does.
    readers = np.searchsorted(session.tasks["first_input"], hits, side="right") - 1
    if time is not None:
        there = session.tasks["submitted"][readers] <= time
        hits, readers = hits[there], readers[there]
    pairs = np.unique(order[place[hits]] * (len(session.tasks) + 1) + readers)
    np.add.at(counts, pairs // (len(session.tasks) + 1), 1)
    return counts
