"""Where in the user's program something happens: for errors about tasks, and for warnings."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from types import CodeType
from typing import NamedTuple

from rainzmq.common.errors import RainWarning

_log = logging.getLogger(__name__)


class CallSite(NamedTuple):
    """A place in a program. Which line it is on is looked up only when it is shown.

    Attributes:
        code: the code that ran.
        instruction: its bytecode offset.
    """

    code: CodeType
    instruction: int

    @property
    def line(self) -> int:
        """The line number, from 1."""
        for start, end, line in self.code.co_lines():
            if start <= self.instruction < end and line is not None:
                return line
        return self.code.co_firstlineno

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line}"


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def user_site(made: object) -> CallSite | None:
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
    return CallSite(frame.f_code, frame.f_lasti)


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
