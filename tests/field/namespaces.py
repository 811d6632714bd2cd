"""Machines as they are in the field, made on this one: commands in private mount and network namespaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

SHM_TMPFS = "mount -t tmpfs -o {options} tmpfs /dev/shm"


@cache
def why_no_namespaces() -> str:
    """Why a private mount and network namespace cannot be made here; empty when it can."""
    if os.geteuid() != 0:
        return "private namespaces need root"
    made = subprocess.run(
        ["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False, timeout=10
    )
    return "" if made.returncode == 0 else f"no private namespaces here: {made.stderr.strip()}"


needs_namespaces = pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())


def shell_in_namespaces(setup: Sequence[str], command: Sequence[str], *, network: bool = False) -> list[str]:
    """A command line that runs the shell lines `setup` and then becomes `command`, with mounts of its own.

    With `network` it has a network of its own, too, with nothing but a loopback interface that is up.
    """
    lines = ["set -e", *setup]
    if network:
        lines.insert(1, "ip link set lo up")
    lines.append('exec "$@"')
    kinds = ["--mount", "--net"] if network else ["--mount"]
    return ["unshare", *kinds, "--propagation", "private", "sh", "-c", "\n".join(lines), "sh", *command]


def run_in_namespaces(
    setup: Sequence[str],
    command: Sequence[str],
    *,
    network: bool = False,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `shell_in_namespaces` to its end; `environment` comes on top of this process's."""
    return subprocess.run(
        shell_in_namespaces(setup, command, network=network),
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        timeout=timeout_s,
        check=False,
    )
