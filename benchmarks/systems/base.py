"""What a system must be able to do to be measured."""

from __future__ import annotations

from abc import ABC, abstractmethod


class System(ABC):
    """A running task system. Every method returns when all its results are known to the caller.

    Attributes:
        version: of the system, for the report.
    """

    version: str

    @abstractmethod
    def run_noops(self, count: int) -> None:
        """Runs `count` independent Python tasks that do nothing."""

    @abstractmethod
    def run_programs(self, count: int) -> None:
        """Runs `/bin/true` `count` times, as independent tasks."""

    @abstractmethod
    def close(self) -> None:
        """Stops it; all its processes are gone."""
