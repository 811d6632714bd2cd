"""A container or batch job has a quota of cpu time, and no affinity mask says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from namespaces import needs_namespaces, run_in_namespaces

pytestmark = needs_namespaces

_COUNT = "from rainzmq.deploy.cpus import available_cpus; print(available_cpus())"
_ALL = "import os; print(len(os.sched_getaffinity(0)))"


def _run(tmp_path: Path, groups: dict[str, str], membership: str, code: str) -> str:
    """What `code` prints where /sys/fs/cgroup holds these files and /proc/self/cgroup this text."""
    for name, text in groups.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "membership").write_text(membership)
    setup = [
        f"mount --bind {tmp_path}/cgroup /sys/fs/cgroup",
        f"mount --bind {tmp_path}/membership /proc/$$/cgroup",
    ]
    done = run_in_namespaces(setup, [sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("groups", "membership", "cpus"),
    [
        ({"cpu.max": "100000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "max 100000\n", "job/cpu.max": "100000 100000\n"}, "0::/job/step\n", 1),
        ({"cpu.max": "100000 100000\n", "job/cpu.max": "max 100000\n"}, "0::/job\n", 1),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", 1),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/job/cpu.cfs_quota_us": "20000\n",
                "cpu/job/cpu.cfs_period_us": "20000\n",
            },
            "3:cpu,cpuacct:/job/step\n",
            1,
        ),
    ],
)
def test_a_quota_of_the_own_group_or_one_above_is_the_number_of_cpus(
    tmp_path: Path, groups: dict[str, str], membership: str, cpus: int
) -> None:
    assert _run(tmp_path, groups, membership, _COUNT) == str(cpus)


@pytest.mark.parametrize(
    "groups",
    [
        {"cpu.max": "max 100000\n"},
        {"cpu.max": "6400000 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu.max": "nonsense\n"},
        {"other/cpu.max": "100000 100000\n"},
    ],
)
def test_without_a_quota_that_binds_all_cpus_of_the_mask_are_offered(
    tmp_path: Path, groups: dict[str, str]
) -> None:
    assert _run(tmp_path, groups, "0::/\n", f"{_COUNT}; {_ALL}").split()[0] == _run(
        tmp_path, groups, "0::/\n", _ALL
    )


def test_a_local_cluster_offers_what_the_container_has(tmp_path: Path) -> None:
    code = (
        "from rainzmq import LocalCluster\n"
        "with LocalCluster(dashboard=False) as cluster, cluster.client() as client:\n"
        "    print([worker['resources']['cpus'] for worker in client.get_server_info()['workers']])\n"
    )
    assert _run(tmp_path, {"cpu.max": "100000 100000\n"}, "0::/\n", code) == "[1]"


def test_a_workers_memory_is_that_of_its_container(tmp_path: Path) -> None:
    groups = {
        "memory.max": "500000000\n",
        "memory.current": "120000000\n",
        "memory.stat": "anon 100\ninactive_file 20000000\n",
    }
    code = "from rainzmq.worker.sampling import _memory; print(_memory())"
    assert _run(tmp_path, groups, "0::/\n", code) == "(100000000, 500000000)"
