"""What Python's standard library is made of: a report on every source file, and its most frequent words.

    Load each file ─┬─> measure (Python: ast) ───────────────> merge in a tree ─┐
                    └─> join 50 ─> tr ─> sort ─> uniq (programs) ─> merge ──────┴─> report ─> Store

Run it with: rainzmq local -- python examples/stdlib_report.py
"""

import argparse
import ast
import sysconfig
from collections import Counter
from pathlib import Path

from rainzmq import Client, Input, Output, Program, remote, tasks

FILES_PER_BATCH = 50
PARTS_PER_MERGE = 16

words = Program(["tr", "-cs", "A-Za-z_", "\\n"], stdin=Input("text"), stdout="words")
in_order = Program(["env", "LC_ALL=C", "sort"], stdin=Input("words"), stdout="sorted")
counts = Program(["uniq", "-c"], stdin=Input("sorted"), stdout="counts")


@remote(outputs=[Output("metrics", encode="json")])
def measure(ctx, package, source):
    """Size of one source file, as a table with the one row `package`."""
    lines = [line.strip() for line in source.get_bytes().decode("utf-8", "replace").splitlines()]
    row = {
        "files": 1,
        "lines": sum(line != "" for line in lines),
        "comments": sum(line.startswith("#") for line in lines),
        "functions": 0,
        "longest": [0, ""],
    }
    try:
        tree = ast.parse(source.get_bytes())
    except (SyntaxError, ValueError):  # some files are there to be wrong, or are written in Python 2
        ctx.debug("{} cannot be parsed", source.spec.label)
        return {package: row}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            row["functions"] += 1
            row["longest"] = max(row["longest"], [node.end_lineno - node.lineno + 1, node.name])
    return {package: row}


@remote(outputs=[Output("metrics", encode="json")], auto_load=True)
def merge_metrics(ctx, tables):
    """One table of several; rows of the same package are added up."""
    merged = {}
    for table in tables:
        for package, row in table.items():
            total = merged.setdefault(package, dict.fromkeys(row, 0) | {"longest": [0, ""]})
            for column in ("files", "lines", "comments", "functions"):
                total[column] += row[column]
            total["longest"] = max(total["longest"], row["longest"])
    return merged


@remote(outputs=[Output("words", encode="pickle")])
def count_words(ctx, listing):
    """The output of `uniq -c` as a Counter."""
    pairs = (line.split() for line in listing.get_str().splitlines())
    return Counter({pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2})


@remote(outputs=[Output("words", encode="pickle")], auto_load=True)
def merge_words(ctx, counters):
    """One Counter of several."""
    total = Counter()
    for counter in counters:
        total.update(counter)
    return total


@remote(auto_load=True)
def report(ctx, metrics, frequent):
    """The report as text: the 20 largest packages and the 20 most frequent words."""
    header = f"{'package':<18} {'files':>6}{'lines':>9}{'functions':>11}{'comments':>10}   longest function"
    rows = sorted(metrics.items(), key=lambda item: -item[1]["lines"])
    text = [header, "-" * len(header)]
    for package, row in rows[:20]:
        length, name = row["longest"]
        share = f"{100 * row['comments'] / max(row['lines'], 1):.1f} %"
        text.append(
            f"{package[:18]:<18} {row['files']:>6}{row['lines']:>9}{row['functions']:>11}{share:>10}"
            f"   {f'{name} ({length} lines)' if length else '-'}"
        )
    total = {column: sum(row[column] for _, row in rows) for column in ("files", "lines", "functions")}
    text.append(f"{f'all {len(rows)}':<18} {total['files']:>6}{total['lines']:>9}{total['functions']:>11}")
    text += ["", "Most frequent words:"]
    top = [f"{word} {count}" for word, count in frequent.most_common(20)]
    width = max(map(len, top), default=0)
    for start in range(0, len(top), 5):
        text.append("  " + "  ".join(f"{entry:<{width}}" for entry in top[start : start + 5]).rstrip())
    return "\n".join(text) + "\n"


def merge_in_tree(merge, parts):
    """Merges many results in a tree, so that no task has to wait for all of them."""
    while len(parts) > 1:
        parts = [
            merge(parts[start : start + PARTS_PER_MERGE]) for start in range(0, len(parts), PARTS_PER_MERGE)
        ]
    return parts[0]


def source_files(limit):
    """Pairs (package, path) of the standard library's source files in a fixed order, at most `limit`."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = [
        path
        for path in sorted(root.rglob("*.py"))
        if not {"site-packages", "dist-packages"} & set(path.parts)
    ]
    return [(path.relative_to(root).parts[0].removesuffix(".py"), path) for path in paths[:limit]]


def positive(text):
    """A number of at least 1; ValueError, which argparse reports, for anything else."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=positive, metavar="N", help="take only the first N files")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("stdlib_report.txt"),
        metavar="FILE",
        help="where the report is stored",
    )
    options = parser.parse_args()
    files = source_files(options.limit)
    if not files:
        parser.error("there are no source files to look at")

    with Client() as client, client.new_session("report on the standard library") as session:
        sources = [(package, tasks.Load(str(path))) for package, path in files]
        metrics = merge_in_tree(merge_metrics, [measure(package, source) for package, source in sources])

        frequencies = []
        for start in range(0, len(sources), FILES_PER_BATCH):
            text = tasks.Concat([source for _, source in sources[start : start + FILES_PER_BATCH]])
            frequencies.append(count_words(counts(sorted=in_order(words=words(text=text)))))
        frequent = merge_in_tree(merge_words, frequencies)

        result = report(metrics, frequent)
        result.output.keep()
        tasks.Store(result, str(options.output.absolute()))

        count = session.task_count
        session.submit()
        session.wait_all(progress=True)
        print(result.output.fetch().get_str())
        print(f"{count} tasks; the report is stored in {options.output}")


if __name__ == "__main__":
    main()
