"""The heartbeat thread of a client."""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol

from rainzmq.common.errors import RainException

_log = logging.getLogger(__name__)

Endings = queue.SimpleQueue[Callable[[], None]]


class Beating(Protocol):
    """What has a heartbeat; see `Connection`."""

    def beat(self, interval_s: float, late_s: float) -> float:
        """Look after the connection; seconds until the next time."""

    def give_up(self, reason: str) -> None:
        """There are no further beats."""


def start_heartbeat(connection: Beating, endings: Endings, interval_s: float, first_s: float) -> None:
    """Call `connection.beat` again and again, first after at most `first_s`, until something is put into
    `endings`, which is called as the last thing, or the connection object is gone.
    """
    thread = threading.Thread(
        target=_run,
        args=(weakref.ref(connection), endings, interval_s, min(interval_s, first_s)),
        name="rainzmq-heartbeat",
        daemon=True,
    )
    thread.start()


def _run(connection_ref: weakref.ref[Beating], endings: Endings, interval_s: float, pause_s: float) -> None:
    while True:
        before = time.monotonic()
        try:
            end = endings.get(timeout=pause_s)
        except queue.Empty:
            end = None
        if end is not None:
            end()
            return
        connection = connection_ref()
        if connection is None:
            return
        try:
            pause_s = connection.beat(interval_s, time.monotonic() - before - pause_s)
        except RainException as error:
            connection.give_up(str(error))
        except Exception as error:
            _log.exception("the heartbeat failed")
            connection.give_up(f"an error of rainzmq itself: {type(error).__name__}: {error}")
        del connection
