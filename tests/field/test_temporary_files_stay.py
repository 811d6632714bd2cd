"""What tasks leave in TMPDIR ends with them, however they end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, Output, Session, remote, tasks

_PICKLED = Output(encode="pickle")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """One worker with one cpu, so that Python tasks share a process."""
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        yield cluster


@pytest.fixture
def session(cluster: LocalCluster) -> Iterator[Session]:
    with cluster.client() as client, client.new_session("temporary") as session:
        yield session


def _results(session: Session, made: list[Any]) -> list[Any]:
    session.keep_all()
    session.submit()
    return [task.output.fetch().load() for task in made]


def _wait_until_gone(path: str) -> None:
    deadline = time.monotonic() + 10
    while os.path.exists(path):
        assert time.monotonic() < deadline, f"{path} is still there"
        time.sleep(0.01)


def test_a_program_has_a_place_for_temporary_files_that_goes_with_it(session: Session) -> None:
    script = 'ls -A; mkdir -p "$TMPDIR/deep/er" && mktemp >/dev/null && echo "$TMPDIR"'
    task = tasks.Execute(script, shell=True, stdout=True)
    session.keep_all()
    session.submit()
    # One line only: the working directory was empty.
    [place] = task.output.fetch().get_str().splitlines()
    assert place != "/tmp"
    _wait_until_gone(place)


def test_a_killed_program_leaves_no_temporary_files(cluster: LocalCluster, tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = f'touch "$TMPDIR/left"; echo "$TMPDIR" > {note}.new; mv {note}.new {note}; sleep 60'
    with cluster.client() as client:
        place = _place_of_running(client, tasks.Execute, note, script)
    _wait_until_gone(place)


def test_a_killed_function_leaves_no_temporary_files(cluster: LocalCluster, tmp_path: Path) -> None:
    note = tmp_path / "note"

    @remote
    def leave(ctx: Any) -> None:
        import tempfile

        place = tempfile.mkdtemp()
        Path(f"{note}.new").write_text(place)
        os.rename(f"{note}.new", note)
        time.sleep(60)

    with cluster.client() as client:
        place = _place_of_running(client, leave, note)
    _wait_until_gone(place)


def _place_of_running(client: Client, make: Any, note: Path, *script: str) -> str:
    """Run a task until it has written its place into `note`, then close its session."""
    with client.new_session("killed") as session:
        make(*script, **({"shell": True} if script else {}))
        session.submit()
        deadline = time.monotonic() + 20
        while not note.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        place = note.read_text().strip()
        assert os.path.isdir(place)
        session.close()
    return place


def test_functions_find_an_empty_place_each_time(session: Session) -> None:
    @remote(outputs=[_PICKLED])
    def use(ctx: Any) -> Any:
        import tempfile

        place = tempfile.gettempdir()
        there = os.listdir(place)
        os.mkdir(os.path.join(place, "left"))
        tempfile.NamedTemporaryFile(delete=False).close()
        time.sleep(0.01)
        return os.getpid(), place, os.environ["TMPDIR"], there, os.listdir()

    found = _results(session, [use() for _ in range(4)])
    assert len({pid for pid, *_ in found}) == 1
    for _, place, variable, there, work in found:
        assert place == variable != "/tmp"
        assert there == work == []


def test_a_place_that_a_function_takes_away_or_changes_is_back_for_the_next(session: Session) -> None:
    @remote(outputs=[_PICKLED])
    def spoil(ctx: Any, how: int) -> Any:
        import shutil
        import tempfile

        place = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        if how == 0:
            shutil.rmtree(place)
        elif how == 1:
            os.chmod(place, 0)
        elif how == 2:
            tempfile.tempdir = os.getcwd()
        return place

    found = _results(session, [spoil(how) for how in (0, 1, 2, 3)])
    assert len(set(found)) == 1


def test_what_multiprocessing_keeps_there_is_made_again(session: Session) -> None:
    """Its sockets are there, whose whole path may have 107 bytes."""

    @remote(outputs=[_PICKLED])
    def share(ctx: Any, item: int) -> Any:
        from multiprocessing import get_context

        with get_context("fork").Manager() as manager:
            values = manager.list([item])
            values.append(item + 1)
            return list(values)

    assert _results(session, [share(1), share(2)]) == [[1, 2], [2, 3]]
