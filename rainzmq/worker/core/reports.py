"""What the server is told at the end of a turn, in reports that fit a frame."""

from __future__ import annotations

from dataclasses import fields

from rainzmq.common.limits import MESSAGE_TARGET_BYTES
from rainzmq.protocol.messages import worker as m
from rainzmq.protocol.messages.shared import ObjectMeta
from rainzmq.protocol.schema import empty
from rainzmq.worker.core.events import JobEnded, ObjectArrived
from rainzmq.worker.core.jobs import Job, Printed

_UTF8_BYTES = 4
"""What a character needs at most."""

_COLUMNS = [field.name for field in fields(m.Report)]


class Reports:
    """Reports in the making: `current` is the one to append to, `add_bytes` begins another when full."""

    def __init__(self) -> None:
        self.current = empty(m.Report)
        self._bytes = 0
        self._full: list[m.Report] = []

    def add_bytes(self, size_bytes: int) -> None:
        """Count what has gone into the current report."""
        self._bytes += size_bytes
        if self._bytes > MESSAGE_TARGET_BYTES:
            self._full.append(self.current)
            self.current = empty(m.Report)
            self._bytes = 0

    def take(self) -> list[m.Report]:
        """All reports that say something; the next ones start empty."""
        reports, self._full = self._full, []
        if any(getattr(self.current, name) for name in _COLUMNS):
            reports.append(self.current)
            self.current = empty(m.Report)
            self._bytes = 0
        return reports

    def fetched(self, event: ObjectArrived) -> None:
        """Note an object that came."""
        self.current.fetched.append(event.uid)
        if event.move is None:
            self.add_bytes(9)
        else:
            self.current.moves.append((event.uid, *event.move))
            self.add_bytes(48 + len(event.move[0]))

    def printed(self, job: Job, printed: Printed) -> None:
        """Note what a job wrote. How it ended must be noted next: both go into the same report."""
        self.current.printed.append(
            (
                job.uid,
                job.attempt,
                printed.stdout,
                printed.stderr,
                printed.stdout_bytes,
                printed.stderr_bytes,
            )
        )
        self._bytes += 48 + _UTF8_BYTES * (len(printed.stdout) + len(printed.stderr))

    def finished(self, job: Job, event: JobEnded) -> list[ObjectMeta]:
        """Note a finished job; what its outputs are."""
        outcome, report = event.outcome, self.current
        metas = []
        report.finished.append(job.uid)
        report.attempts.append(job.attempt)
        report.start_times.append(outcome.start_time)
        report.durations_us.append(outcome.duration_us)
        report.cpus.append(job.cpus[0] if job.cpus else -1)
        report.output_counts.append(len(event.sizes))
        report.sizes.extend(event.sizes)
        if outcome.user:
            report.users.append((job.uid, outcome.user))
        if outcome.debug:
            report.debugs.append((job.uid, outcome.debug))
        for index, (made, size) in enumerate(zip(outcome.outputs, event.sizes, strict=True)):
            uid = job.uid + 1 + index
            declared = job.body.outputs[index]
            content_type = made.content_type or declared.content_type
            if content_type is not None and content_type != declared.content_type:
                report.content_types.append((uid, content_type))
            if made.user:
                report.users.append((uid, made.user))
            meta = ObjectMeta(
                uid,
                declared.label,
                declared.is_directory,
                content_type,
                size,
                job.output_users.get(uid, b""),
                made.user,
                uid in event.executables,
            )
            metas.append(meta)
        report.executables.extend(event.executables)
        for uid, data in event.inline:
            report.inline.append((uid, data))
            self._bytes += len(data)
        self.add_bytes(64 + len(outcome.user) + len(outcome.debug) + 16 * len(event.sizes))
        return metas
