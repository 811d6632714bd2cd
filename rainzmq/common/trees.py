"""Directory trees as data: what may be in one, sealing, copying and removing it.

A tree holds files, directories and symlinks that stay inside it, nothing else, and that is checked whenever a
tree is scanned. A link stays inside when following it, through other links of the tree too, never climbs
above the root.

A *sealed* tree is one that a store keeps: nobody may write to it, so its files and directories have no write
bits. The modes they had are in a side file next to the tree (`modes_file`), which also marks it as sealed;
every function here gives the original modes back. The side file names only entries whose mode is not `stored
mode | owner may write`, so it is nearly always just `{}`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from rainzmq.common.errors import RainException
from rainzmq.common.removal import remove

MAX_TREE_ENTRIES = 500_000
"""A tree with more files, directories and links is refused."""

MAX_TREE_BYTES = 1 << 40
"""A tree whose files are larger together is refused."""

MAX_PATH_BYTES = 4096
"""A tree with longer paths in it is refused; Linux takes none."""

_COPY_BYTES = 16 << 20
_MAX_LINK_HOPS = 40
_WRITE_BITS = 0o222
_MODE_BITS = 0o777


class ArchiveError(RainException):
    """A directory tree or an archive holds something that cannot be taken.

    The text names the entry and the reason.
    """


class DamagedArchive(ArchiveError):
    """What came is no whole archive: bytes were changed or lost on their way. It may be asked for again."""


class TreeCancelled(Exception):
    """A copy was stopped because its `cancelled` said so."""


@dataclass(slots=True)
class TreeEntry:
    """One entry of a tree.

    Attributes:
        name: its path relative to the root, parts separated by `/`.
        mode: its permission bits, those from before it was sealed.
        stat: what `lstat` says of it now.
        target: where it points when it is a symlink, else "".
    """

    name: str
    mode: int
    stat: os.stat_result
    target: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it is a real directory."""
        return stat.S_ISDIR(self.stat.st_mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.stat.st_mode)

    @property
    def size(self) -> int:
        """Bytes of content: of a file its size, else 0."""
        return self.stat.st_size if stat.S_ISREG(self.stat.st_mode) else 0


def modes_file(path: str | os.PathLike[str]) -> str:
    """The side file of a sealed tree at `path`."""
    return os.fspath(path).rstrip("/") + ".rainzmq-modes"


def scan_tree(path: str | os.PathLike[str]) -> list[TreeEntry]:
    """All entries below `path`, sorted by name within each directory, each directory before what is in it.

    Raises `ArchiveError` for anything that a tree may not hold, naming the entry, and `OSError` when it
    cannot be read.
    """
    root = os.fspath(path)
    saved = _read_modes(root)
    entries: list[TreeEntry] = []
    for name, info in _checked(root):
        _check_kind(root, name, info.st_mode)
        mode = stat.S_IMODE(info.st_mode) & _MODE_BITS
        if saved is not None and not stat.S_ISLNK(info.st_mode):
            mode = saved.get(name, mode | 0o200)
        target = os.readlink(os.path.join(root, name)) if stat.S_ISLNK(info.st_mode) else ""
        entries.append(TreeEntry(name, mode, info, target))
        if len(entries) > MAX_TREE_ENTRIES:
            raise ArchiveError(
                f"directory {root} has more than {MAX_TREE_ENTRIES} entries, which is the limit"
            )
    try:
        check_links({e.name: e.target for e in entries if e.is_link})
    except ArchiveError as error:
        raise ArchiveError(f"directory {root}: {error}") from None
    return entries


def _checked(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """`walk_tree`, with a short error for a tree that no path leads to the end of."""
    try:
        yield from walk_tree(root)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ArchiveError(
            f"directory {root} is too deep: paths in it are longer than the {MAX_PATH_BYTES} bytes "
            "that a path may have"
        ) from None


def check_tree(path: str | os.PathLike[str]) -> None:
    """Raise `ArchiveError` when the tree at `path` holds something that a directory object cannot hold."""
    scan_tree(path)


def tree_size(path: str | os.PathLike[str]) -> int:
    """Bytes of all files below `path` together. Links count nothing; nothing is checked, and what cannot be
    looked at (no permission, too deep for a path) counts nothing.
    """
    found = walk_tree(path, onerror=lambda _: None)
    return sum(info.st_size for _, info in found if stat.S_ISREG(info.st_mode))


def check_links(links: dict[str, str]) -> None:
    """Raise `ArchiveError` when a symlink leaves its tree.

    `links` has all symlinks of the tree: name relative to the root, target. They are followed by the rules of
    the file system but on paper: every part that is a link itself is replaced by its target, `..` goes up
    from there.
    """
    for name, target in links.items():
        if target.startswith("/"):
            raise ArchiveError(
                f"the symlink {name!r} points to the absolute path {target!r}, outside of the tree"
            )
        if not _stays_inside(name, links):
            raise ArchiveError(f"the symlink {name!r} -> {target!r} leaves the tree")


def _stays_inside(name: str, links: dict[str, str]) -> bool:
    here = name.split("/")[:-1]
    todo = links[name].split("/")[::-1]
    hops = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return False
            here.pop()
            continue
        here.append(part)
        target = links.get("/".join(here))
        if target is not None:
            hops += 1
            if hops > _MAX_LINK_HOPS:
                return (
                    True  # a loop, or so long that the file system gives up: it leads nowhere, so not outside
                )
            here.pop()
            if target.startswith("/"):
                return False
            todo.extend(target.split("/")[::-1])
    return True


def seal_tree(path: str | os.PathLike[str]) -> list[TreeEntry]:
    """Take all write permissions from the tree at `path`, keeping the modes it had in its side file.

    Files with other hard links are replaced by copies, for whoever has such a link could still write. Returns
    the entries. Raises `ArchiveError` as `scan_tree` does; the tree is unchanged then.
    """
    root = os.fspath(path)
    entries = scan_tree(root)
    kept: dict[str, int] = {}
    for entry in reversed(entries):
        if entry.is_link:
            continue
        full = os.path.join(root, entry.name)
        if not entry.is_directory and entry.stat.st_nlink > 1:
            _replace_by_copy(full)
        sealed = entry.mode & ~_WRITE_BITS | (0o500 if entry.is_directory else 0o400)
        os.chmod(full, sealed)
        if sealed | 0o200 != entry.mode:
            kept[entry.name] = entry.mode
    with open(modes_file(root), "w", encoding="utf-8") as file:
        json.dump(kept, file)
    os.chmod(root, 0o555)
    return entries


def copy_tree(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    below: str = "",
    writable: bool = False,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Copy the tree at `source`, sealed or not, to the directory `target`, which is made if it is not there.

    Files get the modes they had before sealing; with `writable` their owner may write to them in any case.
    `below` copies only that sub-directory. Raises `ArchiveError` as `scan_tree` does, also for a link that
    leaves `below`; `FileExistsError` when an entry would land on one that is there and is not a directory on
    both sides; `TreeCancelled` when `cancelled()` was true between two files.
    """
    root, goal = os.fspath(source), os.fspath(target)
    prefix = below + "/" if below else ""
    entries = _entries_below(root, prefix)
    os.makedirs(goal, exist_ok=True)
    made: list[tuple[str, int]] = []
    for entry in entries:
        if cancelled is not None and cancelled():
            raise TreeCancelled
        full = os.path.join(goal, entry.name[len(prefix) :])
        if entry.is_link:
            os.symlink(entry.target, full)
        elif entry.is_directory:
            if _make_directory(full):
                made.append((full, entry.mode | (0o700 if writable else 0)))
        else:
            copy_file(
                os.path.join(root, entry.name),
                full,
                entry.mode | (0o600 if writable else 0),
                cancelled=cancelled,
            )
    for full, mode in reversed(made):
        os.chmod(full, mode)


def link_part(source: str, below: str, target: str) -> int:
    """Make `target` a symlink to the sub-directory `below` of the sealed tree `source`, which stands beside
    it: a sealed tree of its own, with a side file. Returns its size in bytes.

    Raises `ArchiveError` for a link that leaves `below`, `OSError`.
    """
    prefix = below + "/"
    entries = _entries_below(source, prefix)
    modes = {e.name[len(prefix) :]: e.mode for e in entries if not e.is_link}
    with open(modes_file(target), "w", encoding="utf-8") as file:
        json.dump(modes, file)
    os.symlink(os.path.join(os.path.basename(source), below), target)
    return sum(entry.size for entry in entries)


def _entries_below(root: str, prefix: str) -> list[TreeEntry]:
    """Those entries of a tree whose name begins with `prefix`; a link among them must not leave it."""
    entries = scan_tree(root)
    if prefix:
        entries = [e for e in entries if e.name.startswith(prefix)]
        check_links({e.name[len(prefix) :]: e.target for e in entries if e.is_link})
    return entries


def copy_file(
    source: str, target: str, mode: int | None = 0o644, *, cancelled: Callable[[], bool] | None = None
) -> None:
    """Copy the content of a file to a new file `target` with exactly `mode`; None: what the umask leaves of
    0666.

    Raises `FileExistsError`, `OSError`; `TreeCancelled` when `cancelled()` was true between two pieces.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o666 if mode is None else 0o600)
    with open(descriptor, "wb", buffering=0) as out:
        append_file(source, out, cancelled=cancelled)
        if mode is not None:
            os.fchmod(descriptor, mode)


def is_executable(mode: int) -> bool:
    """Whether a regular file of this mode is one to be executed, by whomsoever."""
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def make_executable(path: str) -> None:
    """Let everybody who may read a file execute it. Raises `OSError`."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    os.chmod(path, mode | (mode & 0o444) >> 2)


def append_file(source: str, out: FileIO, *, cancelled: Callable[[], bool] | None = None) -> None:
    """Write the content of a file to an open one.

    Raises `OSError`, and `TreeCancelled` as `copy_file` does.
    """
    with open(source, "rb", buffering=0) as data:
        try:
            while os.sendfile(out.fileno(), data.fileno(), None, _COPY_BYTES):
                if cancelled is not None and cancelled():
                    raise TreeCancelled
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            shutil.copyfileobj(data, out)  # made up by the kernel, as in /proc: small, and cannot be sent


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove a tree, a file or a link at `path`, sealed or not, and its side file.

    No error when it is not there; see `removal` for what it may be.
    """
    root = os.fspath(path)
    remove(root)
    remove(modes_file(root))


def _make_directory(full: str) -> bool:
    """Whether the directory was made; False when a real one was there."""
    try:
        os.mkdir(full, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(full).st_mode):
            raise
        return False
    return True


def _replace_by_copy(full: str) -> None:
    temporary = full + ".rainzmq-copy"
    copy_file(full, temporary)
    os.replace(temporary, full)


def _read_modes(root: str) -> dict[str, int] | None:
    """The side file of a sealed tree; None when the tree is not sealed."""
    try:
        with open(modes_file(root), "rb") as file:
            modes: dict[str, int] = json.load(file)
    except FileNotFoundError:
        return None
    return modes


def walk_tree(
    path: str | os.PathLike[str], onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """(name relative to the root, lstat) of all entries, sorted, each directory before what is in it.

    Iterative, for trees may be deeper than Python's recursion limit. `onerror` gets what cannot be looked at;
    without it `OSError` is raised.
    """
    root = os.fspath(path)
    stack = [iter(_listing(root, "", onerror))]
    while stack:
        name = next(stack[-1], None)
        if name is None:
            stack.pop()
            continue
        try:
            info = os.lstat(os.path.join(root, name))
        except OSError as error:
            if onerror is None:
                raise
            onerror(error)
            continue
        yield name, info
        if stat.S_ISDIR(info.st_mode):
            stack.append(iter(_listing(root, name, onerror)))


def _listing(root: str, name: str, onerror: Callable[[OSError], None] | None) -> list[str]:
    prefix = name + "/" if name else ""
    try:
        return [prefix + child for child in sorted(os.listdir(os.path.join(root, name)))]
    except OSError as error:
        if onerror is None:
            raise
        onerror(error)
        return []


_REFUSED_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


def _check_kind(root: str, name: str, mode: int) -> None:
    for is_kind, what in _REFUSED_KINDS:
        if is_kind(mode):
            raise ArchiveError(
                f"directory {root}: the entry {name!r} is {what}; "
                "a directory object holds only files, directories and symlinks inside the tree"
            )


def is_inside(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Whether `path`, all symlinks followed, is `root` or below it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
