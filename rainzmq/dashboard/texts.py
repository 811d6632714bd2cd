"""What programs and tasks said, as text that people can read in a page."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[ -/]*[0-Z\\^-~]"  # others of two or three signs
    r"|\x1b(?:\[[0-?]*[ -/]*)?$"  # cut off at the end
)


def readable(text: str | None) -> str:
    """A text without the escape sequences that terminals take for colours and movements."""
    return _ESCAPES.sub("", text) if text and "\x1b" in text else text or ""
