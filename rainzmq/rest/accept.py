"""What a client accepts, as its `Accept` header says."""

from __future__ import annotations


def best(accept: str, offered: tuple[str, ...]) -> str | None:
    """The offered media type a client likes best, earlier ones first among equals; None: none will do.

    An empty header accepts all. What cannot be read in it is passed over.
    """
    if not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")[:100]]
    liked = [(_quality(kind, ranges), -place, kind) for place, kind in enumerate(offered)]
    quality, _, kind = max(liked)
    return kind if quality > 0 else None


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return kind, quality if 0 <= quality <= 1 else 0.0


def _quality(kind: str, ranges: list[tuple[str, float]]) -> float:
    """The most specific range that covers a type counts."""
    for wanted in (kind, kind.partition("/")[0] + "/*", "*/*"):
        found = [quality for name, quality in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
