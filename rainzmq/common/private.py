"""Files that are nobody else's, whatever the umask is."""

from __future__ import annotations

import os


def private_opener(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that is made is for its owner only (0600); one that exists stays."""
    return os.open(path, flags, 0o600)
