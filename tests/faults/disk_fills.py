"""Tasks on a worker whose directory has 64 MiB: prints what becomes of them as JSON. Arguments: directory for
logs, the worker's directory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fault_cluster import FaultCluster

from rainzmq import Client, RainException, blob, remote, tasks

MIB = 1 << 20


def outcome(client: Client, make: Any) -> str:
    """How many bytes a task gives, or its error."""
    with client.new_session() as session:
        task = make()
        task.keep_outputs()
        session.submit()
        try:
            return str(len(task.output.fetch().get_bytes()))
        except RainException as error:
            return str(error)


def program(size: int) -> Any:
    return tasks.Execute(["head", "-c", str(size), "/dev/zero"], stdout=True)


@remote()
def function(ctx: Any, size: int) -> bytes:
    return bytes(size)


def main() -> None:
    directory, workdir = map(Path, sys.argv[1:])
    with FaultCluster(directory, dead_after_s=10.0) as cluster, cluster.client() as client:
        worker = cluster.add_worker(options=("--workdir", str(workdir)))
        print(
            json.dumps(
                {
                    "program": outcome(client, lambda: program(100 * MIB)),
                    "function": outcome(client, lambda: function(100 * MIB)),
                    "input": outcome(client, lambda: tasks.Sleep(blob(bytes(100 * MIB)), 0.0)),
                    "again": [
                        outcome(client, lambda: program(40 * MIB)),
                        outcome(client, lambda: function(40 * MIB)),
                    ],
                    "worker ended": worker.ended(),
                }
            )
        )


if __name__ == "__main__":
    main()
