"""Host names and addresses."""

from __future__ import annotations

import errno

import pytest

from rainzmq.common.errors import RainException
from rainzmq.transport.net import bind_error, format_address, is_same_host, parse_address, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", ("a", 5)), ("a:1", ("a", 1)), ("[::1]:2", ("::1", 2)), ("::1", ("::1", 5)), ("[::1]", ("::1", 5))],
)
def test_address_has_a_host_and_perhaps_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text, 5) == expected


def test_port_is_asked_for_when_there_is_no_default() -> None:
    with pytest.raises(RainException, match="port is missing"):
        parse_address("host")


def test_ipv6_address_is_put_in_brackets() -> None:
    assert format_address("::1", 80) == "[::1]:80"
    assert format_address("a", 80) == "a:80"


def test_loopback_names_mean_one_host_and_others_do_not() -> None:
    assert is_same_host("localhost", "127.0.0.1")
    assert is_same_host("Node1", "node1")
    assert not is_same_host("127.0.0.1", "192.0.2.7")


def test_name_that_does_not_resolve_is_named() -> None:
    with pytest.raises(RainException, match=r"'no-such-host\.invalid' does not resolve"):
        resolve("no-such-host.invalid")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.EADDRINUSE, "port 7210 of 127.0.0.1 is in use"),
        (errno.EADDRNOTAVAIL, "not an address of this machine"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "cannot listen on 127.0.0.1:7210: what libzmq says"),
    ],
)
def test_bind_error_says_what_and_what_to_do(code: int, text: str) -> None:
    assert text in str(bind_error("127.0.0.1", 7210, code, "what libzmq says"))
