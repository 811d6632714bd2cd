"""The files of users' modules as they travel: one *unit* for everything below one top-level name.

A unit is a package with all its files, or a single module. It is identified by a digest of its contents and
of where they are on the client's machine, so equal programs share one unit, and a changed file makes another.

*Packed*, a unit is compressed msgpack: `roots`, `modules`, `files`, `bound`. Paths in it are relative and
begin with the prefix of a root, which stands for a directory of the client.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import msgpack

from rainzmq.common.errors import RainException


@dataclass(slots=True, frozen=True)
class UnitRef:
    """A unit as the body of a call names it.

    Attributes:
        name: the top-level name.
        digest: identifies the content.
        needs: names of the units that its modules may import, its own among them; None for any.
        data: the packed unit; None when it is a hidden input of the task.
    """

    name: str
    digest: bytes
    needs: tuple[str, ...] | None
    data: bytes | None

    def to_fields(self) -> list[Any]:
        """For `encode_body`."""
        return [self.name, self.digest, None if self.needs is None else list(self.needs), self.data]

    @classmethod
    def from_fields(cls, fields: list[Any]) -> UnitRef:
        """The inverse of `to_fields`; TypeError or ValueError when they are no such fields."""
        name, digest, needs, data = fields
        return cls(str(name), bytes(digest), None if needs is None else tuple(needs), data)

    @property
    def hidden_name(self) -> str:
        """What `CallBody.hidden` calls it."""
        return f"code:{self.digest.hex()}"


@dataclass(slots=True, frozen=True)
class Root:
    """A directory of the client.

    Attributes:
        prefix: what paths of its files begin with; "" for a directory of single modules.
        path: where it is on the client's machine.
        inode: its number there; who finds that number at that path sees the same directory.
    """

    prefix: str
    path: str
    inode: int


@dataclass(slots=True, frozen=True)
class Module:
    """A module of a unit.

    Attributes:
        path: its file, or the directory of a package without an `__init__`.
        is_package: whether it may have submodules.
    """

    path: str
    is_package: bool


@dataclass(slots=True, frozen=True)
class Unit:
    """The content of a unit.

    Attributes:
        roots: where its files are on the client's machine.
        modules: its modules by full name.
        files: contents by path.
        bound: by module, the pickle of the globals that the program has bound to other values than the module
            does itself, by name; attributes of its classes as `Class.name`, code as `name.__code__`.
    """

    roots: tuple[Root, ...]
    modules: dict[str, Module]
    files: dict[str, bytes]
    bound: dict[str, bytes] = field(default_factory=dict)

    def root_of(self, path: str) -> tuple[Root, str]:
        """The root that a file lies below, and its path within it."""
        for root in self.roots:
            if not root.prefix:
                return root, path
            if path == root.prefix or path.startswith(root.prefix + "/"):
                return root, path[len(root.prefix) + 1 :]
        raise RainException(f"{path!r} is below none of the directories of its unit")


def pack_unit(unit: Unit) -> bytes:
    """The unit as bytes."""
    packed: bytes = msgpack.packb(
        {
            "roots": [[root.prefix, root.path, root.inode] for root in unit.roots],
            "modules": {name: [item.path, item.is_package] for name, item in unit.modules.items()},
            "files": unit.files,
            "bound": unit.bound,
        },
        unicode_errors="surrogateescape",
    )
    return zlib.compress(packed, 1)


def unpack_unit(data: bytes) -> Unit:
    """The inverse of `pack_unit`; RainException when `data` is nothing it made."""
    try:
        fields = msgpack.unpackb(zlib.decompress(data), unicode_errors="surrogateescape")
        return Unit(
            tuple([Root(*root) for root in fields["roots"]]),
            {name: Module(*module) for name, module in fields["modules"].items()},
            fields["files"],
            fields["bound"],
        )
    except (zlib.error, ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException) as error:
        raise RainException(f"The files of the program's modules are damaged: {error!r}") from None
