"""Claiming cpus of the host."""

from __future__ import annotations

import os

import pytest

from rainzmq.worker.cpus import claim_cpus


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of this test must not meet those of workers that run now."""
    monkeypatch.setattr(os, "geteuid", lambda: f"test-{os.getpid()}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7})


def test_two_workers_get_different_cpus() -> None:
    first, first_pinned, one = claim_cpus(2)
    second, second_pinned, two = claim_cpus(2)
    assert (first, second) == ([2, 3], [5, 7])
    assert first_pinned
    assert second_pinned
    for claim in one + two:
        claim.close()


def test_a_worker_that_can_not_have_enough_claims_none_and_pins_nothing() -> None:
    _, _, held = claim_cpus(3)
    assert claim_cpus(2) == ([0, 1], False, [])
    indices, pinned, claims = claim_cpus(1)
    assert (indices, pinned) == ([7], True)
    for claim in held + claims:
        claim.close()


def test_more_cpus_than_there_are_can_be_offered_without_pinning() -> None:
    assert claim_cpus(6) == ([0, 1, 2, 3, 4, 5], False, [])


def test_a_claim_ends_with_its_socket() -> None:
    for _ in range(2):
        indices, pinned, claims = claim_cpus(4)
        assert (indices, pinned) == ([2, 3, 5, 7], True)
        for claim in claims:
            claim.close()
