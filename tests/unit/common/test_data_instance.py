"""Data instances."""

from __future__ import annotations

import gc
import io
import os
import pickle
import stat
import tarfile
from pathlib import Path

import pytest

from rainzmq.common import ID, DataInstance, DataType, ObjectInfo, ObjectSpec, RainException
from rainzmq.common.archive import pack_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "sub" / "run").write_text("#!/bin/sh\n")
    (root / "sub" / "run").chmod(0o755)
    (root / "link").symlink_to("sub/run")
    return root


@pytest.fixture
def archive(tree: Path, tmp_path: Path) -> str:
    path = tmp_path / "archive.tar"
    with open(path, "wb") as file:
        pack_tree(tree, file)
    return str(path)


def in_file(tmp_path: Path, data: bytes = b"abc") -> DataInstance:
    path = tmp_path / "stored"
    path.write_bytes(data)
    path.chmod(0o444)
    return DataInstance(path=str(path))


def test_bytes_in_memory_are_given_as_they_are() -> None:
    data = b"abc"
    assert DataInstance(data).get_bytes() is data
    assert DataInstance(memoryview(data)).get_bytes() == data


def test_memoryview_copies_nothing(tmp_path: Path) -> None:
    data = b"abc"
    assert DataInstance(data).memoryview().obj is data
    assert DataInstance(memoryview(bytearray(data))).memoryview().readonly
    assert in_file(tmp_path).memoryview() == data


def test_files_are_read_also_when_empty(tmp_path: Path) -> None:
    assert in_file(tmp_path).get_bytes() == b"abc"
    empty = tmp_path / "empty"
    empty.touch()
    assert DataInstance(path=str(empty)).get_bytes() == b""


def test_text_is_in_the_encoding_of_the_content_type() -> None:
    assert DataInstance("é".encode()).get_str() == "é"
    assert DataInstance(b"\xe9", content_type="text-latin-1").get_str() == "é"
    with pytest.raises(RainException, match="not text in utf-8"):
        DataInstance(b"\xe9").get_str()


def test_load_goes_by_content_type() -> None:
    assert DataInstance(b"[1]", content_type="json").load() == [1]
    with pytest.raises(RainException, match="No content type is known"):
        DataInstance(b"[1]").load()


def test_load_gives_a_new_value_unless_it_is_cached() -> None:
    instance = DataInstance(b"[1]", content_type="json")
    assert instance.load() is not instance.load()
    assert instance.load(cache=True) is instance.load(cache=True)


def test_errors_name_the_object() -> None:
    instance = DataInstance(b"", spec=ObjectSpec(ID(1, 2), "table"))
    with pytest.raises(RainException, match=r"'table' \(1/2\)"):
        instance.load()


def test_size_and_types_come_from_info_and_spec() -> None:
    spec = ObjectSpec(ID(1, 2), content_type="text")
    instance = DataInstance(b"abc", spec=spec, info=ObjectInfo(3, "text-latin-1"))
    assert (instance.size, instance.content_type, instance.data_type) == (3, "text-latin-1", DataType.BLOB)
    assert DataInstance(b"abc", spec=spec).content_type == "text"
    assert DataInstance(memoryview(b"abcd")).size == 4


def test_write_makes_a_writable_copy(tmp_path: Path) -> None:
    for instance in (DataInstance(b"abc"), in_file(tmp_path)):
        target = tmp_path / "copy"
        instance.write(target)
        target.write_bytes(b"changed")
        assert instance.get_bytes() == b"abc"


def test_write_replaces_a_link_instead_of_writing_through_it(tmp_path: Path) -> None:
    instance = in_file(tmp_path)
    target = tmp_path / "link"
    instance.link(target)
    DataInstance(b"new").write(target)
    assert target.read_bytes() == b"new"
    assert instance.get_bytes() == b"abc"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "stored"]


def test_write_to_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RainException, match="is a directory"):
        DataInstance(b"abc").write(tmp_path)


def test_link_is_read_only(tmp_path: Path) -> None:
    for number, instance in enumerate((DataInstance(b"abc"), in_file(tmp_path))):
        target = tmp_path / f"link{number}"
        instance.link(target)
        assert target.read_bytes() == b"abc"
        assert not stat.S_IMODE(target.stat().st_mode) & 0o222
        with pytest.raises(RainException, match="is there already"):
            instance.link(target)


def test_directory_is_written_with_modes_links_and_empty_directories(
    tree: Path, archive: str, tmp_path: Path
) -> None:
    for number, instance in enumerate((DataInstance(path=str(tree)), DataInstance(archive=archive))):
        target = tmp_path / f"copy{number}"
        instance.write(target)
        assert (target / "sub" / "empty").is_dir()
        assert os.access(target / "sub" / "run", os.X_OK | os.W_OK)
        assert os.readlink(target / "link") == "sub/run"
        with pytest.raises(RainException, match="is there already"):
            instance.write(target)


def test_bytes_of_a_directory_are_a_tar(tree: Path, archive: str) -> None:
    for instance in (DataInstance(path=str(tree)), DataInstance(archive=archive)):
        with tarfile.open(fileobj=io.BytesIO(instance.get_bytes())) as tar:
            names = sorted(tar.getnames())
        assert names == ["link", "sub", "sub/empty", "sub/run"]


def test_directory_has_its_content_type_and_size(tree: Path, archive: str) -> None:
    for instance in (DataInstance(path=str(tree)), DataInstance(archive=archive)):
        assert instance.data_type is DataType.DIRECTORY
        assert instance.content_type == "dir"
        assert instance.size == len("#!/bin/sh\n")


def test_directory_is_no_value_text_or_buffer(tree: Path) -> None:
    instance = DataInstance(path=str(tree))
    for use in (instance.load, instance.get_str, instance.memoryview, lambda: pickle.dumps(instance)):
        with pytest.raises(RainException, match="is a directory"):
            use()


def test_directory_is_linked(tree: Path, archive: str, tmp_path: Path) -> None:
    for number, instance in enumerate((DataInstance(path=str(tree)), DataInstance(archive=archive))):
        target = tmp_path / f"link{number}"
        instance.link(target)
        assert (target / "link").read_text() == "#!/bin/sh\n"


def test_archive_and_what_was_unpacked_go_with_the_instance(archive: str, tmp_path: Path) -> None:
    instance = DataInstance(archive=archive)
    link = tmp_path / "link"
    instance.link(link)
    unpacked = Path(os.readlink(link))
    assert unpacked.is_dir()
    del instance
    gc.collect()
    assert not unpacked.exists()
    assert not Path(archive).exists()


def test_instance_of_a_blob_can_be_pickled(tmp_path: Path) -> None:
    spec = ObjectSpec(ID(1, 2), "x")
    for instance in (DataInstance(b"abc", spec=spec, content_type="text"), in_file(tmp_path)):
        other = pickle.loads(pickle.dumps(instance))
        assert (other.get_bytes(), other.spec, other.content_type) == (
            b"abc",
            instance.spec,
            instance.content_type,
        )


def test_other_content_type_leaves_the_instance_alone() -> None:
    instance = DataInstance(b"[1]")
    assert instance.with_content_type("json").load() == [1]
    assert instance.content_type is None


def test_exactly_one_source_is_given() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        DataInstance()
    with pytest.raises(ValueError, match="exactly one"):
        DataInstance(b"", path="/x")
