"""What a process is like between tasks: what a task changed that would break our own code or the next task is
put back, or the process is *spoiled* and must be replaced.

    begin ---- the task's function runs ---- restore --> None, or what could not be put back

`aspects` says what a task may change and how that is read and written. `tripwires` tell which aspects a task
touched; those are compared with what they were and written back. Without a touch only what is cheap is looked
at: a no-op costs 1 us. After a task that failed, or that took so long that it does not matter, everything is
compared.

What makes it worth to keep a process stays: imported modules, module globals, caches, threads of libraries.
What an *import* changes belongs to the module, which stays: an importer that `six` adds, a variable that
OpenCV sets. It becomes what the next tasks begin with. Threads and children that tasks left may stay until
their session ends (`leftovers`).
"""

from __future__ import annotations

import builtins
import os
import sys
import warnings
from functools import partial
from operator import itemgetter
from typing import Any

from rainzmq.subworker.aspects import (
    IRREVERSIBLE,
    Aspect,
    EnvironmentVariables,
    InterpreterList,
    all_aspects,
    start_method,
)
from rainzmq.subworker.tripwires import is_importing, places_of, watch_functions, watch_names

_NEEDED_MODULES = ("os", "sys", "io", "json", "pickle", "msgpack", "cloudpickle", "traceback")
"""What our code needs, also late; a task that makes one None or another object is noticed at once."""

_vital_builtins = itemgetter("__import__", "open", "print", "len", "isinstance", "getattr", "range")
"""Those whose loss is noticed at once even when it happened in the dictionary, where no tripwire is."""


class Surroundings:
    """The surroundings of tasks, as they are when this is made. One per process."""

    def __init__(self, affinity: bool) -> None:
        """`affinity`: the cpus that the process runs on are to be put back, too."""
        self._touched: set[Aspect] = set()
        self._lost: list[str] = []
        self._remember_modules()
        self._vital = _vital_builtins(builtins.__dict__)
        self._argv = list(sys.argv)
        self.environment = EnvironmentVariables()
        self._lists = [
            InterpreterList(module, name, self._touch)
            for module, name in (
                (sys, "path"),
                (sys, "meta_path"),
                (sys, "path_hooks"),
                (warnings, "filters"),
            )
        ]
        self._aspects = [
            *all_aspects(affinity),
            self.environment.aspect,
            *[item.aspect for item in self._lists],
        ]
        self._path, self._importers, self._hooks, self._filters = (
            sys.path,
            sys.meta_path,
            sys.path_hooks,
            warnings.filters,
        )
        self._builtins = self._aspects[0]
        watch_names(builtins, partial(self._on_call, self._builtins))
        for aspect in self._aspects:
            aspect.saved = aspect.read()
            for module, name in aspect.calls:
                watch_functions(places_of(module, name), name, partial(self._on_call, aspect))
        for name in ("putenv", "unsetenv"):
            watch_functions(places_of(os, name), name, self._on_variable)
        for module, name in IRREVERSIBLE:
            watch_functions(places_of(module, name), name, partial(self._on_irreversible, name))

    def begin(self) -> None:
        """A task's function is about to be called: what our own code has changed until now stays."""
        if self._touched:
            self.environment.keep_all()
            for aspect in self._touched:
                aspect.saved = aspect.read()
            self._touched.clear()

    def restore_builtins(self) -> None:
        """The same of builtins alone, which are needed to take over what the task returned."""
        if not self._has_vital_builtins() or self._builtins in self._touched:
            self._builtins.write(self._builtins.saved)

    def restore(self, thorough: bool) -> str | None:
        """Put back what the task changed; None, or what could not be put back, human-readable.

        `thorough`: compare everything, whether something told of a change or not. Otherwise a task that
        changed nothing is known by a few looks.
        """
        unchanged = self._looks_unchanged()
        if unchanged and not thorough and not self._touched and not self._lost:
            return None
        lost, self._lost = self._lost, []
        for aspect in self._aspects if thorough or not unchanged else [*self._touched]:
            try:
                if aspect.read() != aspect.saved:
                    aspect.write(aspect.saved)
                    if aspect.read() != aspect.saved:
                        lost.append(aspect.name)
            except Exception as error:  # whatever was made of the functions that this needs
                lost.append(f"{aspect.name} ({type(error).__name__}: {error})")
        self._touched.clear()
        self._remember_modules()
        return ", ".join(lost) or None

    def _looks_unchanged(self) -> bool:
        """Whether what no tripwire is at looks as it was, as far as that is seen at once. `restore_builtins`
        has looked at builtins.
        """
        modules = sys.modules
        try:
            same = self._get_needed(modules) == self._needed
        except KeyError:
            same = False
        return (
            same
            and (not self._missing or modules.keys().isdisjoint(self._missing))
            and sys.path is self._path
            and sys.meta_path is self._importers
            and sys.path_hooks is self._hooks
            and warnings.filters is self._filters
            and sys.argv == self._argv
            and not self.environment.is_replaced()
            and start_method() is None
        )

    def _has_vital_builtins(self) -> bool:
        try:
            same: bool = _vital_builtins(builtins.__dict__) == self._vital
            return same
        except:  # noqa: E722 - the name of an exception would be one of them
            return False

    def _touch(self, aspect: Aspect) -> bool:
        """Something was changed; whether that stays."""
        if is_importing():
            return True
        self._touched.add(aspect)
        return False

    def _on_call(self, aspect: Aspect, _arguments: Any) -> None:
        if self._touch(aspect) and aspect not in self._touched:
            aspect.saved = aspect.read()

    def _on_variable(self, arguments: tuple[Any, ...]) -> None:
        if self.environment.note(arguments[0]) and self._touch(self.environment.aspect):
            self.environment.keep(*arguments)

    def _on_irreversible(self, name: str, _arguments: Any) -> None:
        self._lost.append(f"what {name}() changed")

    def _remember_modules(self) -> None:
        """What `_looks_unchanged` compares."""
        present = [name for name in _NEEDED_MODULES if name in sys.modules]
        self._get_needed = itemgetter(*present)
        self._needed = self._get_needed(sys.modules)
        self._missing = [name for name in _NEEDED_MODULES if name not in sys.modules]
