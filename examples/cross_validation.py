"""How well does a support vector machine tell irises apart? k-fold cross-validation with LIBSVM's programs.

The 150 flowers (Fisher, 1936) are shuffled and cut into k folds. For each cost C and each fold, `svm-train`
learns from the other folds and `svm-predict` is asked about this one.

Run it with: rainzmq local -- python examples/cross_validation.py
"""

import argparse
import random
import re
import shutil
import statistics
import sys
from pathlib import Path

from rainzmq import Client, Input, Output, Program, blob, remote, tasks

DATA = Path(__file__).parent / "data" / "iris.libsvm"
COSTS = (0.01, 0.1, 1, 10, 100)

predict = Program(
    ["svm-predict", Input("flowers"), Input("model"), Output("predicted")],
    stdout="summary",
)


def train(cost):
    """The program that learns from `flowers` with the given cost of errors."""
    return Program(
        ["svm-train", "-q", "-c", str(cost), Input("flowers"), Output("model")], name=f"train/C={cost}"
    )


@remote(outputs=[Output("accuracy", encode="json")])
def accuracy(ctx, summaries):
    """Mean and deviation of what svm-predict printed: Accuracy = 96.6667% (29/30) (classification)."""
    texts = [summary.get_str() for summary in summaries]
    values = [float(re.search(r"Accuracy = ([0-9.]+)%", text)[1]) for text in texts]
    return {"mean": statistics.mean(values), "deviation": statistics.pstdev(values)}


def make_folds(path, count, seed):
    """The lines of a file in random order, cut into `count` blobs."""
    lines = path.read_text().splitlines(keepends=True)
    random.Random(seed).shuffle(lines)
    return [blob("".join(lines[index::count]), label=f"fold {index}") for index in range(count)]


def validate(cost, folds):
    """A task that gives the accuracy for one cost."""
    program = train(cost)
    summaries = []
    for index, fold in enumerate(folds):
        others = tasks.Concat(folds[:index] + folds[index + 1 :])
        model = program(flowers=others)
        summaries.append(predict(flowers=fold, model=model).outputs["summary"])
    return accuracy(summaries)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="number of folds (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of the shuffle (default: 1)")
    options = parser.parse_args()
    if not 2 <= options.folds <= 150:
        parser.error("--folds must be from 2 to 150")
    missing = [program for program in ("svm-train", "svm-predict") if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"{' and '.join(missing)} not found. They are part of LIBSVM; install it with\n"
            "  apt-get install libsvm-tools    (Debian, Ubuntu)\n"
            "  dnf install libsvm              (Fedora)\n"
            "or from https://www.csie.ntu.edu.tw/~cjlin/libsvm/ and put its programs on the PATH."
        )

    with Client() as client, client.new_session("cross-validation") as session:
        folds = make_folds(DATA, options.folds, options.seed)
        results = {cost: validate(cost, folds) for cost in COSTS}
        for result in results.values():
            result.output.keep()
        session.submit()
        session.wait_all()

        print(f"{options.folds}-fold cross-validation of {DATA.name}")
        print(f"{'C':>8}  accuracy")
        for cost, result in results.items():
            value = result.output.fetch().load()
            print(f"{cost:>8}  {value['mean']:.1f} % ± {value['deviation']:.1f}")


if __name__ == "__main__":
    main()
