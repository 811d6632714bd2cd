"""How sessions end: failed by a task, closed with tasks running, left, interrupted; the active session."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import rainzmq
from rainzmq import (
    Client,
    LocalCluster,
    RainException,
    Session,
    SessionException,
    TaskException,
    blob,
    get_active_session,
    remote,
    tasks,
)
from rainzmq.common import DataObjectState, TaskState
from rainzmq.subworker.context import Context


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session that is active during the test."""
    with client.new_session("of a test") as session:
        yield session
        session.close()


def until(condition: Callable[[], Any], within_s: float = 5.0) -> Any:
    """Wait for a condition that no call of the API waits for; its value."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return value


def column(client: Client, name: str) -> list[Any]:
    """A column of all workers together."""
    return [item for worker in client.get_server_info()["workers"] for item in worker[name]]


def endless_program(directory: Path, name: str) -> tuple[rainzmq.Task, Path]:
    """A task that runs until it is stopped, and the file that holds its process id while it does."""
    path = directory / name
    script = f"echo $$ > {path}.new; mv {path}.new {path}; sleep 60; true"
    return tasks.Execute(["sh", "-c", script], stdout=True), path


def running_pid(path: Path) -> int:
    until(path.exists)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failing() -> rainzmq.Task:
    """A task that fails at once."""
    return tasks.Load("/no/such/file")


def _wait_failed(session: Session) -> TaskException:
    with pytest.raises(TaskException) as caught:
        session.wait_all()
    return caught.value


# -- a task fails


def test_failed_task_fails_every_later_call_on_its_session(session: Session) -> None:
    good = tasks.Concat([blob("good")])
    good.output.keep()
    session.submit()
    good.wait()
    bad = failing()
    session.submit()
    text = str(_wait_failed(session))
    assert "/no/such/file" in text

    calls: list[Callable[[], Any]] = [
        good.wait,
        bad.wait,
        good.update,
        good.output.wait,
        good.output.fetch,
        good.output.update,
        good.output.unkeep,
        session.wait_all,
        session.submit,
        lambda: session.wait([]),
        lambda: session.wait_some([good]),
        lambda: session.update([bad]),
        lambda: session.wait_all(progress=True),
    ]
    for call in calls:
        with pytest.raises(TaskException) as caught:
            call()
        assert str(caught.value) == (
            text + "\nThe session failed with it, and its objects are gone; open another session"
        )
        assert caught.value.task_id == bad.id
    session.close()
    assert not session.active


def test_failed_task_and_its_info_say_so(session: Session) -> None:
    bad, good = failing(), tasks.Sleep(blob(b""), 60)
    session.submit()
    error = _wait_failed(session)
    assert bad.state is TaskState.FAILED
    assert good.state is TaskState.CANCELLED
    assert good.info is not None
    assert good.info.error == f"cancelled: its session failed because of {bad.id} (builtin/load)"
    assert bad.info is not None
    assert bad.info.error is not None
    assert "/no/such/file" in bad.info.error
    assert bad.info.worker == error.worker is not None
    assert bad.output.state is DataObjectState.UNFINISHED


def test_error_of_a_program_has_all_that_helps(session: Session) -> None:
    task = tasks.Execute("echo early; echo what went wrong >&2; exit 3", shell=True, name="group/broken")
    line = 1 + test_error_of_a_program_has_all_that_helps.__code__.co_firstlineno
    session.submit()
    error = _wait_failed(session)
    assert (error.task_id, error.task_name, error.task_type) == (task.id, "group/broken", "builtin/execute")
    assert error.session_id == session.session_id
    for part in (
        "'group/broken'",
        str(task.id),
        "builtin/execute",
        "what went wrong",
        "3",
        f"{__file__}:{line}",
    ):
        assert part in str(error)


def test_error_of_a_killed_program_names_the_signal(session: Session) -> None:
    tasks.Execute("kill -KILL $$", shell=True)
    session.submit()
    assert "SIGKILL" in str(_wait_failed(session))


def test_error_of_a_python_task_has_traceback_debug_messages_and_place(session: Session) -> None:
    @remote(name="divides")
    def divide(ctx: Context, by: int) -> bytes:
        ctx.debug("dividing by {}", by)
        return bytes(1 // by)

    task = divide(0)
    line = test_error_of_a_python_task_has_traceback_debug_messages_and_place.__code__.co_firstlineno + 6
    session.submit()
    error = _wait_failed(session)
    for part in (
        "'divides'",
        str(task.id),
        task.task_type,
        "ZeroDivisionError: ",
        "Traceback",
        "return bytes(1 // by)",
        "dividing by 0",
        f"{__file__}:{line}",
    ):
        assert part in str(error)


def test_failure_leaves_other_sessions_alone(client: Client, session: Session, tmp_path: Path) -> None:
    with client.new_session("other") as other:
        going_on, file = endless_program(tmp_path, "other")
        kept = tasks.Concat([blob("kept")])
        kept.output.keep()
        other.submit()
        pid = running_pid(file)
        with session.bind_only():
            failing()
            session.submit()
            _wait_failed(session)
        assert kept.output.fetch().get_str() == "kept"
        going_on.update()
        assert going_on.state is TaskState.RUNNING
        assert is_running(pid)
        assert other.error is None
        other.close()
    until(lambda: not is_running(pid))


def test_failure_stops_running_tasks_and_frees_cpus_and_objects_at_once(
    client: Client, session: Session, tmp_path: Path
) -> None:
    kept = tasks.Concat([blob(b"k" * 100_000)])
    kept.output.keep()
    session.submit()
    kept.wait()
    _, file = endless_program(tmp_path, "running")
    session.submit()
    pid = running_pid(file)
    failing()
    session.submit()
    _wait_failed(session)
    until(lambda: not is_running(pid), 3)
    until(lambda: not any(column(client, name) for name in ("tasks", "objects", "objects_to_delete")))
    with client.new_session() as other:
        both = [tasks.Execute(["true"]) for _ in range(2)]
        other.submit()
        other.wait(both)


def test_failure_reaches_threads_that_wait(client: Client, session: Session) -> None:
    endless = tasks.Sleep(blob(b""), 60)
    session.submit()
    errors: list[BaseException] = []

    def wait(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    calls = (endless.wait, session.wait_all, lambda: session.wait_some([endless]))
    threads = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    failing()
    session.submit()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [TaskException] * 3


def test_error_attribute_of_a_session_is_its_failure(session: Session) -> None:
    assert session.error is None
    failing()
    session.submit()
    error = _wait_failed(session)
    assert str(session.error) == str(error)
    assert "failed" in repr(session)
    assert session.active


# -- closing


def test_closing_stops_running_tasks_and_frees_cpus_and_objects_at_once(
    client: Client, tmp_path: Path
) -> None:
    pids = []
    with client.new_session() as session:
        kept = tasks.Concat([blob(b"k" * 100_000)])
        kept.output.keep()
        session.submit()
        kept.wait()
        files = [endless_program(tmp_path, name)[1] for name in ("one", "two")]
        tasks.Sleep(kept, 60)
        session.submit()
        pids = [running_pid(file) for file in files]
        session.close()
    started = time.monotonic()
    with client.new_session() as other:
        both = [tasks.Execute(["true"]) for _ in range(2)]
        other.submit()
        other.wait(both)
        assert time.monotonic() - started < 2
    until(lambda: not any(is_running(pid) for pid in pids), 3)
    until(lambda: not any(column(client, name) for name in ("tasks", "objects", "objects_to_delete")))


def test_closing_stops_a_running_python_task_at_once(client: Client, tmp_path: Path) -> None:
    @remote
    def endless(ctx: Context, path: str) -> None:
        Path(path).write_text(str(os.getpid()))
        while True:
            time.sleep(60)

    file = tmp_path / "python"
    with client.new_session() as session:
        endless(str(file))
        session.submit()
        pid = int(until(lambda: file.exists() and file.read_text()))
        session.close()
    until(lambda: not is_running(pid), 3)


def test_closed_session_says_so_at_every_call(client: Client) -> None:
    with client.new_session("short") as session:
        task = tasks.Concat([blob("x")])
        task.output.keep()
        session.submit()
        task.wait()
    assert not session.active
    session.close()
    calls: list[Callable[[], Any]] = [
        task.wait,
        task.update,
        task.output.fetch,
        task.output.unkeep,
        session.wait_all,
        session.submit,
        session.__enter__,
        session.set_as_default,
        lambda: blob(b"", session=session),
        lambda: session.wait_some([task]),
    ]
    for call in calls:
        with pytest.raises(SessionException, match=f"Session {session.session_id} is closed"):
            call()


def test_session_is_closed_when_its_block_raises(client: Client) -> None:
    session = client.new_session("doomed")

    def work() -> None:
        with session:
            tasks.Sleep(blob(b""), 60)
            session.submit()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not session.active
    assert session.session_id not in [item["session_id"] for item in client.get_server_info()["sessions"]]


def test_closing_ends_the_waits_of_other_threads_at_once(client: Client) -> None:
    session = client.new_session()
    with session.bind_only():
        endless = tasks.Sleep(blob(b""), 60)
        endless.output.keep()
        session.submit()
    errors: list[str] = []

    def wait(call: Callable[[], Any]) -> None:
        with pytest.raises(SessionException) as caught:
            call()
        errors.append(str(caught.value))

    threads = [threading.Thread(target=wait, args=(call,)) for call in (endless.wait, endless.output.fetch)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    started = time.monotonic()
    session.close()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started < 2
    assert len(errors) == 2
    assert all("closed" in text for text in errors)


def test_interrupted_wait_leaves_session_and_client_usable(client: Client, session: Session) -> None:
    slow = tasks.Sleep(blob(b"slept"), 0.8)
    slow.output.keep()
    session.submit()
    calls = (slow.wait, session.wait_all, slow.output.fetch, lambda: session.wait_all(progress=True))
    for call in calls:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            call()
        assert time.monotonic() - started < 0.6
        timer.join()
    assert client.get_server_info()["version"]
    assert slow.output.fetch().get_bytes() == b"slept"
    session.wait_all()


# -- the active session


def test_default_session_is_used_until_it_is_closed(client: Client) -> None:
    session = client.new_session("default", default=True)
    try:
        task = tasks.Concat([blob("in the default session")])
        task.output.keep()
        with client.new_session() as inner:
            assert get_active_session() is inner
            assert blob(b"").session is inner
        assert get_active_session() is session
        session.submit()
        assert task.output.fetch().get_str() == "in the default session"
    finally:
        session.close()
    with pytest.raises(RainException, match="No active session"):
        blob(b"")


def test_default_session_of_a_closed_client_is_not_used(shared_cluster: LocalCluster) -> None:
    with shared_cluster.client() as client:
        client.new_session(default=True)
        assert get_active_session().client is client
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_sessions_nest_and_are_entered_again(client: Client) -> None:
    with client.new_session("outer") as outer, client.new_session("inner") as inner:
        theirs = tasks.Concat([blob("inner")])
        with outer, outer.bind_only():
            mine = tasks.Concat([blob("outer")])
        assert outer.active
        assert get_active_session() is inner
        for task, session in ((mine, outer), (theirs, inner)):
            task.output.keep()
            session.submit()
            assert task.output.fetch().get_str() == session.name


def test_sessions_have_names_and_numbers_of_their_own(client: Client) -> None:
    with client.new_session() as one, client.new_session("two") as two:
        shown = {item["session_id"]: item["name"] for item in client.get_server_info()["sessions"]}
        assert shown[one.session_id] == one.name == "Unnamed Session"
        assert shown[two.session_id] == "two"
        assert one.session_id != two.session_id
    assert not {one.session_id, two.session_id} & {
        item["session_id"] for item in client.get_server_info()["sessions"]
    }
