"""What REST says of a run, and the numbers that follow from it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shown_numbers import NOTHING, clock, count, seconds, size

from rainzmq.common.headline import headline

Record = dict[str, Any]

FOLDED = "prep/"
"""There are more names than are told apart by colours: these, which have a number each, are shown as one."""


class Said:
    """All that REST says of a choice of sessions.

    Args:
        rest: asks it: a path and a query.
        time: s since the epoch, None for now.
        choice: of sessions, as in the query of a page.
    """

    def __init__(self, rest: Callable[..., Any], time: float | None, choice: str) -> None:
        self._rest = rest
        self._when = {} if time is None else {"time": f"{time:.6f}"}
        self.now = time or self._one("/server")["now"]
        self.all_sessions: list[Record] = self._all("/sessions")
        self.sessions = self._chosen(choice)
        self._numbers = {view["session_id"] for view in self.sessions}
        self.workers: list[Record] = self._all("/workers")
        self.live_workers = [worker for worker in self.workers if worker["state"] == "live"]
        self.tasks = [task for task in self._all("/tasks") if task["session_id"] in self._numbers]
        self._details: dict[str, Record] = {}

    def _chosen(self, choice: str) -> list[Record]:
        if choice == "all":
            return self.all_sessions
        if choice:
            return [view for view in self.all_sessions if str(view["session_id"]) == choice]
        is_open = [view for view in self.all_sessions if view["state"] == "open"]
        return is_open or [max(self.all_sessions, key=lambda view: view["ended"])]

    def _one(self, path: str, **query: Any) -> Any:
        return self._rest(path, **{**self._when, **query})

    def _all(self, path: str, **query: Any) -> list[Record]:
        answer = self._one(path, limit=1000, **query)
        assert answer["next"] is None, "more than a page"
        found: list[Record] = answer["items"]
        return found

    def detail(self, task: str) -> Record:
        """All about a task."""
        if task not in self._details:
            self._details[task] = self._one(f"/tasks/{task}")
        return self._details[task]

    def objects(self) -> list[Record]:
        """Data objects."""
        return [item for item in self._all("/objects") if int(item["id"].partition("/")[0]) in self._numbers]

    def moves(self) -> list[Record]:
        """What moved, by source and worker."""
        if self.sessions == self.all_sessions:
            return self._all("/moves")
        (number,) = self._numbers
        return self._all("/moves", session=number)

    @property
    def counts(self) -> Counter[str]:
        """Tasks by state."""
        return sum((Counter(view["counts"]) for view in self.sessions), Counter[str]())

    # Groups.

    def prefixes(self) -> set[str]:
        """All names and what they begin with."""
        parts = [task["name"].split("/") for task in self.tasks]
        return {"/".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1)}

    def group(self, name: str, few: bool = False, folded: bool = False) -> dict[str, str]:
        """What is shown of the tasks of a name and those below it. `few`: not all of it; `folded`: as in a
        report.
        """
        mine = [task for task in self.tasks if task["name"] == name or task["name"].startswith(name + "/")]
        states = Counter(task["state"] for task in mine)
        ran = [task["duration_s"] for task in mine if task["state"] == "finished"]
        row = {"done": count(len(ran)), "total": count(len(mine))}
        row["mean_s"] = seconds(statistics.fmean(ran) if ran else None)
        if not folded:
            row |= {
                key: count(states[key]) if states[key] else "" for key in ("running", "failed", "cancelled")
            }
        if not few:
            row["std_s"] = seconds(statistics.pstdev(ran) if ran else None)
            row["sum_s"] = seconds(sum(ran)) if ran else NOTHING
            row["max_s"] = seconds(max(ran, default=None))
        if folded:
            row["min_s"] = seconds(min(ran, default=None))
        return row

    def node(self, key: str) -> dict[str, str]:
        """What is shown of a node of the graph: a task, or those of a name or beginning."""
        if key[0].isdigit():
            return {"count": "1", "states": self.detail(key)["state"]}
        mine = [
            task for task in self.tasks if task["name"] == key or (key[-1] == "/" and key in task["name"])
        ]
        states = Counter(task["state"] for task in mine)
        order = ("waiting", "ready", "assigned", "running", "finished", "failed", "cancelled")
        told = ", ".join(f"{states[state]} {state}" for state in order if states[state])
        return {"count": count(len(mine)), "states": told}

    # Attempts.

    def attempts(self) -> list[tuple[Record, Record, float]]:
        """(task, attempt, its end or now) of all that had begun."""
        found = []
        for task in self.tasks:
            for item in self.detail(task["id"])["attempts"]:
                if item["started"] is not None and item["outcome"] != "retracted":
                    found.append((task, item, item["ended"] or self.now))
        return found

    def in_vain(self) -> list[str]:
        """`task:attempt` of those that came to nothing."""
        found = []
        for task in self.tasks:
            attempts = self.detail(task["id"])["attempts"]
            for place, item in enumerate(attempts):
                is_last = place == len(attempts) - 1
                if item["outcome"] in ("crashed", "lost") or (item["outcome"] == "finished" and not is_last):
                    found.append(f"{task['id']}:{item['attempt']}")
        return found

    def uses(self) -> dict[str, Any]:
        """What ran under each name that is shown."""
        folds = len({task["name"] for task in self.tasks}) > 24
        found: dict[str, Any] = {}
        for task, item, end in self.attempts():
            name = FOLDED if folds and task["name"].startswith(FOLDED) else task["name"]
            use = found.setdefault(name, {"busy_s": 0.0, "ids": set(), "attempts": 0})
            use["busy_s"] += end - item["started"]
            use["ids"].add(task["id"])
            use["attempts"] += 1
            use["tasks"] = len(use["ids"])
        return found

    def failures(self) -> dict[str, dict[str, str]]:
        """Failures by the line that says most."""
        times: dict[str, list[float]] = {}
        for view in self.sessions:
            if view["state"] == "failed":
                said = headline(view["failure"]["message"])
                times.setdefault(said, []).append(self.detail(view["failure"]["task"])["ended"])
        rows = {}
        for said, ended in times.items():
            rows[said] = {"count": count(len(ended)), "last": clock(max(ended))}
            if len(ended) > 1:
                rows[said]["first"] = clock(min(ended))
        return rows

    # Workers.

    def loads(self, worker: Record) -> dict[str, str]:
        """Load of cpus and memory."""
        used = 100 * worker["memory_used_bytes"] / worker["memory_total_bytes"]
        return {"cpu_percent": f"{worker['cpu_percent']:.0f} %", "memory_percent": f"{used:.0f} %"}

    def speeds(self, worker: Record) -> dict[str, str]:
        """How fast its counters grew between its last two samples."""
        before = self._rest(f"/workers/{worker['worker_id']}", time=f"{worker['sampled'] - 1e-4:.6f}")
        took = worker["sampled"] - before["sampled"]
        names = {"net_received", "net_sent", "disk_read", "disk_written"}
        return {
            name: size(int((worker[f"{name}_bytes"] - before[f"{name}_bytes"]) / took)) + "/s"
            for name in names
        }

    def worker_uses(self) -> dict[str, dict[str, str]]:
        """What a report says of each worker."""
        rows = {}
        for worker in self.workers:
            name = worker["worker_id"]
            mine = [(task, item, end) for task, item, end in self.attempts() if item["worker"] == name]
            busy = sum(
                self.detail(task["id"])["cpus"] * max(0.0, min(end, self.last()) - item["started"])
                for task, item, end in mine
            )
            received = sum(move["bytes"] for move in self.moves() if move["worker"] == name)
            rows[name] = {
                "cpus": str(worker["cpus"]),
                "attempts": count(sum(item["started"] <= self.last() for _, item, _ in mine)),
                "busy_cpu_s": seconds(busy),
                "received_bytes": size(received),
            }
        return rows

    # Times.

    def first(self) -> float:
        """When the first task was submitted."""
        return min(task["submitted"] for task in self.tasks)

    def last(self) -> float:
        """When the last result was committed, as its outputs are finished then; a session that made nothing
        counts until its end.
        """
        made = {view["session_id"]: [] for view in self.sessions}
        for item in self.objects():
            if item["finished"] and item["producer"]:
                made[int(item["id"].partition("/")[0])].append(item["finished"])
        return max(max(made[view["session_id"]], default=view["ended"]) for view in self.sessions)

    def wall_s(self) -> float:
        """From the one to the other."""
        return self.last() - self.first()

    def busy(self) -> float:
        """Share of the cpus that were there that attempts had."""
        first, last = self.first(), self.last()
        room = sum(
            worker["cpus"] * max(0.0, min(worker["went"] or last, last) - max(worker["came"], first))
            for worker in self.workers
        )
        used = sum(
            self.detail(task["id"])["cpus"] * max(0.0, min(end, last) - item["started"])
            for task, item, end in self.attempts()
        )
        return used / room


@dataclass
class Part:
    """A section of a report: numbers in no row, and by row."""

    numbers: dict[str, str]
    rows: dict[str, dict[str, str]]


def parted(page: Any) -> dict[str, Part]:
    """Sections of a report by the id of their heading."""
    found = page.evaluate(
        """() => {
             const text = item => [item.dataset.n, item.innerText.trim()];
             return [...document.querySelectorAll("section")].map(section => [
               section.getAttribute("aria-labelledby"),
               Object.fromEntries([...section.querySelectorAll("[data-n]")]
                 .filter(item => item.closest("[data-row]") === null).map(text)),
               Object.fromEntries([...section.querySelectorAll("[data-row]")].map(row => [
                 row.dataset.row, Object.fromEntries([...row.querySelectorAll("[data-n]")].map(text))])),
             ]);
           }"""
    )
    return {name: Part(numbers, rows) for name, numbers, rows in found}
