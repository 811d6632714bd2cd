"""Jobs as subworkers are told of them, and outcomes from what they answer. A subworker is not trusted."""

from __future__ import annotations

import json
import os
import stat

from rainzmq.common.content_types import check_content_type, is_subtype
from rainzmq.common.errors import RainException
from rainzmq.common.limits import INFO_LIMIT_BYTES
from rainzmq.common.nesting import check_nesting
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate
from rainzmq.protocol.messages.subworker import (
    SubworkerInput,
    SubworkerOutput,
    SubworkerResult,
    SubworkerTask,
    TaskResult,
)
from rainzmq.store.objects import ObjectStore
from rainzmq.worker.core.jobs import FAILED, FINISHED, Job, Outcome, Produced


class BadResult(Exception):
    """What a subworker made of an output cannot be taken; the text says why."""


def to_task(job: Job, store: ObjectStore, directory: str) -> SubworkerTask:
    """A job as a message; KeyError with the uid when the content of one of its inputs is not in the store
    any more.
    """
    uid, body = job.uid, job.body
    session_id, number = uid >> 32, uid & 0xFFFFFFFF
    outputs = []
    for index, item in enumerate(body.outputs, 1):
        user = job.output_users.get(uid + index, b"") if job.output_users else b""
        outputs.append(
            SubworkerOutput(
                item.label,
                (session_id, number + index),
                item.is_directory,
                item.content_type,
                item.encode,
                item.size_hint,
                user,
            )
        )
    return SubworkerTask(
        (session_id, number),
        job.attempt,
        job.method,
        body.key,
        job.config,
        [_input(job, index, meta, store) for index, meta in enumerate(job.inputs)] if job.inputs else [],
        outputs,
        directory,
        list(job.cpus),
        job.name,
        body.task_type,
        job.user,
    )


def to_outcome(job: Job, result: TaskResult, store: ObjectStore, directory: str) -> Outcome:
    """What a job came to. A result that cannot be taken makes it FAILED."""
    outcome = Outcome(
        job.uid,
        job.attempt,
        FINISHED if result.ok else FAILED,
        "",
        [],
        result.user,
        _limited(result.debug) if result.debug else "",
        result.start_time,
        max(0, result.duration_us),
    )
    if job.inputs:
        # Without a read-only view of the store a task can make stored files writable: they are its user's.
        outcome.damaged = [meta.uid for meta in job.inputs if not store.looks_unchanged(meta.uid)]
    if not result.ok:
        outcome.error = _limited(result.error) or "the subworker gave no reason"
        return outcome
    try:
        if outcome.damaged:
            raise BadResult(_changed(job, outcome.damaged))
        if len(result.outputs) != len(job.body.outputs):
            raise BadResult(
                f"the subworker gave {len(result.outputs)} results for {len(job.body.outputs)} outputs"
            )
        if result.user:
            _check_user(result.user, "the task")
        if result.outputs:
            outcome.outputs = [
                _produced(job, index, item, store, directory) for index, item in enumerate(result.outputs)
            ]
            _check_size(b"".join([item.user for item in result.outputs]), "all outputs together")
    except BadResult as error:
        outcome.kind, outcome.error, outcome.user, outcome.outputs = FAILED, str(error), b"", []
    return outcome


def _changed(job: Job, damaged: list[int]) -> str:
    names = []
    for index, meta in enumerate(job.inputs):
        if meta.uid in damaged:
            label = job.input_label(index) or meta.label
            names.append(f"input {index}" if label is None else f"input {label!r}")
    return (
        f"the task changed what it was given to read: {', '.join(names)}; use write() of the data instance "
        "to get a copy that may be changed"
    )


def _input(job: Job, index: int, meta: ObjectMeta, store: ObjectStore) -> SubworkerInput:
    uid = meta.uid
    unmade = meta.size < 0
    data = None if unmade else store.data(uid)
    if data is None and not unmade and not store.is_there(uid):
        raise KeyError(uid)
    return SubworkerInput(
        job.input_label(index),
        (uid >> 32, uid & 0xFFFFFFFF),
        meta.is_directory,
        meta.content_type,
        meta.size,
        data,
        store.path(uid) if data is None and not unmade else None,
        meta.spec_user,
        meta.info_user,
        meta.label,
    )


def _produced(job: Job, index: int, result: SubworkerResult, store: ObjectStore, directory: str) -> Produced:
    declared = job.body.outputs[index]
    where = f"output {index if declared.label is None else declared.label!r}"
    content_type = result.content_type
    if content_type is not None:
        _check_content_type(content_type, declared.content_type, where)
    if result.user:
        _check_user(result.user, where)
    if (result.data is None) == (result.path is None):
        raise BadResult(f"the subworker gave {where} not as either data or a path")
    if result.path is None:
        if declared.is_directory:
            raise BadResult(f"the subworker gave data for {where}, which is a directory")
        return Produced(data=result.data, content_type=content_type, user=result.user)
    for meta in job.inputs:
        if store.has(meta.uid) and store.path(meta.uid) == result.path:
            if meta.is_directory != declared.is_directory:
                raise BadResult(f"the subworker passed an input of the wrong kind on as {where}")
            return Produced(alias=meta.uid, content_type=content_type, user=result.user)
    _check_path(result.path, declared, directory, where)
    return Produced(path=result.path, content_type=content_type, user=result.user)


def _check_path(path: str, declared: OutputTemplate, directory: str, where: str) -> None:
    """The path is inside the directory, not through links, and of the declared kind."""
    try:
        # The last part is not followed: adopting a link would take over what it points to.
        parent = os.path.realpath(os.path.dirname(path), strict=True)
        root = os.path.realpath(directory)
        mode = os.lstat(path).st_mode
    except (OSError, ValueError) as error:
        raise BadResult(f"the subworker gave {path!r} as {where}: {error}") from None
    name = os.path.basename(path)
    inside = parent == root or parent.startswith(root + os.sep)
    if not os.path.isabs(path) or not inside or name in ("", ".", ".."):
        raise BadResult(f"the subworker gave {path!r} as {where}, which is not inside the task's directory")
    if declared.is_directory and not stat.S_ISDIR(mode):
        raise BadResult(f"the subworker gave {path!r} as {where}, which is declared as a directory")
    if not declared.is_directory and not stat.S_ISREG(mode):
        raise BadResult(f"the subworker gave {path!r} as {where}, which is no regular file")


def _check_content_type(content_type: str, declared: str | None, where: str) -> None:
    try:
        check_content_type(content_type)
    except ValueError as error:
        raise BadResult(f"{where}: {error}") from None
    if not is_subtype(content_type, declared):
        raise BadResult(
            f"{where} is declared as content type {declared!r}, but the subworker made {content_type!r}"
        )


def _check_user(user: bytes, where: str) -> None:
    _check_size(user, where)
    try:
        value = json.loads(user)
        check_nesting(value)  # of subworkers in other languages; whoever reads it must be able to
        valid = isinstance(value, dict)
    except (ValueError, RecursionError):
        valid = False
    except RainException as error:
        raise BadResult(f"`user` of {where} cannot be taken: {error}") from None
    if not valid:
        raise BadResult(f"`user` of {where} is no JSON object")


def _check_size(user: bytes, where: str) -> None:
    if len(user) > INFO_LIMIT_BYTES:
        raise BadResult(f"`user` of {where} is {len(user)} bytes, at most {INFO_LIMIT_BYTES} are allowed")


def _limited(text: str) -> str:
    """A text of a subworker that does not keep to the limit, cut."""
    if len(text) <= INFO_LIMIT_BYTES // 4:  # at most 4 bytes a character
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= INFO_LIMIT_BYTES:
        return text
    half = INFO_LIMIT_BYTES // 2 - 20
    return (data[:half] + b"\n[... cut ...]\n" + data[-half:]).decode("utf-8", "ignore")
