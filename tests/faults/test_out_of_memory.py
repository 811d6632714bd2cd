"""A task takes more memory than there is: the kernel ends its process, and nothing else suffers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_cluster import Child, FaultCluster

from rainzmq import TaskException, remote

LIMIT_BYTES = 600 << 20
_ROOT = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with a limit of memory."""
    path = _ROOT / f"rainzmq-test-{os.getpid()}"
    try:
        path.mkdir()
        (path / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"no group for memory can be made here: {error}")
    yield path
    path.rmdir()


@pytest.mark.slow
def test_a_task_that_takes_all_memory_is_tried_three_times_and_named(tmp_path: Path, group: Path) -> None:
    attempts = str(tmp_path / "attempts")

    class Limited(Child):
        program = (str(Path(__file__).with_name("worker_in_group.py")), str(group / "cgroup.procs"))

    @remote()
    def glutton(ctx: Any) -> str:
        import os

        with open(attempts, "a") as file:
            file.write(os.environ["RAINZMQ_ATTEMPT"])
        return str(len(b"x" * (2 << 30)))

    @remote()
    def modest(ctx: Any, number: int) -> str:
        import time

        time.sleep(0.02)
        return str(number)

    with FaultCluster(tmp_path, dead_after_s=10.0) as cluster, cluster.client() as client:
        worker = cluster.start_worker(2, kind=Limited)
        worker.wait_ready(30)
        [known] = client.get_server_info()["workers"]
        with client.new_session() as neighbour:
            made = [modest(number) for number in range(50)]
            neighbour.keep_all()
            neighbour.submit()
            with client.new_session() as session:
                glutton()
                session.submit()
                with pytest.raises(TaskException) as failed:
                    session.wait_all()
            error = str(failed.value)
            assert "'glutton'" in error
            assert "crash limit" in error
            assert error.count("killed by signal 9 (SIGKILL)") == 3
            assert known["worker_id"] in error
            assert Path(attempts).read_text() == "012"
            assert [task.output.fetch().get_str() for task in made] == [str(number) for number in range(50)]
        assert client.get_server_info()["counters"]["workers_lost"] == 0
