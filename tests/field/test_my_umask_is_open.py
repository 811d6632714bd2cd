"""Some shells and batch systems run everything with umask 000."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import rainzmq
from rainzmq import tasks
from rainzmq.transport.access import read_access


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """What this process and its children make may be written by all, unless they take care."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_files_of_a_cluster_are_its_owners_only_whatever_the_umask_is(home: Path) -> None:
    with rainzmq.LocalCluster(workers=[1], http_port=0) as cluster:
        with cluster.client() as client, client.new_session("prints") as session:
            tasks.Execute(["echo", "hello"], stdout=True).output.keep()
            session.submit()
            session.wait_all()
        http = read_access(cluster.access_file).http
        assert http is not None
        # Who asks is answered once the event log is open.
        urllib.request.urlopen(f"{http.url}/api/v1/server?token={http.token}", timeout=30).close()
        names = sorted(path for path in home.rglob("*") if not path.is_symlink())
        assert {"events.db", "events.db.lock"} <= {path.name for path in names}
        assert [str(path) for path in names if path.stat().st_mode & 0o077] == []
