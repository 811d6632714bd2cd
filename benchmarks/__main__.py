"""The command `python -m benchmarks`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from benchmarks.report import as_json, as_markdown
from benchmarks.runner import run
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS

_BY_NAME = {workload.name: workload for workload in WORKLOADS}


@click.command()
@click.argument("workloads", nargs=-1, type=click.Choice(list(_BY_NAME)))
@click.option(
    "--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="Only these systems."
)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Measure so often.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1), help="Workers with one cpu each."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures to this file."
)
def main(
    workloads: tuple[str, ...], systems: tuple[str, ...], rounds: int, workers: int, json_file: Path | None
) -> None:
    """Measures WORKLOADS (default: all) and prints a table. Exit code 1 when rainzmq misses a bar."""
    chosen = [_BY_NAME[name] for name in workloads] or list(WORKLOADS)
    results = run(list(systems or SYSTEMS), chosen, rounds, workers, lambda line: click.echo(line, err=True))
    click.echo(as_markdown(results, workers), nl=False)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(results, workers), indent=1) + "\n")
    missed = [r for r in results if r.system == "rainzmq" and not r.workload.passes(r.median)]
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
