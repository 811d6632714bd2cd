"""External programs: what they are given, what is taken from them, and how they fail.

These run short programs.
"""

from __future__ import annotations

import errno
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from rainzmq.common.ids import make_uid
from rainzmq.common.tails import TAIL_BYTES
from rainzmq.protocol.messages.shared import ObjectMeta, OutputTemplate, TaskBody
from rainzmq.store import ObjectStore
from rainzmq.transport.loop import Loop
from rainzmq.worker.core.jobs import CANCELLED, CRASHED, FAILED, FINISHED, UNABLE, Job, Outcome, Printed
from rainzmq.worker.programs import ProgramRunner

BIG = b"line\n" * 30_000


class Bench:
    """A runner with a real loop and store, and jobs from few words.

    `inputs` are tuples (object, path or None[, write]); `outputs` are paths, None for the standard output; a
    path with a trailing `/` is declared as a directory.
    """

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        self.loop = Loop()
        self.tmp_path = tmp_path
        self.store = ObjectStore(tmp_path / "store")
        self.scratch = tmp_path / "scratch"
        self.outcomes: list[Outcome] = []
        options = {"pinned": False, **options}
        self.runner = ProgramRunner(self.loop, self.store, self.scratch, self.on_outcome, **options)
        self.count = 0
        self.jobs = 0

    def close(self) -> None:
        self.runner.close()
        self.store.close()
        self.loop.close()
        assert not self.scratch.exists()

    def blob(self, data: bytes) -> ObjectMeta:
        self.count += 1
        self.store.put(make_uid(3, self.count), data)
        return ObjectMeta(make_uid(3, self.count), None, False, None, len(data), b"", b"")

    def directory(self, **files: bytes) -> ObjectMeta:
        self.count += 1
        root = self.tmp_path / f"dir{self.count}"
        root.mkdir()
        for name, data in files.items():
            (root / name).write_bytes(data)
        size = self.store.adopt(make_uid(3, self.count), str(root), True)
        return ObjectMeta(make_uid(3, self.count), None, True, "dir", size, b"", b"")

    def job(
        self,
        *args: str,
        inputs: tuple[tuple[Any, ...], ...] = (),
        outputs: tuple[str | None, ...] = (),
        stdin: int | None = None,
        shell: bool = False,
        labels: list[str | None] | None = None,
    ) -> Job:
        config = {
            "args": list(args),
            "stdin": stdin,
            "stdout": outputs.index(None) if None in outputs else None,
            "shell": shell,
            "inputs": [[path, bool(write)] for _, path, *write in inputs],
            "outputs": [path and path.rstrip("/") for path in outputs],
        }
        templates = [
            OutputTemplate(None, bool(path and path.endswith("/")), None, None, path, None)
            for path in outputs
        ]
        packed = msgpack.packb(config, unicode_errors="surrogateescape")
        body = TaskBody(1, "builtin/execute", 1, None, packed, labels or [], templates)
        self.jobs += 1
        uid = make_uid(3, 1000 + 10 * self.jobs)
        return Job(uid, 2, 3, body, b"", [item for item, *_ in inputs], cpus=(min(os.sched_getaffinity(0)),))

    def sh(self, command: str, **options: Any) -> Outcome:
        return self.run(self.job(command, shell=True, **options))

    def run(self, job: Job) -> Outcome:
        self.runner.start(job)
        return self.wait()

    def wait(self) -> Outcome:
        if not self.outcomes:
            guard = self.loop.call_later(10, self.loop.stop)
            self.loop.run()
            guard.cancel()
        return self.outcomes.pop()

    def on_outcome(self, outcome: Outcome) -> None:
        """Take outputs over at once, as a worker does."""
        self.outcomes.append(outcome)
        for index, made in enumerate(outcome.outputs):
            uid = outcome.uid + 1 + index
            if made.data is not None:
                self.store.put(uid, made.data)
            else:
                assert made.path is not None
                self.store.adopt(uid, made.path, os.path.isdir(made.path))
        self.loop.stop()

    def result(self, command: str, outputs: tuple[str | None, ...] = (None,), **options: Any) -> bytes:
        """Content of the first output."""
        outcome = self.sh(command, outputs=outputs, **options)
        assert outcome.kind == FINISHED, outcome.error
        return bytes(self.store.read(outcome.uid + 1))

    def error(self, command: str, **options: Any) -> str:
        outcome = self.sh(command, **options)
        assert outcome.kind == FAILED
        assert not outcome.outputs
        return outcome.error


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.runner._threads.shutdown()
    assert not list(bench.scratch.iterdir())
    bench.close()


@pytest.fixture
def copying(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, copy_inputs=True)
    yield bench
    bench.close()


class TestWhatAProgramIsGiven:
    def test_arguments_arrive_byte_by_byte_without_a_shell(self, bench: Bench) -> None:
        args = ["; $(x)", "a\nb", "-n", "<script>", "", "ü\udcff"]
        outcome = bench.run(bench.job("printf", "%s|", *args, outputs=(None,)))
        assert bytes(bench.store.read(outcome.uid + 1)) == "|".join([*args, ""]).encode(
            "utf-8", "surrogateescape"
        )

    def test_the_directory_is_empty_and_private(self, bench: Bench) -> None:
        assert bench.result("ls -A; stat -c %a .") == b"700\n"

    def test_the_environment_names_task_attempt_session_and_cpus(self, bench: Bench) -> None:
        found = bench.result("echo $RAINZMQ_TASK_ID $RAINZMQ_ATTEMPT $RAINZMQ_SESSION_ID $RAINZMQ_CPUS")
        assert found.decode().split()[:3] == ["3/1010", "2", "3"]
        assert found.decode().split()[3] == str(min(os.sched_getaffinity(0)))

    def test_a_pinned_program_runs_on_its_cpus_only(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path, pinned=True)
        found = bench.result("grep Cpus_allowed_list /proc/self/status")
        assert found.decode().split()[1] == str(min(os.sched_getaffinity(0)))
        bench.close()

    def test_standard_input_is_empty_unless_given(self, bench: Bench) -> None:
        assert bench.result("cat") == b""
        for data in (b"small", BIG):
            assert bench.result("cat", inputs=((bench.blob(data), None),), stdin=0) == data

    def test_a_directory_can_not_be_standard_input(self, bench: Bench) -> None:
        assert "the standard input is a directory" in bench.error(
            "cat", inputs=((bench.directory(), None),), stdin=0
        )

    def test_inputs_are_at_their_paths(self, bench: Bench) -> None:
        inputs = (
            (bench.blob(b"1"), "small"),
            (bench.blob(BIG), "sub/deep/big"),
            (bench.directory(x=b"2"), "tree"),
        )
        assert bench.result("cat small tree/x sub/deep/big", inputs=inputs) == b"12" + BIG

    def test_writable_inputs_are_copies(self, bench: Bench) -> None:
        small, big, tree = bench.blob(b"1"), bench.blob(BIG), bench.directory(x=b"2")
        inputs = ((small, "small", True), (big, "big", True), (tree, "tree", True))
        command = "for f in small big tree/x; do echo new > $f; done; touch tree/y; cat small big tree/x"
        assert bench.result(command, inputs=inputs) == b"new\n" * 3
        assert bytes(bench.store.read(small.uid)) == b"1"
        assert bytes(bench.store.read(big.uid)) == BIG
        assert os.listdir(bench.store.path(tree.uid) or "") == ["x"]

    def test_everything_is_copied_where_links_are_not_safe(self, copying: Bench) -> None:
        inputs = ((copying.blob(BIG), "big"), (copying.directory(x=b"2"), "tree"))
        assert copying.result("find . -type l; cat tree/x; wc -c < big", inputs=inputs) == b"2150000\n"

    @pytest.mark.parametrize(
        ("paths", "words"),
        [
            (("/etc/x", "b"), "the path '/etc/x' is absolute"),
            (("../x", "b"), "the path '../x' has '..' in it"),
            ((".", "b"), "the path '.' is the task's directory itself"),
            (("x", "./x"), "two inputs are mapped to './x'"),
            (("x", "x/y"), "'x/y' needs a directory 'x', but that is a file"),
        ],
    )
    def test_bad_paths(self, bench: Bench, paths: tuple[str, str], words: str) -> None:
        error = bench.error("true", inputs=((bench.blob(b"1"), paths[0]), (bench.blob(b"2"), paths[1])))
        assert words in error


class TestWhatIsTakenFromIt:
    def test_standard_output_small_and_large(self, bench: Bench) -> None:
        assert bench.result("echo hi") == b"hi\n"
        assert bench.result("yes line | head -30000") == BIG

    def test_files_small_and_large_and_directories(self, bench: Bench) -> None:
        command = (
            "echo 1 > small; yes line | head -30000 > out/big; mkdir -p tree/sub; echo 2 > tree/sub/x; echo 3"
        )
        outcome = bench.sh(command, outputs=("small", "out/big", "tree/", None))
        assert outcome.kind == FINISHED, outcome.error
        uid = outcome.uid
        assert [bytes(bench.store.read(uid + i)) for i in (1, 2, 4)] == [b"1\n", BIG, b"3\n"]
        assert Path(bench.store.path(uid + 3) or "", "sub", "x").read_text() == "2\n"

    def test_a_link_within_the_directory_is_followed(self, bench: Bench) -> None:
        assert bench.result("echo 1 > a; ln -s a b", outputs=("b", "a")) == b"1\n"

    @pytest.mark.parametrize(
        ("command", "outputs", "words"),
        [
            ("echo 1 > other", ("out",), "the output 'out' is missing; the task's directory has 'other'"),
            ("true", ("out",), "the output 'out' is missing; the task's directory is empty"),
            (
                "ln -s /etc/passwd out",
                ("out",),
                "the output 'out' is a symlink that leaves the task's directory",
            ),
            ("rmdir d; ln -s /etc d", ("d/passwd",), "the output 'd/passwd' is a symlink that leaves"),
            ("ln -s nothing out", ("out",), "the output 'out' is a symlink to nothing"),
            ("mkdir out", ("out",), "declared as a blob, but the program made a directory"),
            ("touch out", ("out/",), "declared as a directory, but the program made a file"),
            ("mkfifo out", ("out",), "the output 'out' is neither a file nor a directory"),
            ("mkdir out; mkfifo out/pipe", ("out/",), "the entry 'pipe' is a FIFO"),
            (
                "mkdir out; ln -s /etc out/link",
                ("out/",),
                "the symlink 'link' points to the absolute path '/etc'",
            ),
            ("true", ("../out",), "the path '../out' has '..' in it"),
        ],
    )
    def test_errors(self, bench: Bench, command: str, outputs: tuple[str, ...], words: str) -> None:
        assert words in bench.error(command, outputs=outputs)

    def test_an_input_can_not_be_passed_off_as_an_output(self, bench: Bench) -> None:
        error = bench.error("ln -s $PWD/in out", inputs=((bench.blob(BIG), "in"),), outputs=("out",))
        assert "the output 'out' is a symlink that leaves" in error


class TestHowItFails:
    def test_an_exit_code_comes_with_the_end_of_standard_error(self, bench: Bench) -> None:
        error = bench.error("echo out; echo what >&2; printf 'bad \\377' >&2; exit 3")
        told = "Standard output:\nout\nStandard error:\nwhat\nbad �"
        assert error == f"the command ended with exit code 3\n{told}"

    def test_only_the_end_of_a_long_standard_error_is_told(self, bench: Bench) -> None:
        error = bench.error("seq 100000 >&2; exit 1")
        assert error.endswith("\n99999\n100000")
        assert "Standard error (its end):" in error
        assert len(error) < 9000

    def test_standard_output_is_told_when_standard_error_is_empty(self, bench: Bench) -> None:
        assert bench.error("echo out; exit 1").endswith("exit code 1\nStandard output:\nout")
        assert bench.error("exit 1", outputs=(None,)).endswith("It wrote nothing to its standard error.")

    def test_standard_output_that_would_have_been_an_output_is_told_and_shown(self, bench: Bench) -> None:
        outcome = bench.sh("echo the reason; exit 3", outputs=(None,))
        assert outcome.error.endswith("exit code 3\nStandard output:\nthe reason")
        assert outcome.printed == Printed("the reason\n", "", 11, 0)
        data = bench.error("head -c 5000 /dev/zero; echo why >&2; exit 1", outputs=(None,))
        assert data.endswith("Standard output: 4.88 KiB that are no text\nStandard error:\nwhy")

    def test_of_a_progress_bar_only_the_last_state_is_told(self, bench: Bench) -> None:
        bars = "".join(f"\\r\\033[32m{i:4d}/2000\\033[0m ####" for i in range(2000))
        source = bench.blob(f"printf '{bars}\\nwhat counts\\n' >&2; exit 1".encode())
        error = bench.error("sh ./bars", inputs=((source, "bars"),))
        assert error.endswith("Standard error (its end):\n1999/2000 ####\nwhat counts")

    def test_a_program_that_fails_on_a_full_disk_says_so(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "disk" not in bench.error("exit 1")
        monkeypatch.setattr("rainzmq.common.room.free_bytes", lambda where: 0)
        monkeypatch.setattr("rainzmq.worker.programs.free_bytes", lambda where: 0)
        error = bench.error("head -c 2000 /dev/zero > file; echo 123456789; exit 1", outputs=(None,))
        assert error.endswith("\nThere is no room on the disk: need more than 1.96 KiB, have 0 B")

    def test_an_input_that_the_disk_cuts_short_does_not_reach_the_program(self, bench: Bench) -> None:
        data = bench.blob(bytes(60_000))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        try:
            assert "File too large" in bench.error("true", inputs=((data, "a", False),))
            assert "File too large" in bench.error("true", inputs=((data, None),), stdin=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_a_signal_is_named(self, bench: Bench) -> None:
        assert "the command was killed by signal SIGSEGV" in bench.error("kill -SEGV $$")

    def test_a_kill_that_is_not_ours_may_be_tried_again(self, bench: Bench) -> None:
        outcome = bench.sh("kill -KILL $$")
        assert outcome.kind == CRASHED
        assert "was killed by SIGKILL, not by rainzmq: was the machine out of memory?" in outcome.error

    @pytest.mark.parametrize(
        ("args", "words"),
        [
            (["no-such-program"], "there is no program 'no-such-program' on the worker's PATH ("),
            (["/no/such"], "there is no program '/no/such' on the worker's host"),
            (["./script"], "there is no program './script'"),
            (["/etc/passwd"], "the program '/etc/passwd' cannot be started: it is not executable"),
            (["echo", "a\0b"], "the program 'echo' cannot be started: an argument has a NUL in it"),
            (["echo", "x" * 3_000_000], "the program 'echo' cannot be started: Argument list too long"),
            ([], "there is no program to run"),
        ],
    )
    def test_a_program_that_can_not_be_started(self, bench: Bench, args: list[str], words: str) -> None:
        outcome = bench.run(bench.job(*args))
        assert outcome.kind == FAILED
        assert words in outcome.error

    def test_a_missing_interpreter_is_told(self, bench: Bench, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        assert "the interpreter in its first line is missing" in bench.run(bench.job(str(script))).error

    def test_a_malformed_configuration_is_told(self, bench: Bench) -> None:
        job = bench.job("true")
        job.body.config = b"\xc1"
        assert "the configuration of the program cannot be read" in bench.run(job).error

    def test_a_killed_program_is_cancelled(self, bench: Bench) -> None:
        job = bench.job("sleep 60 & sleep 60; echo", shell=True)
        bench.runner.start(job)
        bench.runner.kill(job.uid)
        assert bench.wait().kind == CANCELLED
        bench.runner.kill(job.uid)

    def test_a_job_killed_while_its_inputs_are_copied_is_cancelled(self, bench: Bench) -> None:
        job = bench.job("true", inputs=((bench.blob(BIG * 20), "big", True),))
        bench.runner.start(job)
        bench.runner.kill(job.uid)
        assert bench.wait().kind == CANCELLED

    def test_closing_kills_programs(self, tmp_path: Path) -> None:
        bench = Bench(tmp_path)
        bench.runner.start(bench.job("sleep", "60"))
        bench.close()
        assert not bench.outcomes


CHANGES = {
    "replaced": "rm in; echo new > in",
    "deleted": "rm in",
    "moved": "mv in elsewhere",
}


class TestChangedInputs:
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("data", [b"small\n", BIG])
    def test_a_changed_input_fails_the_task(self, bench: Bench, change: str, data: bytes) -> None:
        blob = bench.blob(data)
        outcome = bench.sh(CHANGES[change], inputs=((blob, "in"),), labels=["data"])
        assert outcome.kind == FAILED
        assert "the command changed what it was given to read: input 'data' (mapped to 'in')" in outcome.error
        assert "write=True" in outcome.error
        assert bytes(bench.store.read(blob.uid)) == data
        assert outcome.damaged == []

    def test_a_change_of_the_same_size_at_once_is_noticed(self, bench: Bench) -> None:
        command = "chmod u+w in; printf SMALL > in"
        assert "input 0 (mapped to 'in')" in bench.error(command, inputs=((bench.blob(b"small"), "in"),))

    def test_a_stored_file_that_was_written_to_is_told_as_damaged(self, bench: Bench) -> None:
        blob, tree = bench.blob(BIG), bench.directory(x=b"1")
        command = "chmod u+w in tree/x; echo new > in; echo new > tree/x; exit 1"
        outcome = bench.sh(command, inputs=((blob, "in"), (tree, "tree")))
        assert outcome.kind == FAILED
        assert outcome.damaged == [blob.uid, tree.uid]
        assert not bench.store.verify(blob.uid)

    @pytest.mark.parametrize(
        "command", ["chmod u+w tree/x; echo 2 > tree/x", "chmod u+w tree; touch tree/y", "rm -r tree"]
    )
    def test_a_changed_copy_of_a_directory_fails_the_task(self, copying: Bench, command: str) -> None:
        assert "(mapped to 'tree')" in copying.error(command, inputs=((copying.directory(x=b"1"), "tree"),))

    def test_a_changed_copy_of_a_file_fails_the_task(self, copying: Bench) -> None:
        blob = copying.blob(BIG)
        assert "(mapped to 'in')" in copying.error("chmod u+w in; echo >> in", inputs=((blob, "in"),))
        assert copying.store.verify(blob.uid)

    def test_reading_is_no_change(self, copying: Bench) -> None:
        inputs = ((copying.blob(b"1"), "a"), (copying.blob(BIG), "b"), (copying.directory(x=b"1"), "tree"))
        assert copying.sh("cat a b tree/x > out", inputs=inputs).kind == FINISHED


def test_a_sandbox_with_much_in_it_is_removed(bench: Bench) -> None:
    assert (
        bench.sh("mkdir -p a/b c; chmod 555 c; for i in $(seq 100); do echo > f$i; done; chmod 000 a").kind
        == FINISHED
    )


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_programs import BIG, Bench
if os.geteuid() == 0:  # only now: others may not read this interpreter's modules
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
bench = Bench(Path(sys.argv[2]))
blob, tree = bench.blob(BIG), bench.directory(x=b"1")
inputs = ((blob, "in"), (tree, "tree"))
outcome = bench.sh("cat in tree/x > out; echo x > in", inputs=inputs)
assert "Permission denied" in outcome.error, outcome
assert outcome.damaged == []
outcome = bench.sh("touch tree/y", inputs=inputs)
assert "Permission denied" in outcome.error, outcome
outcome = bench.sh("chmod u+w in; echo x > in", inputs=inputs)
assert outcome.damaged == [blob.uid] and "changed what it was given" in outcome.error, outcome
outcome = bench.sh("mkdir -p d/e; echo 1 > d/e/f; chmod -R a-w d; umask 077; cp -r d c", outputs=("d/", "c/"))
assert [bench.store.size(outcome.uid + i) for i in (1, 2)] == [2, 2], outcome
bench.close()
print("fine")
"""


def test_as_another_user_than_root(tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir(mode=0o777)
    place.chmod(0o777)
    temporary = Path(tempfile.gettempdir())
    for parent in (tmp_path, *itertools.takewhile(lambda each: each != temporary, tmp_path.parents)):
        parent.chmod(parent.stat().st_mode | 0o055)
    here = str(Path(__file__).parent)
    args = [sys.executable, "-B", "-c", AS_NOBODY, here, str(place)]
    result = subprocess.run(args, capture_output=True, text=True)
    assert result.stdout == "fine\n", result.stderr


def test_what_a_program_wrote_is_told(bench: Bench) -> None:
    outcome = bench.sh("echo out; echo err >&2")
    assert (outcome.kind, outcome.printed) == (FINISHED, Printed("out\n", "err\n", 4, 4))


def test_a_program_that_wrote_nothing_has_nothing_told(bench: Bench) -> None:
    assert bench.sh("true").printed is None


def test_what_a_program_wrote_is_told_when_it_failed_or_was_killed(bench: Bench) -> None:
    outcome = bench.sh("echo out; exit 1")
    assert (outcome.kind, outcome.printed) == (FAILED, Printed("out\n", "", 4, 0))
    outcome = bench.sh("echo err >&2; kill -9 $$")
    assert (outcome.kind, outcome.printed) == (CRASHED, Printed("", "err\n", 0, 4))


@pytest.mark.parametrize("size", [10, 200_000])
def test_standard_output_that_is_an_output_is_not_told_as_well(bench: Bench, size: int) -> None:
    outcome = bench.sh(f"head -c {size} /dev/zero; echo err >&2", outputs=(None,))
    assert (outcome.kind, outcome.printed) == (FINISHED, Printed("", "err\n", 0, 4))
    assert bench.sh(f"head -c {size} /dev/zero", outputs=(None,)).printed is None


def test_of_long_output_the_end_is_told_and_all_of_it_counted(bench: Bench) -> None:
    outcome = bench.sh("head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377end'")
    assert outcome.printed is not None
    assert outcome.printed.stdout_bytes == 3_000_004
    assert (len(outcome.printed.stdout), outcome.printed.stdout[-5:]) == (TAIL_BYTES, "x\ufffdend")


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_machine_that_can_start_no_process_is_no_fault_of_the_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_args: Any, **_more: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    outcome = bench.run(bench.job("true"))
    assert outcome.kind == UNABLE
    assert os.strerror(number) in outcome.error


def test_a_machine_that_can_start_no_thread_is_no_fault_of_the_program(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    item = bench.blob(b"x" * (2 << 20))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    outcome = bench.run(bench.job("true", inputs=((item, "in", True),)))
    assert outcome.kind == UNABLE
    assert "can't start new thread" in outcome.error


def test_what_a_program_left_is_removed_where_no_thread_can_be_started(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert bench.sh("mkdir -p a/b; touch a/b/c a/d").kind == FINISHED
    assert not list(bench.scratch.iterdir())


def test_a_place_for_tasks_that_is_gone_is_no_fault_of_the_program(bench: Bench) -> None:
    bench.scratch.rmdir()
    outcome = bench.run(bench.job("true"))
    assert outcome.kind == UNABLE
    assert str(bench.scratch) in outcome.error
    bench.scratch.mkdir()


@pytest.mark.parametrize("as_stdin", [False, True])
def test_an_input_whose_file_is_gone_is_named_and_not_linked(bench: Bench, as_stdin: bool) -> None:
    item = bench.blob(BIG)
    os.unlink(bench.store.path(item.uid) or "")
    path = None if as_stdin else "in"
    outcome = bench.run(bench.job("cat", inputs=((item, path),), stdin=0 if as_stdin else None))
    assert (outcome.kind, outcome.damaged) == (UNABLE, [item.uid])
    assert "is gone" in outcome.error
