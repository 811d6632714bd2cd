"""Stored files cannot be changed through what programs are given, for root too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import os, subprocess, sys
from pathlib import Path
from rainzmq.store import ObjectStore
from rainzmq.worker.namespace import protect, unprotect
store = ObjectStore(Path(sys.argv[1]))
reason = protect(store)
store.put(1, b"x" * 100_000)
path = store.path(1)
if reason is None:
    script = 'echo y > "$0" || (chmod 666 "$0" && echo y > "$0") || rm -f "$0"'
    if os.geteuid() != 0:
        script = 'echo y > "$0"'
    result = subprocess.run(["sh", "-c", script, path], capture_output=True, text=True)
    assert result.returncode != 0, result
    assert bytes(store.read(1)) == b"x" * 100_000
    assert store.verify(1)
unprotect(store)
store.close()
print(reason)
"""


def test_a_program_can_not_write_to_a_stored_file(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "s")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "None" or os.geteuid() == 0
    assert not (tmp_path / "s").exists()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_refused_namespace_gives_the_reason(tmp_path: Path) -> None:
    refuse = """
import rainzmq.worker.namespace as namespace
class Refusing:
    unshare = umount2 = staticmethod(lambda *args: -1)
namespace._libc = Refusing
os.geteuid = lambda: 0
"""
    code = CODE.replace("store = ", refuse + "store = ", 1)
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "no read-only view of the store: unshare: " in result.stdout
