"""What `rainzmq` prints and returns, with the server and worker replaced by fakes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rainzmq
from rainzmq.cli.main import cli, main
from rainzmq.common.errors import RainException
from rainzmq.server.web import WebOptions


@dataclass
class _Fake:
    """Stands for `run_server` or `run_worker`: keeps the options, raises what it is told to."""

    options: dict[str, Any] | None = None
    error: Exception | None = None

    def run(self, options: dict[str, Any]) -> int:
        self.options = options
        logging.getLogger("rainzmq.fake").info("at your service")
        if self.error is not None:
            raise self.error
        return 0


def _fake_module(monkeypatch: pytest.MonkeyPatch, role: str) -> _Fake:
    fake = _Fake()
    module = ModuleType(f"rainzmq.{role}.{role}")
    setattr(module, f"{role.title()}Options", dict)
    setattr(module, f"run_{role}", fake.run)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return fake


@pytest.fixture
def fake_server(monkeypatch: pytest.MonkeyPatch) -> _Fake:
    return _fake_module(monkeypatch, "server")


@pytest.fixture
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> _Fake:
    return _fake_module(monkeypatch, "worker")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("rainzmq")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    own.setLevel(own_level)


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rainzmq {rainzmq.__version__}\n"


@pytest.mark.parametrize("command", [[], *[[name] for name in cli.commands]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "Usage: rainzmq" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["server", "--listen", "x:y"], "'x:y': the port must be"),
        (["server", "--bogus"], "No such option"),
        (["worker"], "Missing argument 'SERVER'"),
        (["worker", "host", "--cpus", "0"], "give at least 1"),
        (["worker", "-"], "SERVER cannot be '-'"),
        (["local", "--workers", "2,x"], "'x' in '2,x'"),
        (["local", "--workers", "2,2", "--cpus", "2"], "not both"),
        (["local", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_wrong_command_line_is_code_2_and_says_why(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert why in printed
    assert "Traceback" not in printed


def test_server_gets_its_options(fake_server: _Fake, tmp_path: Path) -> None:
    code = main(
        [
            "server",
            "--listen",
            "[::1]:0",
            "--logdir",
            str(tmp_path / "logs"),
            "--lifeline-fd",
            "7",
            "--ready-file",
            str(tmp_path / "ready"),
            "--access-file",
            str(tmp_path / "access.json"),
            "--client-grace",
            "7.5",
        ]
    )

    assert code == 0
    assert fake_server.options == {
        "client_grace_s": 7.5,
        "host": "::1",
        "port": 0,
        "advertise": None,
        "logdir": tmp_path / "logs",
        "ready_file": tmp_path / "ready",
        "access_file": tmp_path / "access.json",
        "lifeline_fd": 7,
        "web": WebOptions(),
    }


def test_worker_gets_its_options(fake_worker: _Fake, tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text('[subworkers.mine]\ncommand = "prog"\n')

    code = main(
        [
            "worker",
            "node1:7210",
            "--cpus",
            "3",
            "--listen",
            "node2:5",
            "--workdir",
            str(tmp_path / "work"),
            "--logdir",
            str(tmp_path / "logs"),
            "--config",
            str(config),
            "--access-file",
            "a.json",
        ]
    )

    assert code == 0
    assert fake_worker.options == {
        "server": "node1:7210",
        "cpus": 3,
        "host": "node2",
        "port": 5,
        "workdir": tmp_path / "work",
        "logdir": tmp_path / "logs",
        "ready_file": None,
        "config": {"subworkers": {"mine": {"command": "prog"}}},
        "access_file": "a.json",
        "lifeline_fd": None,
        "dies_with_server": False,
    }


@pytest.mark.parametrize(("given", "pin"), [([], "none"), (["--pin", "auto"], "auto")])
def test_the_command_line_goes_before_the_configuration_file(
    fake_worker: _Fake, tmp_path: Path, given: list[str], pin: str
) -> None:
    (tmp_path / "worker.toml").write_text('pin = "none"\n')
    options = ["--config", str(tmp_path / "worker.toml"), "--logdir", str(tmp_path / "logs")]

    assert main(["worker", "node1", *options, *given]) == 0
    assert fake_worker.options["config"] == {"pin": pin}


def test_worker_of_a_cluster_reads_its_server_from_the_lifeline(fake_worker: _Fake, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"/home/access.json\nrest")

    code = main(["worker", "-", "--logdir", str(tmp_path), "--lifeline-fd", str(reading)])

    assert code == 0
    assert fake_worker.options is not None
    assert fake_worker.options["server"] == "/home/access.json"
    assert os.read(reading, 100) == b"rest"
    os.close(reading)
    os.close(writing)


def test_worker_of_a_cluster_ends_when_its_parent_does(
    fake_worker: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(writing)

    assert main(["worker", "-", "--logdir", str(tmp_path), "--lifeline-fd", str(reading)]) == 1

    assert fake_worker.options is None
    assert "ended before it named a server" in capsys.readouterr().err
    os.close(reading)


def test_log_goes_to_a_private_file_and_briefly_to_stderr(
    fake_server: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old_mask = os.umask(0)
    try:
        main(["server", "--logdir", str(tmp_path / "logs")])
    finally:
        os.umask(old_mask)

    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    log = tmp_path / "logs" / "server.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert "INFO    rainzmq.fake: at your service" in log.read_text()
    assert "server: at your service" in capsys.readouterr().err


def test_users_fault_is_one_message_and_code_1(
    fake_server: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_server.error = RainException("port 7210 is in use")

    assert main(["server", "--logdir", str(tmp_path)]) == 1

    printed = capsys.readouterr().err
    assert "rainzmq: error: port 7210 is in use\n" in printed
    assert "Traceback" not in printed


def test_fault_of_rainzmq_is_one_line_that_names_the_log_with_the_traceback(
    fake_server: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_server.error = ZeroDivisionError("oh")

    assert main(["server", "--logdir", str(tmp_path)]) == 1

    printed = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: oh" in printed
    assert str(tmp_path / "server.log") in printed
    assert "Traceback" not in printed
    assert "Traceback" in (tmp_path / "server.log").read_text()


def test_fault_before_logging_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("rainzmq.cli.server.start_logging", broken)

    assert main(["server"]) == 1

    [kept] = tmp_path.glob("rainzmq-error-*.txt")
    assert str(kept) in capsys.readouterr().err
    assert "Traceback" in kept.read_text()


def test_unwritable_logdir_is_named(
    fake_server: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(["server", "--logdir", str(tmp_path / "file")]) == 1

    assert "choose another directory with --logdir" in capsys.readouterr().err
    assert fake_server.options is None


def test_server_gets_the_options_of_its_dashboard(fake_server: _Fake, tmp_path: Path) -> None:
    options = ["--http-listen", "0", "--events", "memory", "--http-allow", "a:1", "--http-allow", "b:2"]

    assert main(["server", "--logdir", str(tmp_path), *options]) == 0

    assert fake_server.options is not None
    assert fake_server.options["web"] == WebOptions("127.0.0.1", 0, "memory", ("a:1", "b:2"))


def test_server_without_a_dashboard_gets_none(
    fake_server: _Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["server", "--logdir", str(tmp_path), "--no-dashboard"]) == 0
    assert fake_server.options is not None
    assert fake_server.options["web"] is None

    assert "no effect" not in capsys.readouterr().err
    assert main(["server", "--logdir", str(tmp_path), "--no-dashboard", "--http-listen", "0"]) == 0
    assert "--http-listen and --http-allow have no effect" in capsys.readouterr().err

    monkeypatch.setattr("rainzmq.server.web.missing_packages", lambda: ["bokeh"])
    assert main(["server", "--logdir", str(tmp_path)]) == 0
    assert fake_server.options["web"] is None
    assert "bokeh is not installed; pip install 'rainzmq[dashboard]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "code", "why"),
    [
        ("no-such-program", 127, "was not found\n"),
        ("./file", 126, "not executable; try: chmod +x ./file"),
        (".", 126, "a directory"),
        ("pipe.py", 127, "not found; to run this Python program: rainzmq local -- python pipe.py"),
        ("./pipe.py", 126, "not executable; to run this Python program: rainzmq local -- python ./pipe.py"),
        ("none.py", 127, "was not found\n"),
    ],
)
def test_local_says_at_once_when_the_command_can_not_run(
    program: str,
    code: int,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "pipe.py").touch()

    assert main(["local", "--", program]) == code
    assert why in capsys.readouterr().err
