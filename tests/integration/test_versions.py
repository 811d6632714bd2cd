"""Processes of different versions refuse each other and say so."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq import Client, RainException
from rainzmq.protocol.version import PROTOCOL_VERSION

OTHER = PROTOCOL_VERSION + 7

PATCHED = f"""
import sys
from rainzmq.protocol import version
version.PROTOCOL_VERSION = {OTHER}
from rainzmq.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""The command line of a version that speaks another protocol."""


@pytest.fixture
def other_server(home: Path, tmp_path: Path) -> Iterator[str]:
    """A server of another version; its address."""
    ready = tmp_path / "ready"
    access = tmp_path / "access.json"
    command = [sys.executable, "-c", PATCHED, "server", "--listen", "0"]
    process = subprocess.Popen([*command, "--ready-file", str(ready), "--access-file", str(access)])
    try:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield str(access)
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_client_of_another_version_is_refused_with_both_versions(other_server):
    with pytest.raises(RainException) as caught:
        Client(other_server)
    assert f"version {PROTOCOL_VERSION}" in str(caught.value)
    assert str(OTHER) in str(caught.value)


def test_a_worker_of_another_version_ends_with_both_versions(other_server, tmp_path):
    command = [sys.executable, "-m", "rainzmq", "worker", other_server, "--cpus", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert f"version {PROTOCOL_VERSION}" in result.stderr
    assert str(OTHER) in result.stderr
    assert "Traceback" not in result.stderr
