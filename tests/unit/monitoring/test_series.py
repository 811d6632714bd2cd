"""Curves over time."""

from __future__ import annotations

import numpy as np
import pytest

from rainzmq.monitoring.series import edges, loads, rate, span_of, throughput
from rainzmq.testing.events import START, demo_hub


@pytest.mark.parametrize("length", [0.0, 0.3, 7, 60, 301, 86_400, 10_000_000])
def test_edges_cover_the_span_with_few_pieces(length):
    times = edges((START, START + length))
    assert times[0] <= START
    assert times[-1] >= START + length
    assert 2 <= len(times) <= 154
    assert np.allclose(np.diff(times), times[1] - times[0])


def test_throughput_counts_every_task_once():
    model = demo_hub(20).model
    times = edges((START, model.now))
    done, failed = throughput(list(model.sessions.values()), times, model.now)
    width = times[1] - times[0]
    assert done.sum() * width == pytest.approx(41)
    assert failed.sum() * width == pytest.approx(1)
    half, _ = throughput(list(model.sessions.values()), times, START + 2)
    ended = model.sessions[1].tasks["ended"]
    assert half.sum() * width == pytest.approx((ended <= START + 2).sum())


def test_loads_are_the_last_samples_and_nothing_before_or_long_after():
    model = demo_hub(20).model
    workers = list(model.workers.values())
    times = np.array([START - 1, START + 1.5, model.now + 100])
    found = loads(workers, "memory_used_bytes", times)
    assert np.isnan(found[:, [0, 2]]).all()
    assert found[:, 1].tolist() == [4 << 30, 4 << 30]
    workers[0].went = START + 1
    assert np.isnan(loads(workers, "cpu_percent", times)[0]).all()


def test_the_span_is_the_whole_or_the_end_of_it():
    model = demo_hub(20).model
    assert span_of(model, model.now, None) == (START, model.now)
    assert span_of(model, model.now, 2.0) == (model.now - 2, model.now)


def test_pieces_are_no_shorter_than_asked_for():
    for length in (0.2, 3.0, 40.0):
        assert np.diff(edges((START, START + length), least_s=1.0))[0] == 1.0
    assert np.diff(edges((START, START + 3000), least_s=1.0))[0] > 1.0


def test_a_rate_is_what_a_counter_grew_between_two_samples():
    worker = demo_hub(20).model.workers[1]
    assert rate(worker, "net_sent_bytes") == pytest.approx(1000)
    assert rate(worker, "net_sent_bytes", START + 2.5) == pytest.approx(1000)
    assert rate(worker, "net_sent_bytes", START + 1.5) is None


def test_a_counter_that_began_anew_has_no_rate():
    worker = demo_hub(20).model.workers[1]
    worker.samples["disk_read_bytes"][-1] = 0
    assert rate(worker, "disk_read_bytes") is None
