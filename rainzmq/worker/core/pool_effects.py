"""What the pool's core wants done."""

from __future__ import annotations

from dataclasses import dataclass

from rainzmq.worker.core.jobs import Job


@dataclass(slots=True)
class Spawn:
    """Start a subworker of this kind under this number."""

    number: int
    kind: str


@dataclass(slots=True)
class Run:
    """Send these jobs to the subworker, behind what it has."""

    number: int
    jobs: list[Job]


@dataclass(slots=True)
class Kill:
    """Kill the subworker and all it started. Its exit must be reported with `on_exit`."""

    number: int


@dataclass(slots=True)
class GiveBack:
    """The job has not begun and is the worker core's again. `unmet`: its subworker has not got an input."""

    job: Job
    unmet: bool = False


@dataclass(slots=True)
class Cancelled:
    """The job was killed on request: before it began, or its subworker died of it."""

    job: Job


@dataclass(slots=True)
class Crashed:
    """The subworker died under this job."""

    job: Job


@dataclass(slots=True)
class StartFailed:
    """The subworker this job waited for could not be started."""

    job: Job


@dataclass(slots=True)
class KindDown:
    """Subworkers of this kind cannot be started: no jobs of it are to come before `PoolCore.retry` went
    well.
    """

    kind: str


@dataclass(slots=True)
class Forget:
    """Tell the subworker that these sessions ended."""

    number: int
    session_ids: list[int]


Effect = Spawn | Run | Kill | GiveBack | Cancelled | Crashed | StartFailed | KindDown | Forget
