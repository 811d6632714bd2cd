"""Items of a hub in this process: of a database of a run that is over."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from rainzmq.cli.source import FirstTasks, Item
from rainzmq.common.errors import RainException
from rainzmq.monitoring import views
from rainzmq.monitoring.columns import IntArray
from rainzmq.monitoring.hub import Hub
from rainzmq.monitoring.objects import no_task
from rainzmq.monitoring.session import STATES, SessionLog, StateArray


class HubSource:
    """A `Source` that looks at a hub."""

    is_live = False

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @property
    def place(self) -> str:
        """The database."""
        return f"in {self._hub.source}"

    def server(self) -> Item:
        """The server."""
        return asdict(views.server_view(self._hub))

    def workers(self) -> list[Item]:
        """All workers."""
        return [asdict(item) for item in views.worker_views(self._hub.model)]

    def sessions(self) -> list[Item]:
        """All sessions."""
        return [asdict(views.session_view(item)) for item in self._hub.model.sessions.values()]

    def groups(self, session_id: int) -> list[Item]:
        """The tasks of a session by the parts of their names."""
        session = self._hub.model.sessions.get(session_id)
        if session is None:
            raise RainException(f"there is no session {session_id}")
        return [asdict(item) for item in views.groups(session)]

    def tasks(self, wanted: dict[str, str], limit: int) -> FirstTasks:
        """Up to `limit` tasks of those that are wanted."""
        model = self._hub.model
        chosen = int(wanted["session"]) if "session" in wanted else None
        items: list[Item] = []
        total = 0
        for session in model.sessions.values():
            if chosen is not None and session.session_id != chosen:
                continue
            codes = session.states()
            rows = self._rows(session, codes, wanted)
            total += len(rows)
            rows = rows[: limit - len(items)]
            if len(rows):
                found = views.task_views(session, rows, model, None, codes[rows])
                items += [asdict(item) for item in found]
        return FirstTasks(items, total)

    def task(self, task_id: str) -> Item:
        """All about a task."""
        try:
            found = views.find_task(self._hub.model, views.parse_id(task_id).uid)
        except ValueError as error:
            raise RainException(str(error)) from None
        if found is None:
            uid = views.parse_id(task_id)
            session = self._hub.model.sessions.get(uid.session_id)
            raise RainException(
                f"there is no task {task_id}" if session is None else no_task(session, uid.id)
            )
        return asdict(views.task_detail(self._hub.model, *found))

    def _rows(self, session: SessionLog, codes: StateArray, wanted: dict[str, str]) -> IntArray:
        keep = np.ones(len(codes), dtype=bool)
        if "state" in wanted:
            keep &= codes == STATES.index(wanted["state"])
        if "name" in wanted:
            keep &= np.isin(session.tasks["name"], views.name_matches(session, wanted["name"]))
        if "worker" in wanted:
            numbers = [
                worker.number
                for worker in self._hub.model.workers.values()
                if worker.worker_id == wanted["worker"]
            ]
            keep &= np.isin(session.tasks["worker"], numbers)
        return np.flatnonzero(keep)
