"""Labeled lists."""

from __future__ import annotations

from typing import Any

import pytest

from rainzmq.common import LabeledList


def abc() -> LabeledList[int]:
    return LabeledList([1, 2, 3], labels=["a", None, "c"])


def test_items_are_found_by_position_and_label() -> None:
    items = abc()
    assert (items[0], items[-1], items["a"], items["c"]) == (1, 3, 1, 3)
    assert len(items) == 3
    assert list(items) == [1, 2, 3]
    assert list(reversed(items)) == [3, 2, 1]


def test_slice_keeps_labels() -> None:
    assert abc()[1:] == LabeledList([2, 3], labels=[None, "c"])


def test_constructors_agree() -> None:
    assert LabeledList(pairs=[("a", 1), (None, 2), ("c", 3)]) == abc()
    assert LabeledList() == LabeledList([])
    assert LabeledList(abc()) == LabeledList([1, 2, 3])


@pytest.mark.parametrize(
    "arguments", [{"items": [1], "pairs": []}, {"labels": ["a"]}, {"items": [1], "labels": ["a", "b"]}]
)
def test_constructor_refuses_what_does_not_fit(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several texts
        LabeledList(**arguments)


def test_data_labels_and_pairs() -> None:
    assert abc().data == [1, 2, 3]
    assert abc().labels == ["a", None, "c"]
    assert list(abc().items()) == [("a", 1), (None, 2), ("c", 3)]
    assert LabeledList([1, 2]).labels == [None, None]


def test_in_tests_labels_and_not_items() -> None:
    assert "a" in abc()
    assert "b" not in abc()
    assert 1 not in abc()
    assert None not in abc()


def test_append_with_and_without_label() -> None:
    items: LabeledList[int] = LabeledList()
    items.append(1)
    items.append(2, label="b")
    items.append(3)
    assert items == LabeledList([1, 2, 3], labels=[None, "b", None])
    assert items["b"] == 2


def test_a_label_twice_is_a_key_error_and_changes_nothing() -> None:
    items = abc()
    with pytest.raises(KeyError, match="'a'"):
        items.append(4, label="a")
    with pytest.raises(KeyError, match="'a'"):
        items.set(1, 4, label="a")
    with pytest.raises(KeyError, match="'a'"):
        items.set_label(1, "a")
    with pytest.raises(KeyError):
        LabeledList([1, 2], labels=["a", "a"])
    with pytest.raises(KeyError):
        LabeledList(pairs=[("a", 1), ("a", 2)])
    assert items == abc()


def test_int_label_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        abc().append(4, label=1)
    with pytest.raises(TypeError):
        LabeledList([1], labels=[0])


def test_assigning_by_index_clears_the_label() -> None:
    items = abc()
    items[0] = 10
    assert items == LabeledList([10, 2, 3], labels=[None, None, "c"])


def test_assigning_by_label_replaces_or_appends() -> None:
    items = abc()
    items["a"] = 10
    items["new"] = 4
    assert items == LabeledList([10, 2, 3, 4], labels=["a", None, "c", "new"])


def test_set_replaces_item_and_label() -> None:
    items = abc()
    items.set(0, 10, label="z")
    items.set("c", 30)
    assert items == LabeledList([10, 2, 30], labels=["z", None, None])
    items.set(0, 11, label="z")
    assert items["z"] == 11


def test_labels_are_read_and_changed() -> None:
    items = abc()
    assert [items.get_label(i) for i in range(3)] == ["a", None, "c"]
    items.set_label(0, "b")
    items.set_label("c", None)
    assert items.labels == ["b", None, None]


def test_deleting_and_popping() -> None:
    items = abc()
    del items["a"]
    assert items == LabeledList([2, 3], labels=[None, "c"])
    assert items["c"] == 3
    assert items.pop() == 3
    assert items.pop(0) == 2
    assert len(items) == 0


def test_inserting_and_extending() -> None:
    items = abc()
    items.insert(0, 0, label="z")
    items.extend(LabeledList([4], labels=["d"]))
    items.extend([5])
    assert items == LabeledList([0, 1, 2, 3, 4, 5], labels=["z", "a", None, "c", "d", None])
    assert abc() + LabeledList([4]) == LabeledList([1, 2, 3, 4], labels=["a", None, "c", None])


def test_slice_assignment_takes_labels_over() -> None:
    items = abc()
    items[1:] = LabeledList([8, 9], labels=["x", None])
    assert items == LabeledList([1, 8, 9], labels=["a", "x", None])
    del items[:2]
    assert items == LabeledList([9])


def test_equality_is_by_items_and_labels() -> None:
    assert abc() != LabeledList([1, 2, 3])
    assert LabeledList([1]) != [1]


@pytest.mark.parametrize(
    ("key", "error"), [(3, IndexError), (-4, IndexError), ("b", KeyError), (None, KeyError)]
)
def test_what_is_not_there_is_an_error(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        abc()[key]


def test_label_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="no item is labelled 'nope'; the labels are 'a', 'b'"):
        LabeledList([1, 2, 3], labels=["a", None, "b"])["nope"]
    with pytest.raises(KeyError, match="'x'; none of the 2 items has a label"):
        LabeledList([1, 2])["x"]
    with pytest.raises(KeyError, match=r"'l19', \.\.\."):
        LabeledList(range(50), labels=[f"l{number}" for number in range(50)])["x"]


def test_labels_are_iterated_and_nothing_else() -> None:
    class Labels(list[str]):
        def __bool__(self) -> bool:
            raise ValueError("as an array of several items does")

    assert LabeledList([1, 2], labels=Labels(["a", "b"])).labels == ["a", "b"]
    with pytest.raises(ValueError, match="Give either pairs"):
        LabeledList(5, pairs=[])  # type: ignore[call-overload]
