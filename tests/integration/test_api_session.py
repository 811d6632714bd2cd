"""Sessions against a running engine: building, submitting, waiting, news of states, keeping, closing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rainzmq
from rainzmq import Client, RainException, RainWarning, Session, SessionException, blob, tasks
from rainzmq.common import ID, DataObjectState, TaskState


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


def counted(client: Client, name: str) -> int:
    """A counter of the server."""
    return int(client.get_server_info()["counters"][name])


def copies(client: Client, column: str = "objects") -> list[ID]:
    """A column of all workers together."""
    return [item for worker in client.get_server_info()["workers"] for item in worker[column]]


def sleeper(seconds: float = 0.0) -> rainzmq.Task:
    return tasks.Sleep(blob(b"x"), seconds)


# -- building and submitting


def test_nothing_runs_before_submit(client: Client, session: Session, tmp_path: Path) -> None:
    submitted = counted(client, "tasks_submitted")
    task = tasks.Store(blob(b"written"), str(tmp_path / "file"))

    assert counted(client, "tasks_submitted") == submitted
    assert client.get_server_info()["sessions"][-1]["tasks"] == 0
    session.submit()
    task.wait()
    assert (tmp_path / "file").read_bytes() == b"written"


def test_submit_empties_the_counts_of_unsubmitted_items(session: Session) -> None:
    sleeper()
    assert (session.task_count, session.dataobj_count) == (1, 2)
    session.submit()
    assert (session.task_count, session.dataobj_count) == (0, 0)


def test_session_is_submitted_in_steps_that_build_on_kept_objects(session: Session) -> None:
    first = tasks.Concat([blob("a"), blob("b")])
    first.output.keep()
    session.submit()
    second = tasks.Concat([first, blob("c")])
    second.output.keep()
    session.submit()
    session.wait_all()
    third = tasks.Concat([second, first])
    third.output.keep()
    session.submit()

    assert third.output.fetch().get_str() == "abcab"


def test_submit_of_nothing_and_waiting_for_nothing_return_at_once(session: Session) -> None:
    session.submit()
    session.wait([])
    session.wait_all()
    session.update([])
    assert session.wait_some([]) == ([], [])


def test_tasks_with_no_inputs_and_no_outputs_run(session: Session) -> None:
    task = tasks.Execute(["true"])
    assert len(task.inputs) == len(task.outputs) == 0
    session.submit()
    task.wait()
    assert task.state is TaskState.FINISHED


def test_chain_runs_in_order_whatever_order_it_was_waited_for(session: Session) -> None:
    chain = [tasks.Concat([blob("0")])]
    for number in range(1, 30):
        chain.append(tasks.Concat([chain[-1], blob(str(number))]))
    chain[-1].output.keep()
    session.submit()
    session.wait(reversed(chain))
    assert chain[-1].output.fetch().get_str() == "".join(map(str, range(30)))


# -- states


def test_right_after_submit_nothing_is_known(session: Session) -> None:
    task = sleeper()
    assert task.state is None
    assert task.output.state is None
    session.submit()
    assert task.state is TaskState.NOT_ASSIGNED
    assert task.output.state is DataObjectState.UNFINISHED
    assert task.inputs[0].state is DataObjectState.UNFINISHED


def test_only_wait_fetch_and_update_bring_news(client: Client, session: Session) -> None:
    finished = counted(client, "tasks_finished")
    waited, updated, fetched = sleeper(), sleeper(), sleeper()
    session.keep_all()
    session.submit()
    until(lambda: counted(client, "tasks_finished") == finished + 3)
    assert [task.state for task in (waited, updated, fetched)] == [TaskState.NOT_ASSIGNED] * 3
    assert [task.output.state for task in (waited, fetched)] == [DataObjectState.UNFINISHED] * 2

    waited.wait()
    assert waited.state is TaskState.FINISHED
    waited.output.wait()
    assert waited.output.state is DataObjectState.FINISHED
    updated.update()
    assert updated.state is TaskState.FINISHED
    updated.output.update()
    assert updated.output.state is DataObjectState.FINISHED
    fetched.output.fetch()
    assert fetched.output.state is DataObjectState.FINISHED
    assert fetched.state is TaskState.NOT_ASSIGNED
    assert updated.inputs[0].state is DataObjectState.UNFINISHED


def test_wait_all_brings_the_states_of_everything(session: Session) -> None:
    kept, removed = sleeper(), sleeper()
    kept.output.keep()
    session.submit()
    session.wait_all()
    assert kept.state is removed.state is TaskState.FINISHED
    assert kept.output.state is DataObjectState.FINISHED
    assert removed.output.state is DataObjectState.REMOVED


def test_update_tells_what_runs_what_could_and_what_waits(session: Session) -> None:
    running = [sleeper(60), sleeper(60)]
    after_them = tasks.Concat(running)
    in_line = sleeper()
    session.submit()

    def all_run() -> bool:
        session.update([*running, after_them, in_line])
        return all(task.state is TaskState.RUNNING for task in running)

    until(all_run)
    assert after_them.state is TaskState.NOT_ASSIGNED
    assert in_line.state in (TaskState.READY, TaskState.ASSIGNED)
    assert running[0].info is not None
    assert running[0].info.worker != running[1].info.worker  # type: ignore[union-attr]


def test_info_of_a_task_tells_when_how_long_and_where_it_ran(client: Client, session: Session) -> None:
    before = time.time()
    task = sleeper(0.2)
    assert task.info is None
    session.submit()
    assert task.info is None
    task.wait()

    info = task.info
    assert info is not None
    assert info.error is None
    assert info.start_time is not None
    assert before - 1 < info.start_time < time.time()
    assert info.duration is not None
    assert 0.2 <= info.duration < 2
    assert info.worker in [worker["worker_id"] for worker in client.get_server_info()["workers"]]


# -- waiting


def test_waiting_works_on_tasks_and_objects_kept_or_not(session: Session) -> None:
    kept, other = sleeper(0.1), sleeper(0.1)
    kept.output.keep()
    constant = blob("constant")
    session.submit()
    session.wait([kept, other, kept.output, other.output, constant, [other.inputs[0]]])
    assert kept.state is other.state is TaskState.FINISHED
    assert kept.output.state is DataObjectState.FINISHED
    assert other.output.state is DataObjectState.REMOVED
    assert constant.state in (DataObjectState.FINISHED, DataObjectState.REMOVED)


def test_wait_returns_when_the_last_of_its_items_is_finished(session: Session) -> None:
    quick, slow, endless = sleeper(), sleeper(0.3), sleeper(60)
    session.submit()
    started = time.monotonic()
    session.wait([quick, slow])
    assert 0.25 < time.monotonic() - started < 5
    endless.update()
    assert endless.state is not TaskState.FINISHED


def test_wait_some_returns_as_soon_as_one_is_finished(session: Session) -> None:
    quick, endless = sleeper(0.05), sleeper(60)
    session.submit()
    assert session.wait_some([endless, quick]) == ([quick], [])
    assert session.wait_some([endless.output, quick.output, quick]) == ([quick], [quick.output])
    assert endless.state is TaskState.NOT_ASSIGNED


def test_wait_some_in_a_loop_sees_each_task_once(session: Session) -> None:
    left = [sleeper(0.02 * number) for number in range(6)]
    session.submit()
    seen = []
    while left:
        finished, objects = session.wait_some(left)
        assert finished
        assert not objects
        seen += finished
        left = [task for task in left if task not in finished]
    assert len(seen) == len(set(seen)) == 6


def test_wait_all_waits_for_every_submit(session: Session) -> None:
    first = sleeper(0.2)
    session.submit()
    second = sleeper()
    session.submit()
    session.wait_all()
    assert first.state is second.state is TaskState.FINISHED


def test_what_was_not_submitted_can_not_be_waited_for_fetched_or_updated(session: Session) -> None:
    task = sleeper()
    task.output.keep()
    for call in (task.wait, task.update, task.output.wait, task.output.update, task.output.fetch):
        with pytest.raises(RainException, match=r"submit"):
            call()
    for ask in (session.wait, session.wait_some, session.update):
        with pytest.raises(RainException, match=r"was not submitted; call submit\(\) first"):
            ask([task])


def test_items_of_another_session_are_refused(client: Client, session: Session) -> None:
    task = sleeper()
    session.submit()
    with client.new_session() as other:
        for ask in (other.wait, other.wait_some, other.update, other.unkeep, other.fetch):
            with pytest.raises(RainException, match=f"belongs to session {session.session_id}"):
                ask(task.output)


def test_client_updates_items_of_several_sessions(client: Client, session: Session) -> None:
    with client.new_session() as other:
        mine, theirs = tasks.Sleep(blob(b"", session=session), 0, session=session), sleeper()
        session.submit()
        other.submit()
        session.wait([mine])
        other.wait([theirs])
        client.update([mine.output, [theirs.output, mine]])
        assert mine.output.state is DataObjectState.REMOVED
        assert theirs.output.state is DataObjectState.REMOVED


@pytest.mark.parametrize("how", ["wait", "wait_all"])
def test_progress_is_shown(session: Session, capsys: pytest.CaptureFixture[str], how: str) -> None:
    items = [sleeper(0.3), sleeper(0.3)]
    session.submit()
    if how == "wait":
        session.wait(items, progress=True)
    else:
        session.wait_all(progress=True)
    shown = capsys.readouterr().err
    assert "of a test" in shown
    assert "2/2" in shown


def test_wait_that_can_not_end_says_why(
    client: Client, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.client.asking.QUIET_S", 0.1)
    task = tasks.Sleep(blob(b""), 0, cpus=64)
    session.submit()

    def give_up(text: Any, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt(str(text))

    monkeypatch.setattr("warnings.warn", give_up)
    with pytest.raises(KeyboardInterrupt, match=r"needs 64 cpus, but the largest worker, \S+, has 1"):
        task.wait()


def test_warning_about_a_wait_points_to_the_users_line(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rainzmq.client.asking.QUIET_S", 0.1)
    tasks.Sleep(blob(b""), 0, cpus=64)
    session.submit()
    # Nothing ends this wait but the end of its session, which another thread brings.
    timer = threading.Timer(0.5, session.close)
    timer.start()
    with (
        pytest.warns(RainWarning, match=f"Session {session.session_id} waits: ") as caught,
        pytest.raises(SessionException, match="closed"),
    ):
        session.wait_all()
    timer.join()
    assert caught[0].filename == __file__
    assert len(caught) == 1


# -- keeping and removal


def test_only_kept_objects_can_be_fetched(session: Session) -> None:
    task = sleeper()
    session.submit()
    for call in (task.output.fetch, task.fetch_outputs, lambda: session.fetch(task)):
        with pytest.raises(RainException, match=r"is not kept; call keep\(\) on it before submit"):
            call()
    with pytest.raises(RainException, match=r"submitted already; call keep\(\) before submit"):
        task.output.keep()


def test_fetch_waits_by_itself_and_takes_a_task_for_its_output(session: Session) -> None:
    task = sleeper(0.2)
    task.keep_outputs()
    session.submit()
    assert session.fetch(task).get_bytes() == b"x"
    assert [item.get_bytes() for item in task.fetch_outputs()] == [b"x"]
    assert task.output.fetch().get_bytes() == b"x"


def test_object_can_be_fetched_again_and_again_and_later_in_the_session(session: Session) -> None:
    task = tasks.Concat([blob(b"y" * 200_000)])
    task.output.keep()
    session.submit()
    first = task.output.fetch()
    sleeper()
    session.submit()
    session.wait_all()
    assert first.get_bytes() == task.output.fetch().get_bytes() == b"y" * 200_000


def test_constants_can_be_kept_and_fetched(session: Session) -> None:
    small, large = blob("small"), blob(b"l" * 100_000)
    session.keep_all()
    session.submit()
    assert small.fetch().get_str() == "small"
    assert large.fetch().get_bytes() == b"l" * 100_000


def test_object_that_nobody_needs_any_more_is_removed_everywhere(client: Client, session: Session) -> None:
    first = tasks.Concat([blob(b"a" * 100_000)])
    second = tasks.Concat([first, first])
    second.output.keep()
    session.submit()
    session.wait_all()
    until(lambda: copies(client) == [second.output.id])
    until(lambda: not copies(client, "objects_to_delete"))
    first.output.update()
    assert first.output.state is DataObjectState.REMOVED
    with pytest.raises(RainException, match="not kept"):
        first.output.fetch()


def test_object_is_there_as_long_as_a_task_needs_it(client: Client, session: Session) -> None:
    first = tasks.Concat([blob(b"a")])
    tasks.Concat([first, tasks.Sleep(blob(b""), 60)])
    session.submit()
    first.wait()
    until(lambda: first.output.id in copies(client))
    first.output.update()
    assert first.output.state is DataObjectState.FINISHED


def test_unkept_object_is_removed_and_can_not_be_fetched(client: Client, session: Session) -> None:
    one, other, unfinished = sleeper(), sleeper(), sleeper(0.3)
    session.keep_all()
    session.submit()
    unfinished.output.unkeep()
    session.wait_all()
    one.output.unkeep()
    assert not one.output.is_kept()
    until(lambda: one.output.id not in copies(client))
    assert other.output.id in copies(client)
    session.update([one.output, other.output, unfinished.output])
    assert one.output.state is unfinished.output.state is DataObjectState.REMOVED
    assert other.output.state is DataObjectState.FINISHED
    with pytest.raises(RainException, match="is not kept"):
        one.output.fetch()
    with pytest.raises(RainException, match="is not kept"):
        one.output.unkeep()
    session.unkeep([other])
    until(lambda: other.output.id not in copies(client))


def test_unkeep_changes_all_or_none(client: Client, session: Session) -> None:
    kept, never = sleeper(), sleeper()
    kept.output.keep()
    session.submit()
    with pytest.raises(RainException, match="is not kept"):
        session.unkeep([kept.output, never.output])
    assert kept.output.fetch().get_bytes() == b"x"
    kept.unkeep_outputs()
    assert not kept.output.is_kept()


def test_unkept_object_that_a_task_needs_stays_until_then(client: Client, session: Session) -> None:
    first = tasks.Concat([blob(b"needed")])
    first.output.keep()
    last = tasks.Concat([first, tasks.Sleep(blob(b"!"), 0.5)])
    last.output.keep()
    session.submit()
    first.wait()
    first.output.unkeep()
    assert last.output.fetch().get_bytes() == b"needed!"
    until(lambda: copies(client) == [last.output.id])
