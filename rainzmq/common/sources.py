"""Source lines of functions that travel by value, so that a traceback on a worker can show them.

The lines of a notebook's cell are in no file, and those of a script are in none that a worker on another
machine sees. They go along with the function, each with its place in its file, and `linecache`, which is
where tracebacks find lines, is told of them.
"""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable
from types import CodeType, FunctionType

Source = tuple[str, int, str]
"""The name of a file, the number of a line of it (from 1), and the text from there on."""

_MAX_BYTES = 16 << 10
"""More does not go along with one function."""

_MAX_FILES = 256
"""Files whose lines a process keeps; those that came first are forgotten."""

_MAX_LINE = 1_000_000

_shown: dict[str, None] = {}


def sources_of(functions: Iterable[FunctionType]) -> tuple[Source, ...]:
    """The source of these functions, as far as it is known and in all not too long."""
    found: dict[tuple[str, int], str] = {}
    room = _MAX_BYTES
    for function in functions:
        code = function.__code__
        place = code.co_filename, code.co_firstlineno
        lines = linecache.getlines(code.co_filename, function.__globals__)
        text = "".join(lines[code.co_firstlineno - 1 : _last_line(code)])
        room -= len(text.encode("utf-8", "replace")) if place not in found else 0
        if room < 0:
            break
        if text:
            found[place] = text
    return tuple([(*place, text) for place, text in found.items()])


def show_sources(sources: Iterable[Source]) -> None:
    """Let tracebacks of this process show these lines, but for those of files that are here."""
    for name, first, text in sources:
        if not 0 < first < _MAX_LINE or os.path.exists(name):
            continue
        known = linecache.cache.get(name)
        lines = list(known[2]) if name in _shown and known is not None and len(known) == 4 else []
        new = text.splitlines(keepends=True)
        lines += ["\n"] * (first - 1 + len(new) - len(lines))
        lines[first - 1 : first - 1 + len(new)] = new
        # Without a time it is taken as it is, and not looked for on the disk.
        linecache.cache[name] = (sum(map(len, lines)), None, lines, name)
        _shown.pop(name, None)
        _shown[name] = None
    while len(_shown) > _MAX_FILES:
        oldest = next(iter(_shown))
        del _shown[oldest]
        linecache.cache.pop(oldest, None)


def _last_line(code: CodeType) -> int:
    last = max((end for _, end, _, _ in code.co_positions() if end is not None), default=0)
    return max([last, *(_last_line(item) for item in code.co_consts if isinstance(item, CodeType))])
