"""Telling cheaply whether stored files are still what they were.

A write changes a file's modification time, and setting that back changes its status time, which nobody can
set; so a file with the same inode, size and both times has the same content. A tree's signature is that of
all its entries.
"""

from __future__ import annotations

import os
import stat

Signature = tuple[int, int, int, int] | int
"""Of a file: inode, size, modification and status time (ns).

Of a directory: a hash of those of all its entries.
"""


def file_signature(info: os.stat_result) -> tuple[int, int, int, int]:
    """The signature of one file."""
    return info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


def signature_of(path: str, is_directory: bool) -> Signature:
    """The signature of a file or directory. Raises `OSError`."""
    if not is_directory:
        return file_signature(os.lstat(path))
    total = 0
    directories = [path]
    for directory in directories:
        with os.scandir(directory) as listing:
            for item in listing:
                info = item.stat(follow_symlinks=False)
                total ^= hash((item.path[len(path) :], info.st_mode, *file_signature(info)))
                if stat.S_ISDIR(info.st_mode):
                    directories.append(item.path)
    return total
