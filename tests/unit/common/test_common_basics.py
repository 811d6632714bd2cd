"""Ids, errors, specs, units, and what the package gives to its users."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import StrEnum

import pytest

import rainzmq.common
from rainzmq.common import (
    ID,
    DataObjectState,
    DataType,
    ObjectInfo,
    ObjectSpec,
    RainException,
    RainWarning,
    SessionException,
    TaskException,
    TaskInfo,
    TaskSpec,
    TaskState,
)
from rainzmq.common.ids import MAX_ID, id_of, local_of, make_uid, session_of
from rainzmq.common.states import AttemptState, SessionState, WorkerState
from rainzmq.common.units import format_duration, format_size, parse_size


def test_id_is_a_named_tuple_printed_with_a_slash() -> None:
    assert str(ID(3, 17)) == "3/17"
    assert ID(3, 17) == (3, 17)
    assert (ID(3, 17).session_id, ID(3, 17).id) == (3, 17)


@pytest.mark.parametrize("identifier", [ID(1, 1), ID(3, 17), ID((1 << 31) - 1, MAX_ID)])
def test_uid_holds_both_numbers(identifier: ID) -> None:
    uid = identifier.uid
    assert id_of(uid) == identifier
    assert (session_of(uid), local_of(uid)) == identifier
    assert make_uid(*identifier) == uid
    assert uid < 1 << 63


def test_errors_form_one_line() -> None:
    assert issubclass(TaskException, SessionException)
    assert issubclass(SessionException, RainException)
    assert issubclass(RainWarning, Warning)


def test_task_error_names_its_task() -> None:
    error = TaskException(
        "text", 1, task_id=ID(1, 2), task_name="n", task_type="a/b", attempt=0, worker="h:1"
    )
    assert (error.session_id, error.task_id, error.task_name) == (1, ID(1, 2), "n")
    assert (error.task_type, error.attempt, error.worker, str(error)) == ("a/b", 0, "h:1", "text")


def test_states_are_those_of_the_contract() -> None:
    assert [s.name for s in TaskState] == [
        "WAITING",
        "READY",
        "ASSIGNED",
        "RUNNING",
        "FINISHED",
        "FAILED",
        "CANCELLED",
    ]
    assert TaskState.NOT_ASSIGNED is TaskState.WAITING
    assert [s.name for s in DataObjectState] == ["UNFINISHED", "FINISHED", "REMOVED"]
    assert [t.name for t in DataType] == ["BLOB", "DIRECTORY"]


@pytest.mark.parametrize("kind", [TaskState, DataObjectState, WorkerState, SessionState, AttemptState])
def test_a_state_is_its_name_in_lower_case_as_text_and_as_json(kind: type[StrEnum]) -> None:
    for state in kind:
        assert f"{state}" == state == state.name.lower()
        assert json.loads(json.dumps({state: state})) == {state.value: state.value}
        assert type(kind(state.value)) is kind


def test_specs_and_infos_do_not_share_their_dictionaries() -> None:
    assert ObjectSpec(ID(1, 1)).user is not ObjectSpec(ID(1, 1)).user
    assert ObjectInfo().user is not ObjectInfo().user
    assert TaskInfo().user is not TaskInfo().user
    assert TaskSpec(ID(1, 1), "a/b").resources == {"cpus": 1}


def test_package_gives_what_it_promises() -> None:
    for name in rainzmq.common.__all__:
        assert getattr(rainzmq.common, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        rainzmq.common.nonsense  # noqa: B018


def test_importing_the_call_side_of_a_subworker_needs_no_cloudpickle_or_zmq() -> None:
    unwanted = "{'zmq', 'cloudpickle', 'rainzmq.client'}"
    code = f"import sys, rainzmq.common.pycall; print({unwanted} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512MiB", 512 << 20),
        ("1.5 GiB", 3 << 29),
        ("64k", 65536),
        ("10MB", 10**7),
        (" 2 tib ", 2 << 40),
        ("7 B", 7),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 foo", "1e3", "1,5k", "nan"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (512 << 20, "512 MiB"),
        (1 << 40, "1 TiB"),
        (5000 << 40, "5000 TiB"),
        ((1 << 20) - 1, "1 MiB"),
    ],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00035, "350 us"), (0.0125, "12.5 ms"), (3.2, "3.2 s"), (125, "2 min 5 s"), (12000, "3 h 20 min")],
)
def test_durations_are_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
