"""One task: what it is, where it is and why, what it said."""

from __future__ import annotations

import json

from rainzmq.common.ids import make_uid
from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.monitoring.views import TaskDetail, find_task, parse_id, task_detail


class TaskPage(Page):
    """See the module."""

    path, title = "task", "Task"

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """All that is known of it."""
        text = ask.query.get("id")
        task = find_detail(ask, text)
        if task is None:
            return {"task": ask.render(self.parts, "missing", id=text)}
        values = {name: _json(getattr(task, name)) for name in ("config", "user", "info_user")}
        values["arguments"] = "\n".join(task.arguments or ())
        return {"task": ask.render(self.parts, "task", task=task, **values)}


def find_detail(ask: PageQuery, text: str) -> TaskDetail | None:
    """The task of an id such as `3/17`; None without one."""
    try:
        found_id = parse_id(text)
    except ValueError:
        return None
    found = find_task(ask.model, make_uid(found_id.session_id, found_id.id), ask.time)
    if found is None:
        return None
    session, row = found
    return ask.site.once(("task", ask.time, text), lambda: task_detail(ask.model, session, row, ask.time))


def _json(value: object) -> str:
    """A value as people read it; empty for nothing."""
    if value is None or value in ({}, "", []):
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=repr)
