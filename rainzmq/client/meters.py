"""Progress bars of a wait: one for the session, and one for each group of its tasks by the first part of
their names.

Groups need a terminal or a notebook, where lines can be changed after they were written; a file gets the line
of the session only.
"""

from __future__ import annotations

import sys
from typing import Any

from rainzmq.protocol.messages.client import Progress

MOST_GROUPS = 8
"""Bars of groups, that of all others included."""

_OTHERS = "others"
_WIDEST_NAME = 24
_GROUP_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}"


class Meters:
    """The bars of one wait, from `begin` on. A context manager that leaves them as they are then."""

    def __init__(self, name: str, begin: Progress) -> None:
        from tqdm.auto import tqdm

        # What was finished before must not count for the rate.
        self._whole: Any = tqdm(unit="task", desc=name, leave=True, initial=begin.finished, total=begin.total)
        self._groups: dict[str, Any] = {}
        self._can_change = sys.stderr.isatty() or hasattr(self._whole, "container")
        try:
            if self._can_change and len(begin.groups) > 1:
                self._add_groups(begin)
        except BaseException:
            self.close()
            raise

    @property
    def can_change(self) -> bool:
        """Lines can be changed after they were written; else each time adds one."""
        return self._can_change

    def show(self, progress: Progress) -> None:
        """Bring the bars up to date."""
        whole = self._whole
        whole.total, whole.n = progress.total, progress.finished
        # Those that wait in line at a worker count as well, so this may be more than there are cpus.
        whole.set_postfix_str(f"{progress.running} at workers")
        if not self._groups:
            return
        for name, (finished, total) in _shown(progress, list(self._groups)).items():
            meter = self._groups.get(name)
            if meter is None:
                meter = self._groups[name] = self._group(name, finished, total)
            elif (meter.n, meter.total) != (finished, total):
                meter.n, meter.total = finished, total
                meter.refresh()

    def close(self) -> None:
        """Leave the bars where they are."""
        for meter in (self._whole, *self._groups.values()):
            meter.close()

    def __enter__(self) -> Meters:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_groups(self, begin: Progress) -> None:
        names = [name for name, _, _ in begin.groups if name]
        if len(begin.groups) > MOST_GROUPS:
            largest = sorted(begin.groups, key=lambda row: -row[2])
            chosen = {name for name, _, _ in largest[: MOST_GROUPS - 1]}
            names = [name for name in names if name in chosen]
        for name, (finished, total) in _shown(begin, names).items():
            self._groups[name] = self._group(name, finished, total)

    def _group(self, name: str, finished: int, total: int) -> Any:
        from tqdm.auto import tqdm

        short = name if len(name) <= _WIDEST_NAME else name[: _WIDEST_NAME - 1] + "…"
        return tqdm(
            desc=f"  {short:<{_WIDEST_NAME}}",
            leave=True,
            initial=finished,
            total=total,
            bar_format=_GROUP_FORMAT,
        )


def _shown(progress: Progress, names: list[str]) -> dict[str, tuple[int, int]]:
    """(finished, total) of each of these groups, and of all others when there are some."""
    rows = {name: (finished, total) for name, finished, total in progress.groups}
    shown = {name: rows[name] for name in names if name in rows}
    finished = sum(row[0] for row in rows.values()) - sum(row[0] for row in shown.values())
    total = sum(row[1] for row in rows.values()) - sum(row[1] for row in shown.values())
    if total:
        shown[_OTHERS] = (finished, total)
    return shown
