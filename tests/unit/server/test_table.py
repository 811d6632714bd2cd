"""Records by uid, in pages."""

from __future__ import annotations

from rainzmq.common.ids import make_uid
from rainzmq.server.core.table import PAGE_BITS, Table

FAR = 1 << PAGE_BITS


def filled() -> Table[str]:
    table: Table[str] = Table()
    for session in (1, 2):
        for number in (0, 1, FAR, 5 * FAR + 7):
            table[make_uid(session, number)] = f"{session}/{number}"
    return table


def test_it_is_a_mapping() -> None:
    table = filled()
    uid = make_uid(2, FAR)
    assert (len(table), table[uid], table.get(uid)) == (8, f"2/{FAR}", f"2/{FAR}")
    assert uid in table
    assert uid + 1 not in table
    assert table.get(uid + 1) is table.get(make_uid(3, 0)) is None
    assert sorted(table) == sorted(item for item, _ in table.items())
    assert sorted(table.values()) == sorted(record for _, record in table.items())
    table[uid] = "new"
    assert (len(table), table[uid]) == (8, "new")


def test_records_are_discarded_once() -> None:
    table = filled()
    table.discard(make_uid(1, FAR))
    table.discard(make_uid(1, FAR))
    table.discard(make_uid(9, 0))
    assert len(table) == 7


def test_pages_are_taken_until_none_is_left() -> None:
    table, sizes = filled(), []
    while page := table.take_page():
        sizes.append(len(page))
    assert sorted(sizes) == [1, 1, 1, 1, 2, 2]
    assert not len(table)


def test_a_session_is_taken_at_once() -> None:
    table = filled()
    assert sorted(table.take_session(1)) == [make_uid(1, number) for number in (0, 1, FAR, 5 * FAR + 7)]
    assert table.take_session(1) == []
    assert {uid >> 32 for uid in table} == {2}
