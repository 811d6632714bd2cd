"""What is measured: the catalogue of workloads. Drivers implement each as the method named `method`.

A workload's count is the size of a whole round; `--scale` makes it smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PYTHON_SYSTEMS = ("rainzmq", "dask", "ray", "parsl", "ipyparallel")
PROGRAM_SYSTEMS = ("rainzmq", "parsl", "hyperqueue")
ALL_SYSTEMS = ("rainzmq", "dask", "ray", "parsl", "hyperqueue", "ipyparallel")
OURS = ("rainzmq",)
LIMITS = ("limits",)

MIB = 1 << 20


@dataclass(frozen=True)
class Workload:
    """One figure of a system.

    Attributes:
        name: short, for the command line and the tables.
        group: names several related workloads at once on the command line.
        method: of the drivers; gets the meter and `params`.
        title: one line for people.
        unit: of the figure, such as `tasks/s`.
        higher_is_better: False for times and costs.
        systems: that can do it.
        bar: what rainzmq shall reach at least (at most, for costs); None without one.
        params: keyword arguments of the method; `count` and `size` shrink with `--scale`.
        heavy: so long or so large that it runs only when it is named.
        limit: workload of the machine's limits that bounds this one, shown beside it; None without one.
        timeout_s: a round that takes longer counts as failed.
    """

    name: str
    group: str
    method: str
    title: str
    unit: str
    higher_is_better: bool
    systems: tuple[str, ...]
    bar: float | None = None
    params: Mapping[str, float] = field(default_factory=dict)
    heavy: bool = False
    limit: str | None = None
    timeout_s: float = 300.0

    def reaches_bar(self, figure: float) -> bool | None:
        """Whether a figure reaches the bar; None when there is none."""
        if self.bar is None:
            return None
        return figure >= self.bar if self.higher_is_better else figure <= self.bar

    def scaled(self, scale: float) -> dict[str, float]:
        """The parameters for a fraction of the whole size; counts stay at least 2."""
        result = dict(self.params)
        for name in ("count", "size"):
            if name in result:
                result[name] = max(2, round(result[name] * scale))
        return result


def _small_tasks() -> list[Workload]:
    python, four = PYTHON_SYSTEMS, PYTHON_SYSTEMS[:4]
    return [
        Workload("bag", "bag", "bag", "10,000 no-op Python tasks", "tasks/s", True, python,
                 20_000, {"count": 10_000}, limit="loop"),
        Workload("tree", "tree", "tree", "4,096 leaves, pairwise sums", "tasks/s", True, four,
                 12_000, {"count": 4_096}, limit="loop"),
        Workload("chain", "chain", "chain", "1,000 dependent Python tasks", "us/task", False, four,
                 100, {"count": 1_000}, limit="pipe"),
        Workload("single", "single", "single", "one Python task, submit to result", "us", False, python,
                 1_500, {"count": 100}, limit="zmq"),
        Workload("programs", "programs", "programs", "1,000 x /bin/true", "tasks/s", True, PROGRAM_SYSTEMS,
                 800, {"count": 1_000}, limit="spawns"),
        Workload("program-chain", "program-chain", "program_chain", "chain of 100 x /bin/true", "us/task",
                 False, PROGRAM_SYSTEMS, 2_000, {"count": 100}, limit="spawn"),
    ]  # fmt: skip


def _data() -> list[Workload]:
    systems = ("rainzmq", "dask", "ray")
    return [
        Workload("fetch", "fetch", "fetch", "client fetches 256 MB made by a task", "MB/s", True, systems,
                 5_000, {"size": 256_000_000}, limit="memcpy"),
        Workload("transfer", "transfer", "transfer", "64 x 8 MB from worker to worker, one host", "MB/s",
                 True, systems, None, {"count": 64, "size": 8_000_000}, limit="push"),
    ]  # fmt: skip


def _longer_tasks() -> list[Workload]:
    systems = PYTHON_SYSTEMS[:4]
    return [
        *[
            Workload(f"sleep-{ms}ms", "sleep", "sleep", f"{count:,} tasks of {ms} ms: share of the ideal",
                     "%", True, systems, None, {"count": count, "duration_s": ms / 1000})
            for ms, count in ((1, 2_000), (10, 400), (100, 60))
        ],
        Workload("skew", "skew", "skew", "300 tasks of 1 to 500 ms: share of the ideal", "%", True, systems,
                 None, {"count": 300}),
    ]  # fmt: skip


def _whole_systems() -> list[Workload]:
    return [
        Workload("startup", "startup", "startup", "from nothing to the first result", "s", False,
                 ALL_SYSTEMS),
        Workload("idle", "idle", "idle", "idle for 5 s: share of one core", "%", False, ALL_SYSTEMS, None,
                 {"duration_s": 5.0}),
    ]  # fmt: skip


def _merges() -> list[Workload]:
    sizes = (
        ("10k", 10_000, 1),
        ("100k", 100_000, 1),
        ("1m", 1_000_000, 1),
        ("100k-w4", 100_000, 4),
        ("100k-w24", 100_000, 24),
    )
    return [
        Workload(f"merge-{name}", "merge-n", "merge",
                 f"{count:,} no-ops into one, {workers} zero-worker{'s' if workers > 1 else ''}: server CPU",
                 "us/task", False, OURS, 40, {"count": count, "fake_workers": workers},
                 timeout_s=600.0)
        for name, count, workers in sizes
    ]  # fmt: skip


def _ours() -> list[Workload]:
    return [
        *_merges(),
        Workload("chains24", "chains24", "chains", "24 chains of 1,000 Python tasks", "us/task", False, OURS,
                 None, {"count": 1_000, "chains": 24}),
        Workload("concat", "concat", "concat", "10,000 built-in Concat", "tasks/s", True, OURS, None,
                 {"count": 10_000}),
        *[
            Workload(f"submit-{name}", "submit", "submit", f"build and submit {count:,} tasks: client time",
                     "us/task", False, OURS, 30, {"count": count}, timeout_s=600.0)
            for name, count in (("100k", 100_000), ("1m", 1_000_000))
        ],
        Workload("hold-1m", "hold", "hold", "hold 1,000,000 unfinished tasks: server memory", "bytes/task",
                 False, OURS, 1_024, {"count": 1_000_000}, timeout_s=600.0),
        *[
            Workload(f"shuffle-{count}-{name}", "shuffle", "shuffle",
                     f"shuffle of {count} partitions in pieces of {title}", "s", False, OURS, None,
                     {"partitions": count, "piece": piece}, heavy=count == 100 and piece >= MIB,
                     timeout_s=1_800.0 if count == 100 else 300.0)
            for count in (24, 100) for name, piece, title in (("1k", 1024, "1 KiB"), ("1m", MIB, "1 MiB"))
        ],
        *[
            Workload(name, "dashboard", "dashboard", title, "% longer", False, OURS, bar,
                     {"count": 10_000, "pairs": 9, "pages": pages})
            for name, title, pages, bar in (
                ("dashboard-on", "10,000 no-ops with a dashboard that nobody looks at", 0, 5),
                ("dashboard-seen", "10,000 no-ops while a page asks for news twice a second", 1, 5),
            )
        ],
        Workload("event-log", "event-log", "event_log", "size of the event log, per million events of tasks",
                 "MB", False, OURS, 300, {"count": 250_000}),
        Workload("startup-command", "startup", "startup_command", "`rainzmq local -- ...`, one task, the end",
                 "s", False, OURS),
    ]  # fmt: skip


def _limits() -> list[Workload]:
    rows = (
        ("pipe", "round trip over a pipe between two processes", "us", False, {"count": 5_000}),
        ("zmq", "round trip over ZeroMQ (TCP) between two processes", "us", False, {"count": 3_000}),
        ("spawn", "posix_spawn of /bin/true until it has ended", "us", False, {"count": 300}),
        ("spawns", "posix_spawn of /bin/true, one by one in each of two processes", "tasks/s", True,
         {"count": 300}),
        ("loop", "bare loop of Python calls in batches of 100 over PUSH/PULL, two processes", "tasks/s", True,
         {"count": 100_000}),
        ("memcpy", "copy of warm memory", "MB/s", True, {"size": 64_000_000}),
        ("fill", "fill of fresh memory (page faults)", "MB/s", True, {"size": 256_000_000}),
        ("push", "PUSH/PULL of 1 MB frames between two processes", "MB/s", True, {"count": 500}),
        ("push-curve", "PUSH/PULL of 1 MB frames with CURVE", "MB/s", True, {"count": 200}),
    )  # fmt: skip
    return [
        Workload(name, "limits", name.replace("-", "_"), title, unit, higher, LIMITS, None, params)
        for name, title, unit, higher, params in rows
    ]


WORKLOADS: dict[str, Workload] = {
    item.name: item
    for item in [*_small_tasks(), *_data(), *_longer_tasks(), *_whole_systems(), *_ours(), *_limits()]
}


def choose(names: tuple[str, ...]) -> list[Workload]:
    """The workloads of these names and groups, in the catalogue's order; without names all but heavy ones.

    Raises:
        KeyError: nothing has that name.
    """
    known = set(WORKLOADS) | {item.group for item in WORKLOADS.values()}
    for name in names:
        if name not in known:
            raise KeyError(name)
    if not names:
        return [item for item in WORKLOADS.values() if not item.heavy]
    return [
        item for item in WORKLOADS.values() if item.name in names or (item.group in names and not item.heavy)
    ]
