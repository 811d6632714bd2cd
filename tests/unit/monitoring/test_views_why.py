"""Why a task is where it is."""

from __future__ import annotations

import pytest

from rainzmq.common.headline import headline
from rainzmq.common.ids import make_uid
from rainzmq.common.states import AttemptState, SessionState
from rainzmq.monitoring.model import Model
from rainzmq.monitoring.views import why
from rainzmq.protocol.messages import events as e
from rainzmq.protocol.messages.shared import Failure, OutputTemplate, TaskBody

OUT = OutputTemplate("out", False, None, None, None, None)
NAMES = {1: "load", 3: "parse", 5: "join", 7: "big"}


class Case:
    """Session 1 with tasks 1 load, 3 parse (reads 1), 5 join (reads both and a constant), 7 big (4 cpus)."""

    def __init__(self, workers: int = 1) -> None:
        self.model = Model()
        self.time = 100.0
        for number in range(1, workers + 1):
            self.add(e.WorkerCame, number, f"w:{number}", "node", number, 2, ["python"])
        self.add(e.SessionCame, 1, "s", "c")
        bodies = [
            TaskBody(key, "python/run", 4 if key == 7 else 1, name, b"", [], [OUT])
            for key, name in NAMES.items()
        ]
        columns = ([1, 3, 5, 7], [1, 3, 5, 7], [0, 1, 3, 0], [2, 2, 4, 90])
        self.add(e.TasksSubmitted, 1, bodies, *columns, [], [], [], [(90, None, False, None, 8)], [])

    def add(self, kind: type, *values: object) -> None:
        self.model.apply(kind(self.model.number + 1, self.time, *values))

    def later(self, seconds: float) -> Case:
        self.time += seconds
        self.add(e.ServerSampled, 0.0, 1, 1, {})
        return self

    def assign(self, *tasks: int, worker: int = 1, attempt: int = 0) -> Case:
        self.add(e.TasksAssigned, worker, [make_uid(1, task) for task in tasks], [attempt] * len(tasks))
        return self

    def start(self, *tasks: int, worker: int = 1) -> Case:
        self.add(e.TasksStarted, worker, [make_uid(1, task) for task in tasks], [0] * len(tasks))
        return self

    def finish(self, *tasks: int, worker: int = 1) -> Case:
        count = len(tasks)
        uids, zeros = [make_uid(1, task) for task in tasks], [0] * count
        began = [self.time - 0.5] * count
        times = (began, [500_000] * count, zeros)
        self.add(e.TasksFinished, worker, uids, zeros, *times, [1] * count, [2048] * count, [], [], [])
        return self

    def why(self, task: int, time: float | None = None) -> str:
        session = self.model.sessions[1]
        return why(self.model, session, session.tasks.row(task), time)


def test_waiting_names_the_first_missing_input_and_who_makes_it():
    case = Case().assign(1).start(1).later(3.2)
    assert case.why(3) == "waits for 1 of 1 input: 1/2 (out) of task 1/1 (load), which runs on w:1 for 3.2 s"


def test_waiting_names_what_is_waited_for_in_the_end():
    case = Case().assign(1)
    assert case.why(5) == ("waits for 2 of 3 inputs: 1/2 (out) of task 1/1 (load), which is assigned to w:1")
    bodies = [TaskBody(9, "python/run", 1, "last", b"", [], [])]
    case.add(e.TasksSubmitted, 1, bodies, [9], [9], [1], [4], [], [], [], [], [])
    assert case.why(9) == (
        "waits for 1 of 1 input: 1/4 (out) of task 1/3 (parse), which waits for 1 input itself; in the end "
        "for task 1/1 (load), which is assigned to w:1"
    )


def test_ready_says_what_the_server_says():
    case = Case().later(2)
    case.add(e.SessionWaits, 1, ["task 1/7 (big) needs 4 cpus", "task 1/1 (load) needs 5 cpus"])
    assert case.why(1) == "ready since 2 s; task 1/1 (load) needs 5 cpus"
    case.add(e.SessionWaits, 1, ["the upload of constant 1/9 has not arrived at the server"])
    assert case.why(1) == "ready since 2 s; the upload of constant 1/9 has not arrived at the server"
    case.add(e.SessionWaits, 1, ["task 1/7 (big) needs 4 cpus"])
    assert "1/7" not in case.why(1)


def test_ready_without_workers_or_with_ones_that_do_not_fit():
    assert Case(workers=0).why(1) == "ready since 0 us; no worker is connected"
    case = Case()
    assert case.why(7) == "ready since 0 us; it needs 4 cpus, but the largest worker, w:1, has 2"
    case.model.workers[1].kinds = ["c"]
    assert case.why(1) == "ready since 0 us; no worker offers 'python'"


def test_ready_with_all_cpus_busy():
    case = Case()
    assert case.why(1).endswith("it is about to be given to a worker")
    bodies = [TaskBody(9, "python/run", 2, "two", b"", [], [])]
    case.add(e.TasksSubmitted, 1, bodies, [9, 10], [9, 9], [0, 0], [], [], [], [], [], [])
    case.assign(1)
    assert case.why(9).endswith("no worker has 2 cpus free at once")
    case.assign(10).start(10)
    assert case.why(9).endswith("all 2 cpus are busy or given away")


def test_ready_since_its_last_input_came():
    case = Case().assign(1).later(5).finish(1).later(0.4)
    assert case.why(3).startswith("ready since 400 ms; ")


def test_assigned_says_what_is_before_it_and_what_is_being_brought():
    case = Case(workers=2).assign(1).later(1).finish(1).later(1).assign(7, worker=2).later(0.1)
    case.assign(3, worker=2).later(0.1)
    assert (
        case.why(3) == "assigned to w:2 100 ms ago; 1 task before it; 1 input is being brought there (2 KiB)"
    )
    case.add(e.ObjectsMoved, 2, [(make_uid(1, 2), "w:1", case.time - 0.1, 100_000, 2048)])
    case.start(7, worker=2)
    assert case.why(3) == "assigned to w:2 100 ms ago; it is about to start"


def test_assigned_ahead_of_its_inputs():
    case = Case().assign(1, 3)
    assert case.why(3) == "assigned to w:1 0 us ago; 1 of its inputs is being made there before"


def test_running_and_finished():
    case = Case().assign(1).start(1).later(61)
    assert case.why(1) == "runs on w:1 for 1 min 1 s"
    assert case.finish(1).why(1) == "finished on w:1 after 500 ms"
    assert case.why(1, 100.5) == "runs on w:1 for 500 ms" or case.why(1, 100.5).startswith("assigned")
    assert case.why(1, 99.0) == "not submitted yet"


@pytest.mark.parametrize(
    ("outcome", "note", "said"),
    [
        (AttemptState.CRASHED, "killed by signal 9", "; before that it crashed on w:1: killed by signal 9"),
        (AttemptState.LOST, "", "; before that it was lost with w:1"),
        (AttemptState.RETRACTED, "", ""),
    ],
)
def test_what_became_of_the_attempt_before(outcome, note, said):
    case = Case(workers=2).assign(1)
    case.add(e.TasksReturned, 1, [make_uid(1, 1)], [0], outcome, [note])
    assert case.why(1) == "ready since 0 us; it is about to be given to a worker" + said


def test_what_runs_again_says_so():
    case = Case().assign(1).later(1).finish(1)
    case.add(e.TasksRerun, [make_uid(1, 1)], [1], [make_uid(1, 2)], [])
    assert case.why(1).endswith("; it had finished on w:1 before: what it made was lost")


def test_failed_and_cancelled_say_whose_fault_it_is():
    case = Case().assign(1).start(1)
    failure = Failure(
        make_uid(1, 1),
        "load",
        "python/run",
        0,
        "w:1",
        "Traceback (most recent call last):\n  x\nKeyError: 3",
        "",
    )
    case.add(e.TaskFailed, 1, failure, 0.0, -1)
    case.add(e.SessionEnded, 1, SessionState.FAILED, failure)
    assert case.why(1) == "failed: KeyError: 3"
    assert case.why(3) == "cancelled: its session failed because of 1/1 (load)"


def test_cancelled_with_its_session():
    case = Case()
    case.add(e.SessionEnded, 1, SessionState.CLOSED, None)
    assert case.why(1) == "cancelled: its session was closed before it was done"
    case = Case()
    case.add(e.SessionEnded, 1, SessionState.CANCELLED, Failure(0, None, None, 0, None, "too slow", ""))
    assert case.why(1) == "cancelled: its session was cancelled: too slow"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no reason was given"),
        ("\n \nValueError: x\nmore", "ValueError: x"),
        ("Traceback (most recent call last):\n  File\nKeyError: 'a'\n", "KeyError: 'a'"),
        ("x" * 400, "x" * 297 + "..."),
    ],
)
def test_the_headline_of_an_error(text, line):
    assert headline(text) == line


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "the command ended with exit code 7\nStandard output:\nhi\nho",
            "the command ended with exit code 7: ho",
        ),
        ("it failed\nfor a reason\nof its own", "it failed"),
        ('Traceback (most recent call last):\n  File "x", line 1\n    f()\nValueError: no', "ValueError: no"),
        ("Traceback (most recent call last):\n  File\nKeyError: 1\nmore of it\nand more", "KeyError: 1"),
        (
            "Traceback (most recent call last):\n  a\nKeyError: 1\n\nDuring handling of the above exception, "
            "another exception occurred:\n\nTraceback (most recent call last):\n  b\nx.MyError: two",
            "x.MyError: two",
        ),
        ("Traceback (most recent call last):\n  cut", "cut"),
        (" \n", "no reason was given"),
    ],
)
def test_the_headline_of_an_error_is_the_line_that_says_it(text, wanted):
    assert headline(text) == wanted
