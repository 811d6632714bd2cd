"""The files of one of the user's top-level modules: which they are, what they hold, what they import.

Of a package all modules go along, whether they are imported yet or not, with the small files beside them; of
a single module its file, and the files beside it that its text names when it also uses `__file__`. A module
that is imported goes as it was imported, everything else as it is on disk now.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from types import ModuleType
from typing import Any

from rainzmq.client import module_files
from rainzmq.client.imported import PLAIN_LOADERS, Source, watch
from rainzmq.client.module_files import Entry, Signature, signature
from rainzmq.common.code_units import Module, Root, Unit, pack_unit

MAX_DATA_FILE_BYTES = 1 << 20
"""A larger file beside modules does not travel."""

MAX_DATA_FILES = 1000
MAX_DATA_BYTES = 8 << 20
"""When a package holds more files besides modules, or larger ones together, none of them travels."""

_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
_IMPORT = re.compile(r"(?:^|[;:\n])[ \t]*(?:import[ \t]+([^\n;#]+)|from[ \t]+([\w.]+)[ \t]+import\b)")
_DYNAMIC = re.compile(r"\b(?:import_module|__import__|spec_from_file_location|exec|runpy|sys\.modules)\b")
_MODULE_NAME = re.compile(r"""["']([^\W\d]\w*)(?:\.[\w.]*)?["']""")
_TEXT = re.compile(r"""["']([^"'\n\\]{1,200})["']""")


class UnitFiles:
    """A unit, and how to find out that it has changed.

    Attributes:
        name: the top-level name.
        digest: identifies the content.
        files_digest: the same without what `bind` adds.
        data: the packed unit.
        edited: its imported modules whose content is not known any more, with their files.
    """

    def __init__(self, name: str, places: list[str]) -> None:
        """`places` are the file of the module or the directories of the package."""
        self.name = name
        self._places = places
        self._signatures: dict[str, Signature] = {}
        self.sources = _sources_of(name)
        self.edited = {
            module.__name__: source.path
            for module, source in self.sources
            # Other loaders may rewrite what they read.
            if source and source.data is None and type(module.__loader__) in PLAIN_LOADERS
        }
        self._roots: list[Root] = []
        self._modules: dict[str, Module] = {}
        self._paths: dict[str, str] = {}
        self._walked: set[int | str] = set()
        for place in places:
            self._add_place(place)
        self._add_strays()
        files = dict(self._contents())
        self._asks_for_others = False
        self._imports: set[str] = set()
        self._asked_for: set[str] = set()
        self._read_imports(files)
        self._unit = Unit(tuple(self._roots), self._modules, files)
        self.files_digest = self.digest = _digest(self._unit)
        self.data = pack_unit(self._unit)

    @property
    def dynamic(self) -> bool:
        """Whether it may import, or refer to, others than `imports` tells."""
        return self._asks_for_others or bool(self._unit.bound)

    def bind(self, bound: dict[str, bytes]) -> None:
        """These globals of its modules are bound to other values than by the modules; see `Unit`."""
        if bound != self._unit.bound:
            self._unit = replace(self._unit, bound=bound)
            self.digest = _digest(self._unit)
            self.data = pack_unit(self._unit)

    def is_current(self, places: list[str], look_at_modules: bool, look_at_disk: bool) -> bool:
        """Whether it would be made the same again, as far as it is to look."""
        if places != self._places or (look_at_modules and _sources_of(self.name) != self.sources):
            return False
        return not look_at_disk or all(signature(path) == old for path, old in self._signatures.items())

    # Which files.

    def _add_place(self, place: str) -> None:
        if module_files.is_directory(place):
            prefix = f"+{len(self._roots)}" if self._roots else self.name
            self._add_root(prefix, place)
            if not self._roots[:-1]:
                self._modules[self.name] = Module(prefix, True)
            self._walk(place, prefix, self.name)
        else:
            self._add_file(place, self.name, "")
            self._add_named_files(place)

    def _add_root(self, prefix: str, path: str) -> None:
        # What is in a zip file gets a number that no directory of a worker has: it must be written there.
        self._roots.append(Root(prefix, path, module_files.inode(path)))

    def _add_file(self, path: str, module: str, prefix: str) -> None:
        directory, base = os.path.split(path)
        self._add_root(prefix, directory)
        relative = f"{prefix}/{base}" if prefix else base
        self._modules[module] = Module(relative, False)
        self._paths[relative] = path

    def _add_named_files(self, path: str) -> None:
        """Files beside a single module that its text names."""
        text = _text_of(module_files.read(path))
        if "__file__" not in text:
            return
        for name in _TEXT.findall(text):
            beside = os.path.join(os.path.dirname(path), name)
            if name not in self._paths and ".." not in name and not name.startswith("/"):
                size = module_files.size(beside)
                if size is not None and size <= MAX_DATA_FILE_BYTES:
                    self._paths[name] = beside

    def _walk(self, directory: str, prefix: str, package: str) -> None:
        """Add the files below a directory of a package."""
        before = signature(directory)
        number = module_files.inode(directory) or directory
        if before is None or number in self._walked:
            return
        self._walked.add(number)
        self._signatures[directory] = before
        for entry in module_files.entries(directory):
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            relative = f"{prefix}/{entry.name}"
            if entry.size is None:
                if entry.name.isidentifier():
                    self._modules.setdefault(f"{package}.{entry.name}", Module(relative, True))
                self._walk(entry.path, relative, f"{package}.{entry.name}")
            else:
                self._add_entry(entry, relative, package)

    def _add_entry(self, entry: Entry, relative: str, package: str) -> None:
        for suffix in _SUFFIXES:
            stem = entry.name[: -len(suffix)]
            if entry.name.endswith(suffix) and stem.isidentifier():
                full = package if stem == "__init__" else f"{package}.{stem}"
                known = self._modules.get(full)
                if known is None or _rank(relative) < _rank(known.path) or stem == "__init__":
                    self._modules[full] = Module(relative, stem == "__init__")
                self._paths[relative] = entry.path
                return
        if entry.size is not None and entry.size <= MAX_DATA_FILE_BYTES:
            self._paths[relative] = entry.path

    def _add_strays(self) -> None:
        """Imported modules below the name that lie somewhere else."""
        known = set(self._paths.values())
        for module, _ in self.sources:
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file not in known and module_files.size(file) is not None:
                self._add_file(file, module.__name__, f"+{len(self._roots)}")

    # What they hold.

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        imported = {source.path: source.data for _, source in self.sources if source is not None}
        modules = {module.path for module in self._modules.values()}
        others = [path for path in self._paths if path not in modules and not path.endswith(_SUFFIXES)]
        sizes = [module_files.size(self._paths[path]) or 0 for path in others]
        left_out = set(others) if len(others) > MAX_DATA_FILES or sum(sizes) > MAX_DATA_BYTES else set()
        for path, place in self._paths.items():
            if path in left_out:
                continue
            data = imported.get(place)
            if data is None:
                self._signatures[place] = signature(place)
                data = module_files.read(place)
            if data is not None:
                yield path, data
            else:
                self._modules = {name: item for name, item in self._modules.items() if item.path != path}

    def _read_imports(self, files: dict[str, bytes]) -> None:
        for path, data in files.items():
            if path.endswith(tuple(SOURCE_SUFFIXES)):
                found, asked_for = imports_of(data)
                self._imports |= found
                if asked_for is not None:
                    self._asks_for_others = True
                    self._asked_for |= asked_for

    def imports(self) -> set[str]:
        """Top-level names that its modules import, or may by the look of them."""
        return self._imports | {name for name in self._asked_for if name in sys.modules}


@lru_cache(maxsize=1024)
def imports_of(data: bytes) -> tuple[frozenset[str], frozenset[str] | None]:
    """The top-level names that a source imports; when it may import others, those that its text could mean,
    else None.
    """
    text = _text_of(data)
    names = set()
    for plain, origin in _IMPORT.findall(text):
        for item in (plain or origin).split(","):
            names.add(item.split()[0].partition(".")[0] if item.split() else "")
    asked_for = frozenset(_MODULE_NAME.findall(text)) if _DYNAMIC.search(text) else None
    return frozenset(name for name in names if name.isidentifier()), asked_for


def _text_of(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "replace")


def _sources_of(name: str) -> list[tuple[ModuleType, Source | None]]:
    """The imported modules at and below a top-level name."""
    below = name + "."
    return [
        (module, watch.source(module))
        for key, module in sorted(sys.modules.copy().items())
        if (key == name or key.startswith(below))
        and isinstance(module, ModuleType)
        and module.__name__ == key
    ]


def _digest(unit: Unit) -> bytes:
    digest = blake2b(digest_size=16)
    parts: list[Any] = [unit.roots, sorted(unit.modules.items()), sorted(unit.bound.items())]
    for path in sorted(unit.files):
        parts.append((path, blake2b(unit.files[path], digest_size=16).digest()))
    digest.update(repr(parts).encode("utf-8", "surrogateescape"))
    return digest.digest()


def _rank(path: str) -> int:
    """The order in which importlib prefers files of one module."""
    return next((index for index, suffix in enumerate(_SUFFIXES) if path.endswith(suffix)), len(_SUFFIXES))
