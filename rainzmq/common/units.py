"""Sizes and times as people write and read them."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1,
    "b": 1,
    "k": 1 << 10,
    "kib": 1 << 10,
    "m": 1 << 20,
    "mib": 1 << 20,
    "g": 1 << 30,
    "gib": 1 << 30,
    "t": 1 << 40,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of a size such as `512MiB`, `1.5 GiB`, `64k` (binary), `10MB` (decimal) or `4096`.

    Raises:
        ValueError: it is not such a size.
    """
    match = _SIZE.fullmatch(text)
    factor = None if match is None else _FACTORS.get(match[2].lower())
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size; write a number of bytes or, for example, 512MiB")
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def format_size(size_bytes: int) -> str:
    """A size human-readable: `17 B`, `1.5 KiB`, `512 MiB`; three digits at most below 1000 TiB."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    units = ["KiB", "MiB", "GiB", "TiB"]
    value = size_bytes / 1024
    while value >= 999.5 and len(units) > 1:
        value /= 1024
        del units[0]
    digits = f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits} {units[0]}"


def format_duration(seconds: float) -> str:
    """A time human-readable: `350 us`, `12.5 ms`, `3.2 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
