"""Text for people: templates with the filters that pages and reports share, and what programs said."""

from __future__ import annotations

import re
import time as clock
from typing import Any

import jinja2

from rainzmq.common.units import format_size

NOTHING = "\N{EN DASH}"
"""Stands where there is no value."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[ -/]*[0-Z\\^-~]"  # others of two or three signs
    r"|\x1b(?:\[[0-?]*[ -/]*)?$"  # cut off at the end
)


def readable(text: str | None) -> str:
    """A text without the escape sequences that terminals take for colours and movements."""
    return _ESCAPES.sub("", text) if text and "\x1b" in text else text or ""


def moment_text(value: float | None) -> str:
    """A day and time, `2026-11-27 14:05:22`."""
    return NOTHING if value is None else clock.strftime("%Y-%m-%d %H:%M:%S", clock.localtime(value))


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
        readable=readable,
        **filters,
    )
    return made
