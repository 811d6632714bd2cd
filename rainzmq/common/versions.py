"""Versions of Python and of installed packages, for telling those of a client and of a worker apart.

A function is sent as bytecode, which only the same minor version of Python runs: others crash on it. Packages
of other versions mostly work, and sometimes fail or mean something else, so differences are only named.
"""

from __future__ import annotations

import platform
import sys

_OWN_NEEDS = frozenset({"zmq", "msgpack", "psutil", "click", "tqdm", "rich"})
"""What rainzmq itself imports on both sides: another version there means nothing to a program."""

_FIRST = frozenset({"cloudpickle", "numpy", "pandas"})
_MAX_NAMED = 100


def python_version() -> str:
    """The version of this Python, such as "3.11.7"."""
    return platform.python_version()


def minor_of(version: str) -> str:
    """ "3.11" of "3.11.7"."""
    return ".".join(version.split(".", 2)[:2])


def imported_versions() -> dict[str, str]:
    """Versions of what this program has imported besides the standard library, by module, and of "Python"."""
    found = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name in _OWN_NEEDS or name in sys.stdlib_module_names:
            continue
        version = _version_in(module)
        if version is not None and not name.startswith("_"):
            found[name] = version
    named = sorted(found, key=lambda name: (name not in _FIRST, name))[:_MAX_NAMED]
    return {"Python": python_version(), **{name: found[name] for name in named}}


def other_versions(theirs: dict[str, str]) -> list[tuple[str, str, str]]:
    """(name, their version, version here) of what is imported here in another version than elsewhere.

    What is not imported here is not looked up: the version of a distribution is often spelled differently
    from that of its module.
    """
    found = []
    for name, version in theirs.items():
        here = python_version() if name == "Python" else _version_in(sys.modules.get(name))
        if here is not None and here != version:
            found.append((name, version, here))
    return found


def _version_in(module: object) -> str | None:
    # Not by getattr, which may import something or warn.
    version = getattr(module, "__dict__", {}).get("__version__")
    return version if isinstance(version, str) else None
