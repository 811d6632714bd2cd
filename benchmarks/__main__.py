"""The command `python -m benchmarks`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.environments import EnvironmentFailure, python_of
from benchmarks.results import as_json
from benchmarks.runner import ROOT, Plan, default_cores, run
from benchmarks.systems import PICTURE, SYSTEMS
from benchmarks.table import as_markdown, number
from benchmarks.workloads import WORKLOADS, choose


@click.group()
def main() -> None:
    """Measures rainzmq beside its peers and the limits of the machine."""


@main.command(name="run")
@click.argument("names", nargs=-1, metavar="[WORKLOAD|GROUP]...")
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="Only these.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Measure so often.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="1-cpu workers.")
@click.option("--cores", help="Pin everything to these, such as 0,1.  [default: one for each worker]")
@click.option("--scale", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True),
              help="Fraction of the workloads' sizes.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write all figures here.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Directory for figures.json, table.md, picture.png and the drivers' output.")  # fmt: skip
@click.option("--fail-on-bar", is_flag=True, help="Exit with 1 when rainzmq misses a bar.")
def run_command(
    names: tuple[str, ...],
    systems: tuple[str, ...],
    rounds: int,
    workers: int,
    cores: str | None,
    scale: float,
    json_file: Path | None,
    out: Path | None,
    fail_on_bar: bool,
) -> None:
    """Measures WORKLOADs (default: all but the heavy ones) and prints Markdown tables."""
    try:
        workloads = choose(names)
    except KeyError as error:
        raise click.UsageError(f"no workload or group {error}; see `python -m benchmarks list`") from None
    chosen = [SYSTEMS[name] for name in SYSTEMS if not systems or name in systems]
    logs = None
    if out is not None:
        logs = out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
    pinned = [int(core) for core in cores.split(",")] if cores else default_cores(workers)
    plan = Plan(workloads, chosen, rounds, workers, pinned, scale, logs)
    results = as_json(run(plan, lambda line: click.echo(line, err=True)), plan)
    text, table = json.dumps(results, indent=1) + "\n", as_markdown(results)
    click.echo(table, nl=False)
    if json_file is not None:
        json_file.write_text(text)
    if out is not None:
        (out / "figures.json").write_text(text)
        (out / "table.md").write_text(table)
        _draw(out / "figures.json", out / "picture.png")
    if fail_on_bar and any(row.get("reached") is False for row in results["results"]):
        sys.exit(1)


@main.command(name="list")
def list_command() -> None:
    """Lists workloads with their groups and systems."""
    for workload in WORKLOADS.values():
        group = "" if workload.group == workload.name else f" ({workload.group})"
        heavy = " [heavy: only by name]" if workload.heavy else ""
        bar = "" if workload.bar is None else f"; bar {number(workload.bar)}"
        click.echo(f"{workload.name}{group}: {workload.title}, {workload.unit}{bar}{heavy}")
        click.echo(f"    {', '.join(workload.systems)}")


@main.command()
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="Only these.")
def prepare(systems: tuple[str, ...]) -> None:
    """Makes the environments of all systems, and that of the picture. Exit code 1 when one failed."""
    failed = False
    for system in [*SYSTEMS.values(), PICTURE]:
        if systems and system.name not in systems:
            continue
        try:
            click.echo(f"{system.name}: {python_of(system)}")
        except EnvironmentFailure as error:
            failed = True
            click.echo(str(error), err=True)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("figures", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("picture", type=click.Path(path_type=Path, dir_okay=False))
def draw(figures: Path, picture: Path) -> None:
    """Draws the PICTURE (PNG) of FIGURES (JSON of a run)."""
    if not _draw(figures, picture):
        sys.exit(1)


@main.command()
@click.argument("figures", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def table(figures: Path) -> None:
    """Prints the Markdown tables of FIGURES (JSON of a run)."""
    click.echo(as_markdown(json.loads(figures.read_text())), nl=False)


def _draw(figures: Path, picture: Path) -> bool:
    """Draw in the environment that has matplotlib; False, and a line on stderr, when that failed."""
    try:
        python = python_of(PICTURE)
    except EnvironmentFailure as error:
        click.echo(f"no picture: {error}", err=True)
        return False
    command = [python, "-m", "benchmarks.picture", str(figures.absolute()), str(picture.absolute())]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        click.echo(f"no picture: {last}", err=True)
    return result.returncode == 0


if __name__ == "__main__":
    main()
