"""What this program imported: whose a module is, and what its file held when it was imported.

The code of a running program is what it imported, not what its files have become since. So a finder at the
head of `sys.meta_path` keeps the source of every user's module as it is imported or reloaded. For modules
that were imported otherwise or before, the file is read when it is first asked for, and compared with the
functions in memory unless it is older than the process.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.machinery import SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any
from zipimport import zipimporter

from rainzmq.client import module_files
from rainzmq.client.in_place import is_of_new_source
from rainzmq.client.module_files import Signature
from rainzmq.common.pickles import MAIN_NAMES, changes

_SOURCE = (".py", ".pyw")

PLAIN_LOADERS = (SourceFileLoader, zipimporter)
"""Loaders that compile what the file says; others may rewrite it."""


def _real_directories(paths: Any) -> tuple[str, ...]:
    return tuple({os.path.realpath(path) + os.sep for path in paths if path})


_STDLIB_DIRECTORIES = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
_STDLIB = _real_directories(
    _STDLIB_DIRECTORIES
    + [
        f"{os.path.dirname(path)}/python{sys.version_info[0]}{sys.version_info[1]}.zip"
        for path in _STDLIB_DIRECTORIES
    ]
)
_SITES = _real_directories(
    [*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, ("purelib", "platlib"))]
)
_OURS = _real_directories([os.path.dirname(os.path.dirname(os.path.abspath(__file__)))])


class Source:
    """The source of a module as this process imported it.

    Attributes:
        path: its file.
        data: what the file held; None when that is not known any more, as it was edited since.
        module: the module, once it was asked for.
        signature: tells whether the file is still the one that was read.
    """

    __slots__ = ("data", "module", "path", "signature")

    def __init__(
        self, path: str, data: bytes | None, signature: Signature, module: ModuleType | None = None
    ) -> None:
        self.path = path
        self.signature = signature
        self.data = data
        self.module = module


class ImportWatch:
    """The finder; finds what the finders after it find, and keeps the sources of users' modules."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._probing = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As importlib wants it."""
        finders = sys.meta_path
        start = next((index + 1 for index, finder in enumerate(finders) if finder is self), 0)
        for finder in finders[start:]:
            find = getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                if spec.has_location and not self._probing and not is_library_file(spec.origin):
                    self._keep(name, spec.origin)
                return spec
        return None

    def probe(self, name: str) -> Any:
        """The spec of a top-level module that is not imported; None when there is none."""
        self._probing = True
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = None if find is None else find(name, None, None)
                if spec is not None:
                    return spec
        except Exception:  # finders are of all kinds
            return None
        finally:
            self._probing = False
        return None

    def source(self, module: ModuleType) -> Source | None:
        """The source of an imported user's module; None for what has no file of source."""
        name = module.__name__
        path = _file_of(module)
        if path is None or not path.endswith(_SOURCE):
            return None
        known = self._sources.get(name)
        if known is not None and known.path == path and known.module in (None, module):
            known.module = module
            return known
        signature = module_files.signature(path)
        data = module_files.read(path)
        if data is not None and not _was_there_at_start(path) and not _is_of_source(module, data, path):
            data = None
        self._sources[name] = made = Source(path, data, signature, module)
        return made

    def look_again(self, module: ModuleType, source: Source) -> None:
        """Take the source of a module again when its file was edited, and its functions were changed in place
        to those that the file holds now. When they are of neither, its source is not known any more.
        """
        signature = module_files.signature(source.path)
        if signature == source.signature or type(module.__loader__) not in PLAIN_LOADERS:
            return
        data = module_files.read(source.path)
        if data is None:
            return
        is_new = is_of_new_source(module, source.data, data)
        if is_new:
            self._sources[module.__name__] = Source(source.path, data, signature, module)
            changes[0] += 1
        elif is_new is None and source.data is not None:
            self._sources[module.__name__] = Source(source.path, None, source.signature, module)
            changes[0] += 1

    def _keep(self, name: str, path: str) -> None:
        changes[0] += 1
        if path.endswith(_SOURCE):
            signature = module_files.signature(path)
            self._sources[name] = Source(path, module_files.read(path), signature)


@cache
def _start_ns() -> int:
    """When this process began, ns since 1970; 0 when that is not known."""
    try:
        with open("/proc/self/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/stat", "rb") as file:
            [boot] = [line.split()[1] for line in file if line.startswith(b"btime")]
        # The time of boot is rounded to a second.
        return int((int(boot) - 1 + ticks / os.sysconf("SC_CLK_TCK")) * 1e9)
    except (OSError, ValueError, IndexError):
        return 0


def _was_there_at_start(path: str) -> bool:
    info = module_files.status(path)
    return info is not None and max(info.st_mtime_ns, info.st_ctime_ns) < _start_ns()


def _is_of_source(module: ModuleType, data: bytes, path: str) -> bool:
    """Whether the functions of a module are those of this source."""
    try:
        codes = set(_codes(compile(data, path, "exec", dont_inherit=True)))
    except (SyntaxError, ValueError):
        return False
    return all(code in codes for code in _codes_in(module) if code.co_filename == path)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const
            yield from _codes(const)


def _codes_in(module: ModuleType) -> Iterator[CodeType]:
    for value in list(vars(module).values()):
        members = list(vars(value).values()) if isinstance(value, type) else [value]
        for item in members:
            function = getattr(item, "__wrapped__", getattr(item, "__func__", item))
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                yield function.__code__


def is_library_file(path: str) -> bool:
    """Whether a file is of the standard library, of this package, or among installed packages."""
    return _is_library_directory(os.path.dirname(path))


@cache
def _is_library_directory(path: str) -> bool:
    try:
        real = os.path.realpath(path) + os.sep
    except OSError:  # relative to a working directory that was removed
        return False
    return real.startswith((*_OURS, *_SITES, *_STDLIB))


def _file_of(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def users_places(name: str, spec: Any, places: list[str]) -> list[str]:
    """Of the file or the directories that a top-level module is at, those that are the user's: not of the
    standard library, not of this package and not installed as a distribution.
    """
    if name == "rainzmq" or (spec is not None and spec.origin in ("built-in", "frozen")):
        return []
    return [place for place in places if not _is_installed(name, place)]


@cache
def _is_installed(name: str, place: str) -> bool:
    real = os.path.realpath(place)
    if real.startswith(_OURS):
        return True
    directory = os.path.dirname(real)
    in_site = (directory + os.sep) in _SITES
    if not in_site and real.startswith(_STDLIB) and not real.startswith(_SITES):
        return True
    return _is_in_a_distribution(name, directory, in_site)


def _is_in_a_distribution(name: str, directory: str, in_site: bool) -> bool:
    """Whether a distribution that is installed in a directory lists a top-level name."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return False
    endings = (".dist-info", ".egg-info") if in_site else (".dist-info",)
    found = [entry for entry in entries if entry.endswith(endings)]
    # Mostly the distribution is called as its module is.
    wanted = name.replace("_", "").lower()
    found.sort(key=lambda entry: not entry.replace("_", "").replace("-", "").lower().startswith(wanted))
    return any(name in _names_of(os.path.join(directory, entry)) for entry in found)


@cache
def _names_of(info: str) -> frozenset[str]:
    """Top-level names of the files of an installed distribution."""
    distribution = metadata.PathDistribution.at(info)
    names: set[str] = set()
    for listing in ("RECORD", "installed-files.txt", "top_level.txt"):
        for line in (distribution.read_text(listing) or "").splitlines():
            parts = line.partition(",")[0].lstrip("./").split("/")
            names.add(parts[0] if len(parts) > 1 else parts[0].partition(".")[0])
        if names:
            break
    return frozenset(names)


watch = ImportWatch()


def install() -> None:
    """Begin to watch, and keep the sources of the modules that are imported already."""
    if watch in sys.meta_path:
        return
    sys.meta_path.insert(0, watch)
    for name, module in list(sys.modules.items()):
        path = _file_of(module) if isinstance(module, ModuleType) else None
        if path is not None and name not in MAIN_NAMES and not is_library_file(path):
            watch.source(module)
