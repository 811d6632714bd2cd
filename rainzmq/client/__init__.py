"""The Python API: clients, sessions, tasks and data objects."""

from __future__ import annotations

from rainzmq.client import codebase as _codebase
from rainzmq.client import dataobj, inputs, outputs, program, session, tasks
from rainzmq.client import graph_task as task
from rainzmq.client.client import Client
from rainzmq.client.dataobj import DataObject, blob, directory, pickled
from rainzmq.client.graph_task import Task
from rainzmq.client.inputs import Input, InputDir
from rainzmq.client.outputs import Output, OutputDir
from rainzmq.client.program import Program
from rainzmq.client.remote import Remote, remote
from rainzmq.client.session import Session, get_active_session
from rainzmq.common.errors import RainException, RainWarning, SessionException, TaskCancelled, TaskException

__all__ = [
    "Client",
    "DataObject",
    "Input",
    "InputDir",
    "Output",
    "OutputDir",
    "Program",
    "RainException",
    "RainWarning",
    "Remote",
    "Session",
    "SessionException",
    "Task",
    "TaskCancelled",
    "TaskException",
    "blob",
    "dataobj",
    "directory",
    "get_active_session",
    "inputs",
    "outputs",
    "pickled",
    "program",
    "remote",
    "session",
    "task",
    "tasks",
]

_codebase.install()
