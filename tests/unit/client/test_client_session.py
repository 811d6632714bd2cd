"""Sessions without a server: activity, counting, checking, the graph."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import RainException, Session, SessionException, Task, blob, get_active_session, tasks
from rainzmq.client.session import get_active_session as also_here


def test_session_without_client_builds_and_checks() -> None:
    session = Session(None, 1)
    assert (session.session_id, session.task_count, session.dataobj_count) == (1, 0, 0)
    with session:
        tasks.Concat([blob(b""), blob(b"")])
        assert (session.task_count, session.dataobj_count) == (1, 3)
        with pytest.raises(RainException, match="without a client"):
            session.submit()
        assert session.task_count == 1


def test_no_active_session() -> None:
    with pytest.raises(RainException, match=r"^No active session$"):
        get_active_session()
    assert get_active_session is also_here


def test_with_makes_active_and_closes() -> None:
    with Session(None, 1) as session:
        assert get_active_session() is session
        assert session.active
    assert not session.active
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_sessions_are_nested() -> None:
    with Session(None, 1) as outer:
        with Session(None, 2) as inner:
            assert get_active_session() is inner
            with outer.bind_only():
                assert get_active_session() is outer
            assert get_active_session() is inner
        assert get_active_session() is outer
        assert outer.active


def test_session_is_closed_when_it_is_left_for_the_last_time() -> None:
    session = Session(None, 1)
    with session:
        with session:
            assert get_active_session() is session
        assert session.active
        assert get_active_session() is session
    assert not session.active


def test_bind_only_does_not_close() -> None:
    session = Session(None, 1)
    with session.bind_only() as bound:
        assert bound is session
    assert session.active
    with session:
        pass


def test_closed_session_can_not_be_used() -> None:
    session = Session(None, 1)
    session.close()
    session.close()
    for use in (
        session.__enter__,
        session.bind_only().__enter__,
        session.set_as_default,
        session.submit,
        session.wait_all,
        lambda: blob(b"", session=session),
    ):
        with pytest.raises(RainException, match="Session 1 is closed"):
            use()


def test_session_is_closed_when_the_block_fails() -> None:
    session = Session(None, 1)
    with pytest.raises(KeyError), session:
        raise KeyError
    assert not session.active


def test_default_session_is_used_when_none_is_active() -> None:
    default = Session(None, 1)
    default.set_as_default()
    assert get_active_session() is default
    with Session(None, 2) as other:
        assert get_active_session() is other
    assert get_active_session() is default
    default.close()
    with pytest.raises(RainException, match="No active session"):
        get_active_session()


def test_closing_another_session_leaves_the_default() -> None:
    default, other = Session(None, 1), Session(None, 2)
    default.set_as_default()
    other.close()
    assert get_active_session() is default
    default.close()


def test_threads_have_stacks_of_their_own() -> None:
    seen: list[Any] = []

    def look() -> None:
        try:
            seen.append(get_active_session())
        except RainException:
            seen.append(None)

    with Session(None, 1):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [None]


def test_threads_may_build_one_session() -> None:
    session = Session(None, 1)

    def build() -> None:
        for _ in range(200):
            Task([], 1, task_type="a/b", session=session)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({task.id for task in session.draft.tasks}) == 800


def test_keep_all_keeps_constants_and_outputs() -> None:
    with Session(None, 1) as session:
        a = blob(b"")
        task = Task([a], 2, task_type="a/b")
        session.keep_all()
        later = blob(b"")
        assert a.is_kept()
        assert all(obj.is_kept() for obj in task.outputs)
        assert not later.is_kept()


def test_unkeep_changes_all_or_none() -> None:
    with Session(None, 1) as session:
        a, b = blob(b"").keep(), blob(b"")
        with pytest.raises(RainException, match="is not kept"):
            session.unkeep([a, b])
        assert a.is_kept()
        session.unkeep([a])
        assert not a.is_kept()
        with pytest.raises(RainException, match="belongs to session 2"):
            session.unkeep([blob(b"", session=Session(None, 2)).keep()])


@pytest.mark.parametrize("name", ["", 5, "a\nb"])
def test_bad_session_names_are_refused(name: Any) -> None:
    with pytest.raises(RainException, match="session name"):
        Session(None, 1, name)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


@pytest.mark.parametrize("wrong", ["text", 5, [5], [["text"]]])
def test_only_tasks_and_objects_are_waited_for(session: Session, wrong: Any) -> None:
    for use in (session.wait, session.wait_some, session.update):
        with pytest.raises(RainException, match="Tasks and data objects are due"):
            use(wrong)
    with pytest.raises(RainException):
        session.fetch(wrong)


def test_unsubmitted_items_can_not_be_waited_for(session: Session) -> None:
    obj = blob(b"").keep()
    for use in (session.wait, session.wait_some, session.update):
        for items in (obj, [obj], [[tasks.Concat([obj])]]):
            with pytest.raises(RainException, match="was not submitted"):
                use(items)
    with pytest.raises(RainException, match="was not submitted"):
        session.fetch(obj)


def test_items_of_another_session_are_refused(session: Session) -> None:
    other = blob(b"", session=Session(None, 2))
    for use in (session.wait, session.wait_some, session.update, session.fetch):
        with pytest.raises(RainException, match="belongs to session 2, not to session 1"):
            use(other)


def test_repr_says_what_it_is(session: Session) -> None:
    assert repr(session) == "<Session 1 'Unnamed Session' open, 0 unsubmitted tasks>"
    session.close()
    assert "closed" in repr(session)
    with pytest.raises(SessionException):
        session.submit()


def graph(session: Session) -> str:
    return session.make_graph().make_dot("my graph")


def test_graph_shows_tasks_objects_and_labels(session: Session) -> None:
    a = blob(b"", label="in").keep()
    Task([("left", a)], ["right"], task_type="a/b", name="step")
    dot = graph(session)
    assert dot.startswith('digraph "my graph" {')
    assert '"in\\n1/1", peripheries=2' in dot
    assert '[shape=box, label="step\\na/b\\n1/2"]' in dot
    assert 'o1 -> t2 [label="left"];' in dot
    assert 't2 -> o3 [label="right"];' in dot
    assert dot.rstrip().endswith("}")


def test_graph_escapes_what_users_write(session: Session) -> None:
    blob(b"", label='a"b\\N<x>')
    assert 'label="a\\"b\\\\N<x>\\n1/1"' in graph(session)


def test_graph_is_written(session: Session, tmp_path: Path) -> None:
    tasks.Concat([])
    session.make_graph().write(tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text().startswith("digraph")


def test_graph_displays_itself(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    blob(b"", label="<b>")
    shown = session.make_graph()
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert shown._repr_svg_() is None
    assert "&lt;b&gt;" in (shown._repr_html_() or "")
    monkeypatch.setattr("shutil.which", lambda name: "/bin/dot")
    monkeypatch.setattr(
        "subprocess.run", lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, stdout=b"<svg/>")
    )
    assert shown._repr_svg_() == "<svg/>"
    assert shown._repr_html_() is None
