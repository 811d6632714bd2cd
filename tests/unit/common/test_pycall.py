"""Encoding and decoding of Python calls."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from rainzmq.common.code_units import UnitRef
from rainzmq.common.data_instance import DataInstance
from rainzmq.common.errors import RainException
from rainzmq.common.pickles import dumps_by_value
from rainzmq.common.pycall import (
    HIDDEN_ARGUMENTS,
    HIDDEN_FUNCTION,
    ArgumentFault,
    CallBody,
    Calls,
    decode_body,
    encode_arguments,
    encode_atoms,
    encode_body,
)


class Ref:
    """Stands for a data object on the encoding side."""

    def __init__(self, pid: Any) -> None:
        self.pid = pid


def refer(obj: Any) -> Any:
    return obj.pid if type(obj) is Ref else None


def body_of(function: Any, **fields: Any) -> CallBody:
    return CallBody("f", 1, dumps_by_value(function, refer), **fields)


def call(args: tuple[Any, ...] = (), inputs: tuple[DataInstance, ...] = (), **kwargs: Any) -> Any:
    config, _ = encode_arguments(args, kwargs, refer)
    return Calls().prepare(1, body_of(lambda ctx, *args, **kwargs: None), config, inputs)


def test_body_survives_the_wire() -> None:
    body = CallBody("pkg.f", 7, b"code", 2, (HIDDEN_ARGUMENTS,), (("/a", 1), ("/b", 2)))
    body.code = (UnitRef("m", b"digest", None, b"data"), UnitRef("n", b"digest", ("m", "n"), None))
    assert decode_body(encode_body(body)) == body


@pytest.mark.parametrize("config", [b"", b"\xc1", b"\x90", b"\x80"])
def test_malformed_body_is_a_clear_error(config: bytes) -> None:
    with pytest.raises(RainException, match="malformed"):
        decode_body(config)


def test_no_arguments_need_no_config() -> None:
    assert encode_arguments((), {}) == (b"", [])
    prepared = call()
    assert (prepared.args, prepared.kwargs) == ((), {})


def test_arguments_arrive_by_position_and_keyword() -> None:
    prepared = call((1, "two"), three=[3])
    assert (prepared.args, prepared.kwargs) == ((1, "two"), {"three": [3]})


ATOMS = (0, -(2**70), 1.5, True, None, "", "s", "s", b"", b"b" * 300, "\udcff", "x" * 70_000)


def test_simple_arguments_arrive_as_from_a_pickler() -> None:
    data = DataInstance(b"[1]", content_type="json")
    load = Ref((0, True, "json", "json"))  # as when a parameter is called "json"
    prepared = call((*ATOMS, load, load, Ref(0), *ATOMS), json=Ref(0), s="s", inputs=(data,))
    assert prepared.args == (*ATOMS, [1], [1], data, *ATOMS)
    assert prepared.kwargs == {"json": data, "s": "s"}


def test_simple_arguments_need_no_pickler_but_mean_the_same() -> None:
    assert encode_atoms(()) == b""
    for args in ((0, -5, 1.5, True, None, "", "s", b""), (1,), ("x" * 70_000,)):
        assert encode_atoms(args) == encode_arguments(args, {}, refer)[0]
    for other in ([], (), 1j, Ref(0), type("Int", (int,), {})(1)):
        assert encode_atoms((1, other)) is None


def test_a_long_string_passed_often_is_sent_once() -> None:
    text = "x" * 100_000
    args = (text,) * 20
    assert encode_atoms(args) is None
    config, _ = encode_arguments(args, {"again": text}, refer)
    assert len(config) < 101_000
    prepared = call(args, again=text)
    assert prepared.args == args
    assert prepared.kwargs["again"] is prepared.args[0]


def test_an_object_passed_twice_arrives_as_one_object() -> None:
    shared: list[int] = []
    prepared = call((shared, {"inside": shared}))
    assert prepared.args[0] is prepared.args[1]["inside"]


def test_sizes_are_told_per_argument() -> None:
    _, sizes = encode_arguments((b"x" * 1000,), {"y": 1})
    assert sizes[0] > 1000 > 100 > sizes[1]


def test_references_arrive_as_instances() -> None:
    instance = DataInstance(b"abc")
    prepared = call(({"deep": [Ref(0)]},), inputs=(instance,))
    assert prepared.args[0]["deep"][0] is instance
    assert prepared.inputs == [instance]


def test_reference_with_load_arrives_as_value() -> None:
    prepared = call((Ref((0, True, None, "x")),), inputs=(DataInstance(b"[1]", content_type="json"),))
    assert prepared.args == ([1],)


def test_reference_with_content_type_narrows_an_unknown_one() -> None:
    prepared = call(
        (Ref((0, True, "json", "x")), Ref((0, False, "json", "x"))), inputs=(DataInstance(b"[1]"),)
    )
    assert prepared.args[0] == [1]
    assert prepared.args[1].content_type == "json"


def test_wrong_content_type_names_the_parameter() -> None:
    with pytest.raises(RainException, match=r"'x' takes content type 'json'.*'text'"):
        call((Ref((0, False, "json", "x")),), inputs=(DataInstance(b"", content_type="text"),))


def test_load_of_an_unknown_type_names_the_parameter() -> None:
    with pytest.raises(RainException, match=r"'x'.*No content type is known"):
        call((Ref((0, True, None, "x")),), inputs=(DataInstance(b""),))


def test_local_functions_and_classes_are_sent_by_value() -> None:
    class Local:
        value = 5

    prepared = call((Local(), lambda: Local.value))
    assert prepared.args[0].value == 5
    assert prepared.args[1]() == 5


def test_unpicklable_argument_is_told_by_its_slot() -> None:
    with pytest.raises(ArgumentFault) as caught:
        encode_arguments((1,), {"lock": threading.Lock()})
    assert caught.value.slot == 1
    assert "lock" in str(caught.value.cause)


def test_error_of_refer_is_passed_on() -> None:
    def failing(obj: Any) -> Any:
        if type(obj) is Ref:
            raise RainException("of another session")
        return None

    with pytest.raises(ArgumentFault, match="of another session"):
        encode_arguments((Ref(0),), {}, failing)


def test_hidden_function_and_arguments_come_from_the_last_inputs() -> None:
    config, _ = encode_arguments((Ref(0),), {}, refer)
    hidden = (DataInstance(dumps_by_value(lambda ctx, x: x.get_bytes())), DataInstance(config))
    body = CallBody("f", 1, None, hidden=(HIDDEN_FUNCTION, HIDDEN_ARGUMENTS))
    prepared = Calls().prepare(1, body, b"", (DataInstance(b"abc"), *hidden))
    assert prepared.function(None, *prepared.args) == b"abc"
    assert len(prepared.inputs) == 1


def test_function_is_loaded_once_per_session() -> None:
    calls = Calls()
    body = body_of(lambda ctx: 1)
    first = calls.prepare(1, body, b"", ()).function
    assert calls.prepare(1, body, b"", ()).function is first
    assert calls.prepare(2, body, b"", ()).function is not first


def test_forgotten_function_is_loaded_again() -> None:
    calls = Calls()
    body = body_of(lambda ctx: 1)
    first = calls.prepare(1, body, b"", ()).function
    calls.forget([1])
    assert calls.prepare(1, body, b"", ()).function is not first


def test_function_that_holds_an_object_is_loaded_again_when_it_moved(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    held = Ref(0)
    body = body_of(lambda ctx: held.get_bytes(), function_inputs=1)  # type: ignore[attr-defined]
    calls = Calls()
    for name in ("one", "two"):
        prepared = calls.prepare(1, body, b"", (DataInstance(path=str(tmp_path / name)),))
        assert prepared.function(None) == name.encode()


def test_function_that_can_not_be_loaded_says_so() -> None:
    body = CallBody("pkg.f", 1, b"cno_such_module\nf\n.")
    with pytest.raises(RainException, match=r"'pkg\.f' cannot be loaded.*no_such_module") as caught:
        Calls().prepare(1, body, b"", ())
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_argument_that_can_not_be_loaded_names_it() -> None:
    config, _ = encode_arguments((), {"x": 1})
    with pytest.raises(RainException, match="argument 'x' cannot be loaded"):
        Calls().prepare(1, body_of(lambda ctx, x: x), config[:-3], ())
