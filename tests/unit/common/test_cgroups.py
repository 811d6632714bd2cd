"""Limits of control groups, from files as containers and batch systems have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rainzmq.common import cgroups

_DOCKER_V1 = {
    "/proc/self/cgroup": "4:cpu,cpuacct:/docker/ab12\n2:memory:/docker/ab12\n0::/\n",
    "/proc/self/mountinfo": (
        "90 80 0:30 /docker/ab12 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
        "91 80 0:31 /docker/ab12 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    ),
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}
_SYSTEMD_V2 = {
    "/proc/self/cgroup": "0::/system.slice/slurm.scope/job_7/step_0\n",
    "/proc/self/mountinfo": "30 23 0:26 / /mnt/groups rw shared:4 - cgroup2 cgroup2 rw\n",
    "/mnt/groups/system.slice/slurm.scope/job_7/step_0/cpu.max": "800000 100000\n",
    "/mnt/groups/system.slice/slurm.scope/job_7/cpu.max": "400000 100000\n",
    "/mnt/groups/system.slice/slurm.scope/job_7/memory.max": "5000\n",
    "/mnt/groups/system.slice/memory.max": "7000\n",
    "/mnt/groups/system.slice/cpu.max": "max 100000\n",
}


def _pretend(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(cgroups, "_lines", lambda path: files.get(path, "").splitlines())


def test_a_mount_that_begins_at_the_containers_group_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, _DOCKER_V1)
    assert cgroups.cpu_quota() == 2.5
    assert cgroups.memory_limit() is None


def test_the_tightest_limit_of_all_groups_above_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, _SYSTEMD_V2)
    assert cgroups.cpu_quota() == 4.0
    assert cgroups.memory_limit() == (5000, Path("/mnt/groups/system.slice/slurm.scope/job_7"))


def test_cached_files_are_no_memory_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(
        monkeypatch,
        {
            "/one/memory.current": "700\n",
            "/one/memory.stat": "anon 9\ninactive_file 600\n",
            "/two/memory.usage_in_bytes": "70\n",
            "/two/memory.stat": "inactive_file 5\ntotal_inactive_file 60\n",
        },
    )
    assert [cgroups.memory_used(Path(group)) for group in ("/one", "/two", "/three")] == [100, 10, 0]


def test_without_any_of_the_files_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, {})
    assert (cgroups.cpu_quota(), cgroups.memory_limit()) == (None, None)
