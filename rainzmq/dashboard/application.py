"""The web application: pages, REST, static files; every request passes the guard.

A page is asked for by GET: its text is rendered at once, and a Bokeh session is opened that its script
connects to by websocket for figures and for what changes. No inline script is sent, so that the content
security policy can forbid it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.doc_handler import DocHandler
from bokeh.server.views.root_handler import RootHandler
from bokeh.server.views.ws import WSHandler
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application as TornadoApplication
from tornado.web import RedirectHandler, StaticFileHandler

from rainzmq.dashboard.page import Page
from rainzmq.dashboard.page_data import DataPage
from rainzmq.dashboard.page_graph import GraphPage
from rainzmq.dashboard.page_overview import OverviewPage
from rainzmq.dashboard.page_sessions import SessionsPage
from rainzmq.dashboard.page_stream import StreamPage
from rainzmq.dashboard.page_task import TaskPage
from rainzmq.dashboard.page_tasks import TasksPage
from rainzmq.dashboard.page_workers import WorkersPage
from rainzmq.dashboard.query import Query
from rainzmq.dashboard.site import Site
from rainzmq.dashboard.view import View
from rainzmq.monitoring.hub import Hub
