"""A worker in a control group: `worker_in_group.py PROCS_FILE` and the arguments of `rainzmq`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    Path(sys.argv.pop(1)).write_text(str(os.getpid()))
    from rainzmq.__main__ import run

    run()
