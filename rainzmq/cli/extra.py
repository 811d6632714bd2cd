"""What the extra `dashboard` installs: commands that need it say so before they start."""

from __future__ import annotations

import importlib.util

from rainzmq.common.errors import RainException

EXTRA = "pip install 'rainzmq[dashboard]'"

PAGES = ("numpy", "bokeh", "tornado", "pydantic", "networkx", "jinja2")
"""Packages that pages and reports need."""

EVENTS = ("numpy",)
"""Packages that it takes to look at an event log."""


def need_extra(what: str, packages: tuple[str, ...] = PAGES) -> None:
    """Returns when all of these packages are installed.

    Raises:
        RainException: some are not; says that `what` needs them, and how they are installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise RainException(f"{what} needs {', '.join(missing)}: {EXTRA}")


def not_installed(packages: list[str]) -> str:
    """Such as "bokeh, tornado are not installed"."""
    return f"{', '.join(packages)} {'is' if len(packages) == 1 else 'are'} not installed"
