"""What functions and arguments of remote calls become on their way."""

from __future__ import annotations

import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import Session, Task, remote
from rainzmq.client.codebase import own_sys_path
from rainzmq.client.imported import is_library_file
from rainzmq.common import DataInstance
from rainzmq.common.pycall import Call, CallBody, Calls, decode_body


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


def body(task: Task) -> CallBody:
    return decode_body(task.graph_node.body.config)


def arrived(task: Task) -> Call:
    """The call as a subworker makes it of what the client sends."""
    return Calls().prepare(1, body(task), task.graph_node.config, ())


@remote
def bare(ctx: Any, x: Any, y: Any = 5) -> Any:
    return x, y


def test_remote_functions_may_refer_to_each_other(session: Session) -> None:
    @remote
    def helper(ctx: Any, x: int) -> int:
        return x + 1

    @remote
    def f(ctx: Any, x: int) -> int:
        return f(ctx, x - 1) if x > 0 else helper(ctx, x)  # type: ignore[return-value]

    call = arrived(f(3))
    assert isinstance(call.function, types.FunctionType)
    assert call.function(None, 3) == 1


def test_remote_as_an_argument_arrives_as_a_function(session: Session) -> None:
    call = arrived(bare(bare))
    assert call.args[0](None, 1) == (1, 5)


def test_fetched_instance_can_be_an_argument(session: Session) -> None:
    call = arrived(bare(DataInstance(b"abc")))
    assert call.args[0].get_bytes() == b"abc"


def test_plain_values_take_the_fast_way(session: Session) -> None:
    assert b"cloudpickle" not in bare({"a": [1, "x", (None, 2.5)]}).graph_node.config
    assert pickle.loads(bare(1).graph_node.config) == (1, [])


def test_own_directories_of_the_program_are_sent(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    sent = body(remote(lambda ctx: None)()).sys_path  # type: ignore[operator]
    assert sent[0] == (str(tmp_path), tmp_path.stat().st_ino)
    assert not [
        entry for entry, _ in own_sys_path() if "site-packages" in entry or entry.endswith("/python3.11")
    ]


def test_a_working_directory_that_was_removed_is_searched_for_no_modules(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.syspath_prepend("")
    monkeypatch.syspath_prepend("lib")
    gone.rmdir()
    assert not [entry for entry, _ in own_sys_path() if not Path(entry).is_dir()]
    module = types.ModuleType("made_by_hand")
    module.__file__ = "made_by_hand.py"
    monkeypatch.setitem(sys.modules, "made_by_hand", module)
    assert arrived(remote(lambda ctx: 3)()).function(None) == 3
    assert not is_library_file(module.__file__)


def test_functions_of_main_are_sent_by_value(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from rainzmq import Session, remote\n"
        "class Value:\n    x = 3\n"
        "@remote\ndef f(ctx, v):\n    return v.x + helper()\n"
        "def helper():\n    return 4\n"
        "with Session(None, 1):\n"
        "    t = f(Value())\n"
        "print((t.graph_node.body.config + b'|' + t.graph_node.config).hex())\n"
    )
    run: Callable[..., Any] = subprocess.run
    out = run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=30).stdout
    packed, _, config = bytes.fromhex(out).rpartition(b"|")
    call = Calls().prepare(1, decode_body(packed), config, ())
    assert call.function(None, *call.args) == 7
