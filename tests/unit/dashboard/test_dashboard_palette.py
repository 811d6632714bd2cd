"""Colours: seen on their background, and the same in figures and style sheet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rainzmq.dashboard
from rainzmq.dashboard.palette import DARK, LIGHT, THEMES, first_choice, name_colors, places_of

STYLES = Path(rainzmq.dashboard.__file__).with_name("assets") / "dashboard.css"


def luminance(color):
    values = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_shapes_have_a_contrast_of_3_and_texts_of_4_5(theme):
    for color in (*theme.names, *theme.states.values()):
        assert contrast(color, theme.panel) >= 3, color
    for color in (theme.text, theme.faint, theme.accent):
        for background in (theme.page, theme.panel):
            assert contrast(color, background) >= 4.5, color


def test_a_name_has_the_colour_that_its_letters_choose_on_all_pages_and_in_all_runs():
    assert first_choice("load/parse") == 8
    assert name_colors(["load/parse", "x", "load/parse"], DARK)[0] == DARK.names[8]
    assert len(LIGHT.names) == len(DARK.names) == len(set(LIGHT.names)) == len(set(DARK.names))


def test_names_that_are_shown_together_have_colours_of_their_own():
    names = ["prep/", "load/part-0", "held", "after", *(f"name {number}" for number in range(20))]
    for count in (4, 12, 24):
        assert len(set(places_of(names[:count]).values())) == count
    assert places_of(names[:4]) == {name: places_of(names)[name] for name in names[:4]}, "colours changed"
    many = places_of(f"name {number}" for number in range(72))
    assert all(list(many.values()).count(place) == 3 for place in range(24))


def test_the_style_sheet_has_the_same_colours():
    text = STYLES.read_text()
    for theme, block in zip((LIGHT, DARK), text.split("}")[:2], strict=True):
        values = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        assert [values[f"n{at}"] for at in range(len(theme.names))] == list(theme.names)
        assert {name: values[name] for name in theme.states} == theme.states
        for name in ("page", "panel", "text", "faint", "line", "accent"):
            assert values[name] == getattr(theme, name)
