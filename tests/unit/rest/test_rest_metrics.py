"""The figures for Prometheus."""

from __future__ import annotations

import re

import pytest
from rest_served import Served, demo

from rainzmq.monitoring.hub import Hub
from rainzmq.protocol.messages import events as e
from rainzmq.rest import metrics as module
from rainzmq.rest.metrics import escaped, metrics
from rainzmq.testing.events import demo_hub

SAMPLE = re.compile(r'(rainzmq_[a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"\})? (-?[0-9.e+-]+)')


def read(text: str) -> dict[str, float]:
    """Samples by name and labels; checks that the text is as Prometheus wants it."""
    assert text.endswith("\n")
    found, typed, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in helped, "each metric stands together"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name in helped
            assert (kind == "counter") == name.endswith("_total")
            typed[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == list(typed)[-1]
            assert match[1] + (match[2] or "") not in found
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_the_figures_are_those_of_the_views():
    served = Served(demo())
    try:
        answer = served.ask("/metrics")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        figures = read(answer.body.decode())
        tasks = [served.get(f"sessions/{number}")["counts"] for number in (1, 2)]
        for state in tasks[0]:
            assert figures[f'rainzmq_tasks{{state="{state}"}}'] == sum(counts[state] for counts in tasks)
        moved = served.get("moves")["items"]
        assert figures["rainzmq_moved_bytes_total"] == sum(item["bytes"] for item in moved)
        assert figures["rainzmq_events_total"] == served.hub.model.number
        worker = served.get("workers/127.0.0.1:5001")
        assert figures['rainzmq_worker_cpu_ratio{worker="127.0.0.1:5001"}'] == pytest.approx(
            worker["cpu_percent"] / 100
        )
        assert figures["rainzmq_server_memory_bytes"] == served.get("server")["memory_bytes"]
    finally:
        served.close()


def test_what_is_not_known_is_left_out():
    figures = read(metrics(Hub()))
    assert "rainzmq_server_cpu_seconds_total" not in figures
    assert figures["rainzmq_workers"] == 0


def test_labels_are_escaped():
    hub = demo_hub(1)
    hub.model.apply(e.WorkerCame(1000, hub.model.now, 9, 'a"b\\c\nd\ud800', "h", 1, 1, []))
    assert 'worker="a\\"b\\\\c\\nd?"' in metrics(hub)
    read(metrics(hub))
    assert escaped('"') == '\\"'


def test_the_number_of_series_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_WORKERS", 3)
    hub = Hub()
    for number in range(1, 8):
        hub.model.apply(e.WorkerCame(number, 1.0, number, f"w:{number}", "h", 1, 2, []))
    hub.model.apply(e.WorkerWent(9, 2.0, 1, "bye", True))
    figures = read(metrics(hub))
    assert figures["rainzmq_workers"] == 6
    cpus = [name for name in figures if name.startswith("rainzmq_worker_cpus")]
    assert cpus == [f'rainzmq_worker_cpus{{worker="w:{number}"}}' for number in (2, 3, 4)]
