"""Submitting, waiting, fetching, updating, failing and closing, against a server that is a function."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_wire import Wire, failure

import rainzmq.client.asking
from rainzmq import (
    RainException,
    RainWarning,
    SessionException,
    Task,
    TaskCancelled,
    TaskException,
    blob,
    directory,
)
from rainzmq.client.datalink import ContentLost
from rainzmq.client.snapshot import Snapshot
from rainzmq.common import ID, DataObjectState, ObjectInfo, TaskInfo, TaskState
from rainzmq.common.ids import make_uid
from rainzmq.common.states import SessionState
from rainzmq.protocol.messages.client import (
    AskProgress,
    CancelWait,
    CloseSession,
    Fetch,
    Fetched,
    FinishedTasks,
    News,
    Progress,
    RequestFailed,
    Submit,
    Unkeep,
    Update,
    Wait,
)
from rainzmq.protocol.messages.shared import ObjectMeta


def task(*inputs: Any, outputs: Any = 1, **options: Any) -> Task:
    return Task(inputs, outputs, task_type="a/b", **options)


def row(num: int, state: str = "finished") -> Any:
    return (num, state, 1.5, 0.5, "h:1", b'{"u": 1}', "line\n")


def object_row(num: int, state: str = "finished") -> Any:
    return (num, state, 3, "text", "h:1", b'{"v": 2}')


def news(*rows: Any) -> Any:
    """Answers every wait and update with these rows."""
    tasks, objects = [r for r in rows if len(r) == 7], [r for r in rows if len(r) == 6]

    def answer(message: Any) -> Any:
        if isinstance(message, (Wait, Update)):
            return News(message.request, False, tasks, objects)
        return None

    return answer


def test_submit_sends_once_and_marks_states(wire: Wire) -> None:
    obj, made = blob(b""), task()
    wire.session.submit()
    wire.session.submit()
    assert len(wire.control.of(Submit)) == 1
    assert (wire.session.task_count, wire.session.dataobj_count) == (0, 0)
    assert (made.state, made.output.state) == (TaskState.NOT_ASSIGNED, DataObjectState.UNFINISHED)
    assert obj.state is DataObjectState.UNFINISHED
    assert (made.info, obj.info) == (None, None)


def test_submits_follow_each_other(wire: Wire) -> None:
    made = task()
    made.output.keep()
    wire.session.submit()
    task(made)
    wire.session.submit()
    first, second = wire.control.of(Submit)
    assert (first.task_ids, second.task_ids, second.task_inputs) == ([1], [3], [2])
    assert second.bodies == []


def test_object_of_an_earlier_submit_must_be_kept(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    with pytest.raises(RainException, match=r"submitted before and is not kept.*keep\(\)"):
        task(made)


def test_keep_after_submit_is_an_error(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    with pytest.raises(RainException, match="was submitted already"):
        made.output.keep()


def test_refused_graph_sends_nothing_and_can_be_mended(wire: Wire) -> None:
    made = task()
    made.inputs.append(made.output)
    with pytest.raises(RainException, match="cycle"):
        wire.session.submit()
    assert wire.control.of(Submit) == []
    del made.inputs[0]
    wire.session.submit()
    assert len(wire.control.of(Submit)) == 1


def test_large_constants_are_uploaded_before_the_submit(wire: Wire, tmp_path: Path) -> None:
    large, folder = blob(b"x" * 5000), directory(tmp_path)
    wire.session.submit()
    assert [uid for uid, _ in wire.uploads] == [large.id.uid, folder.id.uid]
    assert isinstance(wire.uploads[1][1], Snapshot)
    assert large.graph_node.payload is None


def test_large_submits_wait_for_the_server_now_and_then(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rainzmq.client.session._MESSAGES_AT_ONCE", 1)
    wire.answer(lambda m: News(m.request, False, [], []) if isinstance(m, Update) else None)
    for _ in range(3000):
        task(config="x" * 200)
    wire.session.submit()
    assert len(wire.control.of(Submit)) == len(wire.control.of(Update)) > 1


def test_tasks_that_another_thread_makes_during_a_submit_are_for_the_next_one(wire: Wire) -> None:
    first = task()
    send, late = wire.connection.send, []

    def send_and_make(message: Any) -> None:
        if isinstance(message, Submit) and not late:
            late.append(task())
        send(message)

    wire.connection.send = send_and_make  # type: ignore[method-assign]
    wire.session.submit()
    assert (first.state, late[0].state) == (TaskState.NOT_ASSIGNED, None)
    assert wire.session.task_count == 1
    wire.session.submit()
    assert [message.task_ids for message in wire.control.of(Submit)] == [[first.id.id], [late[0].id.id]]


def test_the_place_of_a_task_is_known_before_everything_is_sent(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.client.session._MESSAGES_AT_ONCE", 1)
    made = task()
    for _ in range(1000):
        task(config="x" * 200)
    wire.answer(lambda m: fail(wire, made.id.id) if isinstance(m, Update) else None)
    with pytest.raises(TaskException, match=f"was made at {__file__}:"):
        wire.session.submit()


def test_the_place_is_that_of_the_file_although_another_has_the_same_code(wire: Wire) -> None:
    names: dict[str, Any] = {"Task": Task}
    made = []
    for file in ("/one.py", "/two.py"):
        exec(compile("def make(): return Task([], 1, task_type='a/b')", file, "exec"), names)
        made.append(names["make"]())
    wire.session.submit()
    fail(wire, made[1].id.id)
    with pytest.raises(TaskException, match=r"was made at /two\.py:1"):
        wire.session.wait_all()


def test_wait_brings_states_and_infos(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    wire.answer(news(row(1), object_row(2)))
    wire.session.wait([made, made.output])
    (wait,) = wire.control.of(Wait)
    assert (wait.session_id, wait.ids, wait.mode) == (1, [1, 2], "all")
    assert made.state is TaskState.FINISHED
    assert made.info == TaskInfo(None, 1.5, 0.5, "h:1", {"u": 1}, "line\n")
    assert made.output.state is DataObjectState.FINISHED
    assert made.output.info == ObjectInfo(3, "text", "h:1", {"v": 2})
    assert made.output.content_type == "text"
    assert wire.control.of(CancelWait) == []


def test_wait_takes_anything_nested_and_repeated(wire: Wire) -> None:
    one, two = task(), task()
    wire.session.submit()
    wire.answer(news())
    wire.session.wait([one, [two, (one.outputs, {"k": two})], one])
    assert wire.control.of(Wait)[0].ids == [1, 3, 2]
    wire.session.wait(one)
    one.wait()
    one.output.wait()
    assert [wait.ids for wait in wire.control.of(Wait)[1:]] == [[1], [1], [2]]


def test_waiting_for_nothing_returns_at_once(wire: Wire) -> None:
    wire.session.wait([])
    assert wire.session.wait_some([]) == ([], [])
    assert wire.control.of(Wait) == []


def test_wait_for_very_many_is_split(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "IDS_PER_MESSAGE", 2)
    made = [task(outputs=0) for _ in range(5)]
    wire.session.submit()
    wire.answer(news())
    wire.session.wait(made)
    assert [wait.ids for wait in wire.control.of(Wait)] == [[1, 2], [3, 4], [5]]


def test_wait_some_returns_what_is_finished_in_the_order_given(wire: Wire) -> None:
    one, two, three = task(), task(), task()
    wire.session.submit()
    wire.answer(news(row(3), row(1, "running"), object_row(6), object_row(2, "unfinished")))
    assert wire.session.wait_some([one, two, three.output, one.output]) == ([two], [three.output])
    assert wire.control.of(Wait)[0].mode == "some"
    assert one.state is TaskState.RUNNING


def test_wait_some_of_very_many_ends_with_any_of_them(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "IDS_PER_MESSAGE", 2)
    monkeypatch.setattr(rainzmq.client.asking, "_TURN_S", 0.001)
    made = [task(outputs=0) for _ in range(5)]
    wire.session.submit()
    wire.answer(lambda m: News(m.request, False, [row(5)], []) if getattr(m, "ids", 0) == [5] else None)
    assert wire.session.wait_some(made) == ([made[4]], [])
    assert len(wire.control.of(CancelWait)) == 2


def test_wait_all_marks_everything_submitted(wire: Wire) -> None:
    made = task(outputs=2)
    made.outputs[0].keep()
    wire.session.submit()
    wire.answer(news())
    wire.session.wait_all()
    later = task()
    wire.session.submit()
    assert wire.control.of(Wait)[0].mode == "session"
    assert made.state is TaskState.FINISHED
    assert [obj.state for obj in made.outputs] == [DataObjectState.FINISHED, DataObjectState.REMOVED]
    assert made.info is None
    assert later.state is TaskState.NOT_ASSIGNED


def test_update_asks_for_news(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    wire.answer(news(row(1, "running"), object_row(2, "unfinished")))
    made.update()
    made.output.update()
    wire.session.update([made, made.output])
    assert [update.ids for update in wire.control.of(Update)] == [[1], [2], [1, 2]]
    assert made.state is TaskState.RUNNING
    assert made.output.state is DataObjectState.UNFINISHED


def fetched(data: bytes | None, content_type: str | None = None) -> Any:
    meta = ObjectMeta(0, None, False, content_type, 3, b"", b'{"u": 1}')
    return lambda m: Fetched(m.request, meta, "h:1", data, b"ticket") if isinstance(m, Fetch) else None


def test_fetch_of_a_small_object(wire: Wire) -> None:
    obj = blob(b"abc", label="x").keep()
    wire.session.submit()
    wire.answer(fetched(b"[1]", "json"))
    instance = obj.fetch()
    assert (instance.load(), instance.spec, instance.info) == ([1], obj.spec, obj.info)
    assert obj.info == ObjectInfo(3, "json", "h:1", {"u": 1})
    assert obj.state is DataObjectState.FINISHED
    assert wire.control.of(Fetch)[0].id == 1


def test_fetch_to_a_path(wire: Wire, tmp_path: Path) -> None:
    obj = blob(b"abc").keep()
    wire.session.submit()
    wire.answer(fetched(b"abc"))
    instance = obj.fetch(path=tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"abc"
    assert instance.path == str(tmp_path / "x")


def test_fetch_of_a_large_object_goes_to_the_relay(wire: Wire, tmp_path: Path) -> None:
    obj = blob(b"abc").keep()
    wire.session.submit()
    wire.answer(fetched(None))
    wire.session.fetch(obj)
    wire.session.fetch(obj, tmp_path / "x")
    node = obj.graph_node
    assert wire.downloads == [(node, b"ticket", None), (node, b"ticket", str(tmp_path / "x"))]


def test_content_that_is_lost_while_it_is_fetched_is_asked_for_again(wire: Wire) -> None:
    obj = blob(b"abc").keep()
    wire.session.submit()
    wire.answer(fetched(None))
    tries: list[Any] = []

    def lost_once(*arguments: Any) -> str:
        tries.append(arguments)
        if len(tries) % 3:
            raise ContentLost("its worker is gone")
        return "content"

    wire.session.client.contents.download = lost_once  # type: ignore[union-attr, assignment, method-assign]
    assert wire.session.fetch(obj) == "content"
    assert len(wire.control.of(Fetch)) == len(tries) == 3

    def always_lost(*arguments: Any) -> None:
        raise ContentLost("its worker is gone")

    wire.session.client.contents.download = always_lost  # type: ignore[union-attr, assignment, method-assign]
    with pytest.raises(RainException, match="its worker is gone"):
        wire.session.fetch(obj)


def test_fetch_of_a_task_is_that_of_its_output(wire: Wire) -> None:
    made = task()
    made.keep_outputs()
    wire.session.submit()
    wire.answer(fetched(b"abc"))
    assert wire.session.fetch(made).get_bytes() == b"abc"
    assert [instance.get_bytes() for instance in made.fetch_outputs()] == [b"abc"]


def test_only_kept_objects_are_fetched(wire: Wire) -> None:
    obj = blob(b"abc")
    wire.session.submit()
    with pytest.raises(RainException, match=r"is not kept; call keep\(\)"):
        obj.fetch()
    assert wire.control.of(Fetch) == []


def test_unkeep_tells_the_server(wire: Wire) -> None:
    one, two = blob(b"").keep(), blob(b"").keep()
    wire.session.submit()
    wire.answer(news())
    wire.session.wait_all()
    wire.session.unkeep([one, two])
    assert wire.control.of(Unkeep)[0].ids == [1, 2]
    assert not one.is_kept()
    assert one.state is DataObjectState.FINISHED
    with pytest.raises(RainException, match="is not kept"):
        one.unkeep()


def test_unkeep_before_submit_is_a_local_matter(wire: Wire) -> None:
    obj = blob(b"").keep()
    obj.unkeep()
    wire.session.submit()
    assert wire.control.of(Unkeep) == []
    assert wire.control.of(Submit)[0].keep == []


def fail(wire: Wire, num: int, **changes: Any) -> None:
    wire.control.push(failure(make_uid(1, num), **changes))


def test_failed_task_fails_its_session(wire: Wire) -> None:
    made, other = task(name="step"), task()
    made.keep_outputs()
    line = made.graph_node.site
    wire.session.submit()
    fail(wire, 1, message="Traceback:\n  ZeroDivisionError\n", name="step", debug="one\ntwo\n")
    for use in (
        lambda: wire.session.wait(other),
        lambda: wire.session.wait_some(other),
        wire.session.wait_all,
        made.output.fetch,
        made.update,
        made.output.unkeep,
        wire.session.submit,
    ):
        with pytest.raises(TaskException) as caught:
            use()
        text = str(caught.value)
        assert "Task 'step' (1/1, a/b) failed on worker h:1" in text
        assert "Traceback:\n  ZeroDivisionError\n" in text
        assert f"The task was made at {__file__}:" in text
        assert "  one\n  two" in text
    assert line is not None
    assert str(line) in text
    error = caught.value
    assert (error.session_id, error.task_id, error.task_name) == (1, ID(1, 1), "step")
    assert (error.task_type, error.attempt, error.worker) == ("a/b", 0, "h:1")
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert (made.state, made.info and made.info.error) == (
        TaskState.FAILED,
        "Traceback:\n  ZeroDivisionError\n",
    )
    assert other.state is TaskState.CANCELLED
    assert isinstance(wire.session.error, TaskException)


def test_states_after_a_failure_are_those_that_the_server_tells(wire: Wire) -> None:
    constant = blob(b"c")
    done, bad = task(constant, name="done"), task(name="bad")
    stopped, never = task(name="stopped"), task(bad)
    wire.session.submit()
    assert [made.state for made in (done, bad, stopped, never)] == [TaskState.WAITING] * 4
    wire.control.push(
        FinishedTasks(1, [done.id.id, constant.id.id], [done.id.id + 1, constant.id.id]),
        failure(make_uid(1, bad.id.id), name="bad"),
    )
    with pytest.raises(TaskException):
        wire.session.wait_all()
    assert [made.state for made in (done, bad, stopped, never)] == [
        TaskState.FINISHED,
        TaskState.FAILED,
        TaskState.CANCELLED,
        TaskState.CANCELLED,
    ]
    assert constant.state is done.output.state is DataObjectState.REMOVED
    assert bad.output.state is never.output.state is DataObjectState.UNFINISHED
    assert bad.info is not None
    assert bad.info.error == "it broke"
    for cancelled in (stopped, never):
        assert cancelled.info is not None
        assert cancelled.info.error == f"cancelled: its session failed because of {bad.id} (bad)"
    assert done.info is None
    assert repr(never).endswith(" cancelled>")
    later = task()
    with pytest.raises(TaskException):
        wire.session.submit()
    assert later.state is None


def test_finished_tasks_come_in_any_number_of_parts_and_in_any_order(wire: Wire) -> None:
    made = [task() for _ in range(6)]
    wire.session.submit()
    ids = [item.id.id for item in made]
    wire.control.push(
        FinishedTasks(1, [ids[3], ids[0]], [ids[3] + 1, ids[0] + 1]),
        FinishedTasks(1, [ids[1]], [ids[1] + 1]),
        FinishedTasks(2, [ids[5]], [ids[5] + 1]),
        failure(make_uid(1, ids[4])),
    )
    with pytest.raises(TaskException):
        wire.session.wait_all()
    states = [item.state for item in made]
    assert [states.index(TaskState.FAILED), states.count(TaskState.FINISHED)] == [4, 3]
    assert states[2] is states[5] is TaskState.CANCELLED


def test_a_session_that_was_cancelled_cancels_what_had_not_finished_and_says_why(wire: Wire) -> None:
    done, other = task(), task()
    wire.session.submit()
    cancelled = failure(1 << 32, "wrong inputs", SessionState.CANCELLED, task=0, finished=1, submitted=2)
    wire.control.push(FinishedTasks(1, [done.id.id], [done.id.id + 1]), cancelled)
    calls: list[Callable[[], Any]] = [
        other.wait,
        other.update,
        wire.session.wait_all,
        lambda: wire.session.wait_some([other]),
    ]
    for call in calls:
        with pytest.raises(TaskCancelled) as caught:
            call()
        assert str(caught.value) == "Session 1 was cancelled: wrong inputs\n1 of 2 tasks were finished"
    assert isinstance(caught.value, TaskException)
    assert (caught.value.session_id, caught.value.task_id) == (1, None)
    assert (done.state, other.state) == (TaskState.FINISHED, TaskState.CANCELLED)
    assert other.info is not None
    assert other.info.error == "cancelled: its session was cancelled: wrong inputs"
    assert "cancelled" in repr(wire.session)


def test_site_is_known_when_the_task_was_dropped(wire: Wire) -> None:
    for _ in range(5):
        task()
    wire.session.submit()
    fail(wire, 7)
    with pytest.raises(TaskException, match=rf"made at {__file__}:\d+"):
        wire.session.wait_all()


def test_failure_that_comes_during_a_wait_ends_it(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    timer = threading.Timer(0.02, fail, [wire, 1])
    timer.start()
    with pytest.raises(TaskException):
        made.wait()
    timer.join()


def test_refused_request_of_a_failed_session_is_its_failure(wire: Wire) -> None:
    made = task()
    wire.session.submit()

    def answer(message: Any) -> Any:
        if isinstance(message, Wait):
            return [RequestFailed(message.request, "session", "closed"), failure(make_uid(1, 1))]
        return None

    wire.answer(answer)
    with pytest.raises(TaskException):
        made.wait()


def test_session_may_fail_without_a_task(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    wire.control.push(failure(0, "no worker"), failure(1 << 32, "out of memory", task=0))
    with pytest.raises(SessionException, match="Session 1 failed: out of memory") as caught:
        made.wait()
    assert not isinstance(caught.value, TaskException)


def test_other_sessions_are_untouched_by_a_failure(wire: Wire) -> None:
    task()
    wire.session.submit()
    wire.control.push(failure(make_uid(2, 1)))
    wire.answer(news())
    wire.session.wait_all()
    assert wire.session.error is None


def test_failed_session_can_be_closed(wire: Wire) -> None:
    task()
    wire.session.submit()
    fail(wire, 1)
    with pytest.raises(TaskException):
        wire.session.wait_all()
    assert wire.session.active
    wire.session.close()
    wire.session.close()
    assert len(wire.control.of(CloseSession)) == 1
    assert not wire.session.active


def test_closed_session_can_not_be_waited_for(wire: Wire) -> None:
    made = task()
    made.keep_outputs()
    wire.session.submit()
    wire.session.close()
    for use in (made.wait, made.update, made.output.fetch, made.output.unkeep, wire.session.wait_all):
        with pytest.raises(SessionException, match="Session 1 is closed"):
            use()


def test_close_without_a_server_is_no_error(wire: Wire) -> None:
    wire.control.end()
    wire.session.close()
    assert not wire.session.active


def test_lost_server_ends_waiting(wire: Wire) -> None:
    made = task()
    wire.session.submit()
    wire.control.end()
    with pytest.raises(SessionException, match="connection to the server"):
        made.wait()


def test_interrupted_wait_leaves_the_connection_usable(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    made = task()
    wire.session.submit()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(wire.connection._bell, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made.wait()
    assert [message.request for message in wire.control.of(CancelWait)] == [
        message.request for message in wire.control.of(Wait)
    ]
    wire.answer(news(row(1)))
    made.wait()
    assert made.state is TaskState.FINISHED


def slow(wire: Wire, after: int, *progress: Progress) -> None:
    """Answers waits only after so many questions about progress."""
    waits: list[Wait] = []
    asked = iter(progress)

    def answer(message: Any) -> Any:
        if isinstance(message, Wait):
            waits.append(message)
        if isinstance(message, AskProgress):
            reply = next(asked, progress[-1])
            reply.request = message.request
            count = len(wire.control.of(AskProgress))
            return [reply, News(waits[0].request, False, [], [])] if count >= after else reply
        return None

    wire.answer(answer)


def test_long_wait_tells_why_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "QUIET_S", 0.01)
    made = task()
    wire.session.submit()
    slow(wire, 4, Progress(0, 0, 0, 1, ["no worker has 8 cpus"], []))
    with pytest.warns(RainWarning, match="Session 1 waits: no worker has 8 cpus") as caught:
        made.wait()
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_reason_that_stays_is_told_though_other_tasks_go_on(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "QUIET_S", 0.01)
    made = task()
    wire.session.submit()
    slow(wire, 4, *[Progress(0, count, 1, 9, ["it needs 64 cpus"], []) for count in range(1, 9)])
    with pytest.warns(RainWarning, match="it needs 64 cpus") as caught:
        made.wait()
    assert len(caught) == 1


def test_long_wait_with_progress_is_silent(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rainzmq.client.asking, "QUIET_S", 0.01)
    made = task()
    wire.session.submit()
    reasons = [["for a moment"], []]
    slow(wire, 4, *[Progress(0, count, 1, 9, reasons[count % 2], []) for count in range(1, 9)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.wait()


def test_progress_is_shown(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    task()
    wire.session.submit()
    slow(wire, 2, Progress(0, 1, 1, 2, [], []), Progress(0, 2, 0, 2, [], []))
    started = time.monotonic()
    wire.session.wait_all(progress=True)
    assert "2/2" in capsys.readouterr().err
    assert time.monotonic() - started < 2


def test_batches_do_not_keep_tasks_alive(wire: Wire) -> None:
    import weakref

    made = weakref.ref(task())
    wire.session.submit()
    assert made() is None


def test_places_are_right_after_a_submit_that_broke_off_and_one_with_an_older_id(wire: Wire) -> None:
    first = Task((), 1, task_type="a/b")
    second = Task((), 1, task_type="a/b")
    wire.session.draft.tasks.remove(first.graph_node)  # as when the thread that made it was slower
    wire.session.submit()
    wire.session.draft.tasks.append(first.graph_node)
    send = wire.connection.send

    def broken(message: Any) -> None:
        raise RainException("broke off")

    wire.connection.send = broken  # type: ignore[method-assign]
    with pytest.raises(RainException, match="broke off"):
        wire.session.submit()
    wire.connection.send = send  # type: ignore[method-assign]
    wire.session.submit()
    assert [message.task_ids for message in wire.control.of(Submit)] == [[second.id.id], [first.id.id]]
    wire.control.push(failure(first.id.uid))
    with pytest.raises(TaskException, match=f"made at {first.graph_node.site}$"):
        wire.session.wait_all()
