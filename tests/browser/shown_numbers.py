"""How pages and reports write numbers."""

from __future__ import annotations

from rainzmq.common.units import format_size
from rainzmq.dashboard.site import clock_text
from rainzmq.dashboard.texts import moment_text, seconds_text

NOTHING = "\N{EN DASH}"

clock, moment, seconds = clock_text, moment_text, seconds_text


def count(value: int) -> str:
    """A number of things."""
    return f"{value:,}"


def size(value: int | None) -> str:
    """Bytes."""
    return NOTHING if value is None else format_size(value)
