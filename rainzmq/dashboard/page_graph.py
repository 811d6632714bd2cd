"""Graph: how tasks depend on each other, folded by name when there are many."""

from __future__ import annotations

from collections.abc import Callable

from rainzmq.common.states import SessionState
from rainzmq.dashboard.graph_figure import GraphFigure, states_text
from rainzmq.dashboard.page import Page, PageQuery
from rainzmq.dashboard.palette import Theme
from rainzmq.monitoring.dag import Dag, Node, graph
from rainzmq.monitoring.session import SessionLog

SHOWN_TASKS = 1000
"""Of a session of more tasks each task cannot be shown."""


_MOST_ROWS = 200
_MOST_SOURCES = 6


class GraphPage(Page):
    """See the module."""

    path, title = "graph", "Graph"

    def start(self, ask: PageQuery, again: Callable[[], None]) -> None:
        """Make the figure."""
        self._ask = ask
        self._figure = GraphFigure(ask.theme, self._link)
        self.figures = {"graph": self._figure.plot}

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """Which session it is, how it is folded, what the colours mean; and the graph as a table."""
        self._ask = ask
        session = chosen_session(ask)
        if session is None:
            return {"choices": "", "summary": ask.render(self.parts, "empty"), "table": ""}
        shown = shown_graph(ask, session)
        opened = opened_groups(ask)
        return {
            "choices": ask.render(
                self.parts,
                "choices",
                session=session,
                shown=shown,
                opened=sorted(opened),
                can_show_tasks=shown.tasks <= SHOWN_TASKS,
            ),
            "summary": ask.render(
                self.parts,
                "summary",
                session=session,
                shown=shown,
                others=[other for other in ask.sessions[::-1] if other is not session],
            ),
            "table": ask.render(
                self.parts, "table", rows=self._rows(shown), more=len(shown.nodes) - _MOST_ROWS
            ),
        }

    def draw(self, ask: PageQuery) -> None:
        """Bring the graph up to date."""
        self._ask = ask
        session = chosen_session(ask)
        self._figure.draw(Dag([], [], False, 0) if session is None else shown_graph(ask, session))

    def recolor(self, theme: Theme) -> None:
        """Another theme."""
        self._figure.recolor(theme)

    def _rows(self, shown: Dag) -> list[tuple[Node, str, str, list[str], int]]:
        """(node, where it leads, states in words, names of some that it reads from, number of others)."""
        sources: dict[int, list[int]] = {}
        for source, target, _ in shown.edges:
            sources.setdefault(target, []).append(source)
        rows = []
        for index, node in enumerate(shown.nodes[:_MOST_ROWS]):
            names = [shown.nodes[at].name for at in sources.get(index, [])]
            some, others = names[:_MOST_SOURCES], len(names) - _MOST_SOURCES
            rows.append((node, self._link(node), states_text(node), some, others))
        return rows

    def _link(self, node: Node) -> str:
        """A task leads to its page, a group of one name to its tasks, another is opened."""
        query = self._ask.query
        if node.is_task:
            return query.link("task", id=node.key)
        if node.is_leaf:
            return query.link("tasks", name=node.name) + "#list"
        opened = opened_groups(self._ask) | {node.key}
        return query.with_(open="\n".join(sorted(opened)))


def chosen_session(ask: PageQuery) -> SessionLog | None:
    """The chosen session; of several that with most tasks of those that are open, or of all."""
    some = [session for session in ask.sessions if len(session.tasks)] or ask.sessions
    is_open = [session for session in some if session.state is SessionState.OPEN]
    return max(is_open or some, key=lambda session: len(session.tasks), default=None)


def opened_groups(ask: PageQuery) -> frozenset[str]:
    """Groups that were clicked on."""
    return frozenset(key for key in ask.query.get("open").split("\n") if key)


def shown_graph(ask: PageQuery, session: SessionLog) -> Dag:
    """The graph as the query asks for it."""
    chosen = ask.query.get("fold")
    folded = None
    if chosen in ("0", "1"):
        folded = chosen == "1" or len(session.tasks) > SHOWN_TASKS
    opened = opened_groups(ask)
    return ask.once(
        "graph", lambda: graph(session, ask.time, opened, folded), session.session_id, folded, opened
    )
