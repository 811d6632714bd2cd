"""What is not installed is named, with what installs it."""

from __future__ import annotations

import logging

import pytest
from cli_helpers import lacks

from rainzmq.cli.extra import EVENTS, need_extra, not_installed
from rainzmq.cli.server import _web_options
from rainzmq.common.errors import RainException


def test_only_what_is_missing_is_named(monkeypatch):
    need_extra("it")
    lacks(monkeypatch, "bokeh", "networkx")

    with pytest.raises(
        RainException, match=r"^it needs bokeh, networkx: pip install 'rainzmq\[dashboard\]'$"
    ):
        need_extra("it")
    need_extra("it", EVENTS)


def test_one_is_and_two_are_not_installed(monkeypatch, caplog):
    assert not_installed(["bokeh"]) == "bokeh is not installed"
    lacks(monkeypatch, "bokeh", "tornado")

    with caplog.at_level(logging.WARNING):
        assert _web_options("127.0.0.1", None, "sqlite", ()) is None

    assert "bokeh, tornado are not installed; pip install 'rainzmq[dashboard]'" in caplog.text
