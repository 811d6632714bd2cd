"""Runs a server whose limits are short: `python fast_server.py ACCESS_FILE DEAD_AFTER_S --logdir ...`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rainzmq.cli.logs import start_logging
from rainzmq.common.limits import CLIENT_GRACE_S
from rainzmq.server import relay
from rainzmq.server.server import ServerOptions, run_server
from rainzmq.transport import exchange


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("access_file", type=Path)
    parser.add_argument("dead_after_s", type=float)
    parser.add_argument("host")
    parser.add_argument("--client-grace-s", type=float, default=CLIENT_GRACE_S)
    parser.add_argument("--data-limits-s", type=float, help="of tickets, and of receivers that say nothing")
    parser.add_argument("--logdir", type=Path)
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--lifeline-fd", type=int)
    given = parser.parse_args()
    dead_after_s = given.dead_after_s
    if given.data_limits_s is not None:
        relay.TICKET_S = exchange.SENDER_IDLE_S = given.data_limits_s
    return run_server(
        ServerOptions(
            host=given.host,
            port=0,
            logdir=start_logging("server", given.logdir),
            ready_file=given.ready_file,
            access_file=given.access_file,
            lifeline_fd=given.lifeline_fd,
            heartbeat_interval_s=dead_after_s / 5,
            suspect_after_s=dead_after_s * 0.6,
            dead_after_s=dead_after_s,
            client_grace_s=given.client_grace_s,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
