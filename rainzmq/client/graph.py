"""The graph of a session as Graphviz's DOT, to be looked at."""

from __future__ import annotations

import html
import os
import shutil
import subprocess

from rainzmq.client.nodes import ObjectNode, TaskNode
from rainzmq.common.states import DataType

_RENDER_TIMEOUT_S = 20

_MOST_DRAWN = 500
"""Tasks of a graph that a notebook draws; more take long, and show nothing."""


class Graph:
    """Tasks (boxes) and data objects (ellipses; directories are folders, kept ones have a double line)."""

    def __init__(self, tasks: list[TaskNode], constants: list[ObjectNode]) -> None:
        self._tasks = tasks
        self._constants = constants

    def make_dot(self, name: str) -> str:
        """The graph in the DOT language, under a name."""
        lines = [f"digraph {_quote(name)} {{", "  rankdir=TB;"]
        drawn: set[int] = set()
        for obj in self._constants:
            lines.append(_object_line(obj, drawn))
        for task in self._tasks:
            title = task.body.task_type if task.name is None else f"{task.name}\n{task.body.task_type}"
            title = _quote(f"{title}\n{task.id}")
            lines.append(f"  t{task.num} [shape=box, label={title}];")
            for label, item in [] if task.inputs is None else task.inputs.items():
                obj = item.graph_node
                if obj.num not in drawn:
                    lines.append(_object_line(obj, drawn))
                lines.append(f"  o{obj.num} -> t{task.num}{_edge(label)};")
            for obj in task.outputs:
                if obj.num not in drawn:
                    lines.append(_object_line(obj, drawn))
                lines.append(f"  t{task.num} -> o{obj.num}{_edge(obj.label)};")
        lines.append("}")
        return "\n".join(lines) + "\n"

    def write(self, path: str | os.PathLike[str], name: str = "rainzmq") -> None:
        """Write the graph as a DOT file; OSError when that cannot be done."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.make_dot(name))

    def _repr_svg_(self) -> str | None:
        """For notebooks: the drawing; None where Graphviz is not installed or fails, or for a large graph."""
        dot = shutil.which("dot")
        if dot is None or len(self._tasks) > _MOST_DRAWN:
            return None
        try:
            done = subprocess.run(
                [dot, "-Tsvg"],
                input=self.make_dot("rainzmq").encode(),
                capture_output=True,
                timeout=_RENDER_TIMEOUT_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode()

    def _repr_html_(self) -> str | None:
        """For notebooks where Graphviz is not installed: the DOT text. For a large graph what is in it."""
        if len(self._tasks) > _MOST_DRAWN:
            from rainzmq.client.notebook import graph_html

            return graph_html(self._tasks, len(self._constants))
        if shutil.which("dot") is not None:
            return None
        return f"<pre>{html.escape(self.make_dot('rainzmq'))}</pre>"

    def __repr__(self) -> str:
        return f"<Graph of {len(self._tasks)} tasks; .write(path) makes a DOT file>"


def _object_line(obj: ObjectNode, drawn: set[int]) -> str:
    drawn.add(obj.num)
    shape = "folder" if obj.data_type is DataType.DIRECTORY else "ellipse"
    title = str(obj.id) if obj.label is None else f"{obj.label}\n{obj.id}"
    style = ", peripheries=2" if obj.keep else ""
    return f"  o{obj.num} [shape={shape}, label={_quote(title)}{style}];"


def _edge(label: str | None) -> str:
    return "" if label is None else f" [label={_quote(label)}]"


def _quote(text: str) -> str:
    """A DOT string; in labels a backslash would begin an escape, so it is doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "\\n")
    return f'"{escaped}"'
