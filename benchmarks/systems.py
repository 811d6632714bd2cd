"""The systems that are compared: what is installed for each, and which driver speaks to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system and its environment.

    Attributes:
        name: for the command line and the tables.
        title: for people.
        requirements: pinned packages of its own environment; None: it runs in the environment of this
            interpreter, as rainzmq itself and the limits do.
        driver: module that speaks to it.
    """

    name: str
    title: str
    requirements: tuple[str, ...] | None

    @property
    def driver(self) -> str:
        """The module to run, one process for each round of a workload."""
        return f"benchmarks.drivers.{self.name}_driver"


_PSUTIL = "psutil==7.2.2"

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System("rainzmq", "rainzmq", None),
        System("dask", "Dask", ("distributed==2026.8.0", _PSUTIL)),
        System("ray", "Ray", ("ray==2.60.0", _PSUTIL)),
        System("parsl", "Parsl HTEX", ("parsl==2026.10.26", _PSUTIL)),
        System("hyperqueue", "HyperQueue", ("hyperqueue==0.27.0", _PSUTIL)),
        System("ipyparallel", "ipyparallel", ("ipyparallel==9.2.0", _PSUTIL)),
        System("limits", "the machine", None),
    )
}

PICTURE = System("picture", "the picture", ("matplotlib==3.11.2",))
"""Not a system that is measured: the environment that draws."""
