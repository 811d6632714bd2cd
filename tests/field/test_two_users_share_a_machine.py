"""Workers of other users and containers on one machine, which know nothing of each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from namespaces import needs_namespaces

from rainzmq.worker import cpus

pytestmark = needs_namespaces

_CLAIM = """
import sys
from rainzmq.worker import cpus
cpus._BASE += {shift}
print(*cpus.claim_cpus(1)[:2], flush=True)
sys.stdin.read()
"""

_ELSEWHERE = {
    "another network": ["unshare", "--net"],
    "another container": ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc"],
    "another user": ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"],
    "another user namespace": ["unshare", "--user", "--map-root-user", "--net"],
}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cpus")
@pytest.mark.parametrize("where", _ELSEWHERE)
def test_a_worker_elsewhere_on_the_machine_is_not_pinned_to_the_same_cpus(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offsets of its own keep this test's claims apart from those of workers that run now."""
    shift = os.getpid() << 17
    monkeypatch.setattr(cpus, "_BASE", cpus._BASE + shift)
    code = _CLAIM.format(shift=shift)
    command = [*_ELSEWHERE[where], sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().split()
        mine, pinned, claims = cpus.claim_cpus(1)
        for claim in claims:
            claim.close()
        other.communicate()
    first, second = sorted(os.sched_getaffinity(0))[:2]
    assert theirs == [f"[{first}]", "True"]
    assert (mine, pinned) == ([second], True)
