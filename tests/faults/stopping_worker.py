"""A worker that stops itself (SIGSTOP) at the first piece of a transfer; arguments as of `rainzmq`."""

from __future__ import annotations

import os
import signal
from typing import Any

from rainzmq.__main__ import run
from rainzmq.store import streams


def stop(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    streams.ObjectSink.write = stop  # type: ignore[method-assign]
    run()
