"""What suggest_n_clusters says on data with a known number, into suggestions.jsonl.

    python doc/benchmarks/suggestions.py --data data  # all that is missing
    python doc/benchmarks/suggestions.py --data data --only usps
    python doc/benchmarks/suggestions.py --table      # of what was run

Beside it: the number with the highest silhouette of KMeans on the samples. The candidates are the
same for all sets, and no label is read. A run that suggestions.jsonl holds is not repeated.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from accuracy import load
from records import done, keep, provenance
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_score

from skdeepcluster import DualAESpectral
from skdeepcluster.model_selection import suggest_n_clusters

RESULTS = Path(__file__).with_suffix(".jsonl")
CANDIDATES = range(2, 26)
SEEDS = 3
FEATURES = ("r8_minilm", "cifar10_efflite0")
# the sets that the rule was made with
SETS = ["digits", "optdigits", "usps", "coil20_32", "r8", *FEATURES, "blobs 97/3"]
SETS += ["sipu/s2", "sipu/aggregation", "fcps/lsun", "other/iris"]
# all other tables of the benchmark suite with at most 25 clusters
TABLES = ["fcps/atom", "fcps/engytime", "fcps/target", "fcps/wingnut", "graves/fuzzyx"]
TABLES += ["graves/parabolic", "graves/ring", "graves/zigzag", "other/square", "sipu/flame"]
TABLES += ["sipu/jain", "sipu/unbalance", "uci/ecoli", "uci/ionosphere", "uci/wdbc", "uci/yeast"]
TABLES += ["wut/circles", "wut/mk2", "wut/smile", "wut/windows", "wut/x2"]


def load_any(name, folder):
    """Samples, known numbers of clusters and image shape."""
    if name == "blobs 97/3":
        X, _ = make_blobs([970, 30], centers=np.eye(2, 8) * 8, random_state=0)
        return X, [2], None
    if "/" in name:
        with np.load(folder / "battery.npz") as archive:
            labels = [archive[key] for key in archive if key.startswith(f"{name}|y")]
            # 0 marks noise
            return archive[f"{name}|X"], [len(set(y.tolist()) - {0}) for y in labels], None
    if name in FEATURES:
        with np.load(folder / f"{name}.npz") as archive:
            return archive["x"].astype(np.float32), [len(np.unique(archive["y"]))], None
    X, y, image_shape = load(name, folder)
    return X, [len(np.unique(y))], image_shape


def by_silhouette(X, seed):
    def silhouette(n_clusters):
        labels = KMeans(n_clusters, n_init=3, random_state=seed).fit_predict(X)
        return silhouette_score(X, labels, sample_size=min(3000, len(labels)), random_state=seed)

    return max(CANDIDATES, key=silhouette)


def run(name, seed, folder):
    X, truth, image_shape = load_any(name, folder)
    model = DualAESpectral(image_shape=image_shape, random_state=seed)
    started = time.perf_counter()
    suggestion = suggest_n_clusters(model, X, CANDIDATES)
    seconds = time.perf_counter() - started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = X.tocsr() if hasattr(X, "tocsr") else X
        silhouette = by_silhouette(X, seed)
    return {
        "set": name,
        "truth": truth,
        "seed": seed,
        "suggestion": suggestion.n_clusters,
        "score": float(suggestion.scores.max()),
        "separations": suggestion.separations.round(4).tolist(),
        "silhouette_kmeans": silhouette,
        "seconds": seconds,
        "seconds_silhouette_kmeans": time.perf_counter() - started - seconds,
        **provenance(),
    }


def count(rows, which):
    """Of runs: how many numbers are known ones, and how many are within one of a known one."""
    errors = [min(abs(row[which] - known) for known in row["truth"]) for row in rows]
    return f"{errors.count(0)} exact, {sum(e <= 1 for e in errors)} within one of {len(errors)}"


def table():
    rows = done(RESULTS)
    for group in (SETS, TABLES):
        print(
            f"{'set':18}{'known':>9}{'suggested':>13}{'score':>8}{'silhouette':>13}{'seconds':>9}"
        )
        for name in group:
            found = sorted((r for r in rows if r["set"] == name), key=lambda r: r["seed"])
            if not found:
                print(f"{name:18}  not run")
                continue
            known = ", ".join(map(str, sorted(set(found[0]["truth"]))))
            suggested, silhouette = (
                ", ".join(str(row[which]) for row in found)
                for which in ("suggestion", "silhouette_kmeans")
            )
            score = np.mean([row["score"] for row in found])
            seconds = np.mean([row["seconds"] for row in found])
            print(f"{name:18}{known:>9}{suggested:>13}{score:8.2f}{silhouette:>13}{seconds:9.1f}")
        for seed in range(SEEDS):
            found = [r for r in rows if r["set"] in group and r["seed"] == seed]
            if found:
                print(f"seed {seed}: {count(found, 'suggestion')}")
                print(f"        {count(found, 'silhouette_kmeans')} by the silhouette of KMeans")
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=SETS + TABLES, help="names of sets")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if not options.table:
        for seed in range(SEEDS):
            for name in options.only:
                if (name, seed) not in {(r["set"], r["seed"]) for r in done(RESULTS)}:
                    keep(result := run(name, seed, options.data), RESULTS)
                    print(name, seed, result["suggestion"], result["truth"], flush=True)
    table()
