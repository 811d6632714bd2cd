"""A program of a user for tests of faults: `python a_transfer.py ACCESS_FILE WHAT MIB PORT [PATH]` uploads or
downloads so much by way of a port of this machine, and says when it begins and what came of it.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from functools import partial

import rainzmq
from rainzmq import tasks
from rainzmq.client.client import _connect_data

MIB = 1 << 20


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    access, what, mib, port, *path = sys.argv[1:]
    client = rainzmq.Client(access)
    way = replace(client._access, port=int(port))
    client._data._connect = partial(_connect_data, client._context, way)
    with client, client.new_session(what) as session:
        if what == "uploads":
            content = rainzmq.blob(bytes(range(256)) * (int(mib) * MIB // 256))
            digest = tasks.Execute(["sha256sum"], stdin=content, stdout=True)
            digest.keep_outputs()
            say("begins")
            session.submit()
            say(digest.output.fetch().get_str().split()[0])
        else:
            made = tasks.Execute(["sh", "-c", f"yes 0123456 | head -c {int(mib) * MIB}"], stdout=True)
            made.keep_outputs()
            session.submit()
            made.wait()
            say("begins")
            made.output.fetch(path[0])
            with open(path[0], "rb") as file:
                say(hashlib.file_digest(file, "sha256").hexdigest())


if __name__ == "__main__":
    main()
