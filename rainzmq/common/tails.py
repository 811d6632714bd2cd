"""The ends of what tasks write to their standard streams, which go to files."""

from __future__ import annotations

import os

TAIL_BYTES = 4 << 10
"""How much of the end of a stream is kept for people."""

OUTPUT_FILE_BYTES = 16 << 20
"""A file with the output of many tasks starts anew between two of them once it is larger than this."""


def read_tail(descriptor: int, begin: int, end: int, limit_bytes: int = TAIL_BYTES) -> str:
    """The last of the bytes from `begin` to `end` of a file as text, at most `limit_bytes` characters. What
    is no UTF-8 becomes U+FFFD. Empty when the file can not be read.
    """
    start = max(begin, end - limit_bytes)
    if start >= end:
        return ""
    try:
        data = os.pread(descriptor, end - start, start)
    except OSError:
        return ""
    if start > begin:
        data = _without_cut_character(data)
    return data.decode("utf-8", "replace")


def _without_cut_character(data: bytes) -> bytes:
    """Without the rest of a character whose beginning was cut off: up to three continuation bytes."""
    for index, byte in enumerate(data[:4]):
        if byte & 0xC0 != 0x80:
            return data[index:]
    return data
