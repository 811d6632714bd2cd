"""`python -m rainzmq` is the `rainzmq` command, and `run` is what that command runs."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def run() -> int:
    """Runs the command line of this process and returns the exit code."""
    # Until there is somebody to say it nicely, Ctrl-C just ends this process: no traceback of half an import.
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if plain:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rainzmq.cli.main import main

    if plain:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # A full disk, or a reader that is gone. The interpreter would end with code 120 instead of ours.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


if __name__ == "__main__":
    sys.exit(run())
