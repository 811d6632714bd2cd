"""`python -m rainzmq` is the `rainzmq` command, and `run` is what that command runs."""

from __future__ import annotations

import signal
import sys


def run() -> int:
    """Runs the command line of this process and returns the exit code."""
    # Until there is somebody to say it nicely, Ctrl-C just ends this process: no traceback of half an import.
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if plain:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rainzmq.cli.main import main

    if plain:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()


if __name__ == "__main__":
    sys.exit(run())
