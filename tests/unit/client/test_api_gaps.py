"""The surface of the Python API: names, modules, arguments and their defaults, which programs rely on."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import rainzmq
import rainzmq.client
import rainzmq.common
from rainzmq import Client, DataObject, LocalCluster, Session, Task, blob, directory, pickled, tasks
from rainzmq.common import ID, DataInstance, LabeledList, ObjectInfo, ObjectSpec, TaskInfo, TaskSpec


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 3) as session:
        yield session


CLIENT_NAMES = """
    Client Session Task DataObject blob pickled directory remote Remote Program Input InputDir Output
    OutputDir tasks RainException SessionException TaskException RainWarning get_active_session
"""

COMMON_NAMES = """
    ID DataType TaskState DataObjectState LabeledList DataInstance TaskSpec TaskInfo ObjectSpec ObjectInfo
    RainException SessionException TaskException RainWarning content_types
"""


def test_client_has_its_names_and_the_package_has_them_too() -> None:
    for name in CLIENT_NAMES.split():
        assert getattr(rainzmq, name) is getattr(rainzmq.client, name)
    for name in rainzmq.client.__all__:
        assert getattr(rainzmq, name) is getattr(rainzmq.client, name)
    assert rainzmq.LocalCluster is LocalCluster
    assert rainzmq.__version__


def test_common_has_its_names() -> None:
    for name in COMMON_NAMES.split():
        assert hasattr(rainzmq.common, name), name


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("client.session", ["Session", "get_active_session"]),
        ("client.graph_task", ["Task"]),
        ("client.dataobj", ["DataObject", "blob", "pickled", "directory"]),
        ("client.inputs", ["Input", "InputDir"]),
        ("client.outputs", ["Output", "OutputDir"]),
        ("client.tasks", ["Concat", "Sleep", "Load", "LoadDir", "Store", "MakeDirectory", "SliceDirectory"]),
        ("client.tasks", ["Execute"]),
        ("client.program", ["Program"]),
        ("common.errors", ["RainException", "SessionException", "TaskException", "RainWarning"]),
        ("common.content_types", ["merge_content_types", "encode_value", "decode_value"]),
    ],
)
def test_modules_have_their_names(module: str, names: list[str]) -> None:
    found = importlib.import_module(f"rainzmq.{module}")
    for name in names:
        assert hasattr(found, name), name


def test_class_of_tasks_is_where_it_was_too() -> None:
    assert rainzmq.task.Task is rainzmq.client.task.Task is Task


def _arguments(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Names and defaults (... for none) of what can be given by position, without `self`."""
    parameters = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY and parameter.name != "self"
    ]
    return [(item.name, ... if item.default is item.empty else item.default) for item in parameters]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (Client, [("address", None), ("port", None)]),
        (Client.new_session, [("name", "Unnamed Session"), ("default", False)]),
        (Client.update, [("items", ...)]),
        (Session.wait, [("items", ...), ("progress", False)]),
        (Session.wait_some, [("items", ...)]),
        (Session.wait_all, [("progress", False)]),
        (Session.fetch, [("obj", ...), ("path", None)]),
        (Session.update, [("items", ...)]),
        (Session.unkeep, [("objs", ...)]),
        (blob, [("value", ...), ("label", "const"), ("content_type", None), ("encode", None)]),
        (pickled, [("value", ...), ("label", "pickle")]),
        (directory, [("path", ...), ("label", "const_dir")]),
        (DataObject.fetch, [("path", None)]),
        (DataInstance.load, [("cache", False)]),
        (DataInstance.write, [("path", ...)]),
        (DataInstance.link, [("path", ...)]),
        (LocalCluster, [("workers", None), ("cpus", None)]),
    ],
)
def test_arguments_are_those_that_programs_give(
    function: Callable[..., Any], arguments: list[tuple[str, Any]]
) -> None:
    assert _arguments(function) == arguments


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Client, "close new_session get_server_info update"),
        (
            Session,
            "submit wait wait_some wait_all fetch update keep_all unkeep close active task_count "
            "dataobj_count make_graph bind_only set_as_default",
        ),
        (DataObject, "id spec info state content_type keep unkeep is_kept wait fetch update expect_dir"),
        (DataInstance, "get_bytes get_str load write link info spec content_type size memoryview"),
        (
            Task,
            "id name spec info state task_type output keep_outputs unkeep_outputs fetch_outputs wait update",
        ),
        (LabeledList, "append set get_label set_label items data labels"),
    ],
)
def test_classes_have_their_attributes(kind: type, names: str) -> None:
    for name in names.split():
        assert hasattr(kind, name), name


def test_specs_and_infos_have_their_fields() -> None:
    def names(kind: Any) -> set[str]:
        return {field.name for field in fields(kind)}

    assert names(TaskSpec) == {
        *("id", "task_type", "config", "inputs", "outputs", "resources", "name", "user"),
    }
    assert names(TaskInfo) == {"error", "start_time", "duration", "worker", "user", "debug"}
    assert {"id", "label", "content_type", "user"} <= names(ObjectSpec)
    assert {"size", "content_type", "user"} <= names(ObjectInfo)


def test_tasks_and_objects_share_one_number_space(session: Session, tmp_path: Path) -> None:
    constant = blob(b"")
    task = tasks.Concat([constant])
    other = directory(tmp_path)
    assert [constant.id, task.id, task.output.id, other.id] == [ID(3, number) for number in (1, 2, 3, 4)]
    assert str(task.id) == "3/2"


def test_labels_of_constants_say_what_they_are(session: Session, tmp_path: Path) -> None:
    assert [blob(b"").label, pickled(1).label, directory(tmp_path).label] == ["const", "pickle", "const_dir"]
    assert directory(tmp_path, label="mine").label == "mine"


def test_constants_are_what_they_were_when_they_were_made(session: Session) -> None:
    value = bytearray(b"before")
    listed = [1]
    raw, encoded = blob(value), pickled(listed)
    value[:] = b"after!"
    listed.append(2)
    assert raw.graph_node.payload == b"before"
    assert encoded.graph_node.payload == pickled([1]).graph_node.payload


def test_several_items_are_kept_and_unkept_at_once(session: Session) -> None:
    task = Task([], ["a", "b"], task_type="some/thing")
    task.keep_outputs()
    assert all(obj.is_kept() for obj in task.outputs)
    task.unkeep_outputs()
    assert not any(obj.is_kept() for obj in task.outputs)


def test_dir_of_the_package_lists_its_names() -> None:
    assert set(rainzmq.__all__) <= set(dir(rainzmq))
