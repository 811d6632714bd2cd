"""Claiming cpus of the host."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from rainzmq.worker import cpus
from rainzmq.worker.cpus import CpuClaim, claim_cpus


@pytest.fixture(autouse=True)
def _own_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of this test must not meet those of workers and tests that run now."""
    monkeypatch.setattr(cpus, "_BASE", (0x74657374 << 32) + (os.getpid() << 8))
    monkeypatch.setattr(cpus, "_MAX_CPUS", 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7})


def test_two_workers_get_different_cpus() -> None:
    first, first_pinned, one = claim_cpus(2)
    second, second_pinned, two = claim_cpus(2)
    assert (first, second) == ([2, 3], [5, 7])
    assert first_pinned
    assert second_pinned
    for claim in one + two:
        claim.close()


def test_a_worker_that_cannot_have_enough_claims_none_and_pins_nothing() -> None:
    _, _, held = claim_cpus(3)
    assert claim_cpus(2) == ([0, 1], False, [])
    indices, pinned, claims = claim_cpus(1)
    assert (indices, pinned) == ([7], True)
    for claim in held + claims:
        claim.close()


def test_more_cpus_than_there_are_can_be_offered_without_pinning() -> None:
    assert claim_cpus(6) == ([0, 1, 2, 3, 4, 5], False, [])


def test_a_claim_ends_with_its_file() -> None:
    for _ in range(2):
        indices, pinned, claims = claim_cpus(4)
        assert (indices, pinned) == ([2, 3, 5, 7], True)
        for claim in claims:
            claim.close()


def test_of_two_that_claim_the_same_at_once_the_one_that_sees_the_other_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other one's claim comes between the first look and the own claim."""
    others: list[CpuClaim] = []

    class Late(CpuClaim):
        def __init__(self, indices: list[int]) -> None:
            if not others:
                others.append(CpuClaim(indices))
            super().__init__(indices)

    monkeypatch.setattr(cpus, "CpuClaim", Late)
    indices, pinned, claims = claim_cpus(2)
    assert (indices, pinned) == ([5, 7], True)
    for claim in others + claims:
        claim.close()


def test_many_at_once_never_have_a_cpu_in_common() -> None:
    claimed: list[Any] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        claimed.append(claim_cpus(1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [indices[0] for indices, pinned, _ in claimed if pinned]
    for _, _, claims in claimed:
        for claim in claims:
            claim.close()
    assert len(claimed) == 8
    assert 0 < len(taken) == len(set(taken)) <= 4


@pytest.mark.parametrize("hidden", [None, {}])
def test_without_a_list_that_shows_its_own_claim_a_worker_pins_nothing(
    monkeypatch: pytest.MonkeyPatch, hidden: dict[Any, set[int]] | None
) -> None:
    monkeypatch.setattr(cpus, "_claimed", lambda: hidden)
    assert claim_cpus(2) == ([0, 1], False, [])
