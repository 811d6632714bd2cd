"""A client that stops itself (SIGSTOP) at the first piece of a download; argument: an access file."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from rainzmq import Client, tasks
from rainzmq.client import datalink


def stop(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def main() -> None:
    datalink.Sink.write = stop  # type: ignore[method-assign]
    with Client(sys.argv[1]) as client, client.new_session() as session:
        made = tasks.Execute(["head", "-c", str(20 << 20), "/dev/zero"], stdout=True)
        made.keep_outputs()
        session.submit()
        made.output.fetch()


if __name__ == "__main__":
    main()
