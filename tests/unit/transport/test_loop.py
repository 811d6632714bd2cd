"""The loop: order within a turn, timers, waking."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
import zmq

from rainzmq.transport.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_turn_calls_sources_then_timers_then_soon_then_turn_end(loop: Loop, pipe: tuple[int, int]) -> None:
    calls: list[str] = []

    def on_readable() -> None:
        calls.append("source")
        loop.remove_reader(pipe[0])
        loop.call_soon(lambda: calls.append("soon"))

    def at_end() -> None:
        calls.append("end")
        loop.stop()

    loop.call_later(0, lambda: calls.append("timer"))
    loop.at_turn_end(at_end)
    loop.add_reader(pipe[0], on_readable)
    os.write(pipe[1], b"x")
    loop.run()
    assert calls == ["source", "timer", "soon", "end"]


def test_turn_end_callbacks_run_in_order_of_registration(loop: Loop) -> None:
    calls: list[int] = []
    for number in range(3):
        loop.at_turn_end(lambda number=number: calls.append(number))  # type: ignore[misc]
    loop.call_soon(loop.stop)
    loop.run()
    assert calls == [0, 1, 2]


def test_timers_fire_in_order_of_time_and_cancelled_ones_do_not(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(loop, "now", lambda: 100.0)  # the time of all calls is the same, whatever they take
    loop.call_later(0, loop.stop)
    loop.call_later(-1, lambda: calls.append("second"))
    loop.call_later(-2, lambda: calls.append("first"))
    loop.call_later(-3, lambda: calls.append("never")).cancel()
    loop.run()
    assert calls == ["first", "second"]


def test_timer_can_cancel_one_that_is_due_in_the_same_turn(loop: Loop) -> None:
    calls: list[str] = []
    loop.call_later(-1, lambda: later.cancel())
    later = loop.call_later(0, lambda: calls.append("never"))
    loop.call_soon(loop.stop)
    loop.run()
    assert calls == []
    assert not later.active


def test_many_cancelled_timers_do_not_stay_in_memory(loop: Loop) -> None:
    for _ in range(10_000):
        loop.call_later(3600, lambda: None).cancel()
    assert len(loop._timers) < 1000


def test_stop_before_run_returns_at_once_and_the_loop_can_run_again(loop: Loop) -> None:
    loop.stop()
    loop.run()
    loop.call_soon(loop.stop)
    loop.run()


def test_reader_removed_by_an_earlier_callback_is_not_called(loop: Loop) -> None:
    calls: list[int] = []
    pipes = [os.pipe() for _ in range(2)]
    for read, write in pipes:
        os.write(write, b"x")

        def on_readable(read: int = read) -> None:
            calls.append(read)
            for other, _ in pipes:
                loop.remove_reader(other)
            loop.stop()

        loop.add_reader(read, on_readable)
    loop.run()
    assert len(calls) == 1
    for descriptors in pipes:
        for descriptor in descriptors:
            os.close(descriptor)


def test_removing_an_unknown_reader_is_no_error(loop: Loop) -> None:
    loop.remove_reader(0)
    loop.remove_writer(0)


def test_writer_is_called_while_the_source_takes_something(loop: Loop, pipe: tuple[int, int]) -> None:
    calls: list[str] = []

    def on_writable() -> None:
        calls.append("write")
        if len(calls) == 2:
            loop.remove_writer(pipe[1])
            loop.stop()

    loop.add_writer(pipe[1], on_writable)
    loop.run()
    assert calls == ["write", "write"]


def test_call_from_another_thread_wakes_an_idle_loop(loop: Loop) -> None:
    calls: list[int] = []
    loop_thread = threading.get_ident()

    def other() -> None:
        for number in range(100):
            loop.call_threadsafe(lambda number=number: calls.append(number))  # type: ignore[misc]
        loop.call_threadsafe(lambda: calls.append(threading.get_ident()))
        loop.call_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    thread.start()
    loop.run()
    thread.join()
    assert calls == [*range(100), loop_thread]


def test_zmq_socket_with_messages_left_stays_ready(loop: Loop) -> None:
    context = zmq.Context()
    left, right = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    left.bind("inproc://loop-test")
    right.connect("inproc://loop-test")
    received: list[bytes] = []

    def on_readable() -> None:
        received.append(left.recv(zmq.DONTWAIT))
        if len(received) == 3:
            loop.stop()

    loop.add_reader(left, on_readable)
    for text in (b"a", b"b", b"c"):
        right.send(text)
    loop.run()
    assert received == [b"a", b"b", b"c"]
    loop.remove_reader(left)
    context.destroy(linger=0)


def test_exception_of_a_callback_propagates(loop: Loop) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    loop.call_soon(bug)
    with pytest.raises(ZeroDivisionError):
        loop.run()


def test_signal_handler_may_stop_the_loop(loop: Loop) -> None:
    previous = signal.signal(signal.SIGUSR1, lambda number, frame: loop.stop())
    try:
        loop.call_later(0, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_idle_loop_waits_without_a_limit(loop: Loop) -> None:
    assert loop._timeout_ms() is None
    timer = loop.call_later(10, lambda: None)
    assert 9_000 < (loop._timeout_ms() or 0) <= 10_001
    timer.cancel()
    assert loop._timeout_ms() is None
