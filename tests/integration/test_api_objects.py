"""Blobs through a running engine: sizes, content types, what travels with them, and what comes back."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import (
    Client,
    LocalCluster,
    Output,
    RainException,
    Session,
    TaskException,
    blob,
    pickled,
    remote,
    tasks,
)
from rainzmq.common import ID, DataInstance, DataObjectState, DataType
from rainzmq.subworker.context import Context

KIB, MIB = 1 << 10, 1 << 20

SIZES = [
    0,
    1,
    4 * KIB - 1,
    4 * KIB,
    4 * KIB + 1,
    64 * KIB,
    64 * KIB + 1,
    MIB - 1,
    MIB,
    MIB + 1,
    8 * MIB + 1,
]
"""On both sides of each limit: objects in messages, in memory, in one piece of a transfer, in one credit."""

LARGE = 30 * MIB + 7


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    """A session that is active during the test."""
    with client.new_session("of a test") as session:
        yield session
        session.close()


@pytest.fixture(scope="module")
def noise() -> bytes:
    """Bytes in which every misplaced piece is noticed."""
    return os.urandom(LARGE)


def result_of(session: Session, obj: Any) -> DataInstance:
    """Keep, submit, fetch."""
    target = getattr(obj, "output", obj)
    target.keep()
    session.submit()
    instance: DataInstance = target.fetch()
    return instance


# -- sizes


@pytest.mark.parametrize("size", SIZES)
def test_constant_of_any_size_comes_back_as_it_was(session: Session, noise: bytes, size: int) -> None:
    constant = blob(noise[:size])
    instance = result_of(session, constant)
    assert instance.get_bytes() == noise[:size]
    assert instance.size == size
    assert constant.info is not None
    assert constant.info.size == size


@pytest.mark.parametrize("size", SIZES)
def test_result_of_any_size_comes_back_as_it_was(session: Session, noise: bytes, size: int) -> None:
    half = size // 2
    joined = tasks.Concat([blob(noise[:half]), blob(noise[half:size])])
    instance = result_of(session, joined)
    assert instance.get_bytes() == noise[:size]
    assert instance.size == size
    assert joined.output.info is not None
    assert joined.output.info.size == size


@pytest.mark.parametrize("size", SIZES)
def test_object_of_any_size_goes_through_a_python_task_and_back(
    session: Session, noise: bytes, size: int
) -> None:
    @remote
    def reverse(ctx: Context, data: DataInstance) -> bytes:
        assert data.size == len(data.memoryview())
        return data.get_bytes()[::-1]

    assert result_of(session, reverse(blob(noise[:size]))).get_bytes() == noise[:size][::-1]


def test_large_object_travels_both_ways(client: Client, noise: bytes, tmp_path: Path) -> None:
    with client.new_session() as session:
        constant = blob(noise)
        doubled = tasks.Concat([constant, constant])
        doubled.output.keep()
        session.submit()
        instance = doubled.output.fetch()
        assert instance.size == 2 * LARGE
        view = instance.memoryview()
        assert view[:LARGE] == noise
        assert view[LARGE:] == noise


def test_large_object_travels_between_workers(session: Session, noise: bytes) -> None:
    # Both run at once, so on different workers; then one of them has to get the other's.
    halves = [
        tasks.Execute("sleep 0.3; cat", shell=True, stdin=blob(data), stdout=True)
        for data in (noise[: LARGE // 2], noise[LARGE // 2 :])
    ]
    joined = tasks.Concat(halves)
    assert result_of(session, joined).memoryview() == noise
    session.update(halves)
    assert len({half.info.worker for half in halves if half.info is not None}) == 2


def test_many_small_constants_and_results_come_back(session: Session) -> None:
    results = [tasks.Concat([blob(f"{number}:"), blob("x" * (number % 50))]) for number in range(500)]
    session.keep_all()
    session.submit()
    session.wait_all()
    for number, task in enumerate(results):
        assert task.output.fetch().get_str() == f"{number}:" + "x" * (number % 50)


def test_interrupted_transfers_can_be_made_again(session: Session, noise: bytes, tmp_path: Path) -> None:
    def call_and_wait(call: Callable[[], Any]) -> None:
        call()
        time.sleep(5)  # on a machine where the call was quicker than the interrupt

    def interrupted(call: Callable[[], Any]) -> None:
        timer = threading.Timer(0.03, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            call_and_wait(call)
        timer.join()

    task = tasks.Concat([blob(noise), blob(noise)])
    task.output.keep()
    interrupted(session.submit)
    if session.task_count:
        session.submit()
    task.wait()
    interrupted(task.output.fetch)
    interrupted(lambda: task.output.fetch(path=tmp_path / "file"))
    task.output.fetch(path=tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == noise + noise
    assert os.listdir(tmp_path) == ["file"]


# -- fetching to a file


@pytest.mark.parametrize("size", [0, 100, 4 * KIB + 1, MIB + 1])
def test_fetch_to_a_path_makes_a_file_of_the_users_own(
    session: Session, noise: bytes, tmp_path: Path, size: int
) -> None:
    task = tasks.Concat([blob(noise[:size])])
    task.output.keep()
    session.submit()
    path = tmp_path / "result"
    path.write_text("what was there is replaced")
    for given in (path, str(path)):
        instance = task.output.fetch(path=given)
        assert path.read_bytes() == instance.get_bytes() == noise[:size]
        assert instance.size == size
        assert instance.path == str(path)
    assert stat.S_IMODE(path.stat().st_mode) & 0o200
    path.write_bytes(b"changed")
    assert task.output.fetch().get_bytes() == noise[:size]
    assert os.listdir(tmp_path) == ["result"]


def test_fetch_to_a_path_holds_no_copy_in_memory(session: Session, noise: bytes, tmp_path: Path) -> None:
    task = tasks.Concat([blob(noise)])
    task.output.keep()
    session.submit()
    task.wait()
    tracemalloc.start()
    try:
        session.fetch(task, path=tmp_path / "large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LARGE // 2
    assert (tmp_path / "large").read_bytes() == noise


@pytest.mark.parametrize("size", [100, 100 * KIB])
def test_fetch_to_a_path_that_can_not_be_written_says_so_and_leaves_nothing(
    session: Session, noise: bytes, tmp_path: Path, size: int
) -> None:
    task = tasks.Concat([blob(noise[:size])])
    task.output.keep()
    session.submit()
    with pytest.raises(RainException, match=r"cannot be fetched to .*file: there is no directory .*missing$"):
        task.output.fetch(path=tmp_path / "missing" / "file")
    with pytest.raises(RainException, match="is a directory; name the file"):
        task.output.fetch(path=tmp_path)
    assert os.listdir(tmp_path) == []
    assert task.output.fetch().get_bytes() == noise[:size]


# -- what is fetched


@pytest.mark.parametrize("size", [20, 100 * KIB])
def test_fetched_blob_can_be_used_in_every_way_also_after_all_is_closed(
    shared_cluster: LocalCluster, tmp_path: Path, size: int
) -> None:
    text = "ä" * (size // 2)
    with shared_cluster.client() as client, client.new_session() as session:
        task = tasks.Concat([blob(text)])
        named = tasks.Execute(["cat"], stdin=task, stdout=Output("said", content_type="text"))
        instance = result_of(session, named)
        output = named.output
    data = text.encode()
    assert instance.get_bytes() == data
    assert instance.get_str() == text
    assert instance.load() == text
    assert instance.load(cache=True) is instance.load(cache=True)
    view = instance.memoryview()
    assert view == data
    assert view.readonly
    assert instance.size == len(data)
    assert instance.content_type == "text"
    assert instance.data_type is DataType.BLOB
    assert instance.spec is not None
    assert (instance.spec.id, instance.spec.label) == (output.id, "said")
    assert instance.info is not None
    assert instance.info.size == len(data)
    assert instance.info.worker is not None
    assert repr(instance)

    instance.write(tmp_path / "written")
    (tmp_path / "written").write_bytes(b"a copy of my own")
    instance.link(tmp_path / "linked")
    assert (tmp_path / "linked").read_bytes() == instance.get_bytes() == data
    assert not stat.S_IMODE((tmp_path / "linked").stat().st_mode) & 0o222


def test_memoryview_does_not_copy(session: Session, noise: bytes) -> None:
    @remote(outputs=1)
    def same(ctx: Context, data: DataInstance) -> str:
        one_map = data.memoryview().obj is data.memoryview().obj
        return f"{one_map} {data.memoryview().readonly} {data.path is not None}"

    large = tasks.Concat([blob(noise[:MIB])])
    large.output.keep()
    assert result_of(session, same(large)).get_str() == "True True True"
    fetched = large.output.fetch()
    assert fetched.memoryview().obj is fetched.memoryview().obj


def test_fetched_instance_becomes_a_constant_of_another_session(client: Client, session: Session) -> None:
    first = result_of(session, tasks.Concat([blob("from "), blob("one")]))
    with client.new_session() as other:
        again = blob(first.get_bytes(), content_type=first.content_type)
        assert result_of(other, tasks.Concat([again, blob(" to another")])).get_str() == "from one to another"


# -- content types


@pytest.mark.parametrize(
    ("encode", "value"),
    [
        ("pickle", {"key": (1, 2.5, None)}),
        ("cloudpickle", [b"x", {1, 2}]),
        ("json", {"key": [1, "two", None]}),
        ("cbor", {"key": b"bytes"}),
        ("text", "naïve"),
        ("text-latin-1", "naïve"),
        ("text-utf-16", "naïve"),
    ],
)
def test_encoded_values_survive_the_way_there_and_back(session: Session, encode: str, value: Any) -> None:
    @remote(outputs=[Output("out", encode=encode)])
    def pass_on(ctx: Context, data: DataInstance) -> Any:
        assert data.content_type == encode
        return data.load()

    constant = blob(value, encode=encode)
    constant.keep()
    instance = result_of(session, pass_on(constant))
    assert instance.content_type == constant.fetch().content_type == encode
    assert instance.load() == constant.fetch().load() == value


def test_arrow_tables_survive_the_way_there_and_back(session: Session) -> None:
    import pyarrow

    table = pyarrow.table({"number": [1, 2, 3], "name": ["a", "b", None]})

    @remote(outputs=[Output("out", encode="arrow")])
    def first_two(ctx: Context, data: DataInstance) -> Any:
        return data.load().slice(0, 2)

    assert result_of(session, first_two(blob(table, encode="arrow"))).load() == table.slice(0, 2)


def test_pickled_values_arrive(session: Session) -> None:
    constant = pickled({"a": [1, 2, 3]})
    constant.keep()
    session.submit()
    assert constant.fetch().content_type == "pickle"
    assert constant.fetch().load() == {"a": [1, 2, 3]}


def test_blob_of_unknown_type_can_not_be_loaded(session: Session) -> None:
    instance = result_of(session, tasks.Concat([blob(b"bytes")]))
    assert instance.content_type is None
    with pytest.raises(RainException, match="content type"):
        instance.load()


@pytest.mark.parametrize("content_type", ["mime/image/png", "user/mine", "protobuf/My.Message", "protobuf"])
def test_opaque_types_travel_with_the_bytes(session: Session, content_type: str) -> None:
    instance = result_of(session, tasks.Sleep(blob(b"\x00\x01", content_type=content_type), 0))
    assert instance.content_type == content_type
    assert instance.get_bytes() == b"\x00\x01"


def test_type_that_is_set_at_run_time_narrows_the_declared_one(session: Session) -> None:
    @remote(outputs=[Output("any"), Output("text", content_type="text")])
    def make(ctx: Context) -> Any:
        return ctx.blob([1], encode="json"), ctx.blob("ä".encode("latin-1"), content_type="text-latin-1")

    task = make()
    task.keep_outputs()
    assert [obj.content_type for obj in task.outputs] == [None, "text"]
    session.submit()
    task.wait()
    session.update(task.outputs)
    assert [obj.content_type for obj in task.outputs] == ["json", "text-latin-1"]
    assert [instance.load() for instance in task.fetch_outputs()] == [[1], "ä"]
    assert [obj.spec.content_type for obj in task.outputs] == [None, "text"]


def test_type_that_is_set_at_run_time_must_be_a_subtype(session: Session) -> None:
    @remote(outputs=[Output("number", content_type="json")])
    def make(ctx: Context) -> Any:
        return ctx.blob("words")

    task = make()
    session.submit()
    with pytest.raises(TaskException, match=r"(?s)'text'.*'json'|'json'.*'text'"):
        task.wait()


# -- user data


def test_user_data_of_an_object_travel_with_it_and_come_back(session: Session) -> None:
    @remote
    def look(ctx: Context, data: DataInstance) -> Any:
        assert data.spec is not None
        result = ctx.blob(f"{data.spec.user} {ctx.spec.user}")
        assert result.info is not None
        result.info.user["found"] = sorted(data.spec.user)
        ctx.info.user["rows"] = [1, 2, {"three": None}]
        return result

    constant = blob(b"x")
    constant.spec.user.update({"origin": "a test", "tags": [1, 2]})
    task = look(constant)
    task.spec.user["purpose"] = "to look"
    instance = result_of(session, task)
    assert instance.get_str() == "{'origin': 'a test', 'tags': [1, 2]} {'purpose': 'to look'}"
    assert instance.info is not None
    assert instance.info.user == {"found": ["origin", "tags"]}
    task.wait()
    session.update(task.output)
    assert task.info is not None
    assert task.info.user == {"rows": [1, 2, {"three": None}]}
    assert task.output.info is not None
    assert task.output.info.user == {"found": ["origin", "tags"]}
    assert task.spec.user == {"purpose": "to look"}


def test_spec_of_a_fetched_object_is_the_one_that_was_declared(session: Session) -> None:
    @remote
    def tell(ctx: Context, data: DataInstance) -> str:
        assert data.spec is not None
        assert data.info is not None
        assert isinstance(data.spec.id, ID)
        return f"{data.spec.id} {data.spec.label} {data.spec.content_type} {data.info.size}"

    constant = blob("12345", label="digits")
    told = result_of(session, tell(constant)).get_str()
    assert told == f"{constant.id} digits text 5"


# -- immutability


def test_objects_can_not_be_changed_by_tasks_or_through_instances(session: Session, noise: bytes) -> None:
    @remote
    def try_to_change(ctx: Context, small: DataInstance, large: DataInstance) -> str:
        said = []
        for data in (small, large):
            try:
                data.memoryview()[0] = 0
            except TypeError as error:
                said.append(str(error))
        return "; ".join(said)

    small, large = blob(b"small"), blob(noise[:MIB])
    session.keep_all()
    told = result_of(session, try_to_change(small, large)).get_str()
    assert told == "; ".join(["cannot modify read-only memory"] * 2)
    for obj, data in ((small, b"small"), (large, noise[:MIB])):
        with pytest.raises(TypeError, match="read-only"):
            obj.fetch().memoryview()[0] = 0
        assert obj.fetch().get_bytes() == data
        assert obj.state is DataObjectState.FINISHED
