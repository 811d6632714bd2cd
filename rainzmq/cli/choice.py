"""Which server a command asks, and that the user hears of it when there was a choice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rainzmq.transport.access import Access


def choose_server(server: str | None, access_file: Path | None) -> Access:
    """The server that was named, else the one that `Client()` takes; says which when others run here, too.

    Raises:
        RainException: there is no such server.
    """
    from rainzmq.cli.terminal import note
    from rainzmq.transport.access import find_access, running_servers
    from rainzmq.transport.net import format_address

    access = find_access(server, None, access_file)
    is_named = (server, access_file) != (None, None) or any(
        os.environ.get(name) for name in ("RAINZMQ_SERVER", "RAINZMQ_ACCESS")
    )
    if not is_named:
        count = len(running_servers())
        if count > 1:
            where = format_address(access.address, access.port)
            note(f"server {where} ({count} are running; name one to choose)")
    return access
