"""The `rainzmq` command. Each subcommand has a file of its own, and imports what it runs only when it runs.

Whatever goes wrong, a user sees one clear message on stderr and never a traceback. The exit code is 2 for a
wrong command line, 1 for anything else.
"""

from __future__ import annotations

import logging
import os
import tempfile
import traceback
from collections.abc import Sequence

import click

from rainzmq._version import __version__
from rainzmq.cli.cancel import cancel
from rainzmq.cli.dashboard import dashboard
from rainzmq.cli.local import local
from rainzmq.cli.logs import log_path
from rainzmq.cli.logs_of_task import logs
from rainzmq.cli.report import report
from rainzmq.cli.server import server
from rainzmq.cli.sessions import sessions
from rainzmq.cli.task import task
from rainzmq.cli.tasks import tasks
from rainzmq.cli.top import top
from rainzmq.cli.web import web
from rainzmq.cli.worker import worker
from rainzmq.cli.workers import workers
from rainzmq.common.errors import RainException


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rainzmq", message="%(prog)s %(version)s")
def cli() -> None:
    """rainzmq runs pipelines of programs and Python functions on the cores of one or many machines.

    To try it here: rainzmq local -- python YOUR_PROGRAM.py
    """


_LOOKS = (dashboard, top, tasks, task, workers, sessions, logs, report)

for _command in (local, server, worker, *_LOOKS, cancel, web):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line (None: `sys.argv`) and returns the exit code."""
    try:
        result = cli.main(arguments, prog_name="rainzmq", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("rainzmq: interrupted", err=True)
        return 130
    except RainException as error:
        logging.getLogger("rainzmq.cli").debug("ended by an error", exc_info=True)
        click.echo(f"rainzmq: error: {error}", err=True)
        return 1
    except Exception as error:  # the edge of the process: a bug of ours must not look like one of the user's
        where = _keep_traceback(error)
        click.echo(
            f"rainzmq: internal error: {type(error).__name__}: {error}; this is a fault of rainzmq, "
            f"please report it with {where}",
            err=True,
        )
        return 1


def _keep_traceback(error: Exception) -> str:
    """Writes the traceback to the log, or where there is none to a file of its own; returns its path."""
    path = log_path()
    if path is not None:
        logging.getLogger("rainzmq.cli").error("internal error: %s", error, exc_info=error)
        return path
    handle, path = tempfile.mkstemp(prefix="rainzmq-error-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.writelines(traceback.format_exception(error))
    return path
