"""`python -m rainzmq` is the `rainzmq` command."""

from __future__ import annotations

import sys

from rainzmq.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
