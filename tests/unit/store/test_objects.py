"""The object store: what it holds, where, and that nobody can change it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rainzmq.common.archive import ArchiveError, pack_tree
from rainzmq.common.ids import make_uid
from rainzmq.common.limits import MEMORY_OBJECT_BYTES
from rainzmq.common.trees import copy_tree
from rainzmq.store import ObjectStore, StoreFull

BIG = os.urandom(1000) * 200
A, B = make_uid(1, 1), make_uid(2, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    store = ObjectStore(tmp_path / "store")
    yield store
    store.close()
    assert not (tmp_path / "store").exists()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "run").write_bytes(b"12345")
    (root / "run").chmod(0o755)
    (root / "sub" / "data").write_bytes(b"678")
    (root / "sub" / "data").chmod(0o600)
    return root


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def content(store: ObjectStore, uid: int) -> bytes:
    return bytes(store.read(uid))


def test_a_small_blob_is_in_memory(store: ObjectStore) -> None:
    assert store.put(A, memoryview(b"abc")) == 3
    assert (store.has(A), store.size(A), store.data(A), store.path(A)) == (True, 3, b"abc", None)
    assert not store.is_directory(A)
    assert not list(store.objects_dir.iterdir())


def test_the_store_knows_how_much_it_holds(store: ObjectStore, tree: Path) -> None:
    assert (store.used_bytes, store.object_count) == (0, 0)
    store.put(A, b"abc")
    store.put(B, BIG)
    store.alias(A + 1, B)
    assert (store.used_bytes, store.object_count) == (3 + len(BIG), 3), "a shared content counts once"
    store.put(A, b"replaced")
    store.remove(B)
    assert (store.used_bytes, store.object_count) == (8 + len(BIG), 2)
    store.remove(A + 1)
    store.adopt(B, str(tree), True)
    assert (store.used_bytes, store.object_count) == (8 + 8, 2)
    store.remove_session(1)
    store.remove_session(2)
    assert (store.used_bytes, store.object_count) == (0, 0)


def test_a_large_blob_is_a_read_only_file(store: ObjectStore) -> None:
    assert store.put(A, BIG) == len(BIG)
    path = store.path(A)
    assert path is not None
    assert store.data(A) is None
    assert mode(path) == 0o444
    assert content(store, A) == BIG


def test_the_memory_limit_turns_small_blobs_into_files(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "small", memory_limit_bytes=5)
    store.put(A, b"1234")
    store.put(B, b"1234")
    assert store.path(A) is None
    assert store.path(B) is not None
    store.remove(A)
    store.put(A, b"12345")
    assert store.path(A) is None
    assert (content(store, A), content(store, B)) == (b"12345", b"1234")
    store.close()


def test_an_unknown_uid_is_a_key_error(store: ObjectStore) -> None:
    assert not store.has(A)
    for call in (
        store.size,
        store.data,
        store.path,
        store.read,
        store.verify,
        store.open_source,
        store.is_directory,
    ):
        with pytest.raises(KeyError):
            call(A)
    store.remove(A)


def test_putting_again_replaces(store: ObjectStore) -> None:
    store.put(A, BIG)
    store.put(A, b"new")
    assert content(store, A) == b"new"
    assert not list(store.objects_dir.iterdir())


def test_an_adopted_file_is_gone_from_its_place(store: ObjectStore, tmp_path: Path) -> None:
    for uid, data in ((A, BIG), (B, b"small")):
        (tmp_path / "file").write_bytes(data)
        assert store.adopt(uid, str(tmp_path / "file"), False) == len(data)
        assert content(store, uid) == data
        assert not (tmp_path / "file").exists()
    assert store.path(A) is not None
    assert store.data(B) == b"small"


def test_an_adopted_file_with_another_hard_link_is_safe_from_it(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BIG)
    os.link(tmp_path / "file", tmp_path / "other")
    store.adopt(A, str(tmp_path / "file"), False)
    (tmp_path / "other").write_bytes(b"changed")
    assert content(store, A) == BIG


def test_only_what_was_promised_is_adopted(store: ObjectStore, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree / "run")
    with pytest.raises(ValueError, match="not a regular file"):
        store.adopt(A, str(tmp_path / "link"), False)
    with pytest.raises(ValueError, match="not a regular file"):
        store.adopt(A, str(tree), False)
    with pytest.raises(ValueError, match="not a directory"):
        store.adopt(A, str(tree / "run"), True)
    (tree / "pipe").unlink(missing_ok=True)
    os.mkfifo(tree / "pipe")
    with pytest.raises(ArchiveError, match="'pipe' is a FIFO"):
        store.adopt(A, str(tree), True)
    assert not store.has(A)
    assert not list(store.objects_dir.iterdir())


def test_a_directory_is_sealed_and_keeps_its_modes_for_copies(
    store: ObjectStore, tree: Path, tmp_path: Path
) -> None:
    assert store.adopt(A, str(tree), True) == 8
    path = store.path(A)
    assert path is not None
    assert store.is_directory(A)
    assert not tree.exists()
    assert [mode(Path(path, p)) for p in ("", "run", "sub", "sub/data")] == [0o555, 0o555, 0o555, 0o400]
    copy_tree(path, tmp_path / "copy")
    assert [mode(tmp_path / "copy" / p) for p in ("run", "sub", "sub/data")] == [0o755, 0o755, 0o600]
    with pytest.raises(ValueError, match="data object 1/1 is a directory"):
        store.read(A)


def test_an_alias_shares_content_until_the_last_is_removed(store: ObjectStore) -> None:
    store.put(A, BIG)
    assert store.alias(B, A) == len(BIG)
    assert store.path(A) == store.path(B)
    store.remove(A)
    assert not store.has(A)
    assert content(store, B) == BIG
    store.remove(B)
    assert not list(store.objects_dir.iterdir())


def test_a_map_stays_readable_after_removal(store: ObjectStore) -> None:
    store.put(A, BIG)
    data = store.read(A)
    store.remove(A)
    assert data == BIG


def test_a_session_is_removed_as_a_whole(store: ObjectStore) -> None:
    store.put(A, b"1")
    store.put(make_uid(1, 7), BIG)
    store.put(B, b"2")
    store.remove_session(1)
    assert list(store.uids()) == [B]


def test_verify_notices_a_change_of_a_file(store: ObjectStore) -> None:
    store.put(A, BIG)
    store.put(B, BIG)
    path = store.path(A)
    assert path is not None
    assert store.verify(A)
    info = os.stat(path)
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(b"!")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert not store.verify(A)
    os.unlink(path)
    assert not store.verify(A)
    assert store.verify(B)


def test_verify_reads_a_touched_file_whose_digest_is_known(store: ObjectStore) -> None:
    store.put(A, BIG)
    path = store.path(A)
    assert path is not None
    store.open_source(A).digest()
    os.utime(path, (1, 1))
    assert store.verify(A)


def test_verify_notices_a_change_within_a_directory(store: ObjectStore, tree: Path) -> None:
    store.adopt(A, str(tree), True)
    path = store.path(A)
    assert path is not None
    assert store.verify(A)
    os.chmod(os.path.join(path, "run"), 0o755)
    Path(path, "run").write_bytes(b"54321")
    assert not store.verify(A)


def test_a_full_disk_says_what_it_needs_and_what_there_is(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        store = ObjectStore(disk / "store")
        message = store._full(OSError(28, "No space left on device"), 3 << 20)
        assert "need 3 MiB, have " in str(message)
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
    try:
        store = ObjectStore(disk / "store")
        with pytest.raises(StoreFull, match=r"disk/store is full: need 3 MiB, have .+"):
            store.put(A, bytes(3 << 20))
        sink = store.open_sink(A, False)
        sink.write(bytes(512 << 10))
        with pytest.raises(StoreFull, match=r"need at least 4 MiB, have 1 MiB"):
            sink.write(bytes((4 << 20) - (512 << 10)))
        sink.abort()
        (tmp_path / "file").write_bytes(bytes(3 << 20))
        with pytest.raises(StoreFull, match=r"need 3 MiB, have 1 MiB"):
            store.adopt(A, str(tmp_path / "file"), False)
        store.put(A, bytes(900 << 10))
        store.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("data", [b"", b"small", BIG, bytes(MEMORY_OBJECT_BYTES)])
def test_a_blob_goes_through_source_and_sink(store: ObjectStore, data: bytes) -> None:
    store.put(A, data)
    source = store.open_source(A)
    assert source.size == len(data)
    assert source.digest() == hashlib.sha256(data).digest()
    sink = store.open_sink(B, False)
    for offset in range(0, source.size, 30_001):
        sink.write(source.read(offset, 30_001))
    assert sink.position == len(data)
    assert not store.has(B)
    assert sink.finish(source.size, source.digest()) == len(data)
    source.close()
    assert content(store, B) == data
    assert (store.path(B) is None) == (store.path(A) is None)


def test_a_directory_goes_through_source_and_sink_as_an_archive(store: ObjectStore, tree: Path) -> None:
    expected = io.BytesIO()
    pack_tree(tree, expected)
    store.adopt(A, str(tree), True)
    source = store.open_source(A)
    data = bytes(source.read(0, source.size))
    assert data == expected.getvalue()
    sink = store.open_sink(B, True)
    sink.write(data[:700])
    sink.write(data[700:])
    assert sink.finish(len(data), source.digest()) == 8
    source.close()
    again = store.open_source(B)
    assert again.digest() == source.digest()
    assert bytes(again.read(0, again.size)) == data


@pytest.mark.parametrize("is_directory", [False, True])
def test_a_sink_that_is_given_up_leaves_nothing(store: ObjectStore, is_directory: bool, tree: Path) -> None:
    archive = io.BytesIO()
    pack_tree(tree, archive)
    data = archive.getvalue() if is_directory else BIG
    sink = store.open_sink(A, is_directory)
    sink.write(data)
    with pytest.raises(ValueError, match=r"\d+ bytes came instead of 5"):
        sink.finish(5, b"")
    with pytest.raises(ValueError, match="the digest differs"):
        sink.finish(len(data), b"")
    sink.abort()
    sink.abort()
    assert not store.has(A)
    assert not list((store.root / "incoming").iterdir())


def test_a_bad_archive_is_refused_by_a_sink(store: ObjectStore) -> None:
    sink = store.open_sink(A, True)
    with pytest.raises(ArchiveError):
        sink.write(b"x" * 512)
    sink.abort()


def test_a_truncated_file_is_an_error_and_no_crash(store: ObjectStore) -> None:
    store.put(A, BIG)
    path = store.path(A)
    assert path is not None
    source = store.open_source(A)
    os.chmod(path, 0o644)
    os.truncate(path, 10)
    with pytest.raises(OSError, match="truncated"):
        source.read(0, 5)
    source.close()


def test_paths_point_into_the_view(store: ObjectStore, tmp_path: Path) -> None:
    store.put(A, BIG)
    name = os.path.basename(store.path(A) or "")
    store.use_view(tmp_path / "ro")
    assert store.path(A) == str(tmp_path / "ro" / name)
    assert content(store, A) == BIG


class TestExecutables:
    def test_a_small_one_is_a_file_that_can_be_run_and_keeps_that_under_another_uid(
        self, store: ObjectStore
    ) -> None:
        store.put(make_uid(1, 1), b"#!/bin/sh\n", executable=True)
        store.alias(make_uid(1, 2), make_uid(1, 1))
        path = store.path(make_uid(1, 2))
        assert path is not None
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o555
        assert store.is_executable(make_uid(1, 2))
        assert store.looks_unchanged(make_uid(1, 1))

    def test_a_file_that_may_be_executed_by_anybody_is_taken_over_as_one(
        self, store: ObjectStore, tmp_path: Path
    ) -> None:
        for number, mode in enumerate((0o644, 0o744, 0o611)):
            file = tmp_path / "file"
            file.write_bytes(b"x")
            file.chmod(mode)
            store.adopt(make_uid(1, number), str(file), False)
        assert [store.is_executable(make_uid(1, number)) for number in range(3)] == [False, True, True]

    def test_one_that_comes_as_a_stream_is_one_again(self, store: ObjectStore) -> None:
        sink = store.open_sink(make_uid(1, 1), False, executable=True)
        sink.write(b"abc")
        sink.finish(3, hashlib.sha256(b"abc").digest())
        path = store.path(make_uid(1, 1))
        assert store.is_executable(make_uid(1, 1))
        assert path is not None
        assert os.access(path, os.X_OK)


class TestPartsOfDirectories:
    def test_the_whole_stays_as_long_as_a_part_does_and_counts_once(
        self, store: ObjectStore, tree: Path
    ) -> None:
        store.adopt(A, str(tree), True)
        assert store.alias(B, A, "sub") == 3
        assert store.alias(make_uid(3, 1), A, "run") == 5
        assert store.used_bytes == 8
        store.remove(A)
        assert store.used_bytes == 8
        assert content(store, make_uid(3, 1)) == b"12345"
        assert store.is_executable(make_uid(3, 1))
        store.remove(make_uid(3, 1))
        path = store.path(B)
        assert path is not None
        assert os.listdir(path) == ["data"]
        assert store.looks_unchanged(B)
        store.remove(B)
        assert store.used_bytes == 0
        assert not os.listdir(store.objects_dir)

    def test_a_part_has_the_modes_it_had_and_parts_of_its_own(
        self, store: ObjectStore, tree: Path, tmp_path: Path
    ) -> None:
        (tree / "sub" / "deep").mkdir(mode=0o700)
        store.adopt(A, str(tree), True)
        store.alias(B, A, "sub")
        store.alias(make_uid(3, 1), B, "data")
        store.remove(A)
        copy_tree(store.path(B) or "", tmp_path / "copy")
        assert (mode(tmp_path / "copy" / "data"), mode(tmp_path / "copy" / "deep")) == (0o600, 0o700)
        store.remove(B)
        assert content(store, make_uid(3, 1)) == b"678"

    def test_a_part_with_a_link_out_of_it_is_refused_and_nothing_is_held(
        self, store: ObjectStore, tree: Path
    ) -> None:
        (tree / "sub" / "up").symlink_to("../run")
        store.adopt(A, str(tree), True)
        with pytest.raises(ArchiveError, match="leaves the tree"):
            store.alias(B, A, "sub")
        store.remove(A)
        assert not os.listdir(store.objects_dir)


def test_a_store_that_moves_begins_again_empty(tmp_path):
    store = ObjectStore(tmp_path / "one")
    store.put(1, bytes(1 << 20))
    store.put(2, b"small")
    store.move_to(tmp_path / "two")
    assert (store.object_count, store.used_bytes, list(store.uids())) == (0, 0, [])
    store.put(1, bytes(1 << 20))
    assert (store.path(1) or "").startswith(str(tmp_path / "two"))
    assert store.is_there(1)
    store.remove(1)
    store.close()


def test_a_file_that_somebody_removed_is_noticed(tmp_path):
    store = ObjectStore(tmp_path / "store")
    store.put(1, bytes(1 << 20))
    store.put(2, b"small")
    assert store.is_there(1)
    os.unlink(store.path(1))
    assert (store.is_there(1), store.is_there(2), store.is_there(3)) == (False, True, False)
    store.close()
