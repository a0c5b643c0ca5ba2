"""Accuracy against the number of rows, and against a rare class, at the defaults, into rows.jsonl.

    python doc/benchmarks/rows.py --data data  # all that is missing
    python doc/benchmarks/rows.py --data data --only DCCS --rows 70000
    python doc/benchmarks/rows.py --table      # of what was run
    python doc/benchmarks/rows.py --picture    # into rows.png

Rows are drawn at random, the same for every estimator and seed. Of "mnist, 0 at 1/10" and
"mnist, 0 at 1/100", 10 000 rows in which one class is that small a part of its usual size. The
labels are read after a fit, for its scores.
"""

import argparse
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from records import OURS, done, keep, print_accuracies, provenance, timed
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(3)
ESTIMATORS = {"KMeans": partial(KMeans, n_init=10), **OURS}
ROWS = (1_000, 3_000, 10_000, 30_000, 70_000)
RARE = {"mnist, 0 at 1/10": 10, "mnist, 0 at 1/100": 100}
SETS = {"mnist": ROWS, "fashion_mnist": (10_000, 70_000), **dict.fromkeys(RARE, (10_000,))}


def load(name, rows, folder):
    """Images (rows, 1, 28, 28) in [0, 1], and labels."""
    with np.load(folder / f"{name.split(',')[0]}.npz") as archive:
        x, y = archive["x"], archive["y"]
    order = np.random.RandomState(0).permutation(len(x))
    if name in RARE:
        zeros = order[y[order] == 0]
        kept = zeros[: rows // 10 // RARE[name]]
        order = np.concatenate([kept, order[y[order] != 0]])
    some = order[:rows]
    return x[some][:, None] / np.float32(255), y[some]


def run(name, rows, estimator, seed, folder):
    X, y = load(name, rows, folder)
    model = ESTIMATORS[estimator](10, random_state=seed)
    labels, fit = timed(model.fit_predict, X.reshape(rows, -1) if estimator == "KMeans" else X)
    return {
        "set": name,
        "rows": rows,
        "estimator": estimator,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        **fit,
        **provenance(),
    }


def table():
    results = [row | {"set": f"{row['set']}, {row['rows']}"} for row in done(RESULTS)]
    names = [f"{name}, {rows}" for name in SETS for rows in SETS[name]]
    print_accuracies(results, names, ESTIMATORS)


def picture():
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for estimator in ESTIMATORS:
        found = [r for r in done(RESULTS) if (r["set"], r["estimator"]) == ("mnist", estimator)]
        sizes = sorted({r["rows"] for r in found})
        for axis, measure in ((left, "acc"), (right, "cpu_seconds")):
            values = [[r[measure] for r in found if r["rows"] == size] for size in sizes]
            means, spreads = [np.mean(v) for v in values], [np.std(v) for v in values]
            axis.errorbar(sizes, means, spreads, marker="o", capsize=3, label=estimator)
    left.set(xscale="log", xlabel="rows of MNIST", ylabel="ACC")
    right.set(xscale="log", yscale="log", xlabel="rows of MNIST", ylabel="processor seconds")
    left.legend()
    figure.savefig(RESULTS.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=ESTIMATORS, choices=ESTIMATORS)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS, choices=ROWS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    parser.add_argument("--picture", action="store_true", help="draw the results, run nothing")
    options = parser.parse_args()
    if options.table or options.picture:
        table() if options.table else picture()
        raise SystemExit
    for seed, name, estimator in product(options.seeds, options.sets, options.only):
        for rows in SETS[name]:
            key = (name, rows, estimator, seed)
            known = [(r["set"], r["rows"], r["estimator"], r["seed"]) for r in done(RESULTS)]
            if rows in options.rows and key not in known:
                result = run(*key, options.data)
                keep(result, RESULTS)
                seconds = result["cpu_seconds"]
                print(*key, f"{result['acc']:.3f} {result['nmi']:.3f} {seconds:.0f} s", flush=True)
