"""How the cpus of a cluster are shared out."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.common.errors import RainException
from rainzmq.deploy import cpus
from rainzmq.deploy.cpus import share_cpus


@pytest.fixture(autouse=True)
def _machine_with_eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "available_cpus", lambda: 8)


@pytest.mark.parametrize(
    ("workers", "total", "shares"),
    [
        (None, None, [8]),
        (None, 3, [3]),
        (2, None, [4, 4]),
        (3, 8, [3, 3, 2]),
        (9, None, [1] * 9),
        ([2, 1], None, [2, 1]),
        ((1,), None, [1]),
    ],
)
def test_cpus_are_shared_out(workers: Any, total: int | None, shares: list[int]) -> None:
    assert share_cpus(workers, total) == shares


@pytest.mark.parametrize(
    ("workers", "total", "why"),
    [
        (0, None, "workers must be"),
        (-1, None, "workers must be"),
        (None, 0, "cpus must be"),
        (None, 1.5, "cpus must be"),
        (None, True, "cpus must be"),
        (3, 2, "2 cpus cannot be shared by 3 workers"),
        ([1, 0], None, "cpus of a worker must be"),
        (["2"], None, "cpus of a worker must be"),
        ([], None, "empty"),
        ([1, 1], 2, "not both"),
    ],
)
def test_bad_shares_are_refused(workers: Any, total: Any, why: str) -> None:
    with pytest.raises(RainException, match=why):
        share_cpus(workers, total)
