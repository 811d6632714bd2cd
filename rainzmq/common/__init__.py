"""What every part of rainzmq shares: ids, states, specs, errors, content types, data instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rainzmq.common.errors import RainException, RainWarning, SessionException, TaskCancelled, TaskException
from rainzmq.common.ids import ID
from rainzmq.common.labeled_list import LabeledList
from rainzmq.common.specs import ObjectInfo, ObjectSpec, TaskInfo, TaskSpec
from rainzmq.common.states import DataObjectState, DataType, TaskState

if TYPE_CHECKING:
    from rainzmq.common.data_instance import DataInstance

__all__ = [
    "ID",
    "DataInstance",
    "DataObjectState",
    "DataType",
    "LabeledList",
    "ObjectInfo",
    "ObjectSpec",
    "RainException",
    "RainWarning",
    "SessionException",
    "TaskCancelled",
    "TaskException",
    "TaskInfo",
    "TaskSpec",
    "TaskState",
]


def __getattr__(name: str) -> Any:
    # Resolved late: most processes need no data instances, and everything else here is cheap to import.
    if name == "DataInstance":
        from rainzmq.common.data_instance import DataInstance

        return DataInstance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
