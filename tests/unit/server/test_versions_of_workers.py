"""Workers with other versions of Python and of packages than a session's client."""

from __future__ import annotations

from rainzmq.protocol.messages import client as c
from rainzmq.protocol.messages import worker as w
from rainzmq.server.core.events import WorkerSaid
from rainzmq.server.core.session_records import SessionRecord
from rainzmq.testing.server_core import ServerUnderTest, body

OLD, NEW = ("builtin", "python", "python 3.11.7"), ("builtin", "python", "python 3.12.1")


def _session(server: ServerUnderTest, python: str = "3.11.4") -> SessionRecord:
    session = server.session()
    server.say(c.SessionPython(session.session_id, python))
    return session


def _warnings(server: ServerUnderTest) -> list[str]:
    return [message.text for message in server.take(server.client, c.SessionWarned)]


def test_functions_go_to_workers_with_the_same_minor_version_only() -> None:
    server = ServerUnderTest()
    old, new = server.worker(b"old", kinds=OLD), server.worker(b"new", kinds=NEW, cpus=8)
    session = _session(server)
    server.submit(session, {1: [], 11: [], 21: []})
    assert list(old.tasks.values()) == [session.tasks[uid] for uid in old.tasks]
    assert old.tasks
    assert not new.tasks


def test_both_versions_are_named_once_a_session() -> None:
    server = ServerUnderTest()
    server.worker(b"old", kinds=OLD)
    new = server.worker(b"new", kinds=NEW)
    session = _session(server)
    server.submit(session, {1: []})
    [warning] = _warnings(server)
    assert new.name in warning
    assert "3.12.1" in warning
    assert "3.11.4" in warning
    server.submit(session, {11: []}, bodies=[body(2)], body_of={11: 2})
    server.worker(b"newer", kinds=NEW)
    assert _warnings(server) == []


def test_a_worker_that_joins_later_is_named_then() -> None:
    server = ServerUnderTest()
    server.worker(b"old", kinds=OLD)
    session = _session(server)
    server.submit(session, {1: []})
    assert _warnings(server) == []
    server.worker(b"new", kinds=NEW)
    assert len(_warnings(server)) == 1


def test_programs_run_anywhere_and_warn_of_nothing() -> None:
    server = ServerUnderTest()
    new = server.worker(b"new", kinds=NEW)
    session = _session(server)
    server.submit(session, {1: []}, bodies=[body(1, task_type="builtin/execute")])
    assert list(new.tasks.values()) == list(session.tasks.values())
    assert _warnings(server) == []


def test_functions_that_no_worker_can_run_fail_and_the_error_names_both_versions() -> None:
    server = ServerUnderTest()
    new = server.worker(b"new", kinds=NEW)
    session = _session(server)
    server.submit(session, {1: []})
    for _ in range(7):
        server.say(c.ClientHeartbeat(0))
        server.event(WorkerSaid(b"new", new.epoch, w.WorkerHeartbeat()))
        server.pass_time(2.0)
    [failed] = server.take(server.client, c.SessionFailed)
    assert "Python 3.11.4" in failed.failure.message
    assert "Python 3.12.1" in failed.failure.message
    assert "subworkers" not in failed.failure.message


def test_clients_and_workers_that_tell_no_version_go_together() -> None:
    server = ServerUnderTest()
    plain, session = server.worker(b"plain"), server.session()
    server.submit(session, {1: []})
    assert len(plain.tasks) == 1
    assert _warnings(server) == []


def test_packages_that_differ_are_named_once_a_session_whichever_worker_tells() -> None:
    server = ServerUnderTest()
    one, two = server.worker(b"one", kinds=OLD), server.worker(b"two", kinds=OLD)
    session = _session(server)
    told = w.VersionsDiffer(session.session_id, [("numpy", "1.26.4", "2.1.0")])
    for worker in (one, two):
        server.event(WorkerSaid(worker.peer, worker.epoch, told))
    server.event(WorkerSaid(one.peer, one.epoch, w.VersionsDiffer(99, [("numpy", "1", "2")])))
    server.turn()
    [warning] = _warnings(server)
    assert one.name in warning
    assert "numpy 2.1.0 (here 1.26.4)" in warning
