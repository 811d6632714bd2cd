"""`rainzmq local`: a server and workers on this machine, for one command or until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from rainzmq.cli.options import (
    client_grace_option,
    cpu_count,
    cpu_list,
    pin_option,
    too_many_cpus,
    web_options,
)
from rainzmq.common.errors import RainException

if TYPE_CHECKING:
    from rainzmq.deploy.local import LocalCluster

_SENT_BY_KERNEL = 0
"""`si_code` above this: not sent by a process. Ctrl-C is; the terminal sends it to the command as well."""

_SILENT_S = 0.8
"""Most commands end that fast when they are asked to; nothing is said before."""

_TERMINATE_AFTER_S = 3.6
_KILL_AFTER_S = 0.4
"""How long the command has after Ctrl-C until SIGTERM, then SIGKILL; the cluster needs the rest of 5 s."""

_LOST_GRACE_S = 2.0
"""How long the command has to say what happened once the cluster is lost."""


@click.command(
    short_help="Run a server and workers on this machine, for a command or until Ctrl-C.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--cpus", type=cpu_count, metavar="N|-N|detect", help="Cpus of the worker.  [default: all]")
@click.option(
    "--workers",
    type=cpu_list,
    metavar="N,N,...",
    help="The cpus of each worker: 2,2 is two workers, 2 is one.",
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
    help="Port of the dashboard and REST.  [default: 7222 if free, else any]",
)
@pin_option
@client_grace_option
@web_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def local(
    cpus: int | None,
    workers: list[int] | None,
    port: int | None,
    http_port: int | None,
    pin: str | None,
    client_grace: float,
    http_allow: tuple[str, ...],
    events: str,
    no_dashboard: bool,
    command: tuple[str, ...],
) -> int:
    """Runs a server and workers on this machine, reachable from this machine only.

    With a COMMAND (after --): runs it with RAINZMQ_SERVER set, so that its Client() finds this server, then
    stops everything and exits with its exit code. Ctrl-C is the command's, which has some seconds to end; a
    second Ctrl-C ends it at once. Without a COMMAND: runs until Ctrl-C.
    """
    if cpus is not None and workers is not None:
        raise click.UsageError("give either --cpus (one worker) or --workers (the cpus of each), not both")
    if command and (problem := _not_runnable(command[0])):
        click.echo(f"rainzmq: error: {problem[1]}", err=True)
        return problem[0]
    from rainzmq.deploy.local import LocalCluster

    if problem_with_cpus := too_many_cpus(sum(workers) if workers else cpus or 0):
        click.echo(f"rainzmq: {problem_with_cpus}", err=True)
    end_signals = _handle_signals()
    cluster = LocalCluster(
        workers,
        cpus,
        port=port,
        http_port=http_port,
        http_allow=http_allow,
        events=events,
        dashboard=not no_dashboard,
        pin=pin,
        client_grace=client_grace,
    )
    try:
        with cluster:
            if command:
                _say_where_to_look(cluster)
            else:
                _say_how_to_connect(cluster)
            return _supervise(cluster, command, end_signals)
    finally:
        # The event log is whole now.
        _say_what_is_left(cluster)


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
    """Exit code (as shells have it) and message for a program that cannot be run; None when it can."""
    if shutil.which(program) is not None:
        return None
    if os.path.isdir(program):
        return 126, f"the command {program} is a directory"
    hint = f"; to run this Python program: rainzmq local -- python {program}"
    hint = hint if program.endswith(".py") and os.path.exists(program) else ""
    if os.sep in program and os.path.exists(program):
        return 126, f"the command {program} is not executable{hint or f'; try: chmod +x {program}'}"
    return 127, f"the command {program} was not found{hint}"


def _say_how_to_connect(cluster: LocalCluster) -> None:
    click.echo(f"rainzmq runs at {cluster.address}; end it with Ctrl-C.")
    click.echo("Programs of this user on this machine connect with: client = rainzmq.Client()")
    if cluster.dashboard_url is not None:
        click.echo(f"Dashboard (the link is a secret): {cluster.dashboard_url}")
    click.echo(f"More workers: rainzmq worker {cluster.address}")
    click.echo(f"Logs: {cluster.logdir}")


def _say_where_to_look(cluster: LocalCluster) -> None:
    """To people only: what the command prints, to stderr too, may go to a file or a program."""
    if cluster.dashboard_url is not None and sys.stderr.isatty():
        click.echo(f"rainzmq: dashboard (the link is a secret): {cluster.dashboard_url}", err=True)


def _say_what_is_left(cluster: LocalCluster) -> None:
    """Where the event log of the run is, to people only; to everybody why there is none that was to be."""
    from rainzmq.cli.runs import find_events

    try:
        path = find_events(cluster.logdir)
    except RainException:
        why = _why_no_events(cluster.logdir / "server" / "web.log")
        if why is not None:
            click.echo(f"rainzmq: no event log of this run was kept: {why}", err=True)
        return
    if sys.stderr.isatty():
        click.echo(
            f"rainzmq: the event log of this run: {path} (rainzmq report, rainzmq dashboard --replay)",
            err=True,
        )


def _why_no_events(log: Path) -> str | None:
    """What the process that writes the event log said of it last; None when it said nothing."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    said = [line.partition(": ")[2] for line in lines if " WARNING " in line and "the event log" in line]
    return said[-1] if said else None


def _supervise(cluster: LocalCluster, command: Sequence[str], end_signals: set[signal.Signals]) -> int:
    """Runs the command, if any, until it ends, a signal comes, or the cluster breaks; returns the exit code.

    Signals are blocked and waited for, so that none comes at a bad moment and nothing is polled.
    """
    waited = {*end_signals, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        run = _CommandRun(cluster, command, mask, end_signals) if command else None
    except OSError as error:
        click.echo(f"rainzmq: error: cannot run {command[0]}: {error.strerror}", err=True)
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
            click.echo("rainzmq: error: the cluster cannot go on and stops", err=True)
            if run is not None:
                run.end(_LOST_GRACE_S)
            return 1
        info = signal.sigwaitinfo(waited)
        if info.si_signo in end_signals:
            if run is None:
                return 0 if info.si_signo == signal.SIGINT else 128 + info.si_signo
            if (code := run.forward(info)) is not None:
                return code


class _CommandRun:
    """The user's command while it runs."""

    def __init__(
        self,
        cluster: LocalCluster,
        command: Sequence[str],
        mask: set[signal.Signals | int],
        end_signals: set[signal.Signals],
    ) -> None:
        environment = {**os.environ, "RAINZMQ_SERVER": str(cluster.access_file)}
        # It would name the keys of another server.
        environment.pop("RAINZMQ_ACCESS", None)
        self._end_signals = end_signals
        self._popen = subprocess.Popen(
            command, env=environment, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        )

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it, as shells have it."""
        code = self._popen.poll()
        return code if code is None or code >= 0 else 128 - code

    def forward(self, info: signal.struct_siginfo) -> int | None:
        """Hands an ending signal on, waits for the command to obey or makes it, and returns its exit code.

        None: the command is a prompt, for which Ctrl-C in its terminal does not mean the end; it runs on.
        """
        from_terminal = info.si_code > _SENT_BY_KERNEL
        if not from_terminal:
            self._popen.send_signal(info.si_signo)
        return self.end(_TERMINATE_AFTER_S, spare_prompts=from_terminal)

    def end(self, grace_s: float, *, spare_prompts: bool = False) -> int | None:
        """Waits for the command to end, ends it after `grace_s` or a further signal; returns its exit code.

        None: it runs on, because it is a prompt and `spare_prompts` is set.
        """
        from rainzmq.deploy.process import kill_tree

        since = time.monotonic()
        hurried = self._wait(since + _SILENT_S)
        if self.exit_code() is None and not hurried and not (spare_prompts and _at_prompt()):
            self._say(f"still runs; it has {grace_s - _SILENT_S:.1g} s to end. Ctrl-C ends it now")
            self._wait(since + grace_s)
        if self.exit_code() is None and spare_prompts and _at_prompt():
            return None
        if self.exit_code() is None:
            self._say("is terminated")
            self._popen.terminate()
            self._wait(time.monotonic() + _KILL_AFTER_S)
        if self.exit_code() is None:
            self._say("is killed")
            kill_tree(self._popen.pid)
            self._popen.wait()
        return self.exit_code()

    def _say(self, what: str) -> None:
        click.echo(f"rainzmq: the command {what}", err=True)

    def _wait(self, deadline: float) -> bool:
        """Returns when the command ended, at the deadline, or (True) when a further ending signal came."""
        while self.exit_code() is None and (left := deadline - time.monotonic()) > 0:
            info = signal.sigtimedwait({signal.SIGCHLD, *self._end_signals}, left)
            if info is not None and info.si_signo in self._end_signals:
                return True
        return False


def _at_prompt() -> bool:
    """Whether somebody reads single keys from our terminal, as `python` and `bash` do at their prompts."""
    try:
        return not termios.tcgetattr(0)[3] & termios.ICANON
    except termios.error:  # stdin is no terminal
        return False
