"""Data objects, built offline."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rainzmq import DataObject, RainException, Session, blob, directory, pickled
from rainzmq.client.snapshot import Snapshot
from rainzmq.common import ID, DataType, ObjectSpec


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(None, 1) as session:
        yield session


def content(obj: DataObject) -> Any:
    return obj.graph_node.payload


def test_bytes_are_taken_as_they_are(session: Session) -> None:
    obj = blob(b"abc")
    assert content(obj) == b"abc"
    assert (obj.label, obj.content_type, obj.data_type) == ("const", None, DataType.BLOB)
    assert obj.id == ID(1, 1)


def test_str_becomes_text(session: Session) -> None:
    obj = blob("é", label="greeting")
    assert content(obj) == "é".encode()
    assert (obj.label, obj.content_type) == ("greeting", "text")


def test_any_value_is_encoded_on_request(session: Session) -> None:
    obj = blob([1, 2], encode="json")
    assert (content(obj), obj.content_type) == (b"[1, 2]", "json")


def test_content_type_is_for_bytes(session: Session) -> None:
    assert blob(b"[]", content_type="json").content_type == "json"
    with pytest.raises(RainException, match="only for bytes"):
        blob("[]", content_type="json")
    with pytest.raises(RainException, match="not both"):
        blob(b"[]", content_type="json", encode="json")


def test_other_values_need_an_encoding(session: Session) -> None:
    with pytest.raises(RainException, match=r"type int .*pickled"):
        blob(123)


def test_content_types_are_checked(session: Session) -> None:
    with pytest.raises(ValueError, match="Unknown content type 'nonsense'"):
        blob(b"", content_type="nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        blob(b"", encode="nonsense")
    with pytest.raises(RainException, match="directory"):
        blob(b"", content_type="dir")


def test_value_that_can_not_be_encoded_is_an_error(session: Session) -> None:
    with pytest.raises(RainException, match="type object cannot be encoded to 'json'"):
        blob(object(), encode="json")
    assert session.dataobj_count == 0


def test_pickled_value(session: Session) -> None:
    obj = pickled({"a": 1})
    assert pickle.loads(content(obj)) == {"a": 1}
    assert (obj.label, obj.content_type) == ("pickle", "pickle")
    assert pickled(1, label="one").label == "one"


@pytest.mark.parametrize("label", ["", "a\0b", "a\ud800b", 5, "x" * 2000])
def test_bad_labels_are_refused(session: Session, label: Any) -> None:
    with pytest.raises(RainException, match="label"):
        blob(b"", label=label)


def test_no_session_is_an_error() -> None:
    for make in (lambda: blob(b""), lambda: pickled(1), lambda: directory("/")):
        with pytest.raises(RainException, match="No active session"):
            make()


def test_session_can_be_given(session: Session) -> None:
    other = Session(None, 2)
    assert blob(b"", session=other).id.session_id == 2


def test_directory_is_taken_as_it_is_now(session: Session, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("abc")
    obj = directory(source)
    (source / "file").unlink()
    assert (obj.label, obj.data_type, obj.content_type) == ("const_dir", DataType.DIRECTORY, "dir")
    snapshot = content(obj)
    assert isinstance(snapshot, Snapshot)
    assert snapshot.size == 3
    assert Path(snapshot.path).stat().st_size == snapshot.archive_size


def test_directory_must_be_one(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RainException, match="is not a directory"):
        directory(tmp_path / "file")
    with pytest.raises(RainException, match="does not exist"):
        directory(tmp_path / "missing")


def test_directory_with_a_link_that_leaves_it_is_refused(session: Session, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("../outside")
    with pytest.raises(RainException, match=r"'link'.*leaves the tree"):
        directory(tmp_path / "source")


def test_keep_and_unkeep(session: Session) -> None:
    obj = blob(b"")
    assert not obj.is_kept()
    obj.keep()
    assert obj.is_kept()
    obj.unkeep()
    assert not obj.is_kept()
    with pytest.raises(RainException, match="is not kept"):
        obj.unkeep()


def test_nothing_is_known_before_submit(session: Session) -> None:
    obj = blob(b"")
    assert obj.state is None
    assert obj.info is None
    for ask in (obj.wait, obj.update, obj.keep().fetch):
        with pytest.raises(RainException, match="was not submitted"):
            ask()


def test_spec_says_what_was_declared(session: Session) -> None:
    obj = blob("", label="x")
    assert obj.spec == ObjectSpec(ID(1, 1), "x", DataType.BLOB, "text")
    obj.spec.user["note"] = 1
    assert obj.spec.user == {"note": 1}


def test_expectations(session: Session, tmp_path: Path) -> None:
    folder = directory(tmp_path)
    folder.expect_dir()
    blob(b"").expect_blob()
    with pytest.raises(RainException, match=r"'const' \(1/3\) is a blob"):
        blob(b"").expect_dir()
    with pytest.raises(RainException, match="is a directory"):
        folder.expect_blob()


def test_data_object_can_not_be_pickled_by_itself(session: Session) -> None:
    with pytest.raises(RainException, match="argument of a remote function"):
        pickled([blob(b"")])


def test_repr_says_what_it_is(session: Session) -> None:
    assert repr(blob(b"", label="x")) == "<DataObject 1/1 'x' blob unsubmitted>"
