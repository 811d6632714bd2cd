"""When a client gives up a connection that broke."""

from __future__ import annotations

import logging

import pytest
from client_wire import welcome

from rainzmq.client.outage import Ledger, Outage
from rainzmq.common.limits import HOST_SILENT_S

WELCOME = welcome(dead_after_s=10.0, grace_s=60.0)


class Site:
    """A server that is there or not, and an outage seen from it."""

    def __init__(self) -> None:
        self.answers, self.ended, self.now = True, False, 100.0
        self.outage = Outage(self.now, "server:1", lambda: self.answers, lambda: self.ended)

    def wait(self, seconds: float) -> str | None:
        """Look every second; why it is over."""
        for _ in range(round(seconds)):
            self.now += 1
            self.outage.look(self.now)
            over = self.outage.why_over(self.now, WELCOME)
            if over is not None:
                return over
        return None


@pytest.fixture
def site() -> Site:
    return Site()


def test_server_whose_process_ended_is_given_up_at_once(site: Site) -> None:
    site.ended = True
    assert "process has ended" in (site.wait(1) or "")


def test_host_that_answers_without_a_server_is_given_up_after_the_dead_limit(site: Site) -> None:
    assert site.wait(9) is None
    assert "its host has answered" in (site.wait(2) or "")
    assert site.now - 100 <= 11


def test_host_that_does_not_answer_is_waited_for_as_long_as_the_server_waits(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.answers = False
    with caplog.at_level(logging.WARNING):
        assert site.wait(HOST_SILENT_S + 60 - 1) is None
    (line,) = caplog.messages
    assert "has not been reached for 10 s; this program goes on if that changes within 80 s" in line
    assert "neither the server nor its host was reached for 90 s" in (site.wait(2) or "")


def test_host_that_answers_again_gives_the_server_its_whole_limit(site: Site) -> None:
    site.answers = False
    assert site.wait(60) is None
    site.answers = True
    assert site.wait(9) is None
    assert "its host has answered" in (site.wait(2) or "")


def test_own_standstill_is_not_held_against_the_server(site: Site) -> None:
    assert site.wait(5) is None
    site.now += 60
    site.outage.stood_still(60)
    assert site.wait(4) is None
    assert site.wait(3) is not None


def test_ledger_keeps_what_is_not_confirmed() -> None:
    ledger = Ledger()
    for frame in (b"1", b"2", b"3"):
        ledger.sent(frame)
    ledger.confirm(2)
    assert ledger.unconfirmed() == [b"3"]
    ledger.confirm(1)
    ledger.confirm(9)
    assert ledger.unconfirmed() == []
