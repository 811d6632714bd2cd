"""Counting what a peer may do wrong as often as it likes, without a line of the log for each."""

from __future__ import annotations

from collections import Counter

MAX_NAMES = 1000
OTHERS = "others"


class Tally(Counter[str]):
    """Counts by name, of at most `MAX_NAMES`; later ones are counted together as `OTHERS`."""

    def note(self, name: str) -> int:
        """Count one more of a name. Its count when that is worth a line, the 1st, 2nd, 4th, 8th..., else 0:
        who goes on for hours gets two dozen lines.
        """
        if name not in self and len(self) >= MAX_NAMES:
            name = OTHERS
        self[name] += 1
        count = self[name]
        return count if count & (count - 1) == 0 else 0
