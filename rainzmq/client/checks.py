"""Checks of what users give: names, labels, counts, paths. Each error says what is wrong and with what."""

from __future__ import annotations

import posixpath
from typing import Any

from rainzmq.common.errors import RainException

_MAX_NAME = 1000


def check_cpus(cpus: Any) -> int:
    """A positive int; RainException otherwise."""
    if type(cpus) is not int or cpus < 1:
        raise RainException(f"cpus must be a positive int, not {cpus!r}")
    return cpus


def check_name(name: Any, what: str = "name") -> str:
    """A str that can be shown on one line; RainException otherwise."""
    if not isinstance(name, str):
        raise RainException(f"A {what} is a str, not {name!r} of type {type(name).__name__}")
    if not name or len(name) > _MAX_NAME:
        raise RainException(f"A {what} has 1 to {_MAX_NAME} characters, not {len(name)}")
    if not name.isprintable():
        for character in name:
            # Unlike isprintable() this lets all kinds of spaces and future emoji pass.
            if ord(character) < 32 or ord(character) == 127 or 0xD800 <= ord(character) < 0xE000:
                raise RainException(f"The {what} {name!r} holds the character {character!r}")
    return name


def check_label(label: Any) -> str:
    """A label of an input, an output or a constant; RainException otherwise.

    Labels are the paths of files by default, so they may hold whatever file names do, line breaks too.
    """
    if not isinstance(label, str):
        raise RainException(f"A label is a str, not {label!r} of type {type(label).__name__}")
    if not label or len(label) > _MAX_NAME:
        raise RainException(f"A label has 1 to {_MAX_NAME} characters, not {len(label)}")
    if "\0" in label:
        raise RainException(f"The label {label!r} holds a NUL character")
    try:
        label.encode()
    except UnicodeEncodeError:
        raise RainException(f"The label {label!r} is not valid Unicode") from None
    return label


def check_relative_path(path: Any, what: str) -> str:
    """A path inside a task's directory, in its shortest form. `what` says in the error whose path it is.

    Raises:
        RainException: not a str, empty, absolute, with `..`, with NUL, or the directory itself.
    """
    if not isinstance(path, str):
        raise RainException(f"{what}: a path is a str, not {type(path).__name__}")
    if not path:
        raise RainException(f"{what}: the path is empty")
    if "\0" in path:
        raise RainException(f"{what}: the path {path!r} holds a NUL character")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise RainException(f"{what}: the path {path!r} is not valid Unicode") from None
    if path.startswith("/"):
        raise RainException(f"{what}: the path {path!r} is absolute; it must be relative")
    if ".." in path.split("/"):
        raise RainException(f"{what}: the path {path!r} holds '..'; it must stay inside of the directory")
    short = posixpath.normpath(path)
    if short == ".":
        raise RainException(f"{what}: the path {path!r} is the directory itself")
    return short


def check_size_hint(size_hint: Any) -> int | None:
    """None or a number of bytes; RainException otherwise."""
    if size_hint is None or (type(size_hint) is int and size_hint >= 0):
        return size_hint
    raise RainException(f"size_hint is a number of bytes, not {size_hint!r}")
