"""RAM disks that nothing can be run from, as Docker mounts them."""

from __future__ import annotations

import sys
from pathlib import Path

from namespaces import SHM_TMPFS, needs_namespaces, run_in_namespaces

NOEXEC_SHM = SHM_TMPFS.format(options="size=2G,mode=1777,noexec")
RAINZMQ = [sys.executable, "-P", "-m", "rainzmq"]

SCRIPTS_OF_TASKS = r"""
import os, subprocess
import rainzmq
from rainzmq import Output, remote
from rainzmq.client.tasks import Execute

SCRIPT = "printf '#!/bin/sh\necho it runs\n' > tool && chmod +x tool"

@remote(outputs=1)
def by_python(ctx):
    subprocess.run(SCRIPT, shell=True, check=True)
    return subprocess.run(["./tool"], check=True, capture_output=True).stdout

def run(make):
    try:
        with rainzmq.Client() as client, client.new_session("tools") as session:
            task = make()
            task.output.keep()
            session.submit()
            session.wait_all()
            print(task.output.fetch().get_bytes().decode().strip())
    except rainzmq.TaskException as error:
        print("FAILED", error)

def direct():
    tool = Execute(SCRIPT, shell=True, output_paths=[Output("tool")])
    return Execute([tool], stdout=True)

for make in (lambda: Execute(SCRIPT + " && ./tool", shell=True, stdout=True), by_python):
    run(make)
"""

STORED_SCRIPTS = SCRIPTS_OF_TASKS + "run(direct)"

NAMED = r"""
import os, subprocess, sys, time
from pathlib import Path
import rainzmq

base = Path(sys.argv[1])
rainzmq_command = [sys.executable, "-P", "-m", "rainzmq"]
with rainzmq.LocalCluster(workers=[1], port=0, dashboard=False) as cluster:
    command = [*rainzmq_command, "worker", str(cluster.access_file), "--cpus", "1"]
    command += ["--workdir", "/dev/shm/here", "--logdir", str(base / "log")]
    command += ["--ready-file", str(base / "ready")]
    worker = subprocess.Popen(command)
    while not (base / "ready").exists():
        assert worker.poll() is None
        time.sleep(0.02)
    cluster._workers[0].terminate()
    cluster._workers[0].stop(time.monotonic() + 5)
    os.environ["RAINZMQ_SERVER"] = str(cluster.access_file)
    exec(sys.argv[2])
    worker.terminate()
    worker.wait()
"""


@needs_namespaces
def test_what_tasks_make_can_be_run(home: Path) -> None:
    program = [sys.executable, "-P", "-c", STORED_SCRIPTS]
    done = run_in_namespaces([NOEXEC_SHM], [*RAINZMQ, "local", "--cpus", "1", "--port", "0", "--", *program])
    assert done.stdout == "it runs\n" * 3, done.stdout + done.stderr


@needs_namespaces
def test_a_named_directory_there_is_used_with_a_warning_and_the_true_reason(
    home: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-c", NAMED, str(tmp_path), SCRIPTS_OF_TASKS]
    done = run_in_namespaces([NOEXEC_SHM], command)
    assert done.stdout.count("FAILED") == 2, done.stdout + done.stderr
    assert done.stdout.count("its file system is mounted noexec") == 2, done.stdout
    assert "it is not executable" not in done.stdout
    warned = [line for line in done.stderr.splitlines() if "mounted noexec" in line]
    assert len(warned) == 1, done.stderr
    assert "--workdir" in warned[0]
