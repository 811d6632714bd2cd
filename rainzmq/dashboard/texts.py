"""Text human-readable: templates with the filters that pages and reports share, and what programs said."""

from __future__ import annotations

import time as clock
from typing import Any

import jinja2

from rainzmq.common.tails import as_left
from rainzmq.common.units import format_duration, format_size

NOTHING = "\N{EN DASH}"
"""Stands where there is no value."""


def readable(text: str | None) -> str:
    """A text as a terminal shows it in the end, without the escape sequences for colours and movements."""
    return as_left(text or "")


def moment_text(value: float | None) -> str:
    """A day and time, `2026-11-27 14:05:22`."""
    return NOTHING if value is None else clock.strftime("%Y-%m-%d %H:%M:%S", clock.localtime(value))


def seconds_text(value: float | None) -> str:
    """A duration."""
    return NOTHING if value is None else format_duration(value) if value else "0 s"


def environment(package: str, **filters: Any) -> jinja2.Environment:
    """Templates of a package, with autoescape for everything; `filters` are added to those that all have."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters.update(
        size=lambda value: NOTHING if value is None else format_size(int(value)),
        count=lambda value: NOTHING if value is None else f"{value:,}",
        moment=moment_text,
        seconds=seconds_text,
        readable=readable,
        **filters,
    )
    return made
