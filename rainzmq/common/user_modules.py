"""The modules of clients' programs in a subworker.

    CallBody.code --- enter ---> units in force ---> finder, the first of sys.meta_path ---> sys.modules
                                     |  ^
                                 put aside, taken up again

The units that the running task's body names are *in force*: their modules are found before anything that the
worker has under such a name. When a unit is not in force any more, because another program or another state
of the same program runs, its modules are taken out of `sys.modules` and put aside; they come back, as they
were, when the same content is in force again. So a module runs once per process and content, whatever runs in
between, and no module ever meets another version of one that it imported: with a unit go those that may
import it.

Sources are compiled from what travelled. `__file__` is the client's own path where this host sees that very
directory, so that whatever a module finds by it is found; elsewhere the unit's files are written into a
private directory.

What no unit holds and `import_module` asks for by a made-up name is looked for in the client's directories,
where this host sees them. Such loose modules are forgotten when other units come into force, and looked at
before every task: when a file changed, all of the client's modules are forgotten.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Any

from rainzmq.common.code_units import Module, Unit, UnitRef, unpack_unit
from rainzmq.common.errors import RainException
from rainzmq.common.pickles import Travel, set_travel

_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_BYTECODE = tuple(importlib.machinery.BYTECODE_SUFFIXES)

IMPORTED_LATER = ("cloudpickle.cloudpickle", "ctypes", "threadpoolctl")
"""Modules that a subworker needs for itself, but imports only when a task makes it."""

OWN_NAMES = frozenset({"rainzmq", "msgpack", "cloudpickle", "threadpoolctl"}) | sys.stdlib_module_names
"""Top-level names that a subworker may need for itself."""

_MAX_PUT_ASIDE = 8
"""States of one unit that are kept for when they are in force again; the oldest goes."""


class LoadedUnit:
    """A unit in this process, with its modules while it is put aside.

    Attributes:
        digest: identifies its content.
        needs: as `UnitRef.needs`.
        seen: digests of the units that its modules may have imported, by name.
        modules: its modules by full name, empty while it is in force.
        unit: as it travelled.
    """

    def __init__(self, ref: UnitRef, unit: Unit, directory: Callable[[], str]) -> None:
        self.digest = ref.digest
        self.needs = ref.needs
        self.seen: dict[str, bytes] = {}
        self.modules: dict[str, ModuleType] = {}
        self.unit = unit
        self._directory = directory
        self._bases: dict[str, str] = {}

    def note(self, digests: dict[str, bytes]) -> None:
        """It is in force together with these."""
        if self.needs is None:
            self.seen.update(digests)
        else:
            self.seen.update((name, digests[name]) for name in self.needs if name in digests)

    def fits(self, digests: dict[str, bytes]) -> bool:
        """Whether nothing that its modules may have imported is another one now."""
        return all(digests.get(name, digest) == digest for name, digest in self.seen.items())

    def spec(self, name: str) -> importlib.machinery.ModuleSpec | None:
        """How to load one of its modules; None when it has none of this name."""
        module = self.unit.modules.get(name)
        if module is None:
            return None
        path = self._path(module.path)
        if module.is_package and module.path not in self.unit.files:
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = _namespace_path(name, path)
            return spec
        search = [os.path.dirname(path)] if module.is_package else None
        return importlib.util.spec_from_file_location(
            name, path, loader=self._loader(name, module, path), submodule_search_locations=search
        )

    def show_sources(self) -> None:
        """Have tracebacks show its sources, not what has become of the files since."""
        for module in self.unit.modules.values():
            data = self.unit.files.get(module.path)
            path = self._bases and self._known_path(module.path)
            if data is not None and path and module.path.endswith(".py"):
                linecache.cache[path] = _lines_of(path, data)

    def _loader(self, name: str, module: Module, path: str) -> Any:
        if path.endswith(_EXTENSIONS):
            return importlib.machinery.ExtensionFileLoader(name, path)
        if path.endswith(_BYTECODE):
            return importlib.machinery.SourcelessFileLoader(name, path)
        data = self.unit.files[module.path]
        linecache.cache[path] = _lines_of(path, data)
        return _UnitLoader(name, path, data, self.unit.bound.get(name))

    def _path(self, path: str) -> str:
        """Where a file of it is on this host."""
        root, rest = self.unit.root_of(path)
        base = self._bases.get(root.prefix)
        if base is None:
            base = self._bases[root.prefix] = self._base(root.path, root.inode, root.prefix)
        # An extension module that is replaced while it is in use would end the process.
        if path.endswith(_EXTENSIONS) and base == root.path:
            base = os.path.join(self._written(), root.prefix)
        return os.path.join(base, rest) if rest else base

    def _known_path(self, path: str) -> str | None:
        root, rest = self.unit.root_of(path)
        base = self._bases.get(root.prefix)
        return None if base is None else os.path.join(base, rest)

    def _base(self, path: str, inode: int, prefix: str) -> str:
        with suppress(OSError):
            if os.stat(path).st_ino == inode:
                return path
        return os.path.join(self._written(), prefix)

    def _written(self) -> str:
        """The private directory that its files are in."""
        target = os.path.join(self._directory(), self.digest.hex())
        if not os.path.isdir(target):
            for path, data in self.unit.files.items():
                place = os.path.join(target, path)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb") as file:
                    file.write(data)
        return target


def _namespace_path(name: str, path: str) -> Any:
    """The `__path__` of a package without `__init__.py`; `importlib.resources` refuses a list."""
    loader: Any = importlib.machinery.NamespaceLoader(name, [path], lambda *_: None)
    return loader._path


class _UnitLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from the source that travelled; other files are read where they are."""

    def __init__(self, name: str, path: str, source: bytes, bound: bytes | None = None) -> None:
        super().__init__(name, path)
        self._source = source
        self._bound = bound

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if self._bound is not None:
            for name, value in pickle.loads(self._bound).items():
                *owners, item = name.split(".")
                target: Any = module
                for owner in owners:
                    target = vars(target)[owner]
                setattr(target, item, value)

    def get_data(self, path: str) -> bytes:
        return self._source if path == self.path else super().get_data(path)

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


def _lines_of(path: str, data: bytes) -> Any:
    text = importlib.util.decode_source(data) if data else ""
    # Without a time linecache takes it as it is.
    return len(data), None, text.splitlines(keepends=True), path


class UserModules:
    """The units and the directories that are in force; see the module. One per subworker.

    Attributes:
        generation: rises when modules were forgotten for good, so that what refers to them must be loaded
            again.
        digests: of the units in force, by name.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.digests: dict[str, bytes] = {}
        self._own = {name.partition(".")[0] for name in (*sys.modules, *IMPORTED_LATER)} & OWN_NAMES
        self._directory = ""
        self._key: object = None
        self._in_force: dict[str, LoadedUnit] = {}
        self._aside: dict[str, list[LoadedUnit]] = {}
        self._foreign: dict[str, dict[str, ModuleType]] = {}
        self._paths: tuple[tuple[str, int], ...] = ()
        self._added: list[str] = []
        self._searched: list[str] = []
        self._fixed: set[str] = set()
        self._loose: dict[str, dict[str, Any]] = {}  # signatures of files, by top-level name

    def enter(
        self,
        code: Sequence[UnitRef],
        paths: tuple[tuple[str, int], ...],
        get_data: Callable[[str], bytes],
        directory: str = "",
    ) -> None:
        """These units are in force from now on, and these directories (with their inodes) are searched for
        other modules. `get_data` gives the content of a hidden input by name; files are written below
        `directory`.

        Raises:
            RainException: a module has a name that the worker's own process needs, or its data are damaged.
        """
        self._directory = directory
        if self._loose:
            self._check_loose()
        if code is self._key and paths is self._paths:
            return
        if (code or paths) and sys.meta_path[:1] != [self]:
            with suppress(ValueError):
                sys.meta_path.remove(self)
            sys.meta_path.insert(0, self)
            set_travel(self._travel)
        digests = {ref.name: ref.digest for ref in code}
        if digests != self.digests:
            self._switch(code, digests, get_data)
        self._set_paths(paths)
        self._key = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib wants it."""
        top = name.partition(".")[0]
        unit = self._in_force.get(top)
        if unit is not None:
            return unit.spec(name)
        if path is None and self._searched:
            return self._loose_spec(name, top, self._searched)
        return self._loose_spec(name, top, path) if top in self._loose else None

    def _travel(self, name: str) -> Travel:
        return Travel.FILES if name.partition(".")[0] in self._in_force else Travel.INSTALLED

    def _switch(
        self, code: Sequence[UnitRef], digests: dict[str, bytes], get_data: Callable[[str], bytes]
    ) -> None:
        for ref in code:
            if ref.name in self._own:
                self._refuse(ref, get_data)
        self._forget_loose()  # they may have imported what is another one now
        for name, unit in list(self._in_force.items()):
            if digests.get(name) != unit.digest or not unit.fits(digests):
                self._put_aside(name)
        for ref in code:
            if ref.name not in self._in_force:
                self._take_up(ref, digests, get_data)
            self._in_force[ref.name].note(digests)
        self.digests = digests

    def _put_aside(self, name: str) -> None:
        unit = self._in_force.pop(name)
        unit.modules = _take_out(name)
        kept = self._aside.setdefault(name, [])
        kept.append(unit)
        if len(kept) > _MAX_PUT_ASIDE:
            del kept[0]
            self.generation += 1
        sys.modules.update(self._foreign.pop(name, {}))

    def _take_up(self, ref: UnitRef, digests: dict[str, bytes], get_data: Callable[[str], bytes]) -> None:
        foreign = _take_out(ref.name)
        kept = self._aside.get(ref.name, [])
        for unit in reversed(kept):
            if unit.digest == ref.digest and unit.fits(digests):
                kept.remove(unit)
                break
        else:
            unit = LoadedUnit(ref, self._unpacked(ref, get_data), self._private)
        if foreign:
            self._foreign[ref.name] = foreign
        sys.modules.update(unit.modules)
        unit.modules = {}
        unit.show_sources()
        self._in_force[ref.name] = unit

    def _unpacked(self, ref: UnitRef, get_data: Callable[[str], bytes]) -> Unit:
        for unit in self._aside.get(ref.name, []):
            if unit.digest == ref.digest:
                return unit.unit
        return unpack_unit(get_data(ref.hidden_name) if ref.data is None else ref.data)

    def _private(self) -> str:
        if not self._directory:
            self._directory = tempfile.mkdtemp(prefix="rainzmq-code-")
        return os.path.join(self._directory, "code")

    def _refuse(self, ref: UnitRef, get_data: Callable[[str], bytes]) -> None:
        root, *_ = self._unpacked(ref, get_data).roots
        ours = getattr(sys.modules.get(ref.name), "__file__", None) or "built into Python"
        raise RainException(
            f"Module {ref.name!r} of the program (in {root.path}) has the name of a module that the worker's "
            f"own process uses ({ours}); give it another name"
        )

    def _set_paths(self, paths: tuple[tuple[str, int], ...]) -> None:
        if paths == self._paths:
            self._paths = paths
            return
        for entry in self._added:
            if entry in sys.path:
                sys.path.remove(entry)
        self._paths = paths
        self._searched = [path for path, inode in paths if _is_same(path, inode)]
        self._added = [path for path in self._searched if path not in sys.path]
        sys.path[:0] = self._added
        self._forget_loose()
        importlib.invalidate_caches()

    # Loose modules.

    def _check_loose(self) -> None:
        """Forget everything of the client's when a loose module changed."""
        for files in self._loose.values():
            for file, before in files.items():
                if _signature(file) != before:
                    self._forget_loose()
                    for name in list(self._in_force):
                        _take_out(name)
                    self._aside.clear()
                    importlib.invalidate_caches()
                    return

    def _loose_spec(self, name: str, top: str, path: Any) -> Any:
        """The spec of a module from the client's directories, whose file is looked at from now on."""
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or top in self._fixed:
            return spec
        files = self._loose.setdefault(top, {})
        if spec.origin.endswith(_EXTENSIONS):
            # It cannot be loaded twice, and a package is forgotten as a whole or not at all.
            self._fixed.add(top)
            del self._loose[top]
        elif spec.origin.endswith(".py"):
            files[spec.origin] = _signature(spec.origin)
            with open(spec.origin, "rb") as file:
                # Bytecode beside it may be of another content of the same second and size.
                spec.loader = _UnitLoader(name, spec.origin, file.read())
        return spec

    def _forget_loose(self) -> None:
        changed = [name for name, files in self._loose.items() if files and name not in self._in_force]
        for name in changed:
            _take_out(name)
        self.generation += bool(changed)
        self._loose.clear()


def _take_out(name: str) -> dict[str, ModuleType]:
    """Remove a module and all below it from `sys.modules`; returns them by name."""
    below = name + "."
    names = [key for key in list(sys.modules) if key == name or key.startswith(below)]
    return {key: sys.modules.pop(key) for key in names}


def _is_same(path: str, inode: int) -> bool:
    try:
        return os.path.isdir(path) and os.stat(path).st_ino == inode
    except OSError:
        return False


def _signature(file: str) -> Any:
    try:
        info = os.stat(file)
    except OSError:
        return None
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns
