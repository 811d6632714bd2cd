"""The ends of what tasks write to their standard streams, which go to files.

What was meant for a terminal is shown as a terminal would have left it: of a progress bar, which is drawn
over itself again and again, only what it was last. The files have it all.
"""

from __future__ import annotations

import os
import re

TAIL_BYTES = 4 << 10
"""How much of the end of a stream is kept human-readable."""

OUTPUT_FILE_BYTES = 16 << 20
"""A file with the output of many tasks starts again between two of them once it is larger than this."""


_DRAWN_BYTES = 64 << 10
"""So much of what was drawn over itself is read to get what is left of it."""

_STEPS = re.compile(
    r"(?P<end>\r*\n)"
    r"|(?P<back>\r)"
    r"|\x1b\[(?P<number>\d*)(?P<move>[AFKJ])"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, other movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[ -/]*[0-Z\\^-~]"  # others of two or three signs
    r"|\x1b(?:\[[0-?]*[ -/]*$)?"  # cut off at the end, or none
)


def as_left(text: str) -> str:
    """What a terminal shows in the end of a text with carriage returns and escape sequences: a line that was
    begun again is what was written to it last; movements up and deletions count, all else is dropped.
    """
    if "\r" not in text and "\x1b" not in text:
        return text
    rows, row, begins, at = [""], 0, False, 0
    for step in _STEPS.finditer(text):
        written, at = text[at : step.start()], step.end()
        if written:
            rows[row] = written if begins else rows[row] + written
            begins = False
        if step["end"]:
            row += 1
            begins = True
            if row == len(rows):
                rows.append("")
        elif step["back"]:
            begins = True
        elif step["move"] in ("A", "F"):
            row, begins = max(0, row - int(step["number"] or 1)), True
        elif step["move"] == "J":
            del rows[row + 1 :]
        if step["move"] in ("J", "K") and (begins or step["number"] == "2"):
            rows[row] = ""
    if text[at:]:
        rows[row] = text[at:] if begins else rows[row] + text[at:]
    return "\n".join(rows)


def read_tail(descriptor: int, begin: int, end: int, limit_bytes: int = TAIL_BYTES) -> str:
    """The last of the bytes from `begin` to `end` of a file as text, `as_left` on a terminal, at most
    `limit_bytes` characters. What is no UTF-8 becomes U+FFFD. Empty when the file cannot be read.
    """
    text = _read_end(descriptor, begin, end, limit_bytes)
    if "\r" in text or "\x1b" in text:
        return as_left(_read_end(descriptor, begin, end, _DRAWN_BYTES))[-limit_bytes:]
    return text


def _read_end(descriptor: int, begin: int, end: int, limit_bytes: int) -> str:
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
