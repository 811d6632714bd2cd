"""Directory trees as archives: what survives, and what is refused with which words."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from rainzmq.common.archive import ArchiveError, TreeArchive, Unpacker, pack_tree, tree_size, unpack_tree
from rainzmq.common.trees import check_tree, copy_tree, modes_file, remove_tree, scan_tree, seal_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"alpha")
    (root / "sub" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o750)
    (root / "sub" / "big").write_bytes(os.urandom(3000))
    (root / "a.txt").chmod(0o440)
    (root / "sub" / "link").symlink_to("../a.txt")
    (root / ("long" * 40)).write_bytes(b"long name")
    return root


def packed(path: Path) -> bytes:
    out = io.BytesIO()
    pack_tree(path, out)
    return out.getvalue()


def shape(root: Path) -> dict[str, tuple[int, bytes | str | None]]:
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for entry in scan_tree(root):
        content = entry.target if entry.is_link else None
        if not entry.is_link and not entry.is_directory:
            content = (root / entry.name).read_bytes()
        found[entry.name] = (0 if entry.is_link else entry.mode, content)
    return found


def archive_of(*entries: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    for info, data in entries:
        info.size = len(data)
        out.write(info.tobuf(tarfile.GNU_FORMAT))
        out.write(data + bytes(-len(data) % 512))
    out.write(bytes(1024))
    out.seek(0)
    return out


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def test_a_tree_survives_packing_with_modes_links_and_empty_directories(tree: Path, tmp_path: Path) -> None:
    unpack_tree(io.BytesIO(packed(tree)), tmp_path / "copy")
    assert shape(tmp_path / "copy") == shape(tree)
    assert shape(tree)["sub/run.sh"][0] == 0o750
    assert shape(tree)["sub/link"] == (0, "../a.txt")


def test_equal_trees_give_equal_archives_whatever_their_times(tree: Path, tmp_path: Path) -> None:
    before = packed(tree)
    os.utime(tree / "a.txt", (1, 1))
    copy_tree(tree, tmp_path / "copy")
    assert packed(tree) == before
    assert packed(tmp_path / "copy") == before


def test_tarfile_can_read_the_archive(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree))) as tar:
        assert sorted(tar.getnames()) == sorted(shape(tree))


def test_any_part_of_an_archive_can_be_read(tree: Path) -> None:
    whole = packed(tree)
    archive = TreeArchive(tree)
    assert archive.size == len(whole)
    for offset, count in [(0, 1), (511, 2), (700, 5000), (len(whole) - 3, 100), (1, len(whole))]:
        assert archive.read(offset, count) == whole[offset : offset + count]
    archive.close()


def test_an_archive_can_come_byte_by_byte(tree: Path, tmp_path: Path) -> None:
    unpacker = Unpacker(tmp_path / "copy")
    data = packed(tree)
    for start in range(0, len(data), 7):
        unpacker.feed(data[start : start + 7])
    unpacker.finish()
    assert shape(tmp_path / "copy") == shape(tree)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tree: Path) -> None:
    archive = TreeArchive(tree)
    (tree / "sub" / "big").write_bytes(b"x")
    with pytest.raises(ArchiveError, match="'sub/big' became shorter"):
        archive.read(0, archive.size)
    archive.close()


def test_tree_size_is_the_sum_of_its_files(tree: Path) -> None:
    assert tree_size(tree) == 5 + 10 + 3000 + 9


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "sub/../../x", "..", "hop/.."])
def test_a_link_that_leaves_the_tree_is_refused(tree: Path, target: str) -> None:
    (tree / "sub" / "deep").mkdir()
    (tree / "sub" / "deep" / "hop").symlink_to("../..")
    (tree / ("sub/deep" if target.startswith("hop") else ".") / "bad").symlink_to(target)
    with pytest.raises(ArchiveError, match="bad"):
        check_tree(tree)


@pytest.mark.parametrize("target", ["a.txt", "sub/../a.txt", "./sub", "missing", "self", "sub/link"])
def test_a_link_that_stays_in_the_tree_is_taken(tree: Path, target: str) -> None:
    (tree / "self").symlink_to(target)
    check_tree(tree)


def test_a_fifo_is_refused_by_name(tree: Path) -> None:
    os.mkfifo(tree / "sub" / "pipe")
    with pytest.raises(
        ArchiveError, match="the entry 'sub/pipe' is a FIFO; a directory object holds only files"
    ):
        packed(tree)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (entry("/etc/x"), "the entry '/etc/x' has an absolute name"),
        (entry("../x"), "the entry '../x' has '..' in its name"),
        (entry("a/../../x"), "has '..' in its name"),
        (entry("./x"), "has an empty part or '.' in its name"),
        (entry("no/x"), "the entry 'no/x' is in 'no', which is not a directory of the archive"),
        (entry("x", tarfile.CHRTYPE), "the entry 'x' is a character device"),
        (entry("x", tarfile.BLKTYPE), "the entry 'x' is a block device"),
        (entry("x", tarfile.FIFOTYPE), "the entry 'x' is a FIFO"),
        (entry("x", tarfile.LNKTYPE, "y"), "the entry 'x' is a hard link"),
        (entry("x", tarfile.SYMTYPE, "/etc"), "the symlink 'x' points to the absolute path '/etc'"),
        (entry("x", tarfile.SYMTYPE, "../y"), "the symlink 'x' -> '../y' leaves the tree"),
        (entry("first"), "the entry 'first' is in the archive twice"),
        (entry("first/x"), "is in 'first', which is not a directory"),
        (entry("link/x"), "is in 'link', which is not a directory"),
        (entry("y" * 300), "cannot be made: File name too long"),
    ],
)
def test_a_bad_archive_is_refused_with_exact_words(tmp_path: Path, bad: tarfile.TarInfo, words: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    source = archive_of((entry("first"), b"1"), (entry("link", tarfile.SYMTYPE, "."), b""), (bad, b""))
    with pytest.raises(ArchiveError) as caught:
        unpack_tree(source, tmp_path / "target")
    assert words in str(caught.value)
    assert not list(outside.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outside", "target"]


def test_entries_and_bytes_are_capped(tmp_path: Path) -> None:
    many = [(entry(f"f{i}"), b"1234") for i in range(4)]
    with pytest.raises(ArchiveError, match="more than 3 entries"):
        unpack_tree(archive_of(*many), tmp_path / "a", max_entries=3)
    with pytest.raises(ArchiveError, match="'f3' the archive exceeds 15 bytes"):
        unpack_tree(archive_of(*many), tmp_path / "b", max_bytes=15)


def test_a_cut_archive_and_garbage_are_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="cut off"):
        unpack_tree(io.BytesIO(packed(tree)[:-1024]), tmp_path / "a")
    with pytest.raises(ArchiveError, match="not an archive"):
        unpack_tree(io.BytesIO(b"x" * 2000), tmp_path / "b")


def test_set_user_id_bits_are_dropped(tmp_path: Path) -> None:
    info = entry("tool")
    info.mode = 0o4755
    unpack_tree(archive_of((info, b"")), tmp_path / "t")
    assert stat.S_IMODE((tmp_path / "t" / "tool").stat().st_mode) == 0o755


def test_a_sealed_tree_has_no_write_bits_and_gives_the_original_modes_back(
    tree: Path, tmp_path: Path
) -> None:
    before, digest = shape(tree), hashlib.sha256(packed(tree)).digest()
    seal_tree(tree)
    for name in ["", *before]:
        assert (tree / name).is_symlink() or not stat.S_IMODE((tree / name).stat().st_mode) & 0o222
    assert shape(tree) == before
    assert hashlib.sha256(packed(tree)).digest() == digest
    copy_tree(tree, tmp_path / "copy")
    assert shape(tmp_path / "copy") == before


def test_a_writable_copy_can_be_written_by_its_owner(tree: Path, tmp_path: Path) -> None:
    (tree / "sub" / "empty").chmod(0o555)
    seal_tree(tree)
    copy_tree(tree, tmp_path / "copy", writable=True)
    assert shape(tmp_path / "copy")["a.txt"][0] == 0o640
    assert shape(tmp_path / "copy")["sub/empty"][0] == 0o755


def test_a_tree_can_be_unpacked_so_that_its_owner_may_write(tree: Path, tmp_path: Path) -> None:
    (tree / "sub" / "empty").chmod(0o555)
    (tree / "a.txt").chmod(0o444)
    unpack_tree(io.BytesIO(packed(tree)), tmp_path / "copy", writable=True)
    assert shape(tmp_path / "copy")["a.txt"][0] == 0o644
    assert shape(tmp_path / "copy")["sub/empty"][0] == 0o755


def test_a_part_of_a_tree_can_be_copied_unless_its_links_leave_the_part(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"the symlink 'link' -> '../a.txt' leaves the tree"):
        copy_tree(tree, tmp_path / "no", below="sub")
    (tree / "sub" / "link").unlink()
    copy_tree(tree, tmp_path / "copy", below="sub")
    assert sorted(shape(tmp_path / "copy")) == ["big", "empty", "run.sh"]


def test_a_file_with_a_second_hard_link_is_copied_when_sealed(tree: Path, tmp_path: Path) -> None:
    os.link(tree / "a.txt", tmp_path / "other")
    seal_tree(tree)
    (tmp_path / "other").chmod(0o644)
    (tmp_path / "other").write_bytes(b"changed")
    assert (tree / "a.txt").read_bytes() == b"alpha"


def test_a_sealed_tree_can_be_removed_with_its_side_file(tree: Path) -> None:
    seal_tree(tree)
    assert os.path.exists(modes_file(tree))
    remove_tree(tree)
    assert not tree.exists()
    assert not os.path.exists(modes_file(tree))


def test_removing_a_link_leaves_what_it_points_to(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    remove_tree(tmp_path / "link")
    assert (tree / "a.txt").exists()
    remove_tree(tmp_path / "not there")
