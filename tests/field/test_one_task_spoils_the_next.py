"""After a task of somebody else mine fails, or does something else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rainzmq import Client, LocalCluster, Output, TaskException, remote

one_output = remote(outputs=[Output(encode="pickle")])


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[LocalCluster]:
    """One worker with one cpu, so that a task runs where the last one ran."""
    with LocalCluster(workers=[1], dashboard=False) as cluster:
        yield cluster


def state() -> dict[str, Any]:
    """What a task should find as every other one does."""
    import gc
    import locale
    import multiprocessing
    import os
    import resource
    import signal
    import socket
    import sys
    import warnings

    mask = os.umask(0)
    os.umask(mask)
    return {
        "limits": [resource.getrlimit(n) for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)],
        "timers": [signal.getitimer(n)[0] > 0 for n in (0, 1, 2)],
        "handlers": [str(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "environment": {k: v for k, v in os.environ.items() if not k.startswith(("RAINZMQ_", "TMPDIR"))},
        "of the process": sorted(
            line
            for line in os.popen("env").read().splitlines()
            if not line.startswith(("RAINZMQ_", "TMPDIR=", "_=", "PWD="))
        ),
        "umask": mask,
        "path": list(sys.path),
        "importers": len(sys.meta_path),
        "recursion": sys.getrecursionlimit(),
        "trace": sys.gettrace(),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "locale": locale.setlocale(locale.LC_ALL),
        "warnings": [str(item) for item in warnings.filters],
        "arguments": sys.argv,
        "socket": socket.getdefaulttimeout(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "nice": os.nice(0),
        "user": (os.getresuid(), os.getresgid(), os.getgroups()),
        "streams": [stream.fileno() for stream in (sys.stdout, sys.stderr)],
    }


def differences(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {name: (found[name], expected[name]) for name in expected if found[name] != expected[name]}


def change_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def lower_hard_limits() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_timers() -> None:
    import signal

    signal.setitimer(signal.ITIMER_REAL, 0.2)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
    signal.setitimer(signal.ITIMER_PROF, 0.2)


def change_signals() -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])


def clear_the_environment() -> None:
    import os

    os.environ.clear()


def change_the_environment() -> None:
    import os

    os.environ["MINE"] = "1"
    os.environ.pop("PATH")
    os.putenv("PUT", "1")
    os.environ = {"REPLACED": "1"}  # type: ignore[assignment] # noqa: B003


def change_the_interpreter() -> None:
    import gc
    import locale
    import os
    import socket
    import sys
    import warnings

    os.umask(0o777)
    os.nice(1)
    sys.path.insert(0, "/mine")
    sys.path = [*sys.path, "/other"]
    sys.meta_path.clear()
    sys.setrecursionlimit(77)
    sys.settrace(lambda *_: None)
    sys.argv[:] = ["mine"]
    gc.disable()
    gc.set_threshold(1)
    locale.setlocale(locale.LC_ALL, "C")
    socket.setdefaulttimeout(0.001)
    warnings.simplefilter("error")


def change_the_streams() -> None:
    import os
    import sys

    sys.stdout.close()
    sys.stderr = None  # type: ignore[assignment]
    os.close(2)


def set_the_start_method() -> None:
    import multiprocessing

    multiprocessing.set_start_method("spawn")


def hide_modules() -> None:
    import sys

    for name in ("cloudpickle", "json", "pickle"):
        sys.modules[name] = None  # type: ignore[assignment]


def break_builtins() -> None:
    import builtins

    builtins.__import__ = None  # type: ignore[assignment]
    builtins.len = builtins.isinstance = None  # type: ignore[assignment]


def break_builtins_unnoticed() -> None:
    import builtins

    vars(builtins)["__import__"] = None
    vars(builtins).pop("len")


def break_builtins_and_fail() -> None:
    import builtins

    builtins.__import__ = builtins.len = builtins.isinstance = None  # type: ignore[assignment]
    raise RuntimeError("as it is")


def give_up_the_user() -> None:
    import os

    os.setgid(65534)
    os.setuid(65534)


CHANGES = [
    change_limits,
    lower_hard_limits,
    set_timers,
    change_signals,
    clear_the_environment,
    change_the_environment,
    change_the_interpreter,
    change_the_streams,
    set_the_start_method,
    hide_modules,
    break_builtins,
    break_builtins_unnoticed,
    *([give_up_the_user] if os.geteuid() == 0 else []),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_one_task_changes_the_next_does_not_find(client: Client, change: Callable[[], None]) -> None:
    @one_output
    def look(ctx: Any) -> dict[str, Any]:
        return state()

    @one_output
    def spoil(ctx: Any) -> int:
        import os

        change()
        return os.getpid()

    found = []
    with client.new_session("before") as session:
        found.append(look())
        session.keep_all()
        session.submit()
        before = found[0].output.fetch().load()
    with client.new_session("spoilt") as session:
        for _ in range(2):  # some of these are sent ahead, and are behind the one that spoils the process
            spoil()
            found.append(look())
        session.keep_all()
        session.submit()
        session.wait_all()
        for task in found[1:]:
            assert differences(task.output.fetch().load(), before) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its user id")
def test_a_chain_goes_on_through_processes_that_are_replaced(client: Client) -> None:
    @remote(outputs=[Output(encode="pickle")], auto_load=True)
    def step(ctx: Any, count: int, spoil: bool) -> int:
        if spoil:
            give_up_the_user()
        return count + 1

    with client.new_session("chain") as session:
        last = step(0, False)
        for index in range(40):
            last = step(last, index % 20 == 10)
        last.output.keep()
        session.submit()
        assert last.output.fetch().load() == 41


def test_the_error_of_a_task_that_breaks_builtins_is_its_own(client: Client) -> None:
    @remote()
    def spoil(ctx: Any) -> None:
        break_builtins_and_fail()

    with client.new_session("spoilt") as session:
        task = spoil()
        session.submit()
        with pytest.raises(TaskException, match="RuntimeError: as it is"):
            task.wait()


@pytest.mark.parametrize("seconds", [0, 0.02], ids=["at once", "in a while"])
def test_what_an_import_changes_stays(client: Client, tmp_path: Any, seconds: float) -> None:
    name = "slow_import" if seconds else "quick_import"
    (tmp_path / f"{name}.py").write_text(
        "import os, sys, time, warnings\n"
        f"time.sleep({seconds})\n"
        f"os.environ['SET_BY_{name}'] = '1'\n"
        "os.environ['SET_AND_UNSET'] = '1'\n"
        "del os.environ['SET_AND_UNSET']\n"
        "sys.path.append('/of/the/module')\n"
        "warnings.filterwarnings('ignore', message='of the module')\n"
    )

    @one_output
    def use(ctx: Any, path: str) -> Any:
        import importlib
        import os
        import sys
        import warnings

        sys.path.insert(0, path)
        importlib.import_module(name)
        mine = [item for item in warnings.filters if item[1] is not None and "of the module" in str(item[1])]
        told = os.environ.get(f"SET_BY_{name}"), os.environ.get("SET_AND_UNSET")
        return *told, "/of/the/module" in sys.path, len(mine), sys.path.count(path)

    with client.new_session("imports") as session:
        calls = [use(str(tmp_path)) for _ in range(3)]
        session.keep_all()
        session.submit()
        for call in calls:
            assert call.output.fetch().load() == ("1", None, True, 1, 1)


def test_models_and_caches_of_a_process_stay(client: Client) -> None:
    @one_output
    def load(ctx: Any) -> int:
        import builtins
        import json
        import os

        json.loaded = getattr(json, "loaded", 0) + 1  # type: ignore[attr-defined]
        assert not hasattr(builtins, "added")
        builtins.added = os.getpid()  # type: ignore[attr-defined]
        return json.loaded  # type: ignore[attr-defined,no-any-return]

    with client.new_session("models") as session:
        calls = [load() for _ in range(20)]
        session.keep_all()
        session.submit()
        assert sorted(call.output.fetch().load() for call in calls) == list(range(1, 21))
