"""`LocalCluster`: what it starts and refuses, and that nothing of it is left, however its program ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import psutil
import pytest

from rainzmq import Client, LocalCluster, RainException, RainWarning, blob, tasks
from rainzmq.transport.access import read_access


def _join(client: Client, *parts: str) -> str:
    with client.new_session("join") as session:
        joined = tasks.Concat([blob(part) for part in parts])
        joined.output.keep()
        session.submit()
        return joined.output.fetch().get_str()


def _wait_gone(pids: list[int], within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while left := [pid for pid in pids if _is_alive(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _run_python(home: Path, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAINZMQ_HOME": str(home)},
    )


def test_cluster_runs_tasks_and_leaves_only_logs(home: Path) -> None:
    with LocalCluster(cpus=1) as cluster:
        with cluster.client() as client:
            assert _join(client, "a", "b") == "ab"
        address = cluster.address
        assert address.startswith("127.0.0.1:")
        assert cluster.dashboard_url.startswith("http://127.0.0.1:")

    left = [path for path in home.rglob("*") if path.is_file()]
    assert all(path.is_relative_to(home / "logs") for path in left), left
    assert not list(home.rglob("ready"))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) != 0


def test_workers_and_cpus_are_as_asked(home: Path) -> None:
    with LocalCluster(workers=2, cpus=3) as cluster, cluster.client() as client:
        workers = client.get_server_info()["workers"]
        assert sorted(worker["resources"]["cpus"] for worker in workers) == [1, 2]


def test_a_worker_can_be_added(home: Path) -> None:
    with LocalCluster(workers=[1]) as cluster, cluster.client() as client:
        cluster.add_worker(cpus=2)

        workers = client.get_server_info()["workers"]
        assert sorted(worker["resources"]["cpus"] for worker in workers) == [1, 2]
        with pytest.raises(RainException, match="cpus of a worker must be"):
            cluster.add_worker(cpus=0)


def test_clusters_run_side_by_side(home: Path) -> None:
    with LocalCluster(cpus=1) as one, LocalCluster(cpus=1) as other:
        assert one.address != other.address
        for cluster in (one, other):
            with cluster.client() as client:
                assert len(client.get_server_info()["workers"]) == 1
                assert _join(client, "x") == "x"


def test_closed_cluster_can_be_closed_again_but_not_used(home: Path) -> None:
    cluster = LocalCluster(cpus=1)
    cluster.close()
    cluster.close()

    with pytest.raises(RainException, match="closed"):
        cluster.client()
    with pytest.raises(RainException, match="closed"):
        cluster.add_worker()


def test_closing_takes_under_three_seconds_with_tasks_running(home: Path) -> None:
    cluster = LocalCluster(cpus=1)
    client = cluster.client()
    session = client.new_session("busy")
    with session.bind_only():
        tasks.Execute(["sleep", "1000"])
        session.submit()
    time.sleep(0.3)

    start = time.monotonic()
    cluster.close()

    assert time.monotonic() - start < 3.0
    client.close()


def test_port_in_use_is_an_error_that_names_it(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(RainException, match=rf"(?s)server ended .*{port}.* in use"):
            LocalCluster(cpus=1, port=port)


def test_bad_configuration_is_the_workers_own_message(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "worker.toml"
    config.write_text("[subworker]\n")

    with pytest.raises(RainException, match=r"(?s)worker-1 ended .*unknown key 'subworker'"):
        LocalCluster(cpus=1, config=config)


@pytest.mark.parametrize(
    "ending",
    ["pass", "raise SystemExit(3)", "1 / 0", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"],
)
def test_nothing_is_left_however_the_interpreter_ends(home: Path, ending: str) -> None:
    program = f"""
    import os, signal, sys, psutil
    from rainzmq import Client, LocalCluster, remote
    cluster = LocalCluster(workers=[1, 1])
    client = cluster.client()
    session = client.new_session("s", default=True)
    @remote
    def busy(ctx):
        import time
        time.sleep(1000)
    busy()
    session.submit()
    print(*[p.pid for p in psutil.Process().children(recursive=True)], flush=True)
    sys.stderr.close()
    {ending}
    """
    process = _run_python(home, program)
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.wait(20)

    assert len(pids) >= 3
    _wait_gone(pids)
    deadline = time.monotonic() + 2
    while list((home / "servers").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_forked_child_neither_ends_the_cluster_nor_keeps_it_alive(home: Path) -> None:
    program = """
    import os, sys, time, psutil
    from rainzmq import Client, LocalCluster
    cluster = LocalCluster(cpus=1)
    pids = [p.pid for p in psutil.Process().children(recursive=True)]
    child = os.fork()
    if child == 0:
        sys.exit(0)      # runs the handlers of the exit
    os.waitpid(child, 0)
    assert cluster.is_usable()
    child = os.fork()
    if child == 0:
        os.close(1)
        time.sleep(1000)
    print(child, *pids, flush=True)
    os._exit(0)
    """
    process = _run_python(home, program)
    with process:
        assert process.stdout is not None
        orphan, *pids = [int(pid) for pid in process.stdout.readline().split()]
        process.wait(20)
    try:
        assert len(pids) >= 2
        _wait_gone(pids)
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_data_of_a_killed_worker_go_with_the_cluster(home: Path) -> None:
    with LocalCluster(workers=[1, 1]) as cluster, cluster.client() as client:
        victim = client.get_server_info()["workers"][0]["pid"]
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not (failures := cluster.failures()):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        assert len(failures) == 1
        assert "killed by signal SIGKILL" in failures[0]
        assert cluster.is_usable()


def _one_warning(caught: list[warnings.WarningMessage]) -> str:
    deadline = time.monotonic() + 10
    while not caught:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    [warning] = caught
    assert warning.category is RainWarning
    return str(warning.message)


def test_death_of_the_only_worker_is_a_warning_that_says_what_to_do(home: Path) -> None:
    with (
        warnings.catch_warnings(record=True) as caught,
        LocalCluster(cpus=1) as cluster,
        cluster.client() as client,
    ):
        warnings.simplefilter("always")
        os.kill(client.get_server_info()["workers"][0]["pid"], signal.SIGKILL)

        text = _one_warning(caught)
        assert text.startswith("worker-1 ended (killed by signal SIGKILL); its log is in ")
        assert str(cluster.logdir / "worker-1") in text
        assert "no worker left, so tasks wait; add_worker() starts another" in text
        cluster.add_worker()
        assert _join(client, "a", "b") == "ab"


def test_death_of_the_server_is_one_warning_and_leaves_no_access_file(home: Path) -> None:
    with warnings.catch_warnings(record=True) as caught, LocalCluster(cpus=1) as cluster:
        warnings.simplefilter("always")
        cluster.client().close()
        os.kill(read_access(cluster.access_file).pid, signal.SIGKILL)

        text = _one_warning(caught)
        assert text.startswith("the server ended (killed by signal SIGKILL)")
        assert "make a new LocalCluster" in text
    assert len(caught) == 1
    assert not cluster.access_file.exists()


def test_files_of_the_current_directory_do_not_stand_in_for_modules(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "select.py").write_text("raise RuntimeError('wrong module')")
    (tmp_path / "zmq.py").write_text("raise RuntimeError('wrong module')")
    monkeypatch.chdir(tmp_path)

    with LocalCluster(cpus=1) as cluster, cluster.client() as client:
        assert _join(client, "a") == "a"


def test_logs_and_access_file_are_for_their_owner_only(home: Path) -> None:
    old_mask = os.umask(0)
    try:
        with LocalCluster(cpus=1) as cluster:
            assert read_access(cluster.access_file).port > 0
            assert cluster.access_file.stat().st_mode & 0o777 == 0o600
            for path in [cluster.logdir, *cluster.logdir.rglob("*.log"), *cluster.logdir.rglob("*.txt")]:
                assert path.stat().st_mode & 0o077 == 0, path
    finally:
        os.umask(old_mask)


def test_options_of_a_dashboard_that_is_not_there_are_named(home: Path) -> None:
    with (
        pytest.warns(RainWarning, match="no dashboard, so http_port and http_allow have no effect") as told,
        LocalCluster(workers=[1], dashboard=False, http_port=0),
    ):
        pass
    assert told[0].filename == __file__


def test_how_long_sessions_outlive_a_broken_connection_can_be_said(home: Path) -> None:
    with LocalCluster(workers=[1], dashboard=False, client_grace=7.5) as cluster, cluster.client() as client:
        assert client.connection.welcome is not None
        assert client.connection.welcome.grace_s == 7.5
