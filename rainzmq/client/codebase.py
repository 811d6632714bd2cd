"""The code of this program that travels with its calls.

    pickles name users' modules ---> units of these and of all that they import ---> in the body of every call

Process-wide: what one session's pickles named goes along with all of them, so that whatever a task is given
can be loaded. `current` is cheap and looks only at what happened in this process, imports and reloads;
`look_at_disk` finds changed files that are not imported here, such as data files and modules that only tasks
import.

A module of the user's travels by name, as files, unless what is in memory is not what a file says: it was
made without one, it was edited before its source could be kept, or its globals were bound to other values
since that cannot go along. Its functions and classes then travel by value.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from rainzmq.client import imported, module_files
from rainzmq.client.own_names import check_unit_name
from rainzmq.client.rebound import rebound_globals, states, watch_states
from rainzmq.client.unit_files import UnitFiles
from rainzmq.common.errors import RainException
from rainzmq.common.pickles import (
    ANY_MODULE,
    MAIN_NAMES,
    Travel,
    changes,
    dumps_by_value,
    has_travel,
    named,
    set_travel,
)
from rainzmq.common.user_modules import OWN_NAMES

MAX_BOUND_BYTES = 1 << 20
"""When the globals of a module that were rebound are larger, its functions travel by value."""


class Codebase:
    """See the module; there is one, `codebase`.

    Attributes:
        version: rises with every change of the units.
        reloaded_version: the last version in which a module was another one because this process imported it
            again or rebound globals of it; later ones differ by more modules, or by what submits look at.
        kinds_version: rises when a module travels in another way than before, or is asked for the first time.
        units: what travels with calls now, each with the names of the units that it may import, None for any.
    """

    def __init__(self) -> None:
        self.version = self.reloaded_version = 0
        self.kinds_version = 0
        self.units: tuple[tuple[UnitFiles, tuple[str, ...] | None], ...] = ()
        self._changes = 0
        self._files: dict[str, UnitFiles] = {}
        self._kinds: dict[str, Travel] = {}
        self._modules = 0
        self._digests: dict[str, bytes] = {}
        self._state: dict[str, tuple[bytes, tuple[str, ...] | None]] = {}
        self._places: dict[str, list[str] | None] = {}
        self._searched: SearchState | None = None
        self._bound: dict[str, bytes] = {}
        self._used: dict[str, Travel] = {}
        self._reasons: dict[str, str] = {}
        self._prefer_names = False

    def current(self) -> int:
        """The version after what happened in this process.

        Raises:
            RainException: a module that must travel as a file was edited after it was imported, or has a name
                that a worker's process needs.
        """
        if changes[0] != self._changes:
            self._update(look_at_disk=False)
        return self.version

    def look_at_disk(self) -> int:
        """The version after also looking at the files that are not imported here, and whether functions were
        changed in place as their files were. Raises what `current` does.
        """
        if named:
            for module, source in [item for unit in self._files.values() for item in unit.sources]:
                if source is not None:
                    imported.watch.look_again(module, source)
            self._update(look_at_disk=True)
        return self.version

    def look_at_states(self) -> None:
        """As `look_at_globals`, when a function of a module has bound a global of it."""
        if states[0] is not None and not states[0]():
            self.look_at_globals()

    def look_at_globals(self) -> None:
        """Modules may have got other globals since they were looked at."""
        before = dict(self._bound)
        self._kinds.clear()
        for name in list(self._used):
            self.travel(name)
        if self._bound != before or (states[0] is not None and not states[0]()):
            changes[0] += 1

    @contextmanager
    def names_preferred(self) -> Iterator[None]:
        """Within it, modules travel as files even when their globals were bound to other values."""
        self._kinds.clear()
        self._prefer_names = True
        try:
            yield
        finally:
            self._kinds.clear()
            self._prefer_names = False

    def travel(self, name: str) -> Travel:
        """How the code of a module travels."""
        if changes[0] != self._changes:
            self._start_again()
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = self._find_kind(name)
            if self._used.get(name) is not kind and not self._prefer_names:
                self._used[name] = kind
                self.kinds_version += 1
        return kind

    def reasons(self) -> list[str]:
        """Why modules travel by value, human-readable; one line for each that was asked for."""
        return [
            f"module {name!r} travels by value, for {self._reasons[name]}"
            for name, kind in self._kinds.items()
            if kind is Travel.VALUE
        ]

    def _start_again(self) -> None:
        self._kinds.clear()
        self._places.clear()

    def _find_kind(self, name: str) -> Travel:
        module = sys.modules.get(name)
        if module is None or name in MAIN_NAMES:
            return Travel.INSTALLED  # cloudpickle sends it by value
        top = name.partition(".")[0]
        if not self._places_of(top):
            if "." in name or not _is_made_in_memory(module):
                return Travel.INSTALLED
            self._reasons[name] = "it was made without a file"
            return Travel.VALUE
        if not isinstance(module, ModuleType) or module.__name__ != name:
            return Travel.FILES
        source = imported.watch.source(module)
        if source is None:
            if _is_made_in_memory(module):
                self._reasons[name] = "it was made without a file"
                return Travel.VALUE
            return Travel.FILES
        if source.data is None:
            self._reasons[name] = f"{source.path} was edited after it was imported"
            return Travel.VALUE
        self._bound.pop(name, None)
        # Other loaders may rewrite what they read.
        as_written = type(module.__loader__) in imported.PLAIN_LOADERS
        changed = rebound_globals(module, source.data, as_written)
        if changed:
            # Its values may be instances of its own classes.
            self._kinds[name] = Travel.FILES
            if not self._bind({key: _static(module, key) for key in changed}, name):
                self._reasons[name] = f"its global {changed[0]!r} is not what {source.path} says"
                return Travel.FILES if self._prefer_names else Travel.VALUE
        return Travel.FILES

    def _bind(self, values: dict[str, Any], name: str) -> bool:
        """Have these globals go along with a module; returns False when they cannot."""
        try:
            data = dumps_by_value(values)
        except Exception:  # whatever objects in them raise
            return False
        if len(data) > MAX_BOUND_BYTES:
            return False
        self._bound[name] = data
        return True

    def _places_of(self, top: str) -> list[str]:
        """The file or directories of a top-level module of the user's; empty for every other name."""
        if top not in self._places:
            self._places[top] = _find_places(top)
        return self._places[top] or []

    def _update(self, look_at_disk: bool) -> None:
        count, modules = changes[0], len(sys.modules)
        look_at_modules = (count, modules) != (self._changes, self._modules)
        if look_at_modules:
            self._start_again()
        elif look_at_disk:
            searched = _search_state()
            if searched is None or searched != self._searched:  # there may be modules now where none were
                self._places = {name: places for name, places in self._places.items() if places is not None}
            self._searched = searched
        self._changes, self._modules = count, modules
        is_rebound = not look_at_disk and states[0] is not None and not states[0]()
        try:
            found, refused = self._find_units(look_at_modules, look_at_disk)
            refused.update(_users_of_edited(found))
            if refused:
                self._forget(refused, found)
                raise next(iter(refused.values()))
        except BaseException:
            self._changes = -1
            raise
        self._files = found
        units = tuple([(unit, _needs(unit, found)) for _, unit in sorted(found.items())])
        state = {unit.name: (unit.digest, needs) for unit, needs in units}
        if state != self._state:
            self.version += 1
            files = {unit.name: unit.files_digest for unit, _ in units}
            if is_rebound or (
                not look_at_disk and any(files.get(name) != old for name, old in self._digests.items())
            ):
                self.reloaded_version = self.version
            self.units, self._state, self._digests = units, state, files
        sources = [item for unit in found.values() for item in unit.sources]
        watch_states([(module, source.data) for module, source in sources if source and source.data])

    def _find_units(
        self, look_at_modules: bool, look_at_disk: bool
    ) -> tuple[dict[str, UnitFiles], dict[str, RainException]]:
        """The units that travel, and why others cannot."""
        found: dict[str, UnitFiles] = {}
        refused: dict[str, RainException] = {}
        todo = [name.partition(".")[0] for name in list(named)]
        if ANY_MODULE in named:
            # What is asked for may be, or import, any module that this program has set up.
            todo += [name for name in list(sys.modules) if "." not in name and name not in OWN_NAMES]
        while todo:
            name = todo.pop()
            if name in found or name in refused:
                continue
            places = self._places_of(name)
            if not places:
                continue
            try:
                check_unit_name(name, places[0])
            except RainException as error:
                refused[name] = error
                continue
            unit = self._files.get(name)
            if unit is None or not unit.is_current(places, look_at_modules, look_at_disk):
                unit = UnitFiles(name, places)
            found[name] = unit
            todo += unit.imports()
            for module, source in unit.sources:
                if source and source.data:
                    self.travel(module.__name__)
            modules = [module.__name__ for module, _ in unit.sources]
            unit.bind({name: self._bound[name] for name in modules if name in self._bound})
            todo += [item.partition(".")[0] for item in list(named)]  # what these values named
        return found, refused

    def _forget(self, refused: Iterable[str], units: dict[str, UnitFiles]) -> None:
        """Let these units, and those that import them, be none that pickles named, so that calls that need
        none of them go on. All functions are pickled again, and who needs them is refused again.
        """
        leading = set(refused)
        size = 0
        while size < len(leading):
            size = len(leading)
            leading.update(name for name, unit in units.items() if not leading.isdisjoint(unit.imports()))
        named.difference_update([name for name in list(named) if name.partition(".")[0] in leading])
        self._used = {
            name: kind for name, kind in self._used.items() if name.partition(".")[0] not in leading
        }
        self.kinds_version += 1
        changes[0] += 1


def _users_of_edited(units: dict[str, UnitFiles]) -> Iterator[tuple[str, RainException]]:
    """The units with a module that travels as a file and refers to one whose file is not what was imported,
    with what is to be said.
    """
    edited = [item for unit in units.values() for item in unit.edited.items()]
    for unit in units.values() if edited else ():
        for module, source in unit.sources:
            for name, path in edited:
                if source is not None and source.data is not None and _refers(module, name):
                    yield (
                        unit.name,
                        RainException(
                            f"Module {name!r} ({path}) was edited after this program imported it, and "
                            f"{module.__name__!r} ({source.path}), which travels as a file, uses it. Workers "
                            f"would import the edited one: call importlib.reload() on both, or start again"
                        ),
                    )


def _static(module: ModuleType, name: str) -> Any:
    """What a module, a class of it or a function has under such a name as `rebound_globals` gives."""
    value: Any = module
    for part in name.split("."):
        value = value.__code__ if part == "__code__" else vars(value)[part]
    return value


def _refers(module: ModuleType, name: str) -> bool:
    values = list(vars(module).values())
    return module.__name__ != name and any(
        getattr(value, "__module__", None) == name or value is sys.modules.get(name) for value in values
    )


def _needs(unit: UnitFiles, units: dict[str, UnitFiles]) -> tuple[str, ...] | None:
    """Names of the units that a unit may import, directly or not, with its own; None for any."""
    seen = {unit.name}
    todo = [unit]
    while todo:
        item = todo.pop()
        if item.dynamic:
            return None
        for name in item.imports():
            if name in units and name not in seen:
                seen.add(name)
                todo.append(units[name])
    return tuple(sorted(seen))


def _is_made_in_memory(module: Any) -> bool:
    spec = getattr(module, "__spec__", None)
    return (
        isinstance(module, ModuleType)
        and getattr(module, "__file__", None) is None
        and not hasattr(module, "__path__")
        and (spec is None or spec.origin is None)
    )


SearchState = list[tuple[str, module_files.Signature | None]]

_STEADY_FINDERS = ("_frozen_importlib", "_frozen_importlib_external", "_distutils_hack", "six")
"""Modules of finders that look into the entries of `sys.path`, or find the same things always."""


def _search_state() -> SearchState | None:
    """While this stays equal, no module is found that was not found before; None when that cannot be told.
    Looking for one takes 40 us, this a microsecond for each entry.
    """
    for finder in sys.meta_path:
        home = str(getattr(finder, "__module__", ""))
        if not (finder is imported.watch or home in _STEADY_FINDERS or home.startswith("__editable__")):
            return None
    return [(entry, module_files.signature(entry or os.curdir)) for entry in sys.path]


def _find_places(name: str) -> list[str] | None:
    """The user's files or directories of a top-level module; None when there is no such module."""
    if name in MAIN_NAMES:  # a worker that imported the script would run it
        return None
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if module is None:
        spec = imported.watch.probe(name)
        if spec is None:
            return None
        directories = spec.submodule_search_locations
        places = [spec.origin] if directories is None and spec.has_location else list(directories or ())
    else:
        path = getattr(module, "__path__", None)
        file = getattr(module, "__file__", None)
        places = [file] if path is None else list(path)
    files = [
        os.path.abspath(place) for place in places if isinstance(place, str) and module_files.exists(place)
    ]
    return imported.users_places(name, spec, files)


def own_sys_path() -> tuple[tuple[str, int], ...]:
    """The directories that this program imports modules from, with their inodes, but for the standard library
    and installed packages."""
    installed = {os.path.realpath(path) for path in sysconfig.get_paths().values()}
    installed |= {os.path.realpath(path) for path in site.getsitepackages()}
    installed.add(os.path.realpath(site.getusersitepackages()))
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    entries: dict[str, int] = {}
    for entry in sys.path:
        try:
            path = os.path.abspath(entry or os.curdir)
            inode = os.stat(path).st_ino
        except OSError:  # there is no such entry, or no working directory any more
            continue
        real = os.path.realpath(path)
        if real not in installed and os.path.dirname(real) != stdlib and os.path.isdir(path):
            entries[path] = inode
    return tuple(entries.items())


codebase = Codebase()


def install() -> None:
    """From now on the imports of this process are watched, and pickles follow the rule of `travel`."""
    if not has_travel():  # a subworker has its own
        imported.install()
        set_travel(codebase.travel)
