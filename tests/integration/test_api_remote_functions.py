"""Remote functions on real workers: how a function gets to its subworkers, and what it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from api_calls import result_of

from rainzmq import Client, LocalCluster, Output, RainException, Session, remote

# Some tests only look at tasks, and leave their session without running them.
pytestmark = pytest.mark.filterwarnings("ignore:(Session|Leaving session) '")


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.new_session("functions") as session:
        yield session


class TestFunctions:
    def test_a_function_is_loaded_once_per_subworker(self, session: Session) -> None:
        @remote(outputs=[Output(encode="json")])
        def look(ctx: Any, index: int) -> Any:
            function = ctx.function
            function.calls = getattr(function, "calls", 0) + 1
            return [os.getpid(), id(function), function.calls]

        made = [look(index) for index in range(100)]
        session.keep_all()
        session.submit()
        found = [task.output.fetch().load() for task in made]
        by_process: dict[int, list[Any]] = {}
        for pid, number, calls in found:
            by_process.setdefault(pid, []).append((number, calls))
        assert len(by_process) < 10
        for calls in by_process.values():
            assert len({number for number, _ in calls}) == 1
            assert sorted(call for _, call in calls) == list(range(1, len(calls) + 1))

    def test_a_function_is_pickled_at_its_first_call_and_at_submits(self, session: Session) -> None:
        class Counted:
            pickled = 0

            def __reduce__(self) -> Any:
                Counted.pickled += 1
                return int, ()

        counted = Counted()

        @remote()
        def call(ctx: Any) -> str:
            return str(counted)

        for _ in range(50):
            call()
        session.submit()
        call()
        session.submit()
        session.wait_all()
        assert Counted.pickled == 3

    def test_functions_of_two_sessions_are_not_mixed_up(self, client: Client) -> None:
        for number in range(3):

            @remote()
            def call(ctx: Any, number: int = number) -> str:
                return str(number)

            with client.new_session() as session:
                assert result_of(session, call()).get_str() == str(number)

    def test_a_remote_function_can_call_another_one_plainly(self, session: Session) -> None:
        @remote()
        def inner(ctx: Any, x: int) -> str:
            return f"inner {x}"

        @remote()
        def outer(ctx: Any) -> str:
            return "outer " + str(inner(ctx, 3))

        assert result_of(session, outer()).get_str() == "outer inner 3"

    def test_names_and_cpus_are_of_the_function_or_of_the_call(self, session: Session) -> None:
        def call(ctx: Any) -> None: ...

        assert remote()(call)().name == "call"
        assert remote(call)().name == "call"
        task = remote(name="group/mine", cpus=2)(call)()
        assert (task.name, task.spec.resources) == ("group/mine", {"cpus": 2})
        task = remote(name="group/mine", cpus=2)(call)(name="special", cpus=1)
        assert (task.name, task.spec.resources, task.task_type) == ("special", {"cpus": 1}, "python/call")

    @pytest.mark.parametrize("cpus", [0, -1, 1.5, "2", True])
    def test_cpus_are_a_positive_number(self, cpus: Any) -> None:
        with pytest.raises(RainException, match="cpus must be a positive int"):
            remote(cpus=cpus)(lambda ctx: None)

    def test_what_is_no_plain_function_is_refused(self) -> None:
        async def coroutine(ctx: Any) -> None: ...

        with pytest.raises(RainException, match="coroutine function"):
            remote()(coroutine)
        with pytest.raises(RainException, match="Only a function"):
            remote()(3)  # type: ignore[arg-type]

    def test_annotations_that_mean_nothing_to_us_are_left_alone(self, session: Session) -> None:
        @remote()
        def call(ctx: NoSuchName, x: Annotated[int, "y"], y: list[int] | None = None) -> bytes:  # type: ignore[name-defined]  # noqa: F821
            return b"fine"

        assert result_of(session, call(1)).get_bytes() == b"fine"


def test_helper_modules_beside_the_script_are_found(shared_cluster: LocalCluster, tmp_path: Path) -> None:
    (tmp_path / "helper").mkdir()
    (tmp_path / "helper" / "__init__.py").write_text(
        "from helper.sub import VALUE\nclass Kind:\n    x = VALUE\n"
    )
    (tmp_path / "helper" / "sub.py").write_text("VALUE = 'from the helper'\n")
    (tmp_path / "script.py").write_text(
        "import helper\n"
        "from rainzmq import Client, remote\n"
        "@remote()\n"
        "def use(ctx, kind):\n"
        "    import helper.sub\n"
        "    assert kind is helper.Kind\n"
        "    return helper.sub.VALUE\n"
        "with Client() as client, client.new_session() as session:\n"
        "    task = use(helper.Kind)\n"
        "    task.keep_outputs()\n"
        "    session.submit()\n"
        "    print(task.output.fetch().get_str())\n"
    )
    for _ in range(2):  # the second time with a module that has changed
        done = subprocess.run(
            [sys.executable, str(tmp_path / "script.py")],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
            env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file)},
        )
        expected = (tmp_path / "helper" / "sub.py").read_text().split("'")[1]
        assert (done.stdout, done.returncode) == (expected + "\n", 0), done.stderr
        (tmp_path / "helper" / "sub.py").write_text("VALUE = 'from the changed helper'\n")


_PROGRAM = """
import os, sys
from rainzmq import Client, TaskException, blob, remote
sys.path.insert(0, os.getcwd())
from package import by_reference
with Client() as client, client.new_session() as session:
    data = blob("global")

    @remote()
    def by_value(ctx):
        return data.get_str() + " " + __name__

    @remote()
    def fail(ctx):
        return 1 / 0

    made = [by_value(), by_reference(data)]
    session.keep_all()
    session.submit()
    for task in made:
        print(task.output.fetch().get_str())
    fail()
    session.submit()
    try:
        session.wait_all()
    except TaskException as error:
        print(*[line for line in str(error).splitlines() if line.startswith('The task was made')])
"""

_PACKAGE = """
from rainzmq import remote
from . import deep
@remote()
def by_reference(ctx, x):
    return x.get_str() + " " + deep.VALUE
"""


@pytest.mark.parametrize("how", ["script", "module", "command", "stdin"])
def test_functions_of_every_kind_of_program(shared_cluster: LocalCluster, tmp_path: Path, how: str) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text(_PACKAGE)
    (tmp_path / "package" / "deep.py").write_text("VALUE = 'deep'\n")
    (tmp_path / "package" / "main.py").write_text(_PROGRAM)
    arguments = {
        "script": [str(tmp_path / "package" / "main.py")],
        "module": ["-m", "package.main"],
        "command": ["-c", _PROGRAM],
        "stdin": ["-"],
    }
    place = {"command": "<string>", "stdin": "<stdin>"}.get(how, str(tmp_path / "package" / "main.py"))
    done = subprocess.run(
        [sys.executable, *arguments[how]],
        input=_PROGRAM,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=30,
        env={**os.environ, "RAINZMQ_SERVER": str(shared_cluster.access_file)},
    )
    assert done.stdout.splitlines() == [
        "global __main__",
        "global deep",
        f"The task was made at {place}:22",
    ], done.stderr
