"""`rainzmq local`, `server` and `worker` as a user runs them."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rainzmq import Client, blob, tasks
from rainzmq.transport.access import read_access

RAINZMQ = [sys.executable, "-m", "rainzmq"]
LOCAL = [*RAINZMQ, "local", "--cpus", "1"]
HELLO = """
from rainzmq import Client, blob, tasks
with Client() as client, client.new_session("hello") as session:
    text = tasks.Concat([blob("hello "), blob("world")])
    text.output.keep()
    session.submit()
    print(text.output.fetch().get_str())
"""


def _run(command: list[str], timeout_s: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture
def started(home: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test started; those that run at its end are killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} was not printed, but {read!r}")


def _start(command: list[str], logs: Path, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """A server or worker, once its ready file says that it is ready."""
    ready = logs.parent / f"{command[0]}-ready"
    arguments = [*RAINZMQ, *command, "--logdir", str(logs), "--ready-file", str(ready)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    started.append(process)
    deadline = time.monotonic() + 20
    while not ready.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ready.read_text() == "ready"
    return process


def test_python_m_rainzmq_and_the_command_are_the_same(home: Path) -> None:
    command = Path(sys.executable).parent / "rainzmq"

    assert _run([str(command), "--version"]).stdout == _run([*RAINZMQ, "--version"]).stdout != ""


def test_local_runs_a_command_with_its_cluster(home: Path) -> None:
    result = _run([*LOCAL, "--", sys.executable, "-c", HELLO])

    assert (result.stdout, result.returncode) == ("hello world\n", 0), result.stderr


def test_local_has_the_workers_it_was_asked_for(home: Path) -> None:
    program = (
        "from rainzmq import Client; c = Client(); print(len(c.get_server_info()['workers'])); c.close()"
    )

    result = _run([*RAINZMQ, "local", "--workers", "1,1", "--", sys.executable, "-c", program])

    assert (result.stdout, result.returncode) == ("2\n", 0), result.stderr


@pytest.mark.parametrize(
    ("command", "code"), [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -KILL $$"], 137)]
)
def test_local_passes_the_exit_code_on(home: Path, command: list[str], code: int) -> None:
    assert _run([*LOCAL, "--", *command]).returncode == code


def test_local_uses_the_port_it_is_given(home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = f"from rainzmq import Client; Client('127.0.0.1', {port}).close()"

    result = _run([*LOCAL, "--port", str(port), "--", sys.executable, "-c", program])

    assert result.returncode == 0, result.stderr


def test_local_says_that_a_port_is_in_use(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = _run([*LOCAL, "--port", str(port), "--", "true"])

    assert result.returncode == 1
    assert f"port {port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_local_without_command_says_how_to_connect_and_ends_with_ctrl_c(
    home: Path, started: list[subprocess.Popen[str]]
) -> None:
    process = subprocess.Popen(LOCAL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    said = _read_until(process, "Logs:")
    assert "rainzmq.Client()" in said
    with Client() as client:
        assert len(client.get_server_info()["workers"]) == 1

    start = time.monotonic()
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 0
    assert time.monotonic() - start < 5
    assert "Traceback" not in process.communicate()[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_to_local_reaches_the_command(
    number: signal.Signals, code: int, home: Path, started: list[subprocess.Popen[str]]
) -> None:
    command = ["sh", "-c", "echo started; exec sleep 1000"]
    process = subprocess.Popen([*LOCAL, "--", *command], stdout=subprocess.PIPE, text=True)
    started.append(process)
    _read_until(process, "started")

    start = time.monotonic()
    process.send_signal(number)

    assert process.wait(10) == code
    assert time.monotonic() - start < 5


def test_command_that_ignores_signals_is_ended_within_five_seconds(
    home: Path, started: list[subprocess.Popen[str]]
) -> None:
    command = ["sh", "-c", "trap '' INT TERM; echo started; while true; do sleep 1; done"]
    process = subprocess.Popen([*LOCAL, "--", *command], stdout=subprocess.PIPE, text=True)
    started.append(process)
    _read_until(process, "started")

    start = time.monotonic()
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 137
    assert time.monotonic() - start < 5


def test_ctrl_c_is_the_commands_to_handle(home: Path, started: list[subprocess.Popen[str]]) -> None:
    program = """
import time
try:
    print("started", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    time.sleep(2.5)
    print("saved")
"""
    command = [*LOCAL, "--", sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    _read_until(process, "started")

    process.send_signal(signal.SIGINT)

    said, complained = process.communicate(timeout=10)
    assert (said, process.returncode) == ("saved\n", 0)
    assert "rainzmq: the command still runs" in complained


def test_second_ctrl_c_ends_the_command_at_once(home: Path, started: list[subprocess.Popen[str]]) -> None:
    command = ["sh", "-c", "trap '' INT; echo started; while true; do sleep 0.1; done"]
    process = subprocess.Popen(
        [*LOCAL, "--", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    started.append(process)
    _read_until(process, "started")

    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 143
    assert time.monotonic() - start < 3
    assert "the command is terminated" in process.communicate()[1]


def test_ctrl_c_at_a_prompt_ends_nothing(home: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*LOCAL, "--", sys.executable, "-q"])
    try:
        _await_output(terminal, ">>> ")
        time.sleep(
            0.5
        )  # it is printed before Python waits for keys; a Ctrl-C in between shows only at the next
        os.write(terminal, b"\x03")
        _await_output(terminal, "KeyboardInterrupt")
        time.sleep(4.5)
        os.write(terminal, b"print('still', 'there')\n")
        _await_output(terminal, "still there")
        os.write(terminal, b"exit(3)\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)


def _await_output(terminal: int, text: str) -> None:
    read, deadline = "", time.monotonic() + 20
    while text not in read:
        assert select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0], read
        read += os.read(terminal, 4096).decode()


def test_command_may_say_that_its_server_is_gone_and_no_access_file_is_left(
    home: Path, started: list[subprocess.Popen[str]]
) -> None:
    program = """
import time
from rainzmq import Client, SessionException, remote
@remote
def endless(ctx):
    import time
    time.sleep(1000)
client = Client()
session = client.new_session("s", default=True)
endless()
session.submit()
print("started", flush=True)
try:
    session.wait_all()
except SessionException:
    time.sleep(0.5)
    print("saved", flush=True)
"""
    command = [*LOCAL, "--", sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    _read_until(process, "started")
    [access] = (home / "servers").glob("*.json")

    os.kill(read_access(access).pid, signal.SIGKILL)

    said, complained = process.communicate(timeout=10)
    assert (said, process.returncode) == ("saved\n", 1), complained
    assert "the server ended (killed by signal SIGKILL)" in complained
    assert not access.exists()


@pytest.mark.parametrize("after_s", [0.03, 0.06, 0.1, 0.2])
def test_ctrl_c_right_after_the_start_shows_no_traceback(after_s: float, home: Path) -> None:
    # What Python does before the first line of a program is not in our hands, so it is waited for.
    program = "import sys; print('go', flush=True); from rainzmq.__main__ import run; sys.exit(run())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "worker", "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        complained = process.communicate(timeout=10)[1]

    assert "Traceback" not in complained
    assert process.returncode != 0


def test_ctrl_c_while_starting_leaves_nothing(home: Path, started: list[subprocess.Popen[str]]) -> None:
    process = subprocess.Popen(
        LOCAL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    started.append(process)
    while not psutil.Process(process.pid).children():
        time.sleep(0.005)

    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    assert "Traceback" not in process.communicate()[1]


def test_local_ends_with_an_error_when_its_last_worker_dies(
    home: Path, started: list[subprocess.Popen[str]]
) -> None:
    process = subprocess.Popen(LOCAL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started.append(process)
    _read_until(process, "Logs:")
    with Client() as client:
        [worker] = client.get_server_info()["workers"]

    os.kill(worker["pid"], signal.SIGKILL)

    assert process.wait(10) == 1
    assert "worker-1 ended (killed by signal SIGKILL)" in process.communicate()[1]


def test_server_and_worker_by_hand(home: Path, tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    access, logs = tmp_path / "access.json", tmp_path / "logs"
    server = _start(["server", "--listen", "0", "--access-file", str(access)], logs, started)
    worker = _start(
        ["worker", str(access), "--cpus", "1", "--workdir", str(tmp_path / "work")], logs, started
    )

    with Client(str(access)) as client, client.new_session("s") as session:
        joined = tasks.Concat([blob("a"), blob("b")])
        joined.output.keep()
        session.submit()
        assert joined.output.fetch().get_str() == "ab"
    for process in (worker, server):
        start = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - start < 5
        said = process.communicate()[1]
        assert "Traceback" not in said
        assert (f"server: access file: {access}\n" in said) == (process is server)

    assert (logs / "server.log").stat().st_size > 0
    assert (logs / "worker.log").stat().st_size > 0
    assert not access.exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == []
    assert not list((tmp_path / "work").rglob("*"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["worker", "127.0.0.1:1"], "127.0.0.1:1"),
        (["worker", "/nowhere/access.json"], "/nowhere/access.json"),
        (["worker", "no-such-host.invalid", "--access-file", "/nowhere"], "/nowhere"),
        (["server", "--listen", "no-such-host.invalid:7210"], "no-such-host.invalid"),
    ],
)
def test_what_can_not_work_is_one_message_and_code_1(home: Path, command: list[str], why: str) -> None:
    result = _run([*RAINZMQ, *command])

    assert result.returncode == 1
    assert why in result.stderr
    assert "Traceback" not in result.stderr


def test_more_cpus_than_the_machine_has_are_named(home: Path) -> None:
    command = [*RAINZMQ, "local", "--cpus", "999", "--no-dashboard", "--", "true"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert "999 cpus are offered, but there are" in ran.stderr


def test_how_long_sessions_outlive_a_broken_connection_can_be_said(home: Path) -> None:
    script = "from rainzmq import Client; print(Client().connection.welcome.grace_s)"
    command = [*LOCAL, "--no-dashboard", "--client-grace", "7.5", "--", sys.executable, "-c", script]
    assert _run(command).stdout == "7.5\n"
