"""Results as Markdown: rainzmq beside its peers, by itself, the limits, and what it all cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.systems import SYSTEMS

Row = dict[str, Any]


def as_markdown(results: dict[str, Any]) -> str:
    """The report of one run, made from the JSON of `results`. Sections without rows are left out."""
    rows: list[Row] = results["results"]
    peers = [row for row in rows if row["system"] not in ("rainzmq", "limits")]
    compared = {row["workload"] for row in peers}
    scale = "" if results["scale"] == 1 else f" **Only {results['scale']:g} of the whole sizes.**"
    parts = [
        f"{results['date']}, {results['machine']}; {results['workers']} workers with one cpu each, all "
        f"pinned to cores {', '.join(map(str, results['cores']))}; "
        f"{_plural(results['rounds'], 'round')}, medians.{scale}\n",
        _beside_peers([row for row in rows if row["workload"] in compared], rows),
        _alone([row for row in rows if row["system"] == "rainzmq" and row["workload"] not in compared]),
        _limits([row for row in rows if row["system"] == "limits"]),
        _costs([row for row in rows if row["system"] != "limits"]),
        _failures(rows),
    ]
    return "\n".join(part for part in parts if part)


def number(value: float | None) -> str:
    """Three digits that matter; `-` for None."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}"


def _beside_peers(rows: Sequence[Row], all_rows: Sequence[Row]) -> str:
    """One line per workload; behind each peer's median, how many times better rainzmq is."""
    if not rows:
        return ""
    found = {row["system"]: f"{row['system_title']} {row['version']}".strip() for row in rows}
    found |= {row["system"]: f"{row['system_title']} {row['version']}" for row in rows if row["version"]}
    systems = {name: found[name] for name in SYSTEMS if name in found}
    limits = {row["workload"]: row for row in all_rows if row["system"] == "limits"}
    lines = [
        "### Beside its peers\n",
        "In brackets: how many times better rainzmq is.\n",
        f"| workload | unit | {' | '.join(systems.values())} | bar | limit |",
        f"|---|---|{'---:|' * (len(systems) + 2)}",
    ]
    for name in dict.fromkeys(row["workload"] for row in rows):
        of = {row["system"]: row for row in rows if row["workload"] == name}
        first = next(iter(of.values()))
        cells = [_peer_cell(of.get(system)) for system in systems]
        limit = limits.get(first["limit"] or "")
        bounded = f"{number(limit['median'])} {limit['unit']}" if limit and limit["median"] else ""
        lines.append(
            f"| {first['title']} | {first['unit']} | {' | '.join(cells)} "
            f"| {_bar(of.get('rainzmq', first))} | {bounded} |"
        )
    return "\n".join(lines) + "\n"


def _peer_cell(row: Row | None) -> str:
    if row is None:
        return ""
    if row["median"] is None:
        return "failed"
    text = number(row["median"])
    if row["system"] == "rainzmq":
        return f"**{text}**"
    return f"{text} ({number(row['ratio'])}x)" if row["ratio"] else text


def _bar(row: Row) -> str:
    if row["bar"] is None:
        return ""
    reached = {True: " reached", False: " missed", None: ""}[row.get("reached")]
    return f"{number(row['bar'])}{reached}"


def _alone(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [
        "### By itself\n",
        "| workload | unit | median | minimum | maximum | bar | besides |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        besides = ", ".join(
            f"{name.replace('_', ' ')} {number(value)}" for name, value in row.get("details", {}).items()
        )
        lines.append(
            f"| {row['title']} | {row['unit']} | {number(row['median'])} | {number(row.get('minimum'))} "
            f"| {number(row.get('maximum'))} | {_bar(row)} | {besides} |"
        )
    return "\n".join(lines) + "\n"


def _limits(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = [
        "### Limits of the machine, in the same run\n",
        "| limit | unit | median | minimum | maximum |",
        "|---|---|---:|---:|---:|",
        *[
            f"| {row['title']} | {row['unit']} | {number(row['median'])} | {number(row.get('minimum'))} "
            f"| {number(row.get('maximum'))} |"
            for row in rows
        ],
    ]
    return "\n".join(lines) + "\n"


def _costs(rows: Sequence[Row]) -> str:
    """CPU, wakeups and memory of every pair."""
    rows = [row for row in rows if row["median"] is not None]
    if not rows:
        return ""
    lines = [
        "### What it cost\n",
        "| workload | system | median | minimum | maximum | s | CPU s by process group "
        "| wakeups by process group | peak MiB |",
        "|---|---|---:|---:|---:|---:|---|---|---:|",
    ]
    for row in rows:
        cpu = ", ".join(f"{role} {spent:.2f}" for role, spent in row["cpu_s"].items() if spent >= 0.005)
        wakeups = ", ".join(f"{role} {count:,.0f}" for role, count in row.get("wakeups", {}).items() if count)
        if "messages_per_task" in row.get("details", {}):
            wakeups += f"; {number(row['details']['messages_per_task'])} messages/task"
        lines.append(
            f"| {row['workload']} | {row['system']} | {number(row['median'])} {row['unit']} "
            f"| {number(row['minimum'])} | {number(row['maximum'])} | {row['seconds']:.2f} | {cpu} "
            f"| {wakeups} | {row['memory_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _failures(rows: Sequence[Row]) -> str:
    failed = [row for row in rows if row["error"]]
    if not failed:
        return ""
    lines = ["### What failed\n"]
    for row in failed:
        rounds = len(row["figures"])
        after = f" after {_plural(rounds, 'round')}" if rounds else ""
        lines.append(f"- {row['workload']} on {row['system']}{after}: {row['error']}")
    return "\n".join(lines) + "\n"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
