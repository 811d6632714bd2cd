"""How long a server lets others wait: `python -m benchmarks.drivers.pinger ACCESS_FILE`.

Asks for the server's facts again and again until its standard input ends; then prints JSON: `pings`,
`median_ms` and `longest_ms`. In a process of its own, so that a busy client does not count as a stall.
"""

from __future__ import annotations

import json
import select
import statistics
import sys
import time

from rainzmq import Client

PAUSE_S = 0.005


def main(access_file: str) -> None:
    """Ping until standard input ends."""
    times: list[float] = []
    with Client(access_file) as client:
        client.get_server_info()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            start = time.perf_counter()
            client.get_server_info()
            times.append(1000 * (time.perf_counter() - start))
    result = {"pings": len(times), "median_ms": statistics.median(times), "longest_ms": max(times)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
