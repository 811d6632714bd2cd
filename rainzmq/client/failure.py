"""What the server says of a failure, as the exception that the user sees."""

from __future__ import annotations

from collections.abc import Iterable

from rainzmq.client.call_site import Site
from rainzmq.client.graph_task import describe_task
from rainzmq.common.errors import SessionException, TaskException
from rainzmq.common.ids import id_of
from rainzmq.protocol.messages.shared import Failure


def failure_error(
    failure: Failure, session_id: int, site: Site | None, given: Iterable[str] = (), told: bool = False
) -> SessionException:
    """A new exception for a failure. `site` is where the task was made in this program, None when not
    known. `given` are lines about what the task was given. `told` is for calls after the one that was told
    first."""
    done = f"{failure.finished} of {failure.submitted} tasks were finished" if failure.submitted > 1 else ""
    if not failure.task:
        text = f"Session {session_id} failed: {failure.message}"
        return SessionException(f"{text}\n{done}" if done else text, session_id)
    task_id = id_of(failure.task)
    where = "" if failure.worker is None else f" on worker {failure.worker}"
    again = "" if not failure.attempt else f" in attempt {failure.attempt + 1}"
    lines = [f"{describe_task(failure.name, task_id, failure.task_type)} failed{where}{again}:"]
    lines.append(failure.message.rstrip("\n") or "(no message)")
    if site is not None:
        lines.append(f"The task was made at {site}")
    lines += given
    debug = failure.debug.rstrip("\n")
    if debug:
        lines.append("Its debug messages:")
        lines += [f"  {line}" for line in debug.split("\n")]
    if done:
        lines.append(done)
    if told:
        lines.append("The session failed with it, and its objects are gone; open another session")
    return TaskException(
        "\n".join(lines),
        session_id,
        task_id=task_id,
        task_name=failure.name,
        task_type=failure.task_type,
        attempt=failure.attempt,
        worker=failure.worker,
    )
