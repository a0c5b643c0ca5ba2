"""Small tables of Gagolewski's benchmark suite, at the defaults, into battery.jsonl.

    python doc/benchmarks/battery.py --data data  # all that is missing
    python doc/benchmarks/battery.py --data data --only DCEC
    python doc/benchmarks/battery.py --table      # of what was run

A table may have several reference labellings. Each estimator is fitted with the number of clusters
of each, and the best ARI counts. Label 0 is noise, and is left out of the scores. KMeans,
GaussianMixture and SpectralClustering get standardised columns, the others get the table.
"""

import argparse
from pathlib import Path

import numpy as np
from records import OURS, done, keep, provenance, timed
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(3)
OTHERS = {
    "KMeans": lambda k, random_state: KMeans(k, n_init=10, random_state=random_state),
    "GaussianMixture": lambda k, random_state: GaussianMixture(
        k, n_init=5, random_state=random_state
    ),
    "SpectralClustering": lambda k, random_state: SpectralClustering(
        k, affinity="nearest_neighbors", random_state=random_state
    ),
}


def tables(folder):
    """Name, samples and reference labellings of each table."""
    with np.load(folder / "battery.npz") as archive:
        for name in sorted({key.split("|")[0] for key in archive.files}):
            labellings = [archive[key] for key in archive.files if key.startswith(f"{name}|y")]
            yield name, archive[f"{name}|X"].astype(np.float64), labellings


def run(name, X, labellings, estimator, seed):
    scores, seconds, caught = [], [], []
    for n_clusters in sorted({len(np.unique(y[y > 0])) for y in labellings}):
        if estimator in OURS:
            model = OURS[estimator](n_clusters, random_state=seed)
        else:
            model = make_pipeline(StandardScaler(), OTHERS[estimator](n_clusters, seed))
        labels, fit = timed(model.fit_predict, X)
        seconds.append(fit["cpu_seconds"])
        caught += fit["warnings"]
        scores += [adjusted_rand_score(y[y > 0], labels[y > 0]) for y in labellings]
    return {
        "set": name,
        "rows": len(X),
        "estimator": estimator,
        "seed": seed,
        "ari": max(scores),
        "cpu_seconds": float(np.mean(seconds)),
        "warnings": caught,
        **provenance(),
    }


def table():
    results = done(RESULTS)
    names = [*OTHERS, *OURS]
    print(f"{'ARI':18}" + "".join(f"{name:>20}" for name in names))
    means = {name: [] for name in names}
    for one in sorted({r["set"] for r in results}):
        line = f"{one:18}"
        for name in names:
            values = [r["ari"] for r in results if (r["set"], r["estimator"]) == (one, name)]
            means[name].append(np.mean(values) if values else np.nan)
            cell = f"{np.mean(values):.2f} +- {np.std(values):.2f}" if values else "not run"
            line += f"{cell:>20}"
        print(line)
    print(f"{'mean':18}" + "".join(f"{np.nanmean(means[name]):>20.3f}" for name in names))
    below = {n: np.sum(np.array(means[n]) < np.array(means["KMeans"]) - 0.03) for n in names}
    print(f"{'below KMeans - .03':18}" + "".join(f"{below[name]:>20}" for name in names))
    small = {
        n: [r["cpu_seconds"] for r in results if r["estimator"] == n and r["rows"] < 500]
        for n in names
    }
    line = "".join(
        f"{f'{np.mean(s):.1f} / {max(s):.1f}' if s else '-':>20}" for s in small.values()
    )
    print(f"{'s, < 500 rows':18}" + line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=[*OTHERS, *OURS], help="estimators")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        table()
        raise SystemExit
    for seed in SEEDS:
        for name, X, labellings in tables(options.data):
            for estimator in options.only:
                key = (name, estimator, seed)
                if key in [(r["set"], r["estimator"], r["seed"]) for r in done(RESULTS)]:
                    continue
                result = run(name, X, labellings, estimator, seed)
                keep(result, RESULTS)
                print(*key, f"{result['ari']:.3f} {result['cpu_seconds']:.1f} s", flush=True)
