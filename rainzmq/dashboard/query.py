"""What a page shows is said in the query of its URL: the time, the session, and what each page adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

CARRIED = ("t", "session")
"""What links to other pages keep."""

_LONGEST = 2000


class Query:
    """The query of a URL; unknown and senseless values count as absent."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values = dict(values or {})

    @classmethod
    def parse(cls, text: str) -> Query:
        """From `?a=b&c=d`, with or without the question mark."""
        return cls(dict(parse_qsl(text[:_LONGEST].removeprefix("?"), max_num_fields=None)))

    def get(self, name: str, default: str = "") -> str:
        """A value, `default` without it."""
        return self.values.get(name, default)

    def number(self, name: str) -> int | None:
        """A value that is a whole number of at least 0."""
        text = self.values.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def time(self) -> float | None:
        """`t`, s since the epoch."""
        try:
            value = float(self.values.get("t", ""))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def with_(self, **changes: object) -> str:
        """A URL of the same page with some values changed; None takes one away."""
        values = {**self.values, **{key: str(value) for key, value in changes.items() if value is not None}}
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
        return "?" + urlencode(values)

    def link(self, page: str, **values: object) -> str:
        """A URL of another page, at the same time and session."""
        kept = {key: self.values[key] for key in CARRIED if key in self.values}
        kept.update((key, str(value)) for key, value in values.items() if value is not None)
        return f"/{page}" + (f"?{urlencode(kept)}" if kept else "")
