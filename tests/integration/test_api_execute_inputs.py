"""Programs and Python tasks that try to change what they were given to read: it fails, and harms nothing.

Run twice: with all the rights that the user has, and as root in a container without CAP_SYS_ADMIN, where a
worker cannot make a read-only view of its store.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_calls import error_of, result_of

from rainzmq import (
    DataObject,
    Input,
    InputDir,
    LocalCluster,
    Output,
    Session,
    Task,
    TaskException,
    blob,
    directory,
    remote,
    tasks,
)
from rainzmq.client.tasks import Execute

_PR_CAPBSET_DROP = 24
_CAP_SYS_ADMIN = 21

CONTENTS = {"small": b"as it was\n", "large": b"as it was\n" * 10_000}

WRITES = {
    "write": "echo x > $f",
    "append": "echo x >> $f",
    "truncate": "truncate -s 3 $f",
    "chmod": "chmod 777 $f; echo x >> $f",
    "dd": "printf X | dd of=$f conv=notrunc status=none",
    "cp": "echo x > j; cp -f j $f",
    "real path": 'f=$(readlink -f $f); chmod 777 $f "$(dirname $f)"; echo x >> $f',
    "backdated": 't=$(stat -c %y $f); echo x > $f; touch -d "$t" $f',
}
"""Ways to change a file. They may be refused, and then nothing has happened."""

REPLACEMENTS = {
    "mv": "rm -rf i; echo x > j; mv j i",
    "same content": "cat $f > j; rm -rf i; mv j i",
    "sed -i": "[ -d i ] && rm -r i || sed -i s/as/AS/ i",
    "rm": "rm -rf i",
    "other link": "rm -rf i; ln -s /etc/passwd i",
}
"""Ways to put something else in the place of an input `i`, which nothing can prevent."""


@pytest.fixture(scope="module", params=["all rights", "no CAP_SYS_ADMIN"])
def shared_cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """One worker with one cpu, so that whatever one task harms the next one sees."""
    started: list[LocalCluster] = []

    def start() -> None:
        if request.param != "all rights":
            # It holds for this thread and what it starts. Who is not root has nothing to lose.
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_SYS_ADMIN, 0, 0, 0)
        started.append(LocalCluster(workers=[1]))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as cluster:
        yield cluster


@pytest.fixture
def session(shared_cluster: LocalCluster) -> Iterator[Session]:
    with shared_cluster.client() as client, client.new_session("harm") as session:
        yield session


class Given:
    """An input of one of the kinds, and where its content is in a program's directory."""

    def __init__(self, kind: str, tmp_path: Path) -> None:
        self.content = CONTENTS["large" if "large" in kind else "small"]
        self.file = "i"
        self.is_directory = kind.endswith("directory")
        self.object: DataObject
        if self.is_directory:
            self.file = "i/s/f"
            (tmp_path / "tree" / "s").mkdir(parents=True)
            (tmp_path / "tree" / "s" / "f").write_bytes(self.content)
            self.object = directory(tmp_path / "tree")
        else:
            self.object = blob(self.content)

    def input(self) -> Input:
        return (InputDir if self.is_directory else Input)("i", dataobj=self.object)

    def read_again(self, after: Any) -> Execute:
        """A task that reads it after another one."""
        return Execute(
            ["cat", self.file], stdout=True, input_paths=[self.input(), Input("then", dataobj=after)]
        )


@pytest.fixture(params=["small", "large", "small directory", "large directory"])
def given(request: pytest.FixtureRequest, session: Session, tmp_path: Path) -> Given:
    return Given(request.param, tmp_path)


@pytest.mark.parametrize("way", WRITES)
def test_a_write_to_an_input_does_nothing_or_fails_the_task(session: Session, given: Given, way: str) -> None:
    program = Execute(
        f"f={given.file}; {WRITES[way]}; cat {given.file} > seen",
        shell=True,
        input_paths=[given.input()],
        output_paths=["seen"],
    )
    after = given.read_again(program)
    if error := _error_of_any(session, program):
        assert "changed what it was given to read: input 'i' (mapped to 'i'); map it with write=True" in error
    else:
        assert program.output.fetch().get_bytes() == given.content
        assert after.output.fetch().get_bytes() == given.content


@pytest.mark.parametrize("way", REPLACEMENTS)
def test_something_else_in_the_place_of_an_input_fails_the_task(
    session: Session, given: Given, way: str, tmp_path: Path
) -> None:
    script = f"exec 3< {given.file}; f={given.file}; {REPLACEMENTS[way]}; cat <&3 > {tmp_path}/seen"
    error = error_of(session, Execute(script, shell=True, input_paths=[given.input()]))
    assert "changed what it was given to read: input 'i' (mapped to 'i'); map it with write=True" in error
    assert (tmp_path / "seen").read_bytes() == given.content


def test_a_new_file_in_an_input_directory_does_nothing_or_fails_the_task(
    session: Session, tmp_path: Path
) -> None:
    given = Given("large directory", tmp_path)
    script = "chmod -R u+w i; touch i/new; mkdir i/d; ls i | wc -w; exit 0"
    program = Execute(script, shell=True, stdout=True, input_paths=[given.input()])
    if error := _error_of_any(session, program):
        assert "changed what it was given to read: input 'i'" in error
    else:
        assert program.output.fetch().get_str() == "1\n"


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_write_to_the_standard_input_does_nothing_or_fails_the_task(session: Session, kind: str) -> None:
    given = blob(CONTENTS[kind])
    script = (
        "chmod 777 /dev/stdin; for f in /dev/stdin /proc/self/fd/0; do sh -c 'echo x >> $0' $f; done; exit 0"
    )
    program = Execute(script, shell=True, stdin=given, stdout=True)
    after = Execute("cat", stdin=given, stdout=True, input_paths=[Input("then", dataobj=program)])
    if error := _error_of_any(session, program):
        assert "changed what it was given to read: its standard input" in error
    else:
        assert after.output.fetch().get_bytes() == CONTENTS[kind]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: os.truncate(path, 3),
        lambda path: Path(path).chmod(0o666) or Path(path).write_bytes(b"x"),  # type: ignore[func-returns-value]
        lambda path: os.rename(path, path + "-"),
        lambda path: os.unlink(path),
    ],
    ids=["truncate", "write", "rename", "unlink"],
)
@pytest.mark.parametrize("kind", ["large", "small directory", "large directory"])
def test_a_change_by_a_python_task_does_nothing_or_fails_it(
    session: Session, tmp_path: Path, kind: str, change: Callable[[str], Any]
) -> None:
    @remote()
    def harm(ctx: Any, instance: Any) -> bytes:
        with contextlib.suppress(OSError):
            change(os.path.join(instance.path, "s", "f") if os.path.isdir(instance.path) else instance.path)
        return b""

    given = Given(kind, tmp_path)
    harmed = harm(given.object)
    after = given.read_again(harmed)
    if error := _error_of_any(session, harmed):
        assert "the task changed what it was given to read: input 'const" in error
    else:
        assert after.output.fetch().get_bytes() == given.content


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_python_task_can_not_write_to_the_memory_of_an_input(session: Session, kind: str) -> None:
    @remote()
    def harm(ctx: Any, instance: Any) -> bytes:
        with pytest.raises(TypeError):
            instance.memoryview()[0] = 1
        return b"refused"

    assert result_of(session, harm(blob(CONTENTS[kind]))).get_bytes() == b"refused"


def test_a_written_copy_leaves_the_object_alone(session: Session, given: Given) -> None:
    program = Execute(
        f"echo more >> {given.file}; cat {given.file} > out",
        shell=True,
        input_paths=[type(given.input())("i", dataobj=given.object, write=True)],
        output_paths=[Output("out")],
    )
    after = given.read_again(program)
    session.keep_all()
    session.submit()
    assert program.output.fetch().get_bytes() == given.content + b"more\n"
    assert after.output.fetch().get_bytes() == given.content


def test_reading_changes_nothing(session: Session, given: Given) -> None:
    command = f"cat {given.file}; ls -lR i > /dev/null; cp -r i copy; stat -L i > /dev/null"
    program = Execute(command, shell=True, stdout=True, input_paths=[given.input()])
    assert result_of(session, program).get_bytes() == given.content


def test_an_output_does_not_change_with_what_a_program_left_behind(session: Session) -> None:
    """A process that is still there keeps its file open: what it writes later is not in the output."""
    command = "(exec 9> out; printf %70000s x >&9; sleep 0.2; echo later >&9) & sleep 0.1"
    program = Execute(command, shell=True, output_paths=["out"])
    again = tasks.Sleep(program, 0.4)
    session.keep_all()
    session.submit()
    assert again.output.fetch().get_bytes().endswith(b"x")


def _error_of_any(session: Session, culprit: Task) -> str:
    """Run everything; the error of the only task that may fail, empty when it did not."""
    session.keep_all()
    session.submit()
    try:
        session.wait_all()
    except TaskException as error:
        if error.task_id != culprit.id:
            raise
        return str(error)
    return ""
