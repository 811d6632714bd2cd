"""What is measured. One file for each workload; a new one is added to `WORKLOADS`."""

from __future__ import annotations

from benchmarks.workloads import bag, programs, single
from benchmarks.workloads.base import Workload

WORKLOADS: tuple[Workload, ...] = (bag.WORKLOAD, single.WORKLOAD, programs.WORKLOAD)
