"""Where in the user's program something happens: for errors about tasks, and for warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from rainzmq.common.errors import RainWarning

_log = logging.getLogger(__name__)

Site = tuple[str, int]
"""File name and line."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_site(made: object) -> Site | None:
    """The innermost line of a caller outside of rainzmq, None when there is none. When users' classes are
    derived from ours, their `__init__` is not where `made` is made but the line that calls it.

    Called for every task made, so no more than that is looked up or kept.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    while frame.f_code.co_name == "__init__" and frame.f_back is not None:
        names = frame.f_code.co_varnames
        if not names or frame.f_locals.get(names[0]) is not made:
            break
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def warn_softly(text: str) -> None:
    """As `warn`, but where warnings are made errors it is logged, for places that must not raise."""
    try:
        warn(text)
    except RainWarning:
        _log.warning("%s", text)


def warn(text: str) -> None:
    """A `RainWarning` that points to the user's line."""
    frame = sys._getframe(1)
    level = 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(text, RainWarning, stacklevel=level)
