"""Sessions: how far each is, what it waits for, why it failed; and a way to cancel one."""

from __future__ import annotations

from rainzmq.dashboard.page import Page, PageQuery

_MOST = 200


class SessionsPage(Page):
    """See the module."""

    path, title = "sessions", "Sessions"

    def fragments(self, ask: PageQuery) -> dict[str, str]:
        """A table of the chosen session, or without a choice of all, the last first."""
        listed = ask.sessions if ask.choice else ask.there
        views = [ask.session_view(session) for session in listed[::-1]]
        may_cancel = not ask.hub.is_replay and ask.hub.is_connected and ask.hub.canceller is not None
        return {
            "sessions": ask.render(
                self.parts,
                "sessions",
                sessions=views[:_MOST],
                more=len(views) - _MOST,
                may_cancel=may_cancel,
            )
        }
