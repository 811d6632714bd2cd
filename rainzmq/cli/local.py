"""`rainzmq local`: a server and workers on this machine, for one command or until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from rainzmq.cli.options import cpu_count, cpu_list

if TYPE_CHECKING:
    from rainzmq.deploy.local import LocalCluster

_SENT_BY_KERNEL = 0
"""`si_code` above this: not sent by a process. Ctrl-C is; the terminal sends it to the command as well."""

_TERMINATE_AFTER_S = 0.8
_KILL_AFTER_S = 1.5
"""How long the command has after Ctrl-C until SIGTERM, SIGKILL; the cluster needs the rest of the 5 s."""


@click.command(
    short_help="Run a server and workers on this machine, for a command or until Ctrl-C.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--cpus", type=cpu_count, metavar="N|-N|detect", help="Cpus of the worker.  [default: all]")
@click.option(
    "--workers", type=cpu_list, metavar="N,N,...", help="Several workers: the cpus of each, such as 2,2."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port of the server.  [default: 7210 if free, else any]",
)
@click.option(
    "--http-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port of the dashboard, which this version does not serve yet.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def local(
    cpus: int | None,
    workers: list[int] | None,
    port: int | None,
    http_port: int | None,
    command: tuple[str, ...],
) -> int:
    """Runs a server and workers on this machine, reachable from this machine only.

    With a COMMAND (after --): runs it with RAINZMQ_SERVER set, so that its Client() finds this server, then
    stops everything and exits with its exit code. Without: runs until Ctrl-C.
    """
    if cpus is not None and workers is not None:
        raise click.UsageError("give either --cpus (one worker) or --workers (the cpus of each), not both")
    if command and (problem := _not_runnable(command[0])):
        click.echo(f"rainzmq: error: {problem[1]}", err=True)
        return problem[0]
    if http_port is not None:
        click.echo("rainzmq: --http-port: the dashboard is not part of this version", err=True)
    from rainzmq.deploy.local import LocalCluster

    end_signals = _handle_signals()
    with LocalCluster(workers, cpus, port=port) as cluster:
        if not command:
            _say_how_to_connect(cluster)
        return _supervise(cluster, command, end_signals)


def _handle_signals() -> set[signal.Signals]:
    """Makes what asks for the end an exception while the cluster starts; returns these signals.

    Under nohup, which ignores SIGHUP, that is none of them. SIGINT always is one, though a shell ignores it
    for what it starts in the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return {signal.SIGINT, signal.SIGTERM}
    signal.signal(signal.SIGHUP, _exit_on_signal)
    return {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def _exit_on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _not_runnable(program: str) -> tuple[int, str] | None:
    """Exit code (as shells have it) and message for a program that can not be run; None when it can."""
    if shutil.which(program) is not None:
        return None
    if os.path.isdir(program):
        return 126, f"the command {program} is a directory"
    if os.sep in program and os.path.exists(program):
        return 126, f"the command {program} is not executable; try: chmod +x {program}"
    return 127, f"the command {program} was not found"


def _say_how_to_connect(cluster: LocalCluster) -> None:
    click.echo(f"rainzmq runs at {cluster.address}; end it with Ctrl-C.")
    click.echo("Programs of this user on this machine connect with: client = rainzmq.Client()")
    click.echo(f"More workers: rainzmq worker {cluster.address}")
    click.echo(f"Logs: {cluster.logdir}")


def _supervise(cluster: LocalCluster, command: Sequence[str], end_signals: set[signal.Signals]) -> int:
    """Runs the command, if any, until it ends, a signal comes, or the cluster breaks; returns the exit code.

    Signals are blocked and waited for, so that none comes at a bad moment and nothing is polled.
    """
    waited = {*end_signals, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        run = _CommandRun(cluster, command, mask) if command else None
    except OSError as error:
        click.echo(f"rainzmq: error: can not run {command[0]}: {error.strerror}", err=True)
        return 126
    told: set[str] = set()
    while True:
        if run is not None and (code := run.exit_code()) is not None:
            return code
        for failure in cluster.failures():
            if failure not in told:
                click.echo(f"rainzmq: {failure}", err=True)
                told.add(failure)
        if not cluster.is_usable():
            click.echo("rainzmq: error: the cluster can not go on and stops", err=True)
            if run is not None:
                run.end(time.monotonic())
            return 1
        info = signal.sigwaitinfo(waited)
        if info.si_signo in end_signals:
            if run is not None:
                return run.forward(info)
            return 0 if info.si_signo == signal.SIGINT else 128 + info.si_signo


class _CommandRun:
    """The user's command while it runs."""

    def __init__(
        self, cluster: LocalCluster, command: Sequence[str], mask: set[signal.Signals | int]
    ) -> None:
        environment = {**os.environ, "RAINZMQ_SERVER": str(cluster.access_file)}
        # It would name the keys of another server.
        environment.pop("RAINZMQ_ACCESS", None)
        self._popen = subprocess.Popen(
            command, env=environment, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        )

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it, as shells have it."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def forward(self, info: signal.struct_siginfo) -> int:
        """Hands an ending signal on, waits for the command to obey or makes it, and returns its exit code."""
        since = time.monotonic()
        if info.si_code <= _SENT_BY_KERNEL:
            self._popen.send_signal(info.si_signo)
        return self.end(since + _TERMINATE_AFTER_S)

    def end(self, terminate_at: float) -> int:
        """Waits until `terminate_at` (monotonic seconds), then ends the command; returns its exit code."""
        from rainzmq.deploy.process import kill_tree

        self._wait(terminate_at)
        self._popen.terminate()
        self._wait(terminate_at - _TERMINATE_AFTER_S + _KILL_AFTER_S)
        if self.exit_code() is None:
            kill_tree(self._popen.pid)
            self._popen.wait()
        code = self.exit_code()
        assert code is not None
        return code

    def _wait(self, deadline: float) -> None:
        while self.exit_code() is None and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait({signal.SIGCHLD}, left)
