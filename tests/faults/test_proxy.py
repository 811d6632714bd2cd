"""The proxy of the tests itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from proxy import DOWN, UP, Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """Before a server that echoes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                end = listener.accept()[0]
            except OSError:
                return
            with end:
                while data := end.recv(1024):
                    end.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    with Proxy(*listener.getsockname()) as proxy:
        yield proxy
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def test_it_hands_on_flips_and_cuts(proxy: Proxy) -> None:
    with connect(proxy) as end:
        end.sendall(b"abc")
        assert end.recv(10) == b"abc"
        proxy.flip(UP)
        end.sendall(b"abc")
        assert end.recv(10) == b"abb"
        proxy.flip(DOWN)
        end.sendall(b"abc")
        assert end.recv(10) == b"abb"
        proxy.cut()
        assert end.recv(10) == b""
    assert (proxy.accepted, proxy.flipped, proxy.passed) == (1, 2, {UP: 9, DOWN: 9})


def test_it_refuses_and_listens_again_on_the_same_port(proxy: Proxy) -> None:
    proxy.refuse(True)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.refuse(False)
    with connect(proxy) as end:
        end.sendall(b"abc")
        assert end.recv(10) == b"abc"


def test_it_swallows_one_direction_and_cuts_after_some_bytes(proxy: Proxy) -> None:
    proxy.cut_after(DOWN, 4)
    with connect(proxy) as end:
        proxy.swallow(UP, True)
        end.sendall(b"lost")
        end.settimeout(0.2)
        with pytest.raises(TimeoutError):
            end.recv(10)
        proxy.swallow(UP, False)
        end.settimeout(5)
        end.sendall(b"abcd")
        assert end.recv(10) == b"abcd"
        assert end.recv(10) == b""
