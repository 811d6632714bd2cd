"""A program of a user for tests of faults: `python a_client.py ACCESS_FILE WHAT [SECONDS]`, prints as it
goes.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
import time

import rainzmq
from rainzmq import tasks


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    access, what, *rest = sys.argv[1:]
    seconds = float(rest[0]) if rest else 0.0
    client = rainzmq.Client(access)
    with client.new_session(what) as session:
        if what == "runs for ever":
            tasks.Sleep(rainzmq.blob("x"), 1000)
            session.submit()
            say("submitted")
            session.wait_all()
        elif what == "leaves a child":
            tasks.Sleep(rainzmq.blob("x"), 1000)
            session.submit()
            multiprocessing.get_context("fork").Process(target=time.sleep, args=(seconds,)).start()
            say("submitted")
            session.wait_all()
        elif what == "holds the lock":
            slow = tasks.Sleep(rainzmq.blob("slow"), 1).output
            slow.keep()
            session.submit()
            say("submitted")
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
            say(slow.fetch().get_str())
        elif what == "goes on":
            for number in range(1_000_000):
                done = tasks.Concat([rainzmq.blob(f"{number} "), rainzmq.blob("done")]).output
                done.keep()
                session.submit()
                say(done.fetch().get_str())
                session.unkeep(done)
                time.sleep(seconds)


if __name__ == "__main__":
    main()
