"""Colours: of names, of states, and of all else in a light and a dark theme. See also `assets/dashboard.css`.

A name has the same place in the palette on all pages, and no two names that are shown have the same one. The
colours differ in lightness as well as
in hue, for those who do not tell hues apart, and have a contrast of at least 3 to the panels of their theme.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from rainzmq.common.states import TaskState
from rainzmq.monitoring.attempts import LOST
from rainzmq.monitoring.session import STATES


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one theme, as `#rrggbb`.

    Attributes:
        name: "light" or "dark".
        page, panel: backgrounds.
        text, faint, line: texts, texts of less weight, lines of axes and grids.
        accent: what can be acted upon, and single lines in charts.
        names: colours for names of tasks.
        states: by state's name.
    """

    name: str
    page: str
    panel: str
    text: str
    faint: str
    line: str
    accent: str
    names: tuple[str, ...]
    states: dict[str, str]


LIGHT = Theme(
    name="light",
    page="#f6f7f9",
    panel="#ffffff",
    text="#1b2330",
    faint="#56606f",
    line="#dfe3e9",
    accent="#1f5fbf",
    names=(
        "#2f6fb8",
        "#c2571a",
        "#178a66",
        "#8e3a86",
        "#8f7a00",
        "#5a4fb5",
        "#1395a8",
        "#a8324a",
        "#5f8a1f",
        "#80543a",
        "#d4559c",
        "#1d4f7a",
        "#d9722f",
        "#3f6b3a",
        "#9b6fd6",
        "#6b7688",
        "#0b6e4f",
        "#b0266f",
        "#5b6abf",
        "#a86414",
        "#3a8fc9",
        "#7a2e2e",
        "#6f7d1a",
        "#7d5ba6",
    ),
    states={
        TaskState.WAITING: "#868f9e",
        TaskState.READY: "#b57b00",
        TaskState.ASSIGNED: "#7b6bd0",
        TaskState.RUNNING: "#2f6fb8",
        TaskState.FINISHED: "#178a66",
        TaskState.FAILED: "#c23119",
        TaskState.CANCELLED: "#6a5a5a",
    },
)

DARK = Theme(
    name="dark",
    page="#12161c",
    panel="#1a2028",
    text="#e6eaf0",
    faint="#a3adbb",
    line="#333c48",
    accent="#7db4f5",
    names=(
        "#6aa5ea",
        "#f08a4b",
        "#3fbf96",
        "#d582cc",
        "#d3bb3e",
        "#a095f2",
        "#4fc7d9",
        "#f0788f",
        "#a3cf5c",
        "#c2977b",
        "#ff9fd0",
        "#7f9fbd",
        "#ffb88a",
        "#8ab884",
        "#caaaf7",
        "#a7b2c4",
        "#74d9b0",
        "#f56fb3",
        "#98a8ff",
        "#e0a050",
        "#8fd0ff",
        "#d98a80",
        "#c6d457",
        "#c3a2e6",
    ),
    states={
        TaskState.WAITING: "#7a8494",
        TaskState.READY: "#e0ab3a",
        TaskState.ASSIGNED: "#a79af0",
        TaskState.RUNNING: "#5b9bea",
        TaskState.FINISHED: "#34b58c",
        TaskState.FAILED: "#ff6f55",
        TaskState.CANCELLED: "#a08f8f",
    },
)

DISTINCT = 12
"""So many of the first colours for names are told apart at a glance; those after them are shades."""

THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
"""By name."""


def first_choice(name: str) -> int:
    """The place that a name has when no other has it."""
    return zlib.crc32(name.encode("utf-8", "replace")) % DISTINCT


def places_of(names: Iterable[str]) -> dict[str, int]:
    """A place in `Theme.names` for each name: no two have the same while there are enough.

    A name has the place that its letters choose, of the first `DISTINCT` ones; where another that came before
    has it, the next that is free. So the colours of a run stay while names are added, and another run of the
    same program has them too.

    Args:
        names: in the order of their coming; some may come several times.
    """
    found: dict[str, int] = {}
    taken = [0] * len(LIGHT.names)
    for name in names:
        if name not in found:
            wanted = first_choice(name)
            order = [*range(wanted, DISTINCT), *range(wanted), *range(DISTINCT, len(taken))]
            found[name] = min(order, key=taken.__getitem__)
            taken[found[name]] += 1
    return found


def name_colors(names: Iterable[str], theme: Theme) -> list[str]:
    """The colour of each of some names, which are all that are shown, in the order of their coming."""
    wanted = list(names)
    places = places_of(wanted)
    return [theme.names[places[name]] for name in wanted]


def outcome_color(code: int, theme: Theme) -> str:
    """Colour of an attempt's outcome, a code as in `attempts.OUTCOMES`."""
    return theme.states[TaskState.CANCELLED] if code == LOST else theme.states[STATES[code]]
