"""Progress bars: one of the session, one of each group where lines can be changed."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr

import pytest
from tqdm import tqdm

from rainzmq.client.meters import MOST_GROUPS, Meters
from rainzmq.protocol.messages.client import Progress


class Terminal(io.StringIO):
    """Takes the place of stderr."""

    def isatty(self) -> bool:
        return True


def progress(*groups: tuple[str, int, int]) -> Progress:
    """A reply with these groups (name, finished, total)."""
    return Progress(1, sum(row[1] for row in groups), 1, sum(row[2] for row in groups), [], list(groups))


def last_lines(text: str) -> list[str]:
    """What stands last of each bar, by its name."""
    found: dict[str, str] = {}
    for piece in re.split(r"[\r\n]|\x1b\[A", text):
        if "%|" in piece:
            found[piece.strip().split("  ")[0].split(":")[0]] = piece
    return [f"{name} {re.search(r'[0-9]+/[0-9]+', piece)[0]}" for name, piece in found.items()]


def test_groups_have_a_line_each():
    begin = progress(("load", 1, 4), ("train", 0, 2))
    with redirect_stderr(Terminal()) as terminal, Meters("night run", begin) as meters:
        meters.show(progress(("load", 4, 4), ("train", 1, 2)))

    assert last_lines(terminal.getvalue()) == ["night run 5/6", "load 4/4", "train 1/2"]
    assert "1 at workers" in terminal.getvalue()


def test_small_groups_share_a_line_when_there_are_many():
    rows = [(f"g{number}", 0, number) for number in range(1, 21)]
    with redirect_stderr(Terminal()) as terminal, Meters("s", progress(*rows)) as meters:
        meters.show(progress(*[(name, 1, total) for name, _, total in rows], ("", 3, 5)))

    lines = last_lines(terminal.getvalue())
    assert len(lines) == 1 + MOST_GROUPS
    assert lines[0] == "s 23/215"
    assert lines[1] == "g14 1/14"
    assert lines[-1] == "others 16/96"


def test_group_that_comes_later_is_one_of_the_others():
    begin = progress(("a", 0, 1), ("b", 0, 1))
    with redirect_stderr(Terminal()) as terminal, Meters("s", begin) as meters:
        meters.show(progress(("a", 0, 1), ("b", 0, 1), ("c", 1, 2)))

    assert last_lines(terminal.getvalue())[-1] == "others 1/2"


@pytest.mark.parametrize("groups", [(), (("only", 0, 2),)])
def test_single_group_is_not_told_apart(groups):
    with redirect_stderr(Terminal()) as terminal, Meters("s", progress(*groups)) as meters:
        meters.show(progress(*groups))

    assert len(last_lines(terminal.getvalue())) <= 1


def test_file_gets_the_line_of_the_session_only():
    begin = progress(("a", 0, 1), ("b", 0, 1))
    with redirect_stderr(io.StringIO()) as file, Meters("s", begin) as meters:
        assert not meters.can_change
        meters.show(progress(("a", 1, 1), ("b", 1, 1)))

    assert last_lines(file.getvalue()) == ["s 2/2"]
    assert "\x1b" not in file.getvalue()


def test_bars_are_left_behind_whole_when_the_wait_is_broken_off():
    def broken_off() -> None:
        with Meters("s", progress(("a", 0, 1), ("b", 0, 1))):
            raise KeyboardInterrupt

    with redirect_stderr(Terminal()) as terminal, pytest.raises(KeyboardInterrupt):
        broken_off()

    assert not [meter for meter in tqdm._instances if meter.desc in ("s: ", "s")]
    assert terminal.getvalue().count("\n") >= 3
