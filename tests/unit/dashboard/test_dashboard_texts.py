"""What was printed for a terminal, in a page."""

from __future__ import annotations

import pytest

from rainzmq.dashboard.texts import readable


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\x1b[1;31mError\x1b[0m: no", "Error: no"),
        ("\x1b[38;2;1;2;3mx\x1b[K\x1b[?25l", "x"),
        ("\x1b]0;a title\x07text\x1b]8;;http://x\x1b\\link", "textlink"),
        ("\x1b(Bplain\x1b=\x1bM", "plain"),
        ("cut off\x1b[31", "cut off"),
        ("cut off\x1b", "cut off"),
        ("[31m is no sequence\n", "[31m is no sequence\n"),
        ("", ""),
        (None, ""),
    ],
)
def test_sequences_of_terminals_are_left_out_and_nothing_else(text, wanted):
    assert readable(text) == wanted


def test_a_long_text_of_begun_sequences_takes_no_time():
    assert readable("\x1b[" * 100_000 + "\x1b]" * 1000 + "end").endswith("end")
