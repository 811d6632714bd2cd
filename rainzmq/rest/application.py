"""A web application that serves REST and nothing else."""

from __future__ import annotations

from typing import Any

import tornado.web

from rainzmq.monitoring.hub import Hub
from rainzmq.rest.guard import Guard, guarded
from rainzmq.rest.handlers import UnknownHandler, routes


def make_application(hub: Hub, guard: Guard) -> tornado.web.Application:
    """An application over a hub, behind a guard. The hub must be fed on the thread of its loop."""
    settings: dict[str, Any] = {"default_handler_class": UnknownHandler, "default_handler_args": {"hub": hub}}
    application: tornado.web.Application = guarded(tornado.web.Application)(guard, routes(hub), **settings)
    return application
