"""The arguments of a Python call as text, read from the pickles that it travels as. Nothing is unpickled.

A pickle is a program for a stack machine; unpickling runs it, and may call whatever it names. Here its
instructions are only looked at (`pickletools.genops`): those that make plain values (numbers, texts, tuples,
lists, sets, dicts) are followed; what others would import or call is written down by its name. So a reader of
pages needs neither the modules of a program nor to trust it.
"""

from __future__ import annotations

import pickletools
import reprlib
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any, cast

_MOST_ARGUMENTS = 50
_MOST_BITS = 512
"""A larger integer is not written out."""

_MARK = object()


class _Named:
    """A value that is not plain, by what the pickle says of it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Items:
    """What a dict (pairs, one after the other) or set holds: nothing that a pickle says is ever hashed."""

    def __init__(self, kind: type) -> None:
        self.kind, self.items = kind, list[Any]()


class _Repr(reprlib.Repr):
    """Writes values down, cut to a readable length."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 80, 80, 40
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 8

    def repr1(self, x: Any, level: int) -> str:
        """Called for every value."""
        return self._items(x, level) if isinstance(x, _Items) else super().repr1(x, level)

    def _items(self, value: _Items, level: int) -> str:
        is_dict, items = value.kind is dict, value.items
        if not items:
            return "{}" if is_dict else f"{value.kind.__name__}()"
        if level <= 0:
            return "{...}"
        width = 2 if is_dict else 1
        texts = [self.repr1(item, level - 1) for item in items[: width * self.maxdict]]
        shown = [": ".join(texts[at : at + width]) for at in range(0, len(texts), width)]
        inside = "{" + ", ".join([*shown, "..."] if len(items) > len(texts) else shown) + "}"
        return f"frozenset({inside})" if value.kind is frozenset else inside


_REPR = _Repr()


def argument_texts(config: bytes, inputs: Sequence[str]) -> list[str]:
    """The arguments of a call, such as `["3", "rate=0.5"]`, from its config (see `common.pycall`). Those
    after one that cannot be read are left out, which a last `...` says.

    Args:
        inputs: ids of the task's inputs, which stand for data objects.
    """
    if not config:
        return []
    values = _values(config, inputs)
    try:
        count, names = next(values)
        labels = [""] * min(count, len(config)) + [f"{name}=" for name in names]
    except (StopIteration, TypeError, ValueError):
        return ["..."]
    texts = []
    for label in labels[:_MOST_ARGUMENTS]:
        try:
            texts.append(label + _REPR.repr(next(values)))
        except (StopIteration, ValueError, RecursionError):
            break
    return texts if len(texts) == len(labels) else [*texts, "..."]


def _values(config: bytes, inputs: Sequence[str]) -> Iterator[Any]:
    """What the pickles, one after the other, stand for. It ends where one cannot be read."""
    stream, memo = BytesIO(config), list[Any]()
    while stream.tell() < len(config):
        try:
            yield _value(stream, memo, inputs)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError):
            return


def _value(stream: BytesIO, memo: list[Any], inputs: Sequence[str]) -> Any:
    stack: list[Any] = []
    for opcode, found, _ in pickletools.genops(stream):
        name, argument = opcode.name, cast(Any, found)
        if name == "STOP":
            break
        if name in _PLAIN:
            is_large = isinstance(argument, int) and argument.bit_length() > _MOST_BITS
            stack.append(_Named(f"<an int of {argument.bit_length()} bits>") if is_large else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MEMOIZE":
            memo.append(stack[-1])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "BINPERSID":
            stack.append(_reference(stack.pop(), inputs))
        elif name not in ("PROTO", "FRAME"):
            _STEPS[name](stack)
    (value,) = stack
    return value


def _reference(pid: Any, inputs: Sequence[str]) -> _Named:
    index = pid[0] if isinstance(pid, tuple) else pid
    return _Named(f"<data object {inputs[index]}>")


def _marked(stack: list[Any]) -> list[Any]:
    """Take what stands above the last mark, and the mark."""
    at = max(at for at, item in enumerate(stack) if item is _MARK)
    found = stack[at + 1 :]
    del stack[at:]
    return found


def _tuple_of(size: int) -> Callable[[list[Any]], None]:
    def step(stack: list[Any]) -> None:
        stack[-size:] = [tuple(stack[-size:])]

    return step


def _call(stack: list[Any]) -> None:
    stack.pop()  # what it is called with
    called = stack.pop()
    text = called.text if isinstance(called, _Named) else "?"
    stack.append(_Named(text if text.startswith("<") else f"<{text}>"))


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(_Named(str(name) if module == "builtins" else f"{module}.{name}"))


def _extend(stack: list[Any], items: list[Any]) -> None:
    target = stack[-1]
    if isinstance(target, _Items):
        target.items += items
    elif isinstance(target, list):
        target += items


def _frozenset(stack: list[Any]) -> None:
    made = _Items(frozenset)
    made.items = _marked(stack)
    stack.append(made)


def _last(stack: list[Any], count: int) -> list[Any]:
    """Take the uppermost items."""
    found = stack[-count:]
    del stack[-count:]
    return found


_PLAIN = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
        "BYTEARRAY8",
    }
)
"""Instructions whose argument is the value."""

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": lambda: _Items(dict),
    "EMPTY_SET": lambda: _Items(set),
    "MARK": lambda: _MARK,
}

_STEPS: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda stack: stack.append(tuple(_marked(stack))),
    "FROZENSET": _frozenset,
    "APPEND": lambda stack: _extend(stack, _last(stack, 1)),
    "APPENDS": lambda stack: _extend(stack, _marked(stack)),
    "ADDITEMS": lambda stack: _extend(stack, _marked(stack)),
    "SETITEM": lambda stack: _extend(stack, _last(stack, 2)),
    "SETITEMS": lambda stack: _extend(stack, _marked(stack)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "BUILD": lambda stack: _last(stack, 1).clear(),
}
"""What other instructions do with the stack. Those that are missing end the reading."""
