"""When samples are sent, and what is in them where a machine tells little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.protocol.codec import Header, decode, encode
from rainzmq.protocol.messages.worker import CONVERSATION, Sample
from rainzmq.store.objects import ObjectStore
from rainzmq.worker import sampling
from rainzmq.worker.sampling import MIN_INTERVAL_S, Sampling, sample


class Timer:
    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Timers that are run by hand."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        self.timers.append(Timer(delay_s, callback))
        return self.timers[-1]

    def fire(self) -> float:
        """Run the timer that is due next; its delay."""
        (timer,) = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        timer.callback()
        return timer.delay_s

    @property
    def waits(self) -> bool:
        return any(not timer.cancelled for timer in self.timers)


class Bench:
    def __init__(self, store: ObjectStore) -> None:
        self.loop = Loop()
        self.sent: list[Any] = []
        self.sampling = Sampling(self.loop, store, self.sent.extend)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store")


@pytest.fixture
def bench(store: ObjectStore) -> Bench:
    return Bench(store)


def test_a_sample_is_sent_every_interval(bench: Bench) -> None:
    bench.sampling.start(2.5)
    assert bench.sent == []
    assert [bench.loop.fire() for _ in range(3)] == [2.5, 2.5, 2.5]
    assert [type(message) for message in bench.sent] == [Sample] * 3


def test_nothing_is_sent_for_an_interval_of_0(bench: Bench) -> None:
    bench.sampling.start(0.0)
    assert not bench.loop.waits


def test_nothing_is_sent_any_more_after_stop_until_the_next_start(bench: Bench) -> None:
    bench.sampling.stop()
    bench.sampling.start(1.0)
    bench.sampling.stop()
    assert not bench.loop.waits
    bench.sampling.start(2.0)
    bench.sampling.start(3.0)
    assert bench.loop.fire() == 3.0
    assert len(bench.sent) == 1


def test_a_server_that_wants_samples_all_the_time_gets_them_less_often(bench: Bench) -> None:
    bench.sampling.start(1e-9)
    assert bench.loop.fire() == MIN_INTERVAL_S


def test_a_sample_tells_of_the_machine_and_the_store(store: ObjectStore) -> None:
    store.put(make_uid(1, 1), b"x" * 100)
    store.put(make_uid(1, 2), b"y" * 11)
    told = sample(store)
    assert (told.store_bytes, told.store_objects) == (111, 2)
    assert told.store_free_bytes > 0
    assert 0 < told.memory_used_bytes < told.memory_total_bytes
    assert len(told.cpu_percent) == psutil.cpu_count()
    assert all(0.0 <= percent <= 100.0 for percent in told.cpu_percent)


def test_loopback_is_left_out(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    card = type(psutil.net_io_counters())
    cards = {"lo": card(1000, 1000, 0, 0, 0, 0, 0, 0), "eth0": card(1, 2, 0, 0, 0, 0, 0, 0)}
    cards["eth1"] = card(10, 20, 0, 0, 0, 0, 0, 0)
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: cards)
    told = sample(store)
    assert (told.net_sent_bytes, told.net_received_bytes) == (11, 22)


def test_what_can_not_be_looked_at_is_0(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **options: Any) -> Any:
        raise NotImplementedError("no such file in this container")

    for name in ("cpu_percent", "virtual_memory", "net_io_counters", "disk_io_counters"):
        monkeypatch.setattr(psutil, name, fails)
    monkeypatch.setattr(sampling, "free_bytes", fails)
    assert sample(store) == Sample([], *[0] * 9)


def test_strange_numbers_can_be_sent(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = type("Disks", (), {"read_bytes": -1, "write_bytes": 1 << 70})
    monkeypatch.setattr(psutil, "disk_io_counters", disks)
    monkeypatch.setattr(psutil, "cpu_percent", lambda percpu: [float("nan"), -3.0, 250, 7.5])
    told = sample(store)
    assert told.cpu_percent == [0.0, 0.0, 100.0, 7.5]
    assert (told.disk_read_bytes, told.disk_written_bytes) == (0, (1 << 62) - 1)
    assert decode(encode(told, Header()), CONVERSATION, "worker")[1] == told


def test_a_machine_without_disks_has_written_nothing(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    assert sample(store).disk_written_bytes == 0
