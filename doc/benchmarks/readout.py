"""How to read clusters off DCCS's embedding, as the paper's table 4, into readout.jsonl.

    python doc/benchmarks/readout.py --data data
    python doc/benchmarks/readout.py --table

The largest category against k-means (best of 10) on the embedding, the category and the style.
"""

import argparse
from pathlib import Path

import numpy as np
from accuracy import load
from records import done, keep, provenance
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from skdeepcluster import DCCS
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SETS, SEEDS = ("digits", "usps"), 3


def run(name, seed, folder):
    X, y, image_shape = load(name, folder)
    n_clusters = len(np.unique(y))
    model = DCCS(n_clusters, image_shape=image_shape, random_state=seed).fit(X)
    Z = model.transform(X)
    spaces = {"z": Z, "category": Z[:, :n_clusters], "style": Z[:, n_clusters:]}
    k_means = KMeans(n_clusters, n_init=10, random_state=seed)
    partitions = {"argmax of category": model.labels_} | {
        f"k-means on {space}": k_means.fit_predict(values) for space, values in spaces.items()
    }
    return {
        how: [
            clustering_accuracy(y, labels),
            normalized_mutual_info_score(y, labels),
            adjusted_rand_score(y, labels),
        ]
        for how, labels in partitions.items()
    }


def table():
    for name in SETS:
        scores = [line["scores"] for line in done(RESULTS) if line["set"] == name]
        for how in scores[0] if scores else ():
            values = np.array([score[how] for score in scores])
            cells = zip(values.mean(axis=0), values.std(axis=0), strict=True)
            print(
                f"{name:10}{how:22}{len(values):3}  "
                + "  ".join(f"{mean:.3f} +- {std:.3f}" for mean, std in cells)
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        table()
        raise SystemExit
    for name in SETS:
        for seed in range(SEEDS):
            key = {"set": name, "seed": seed}
            if key in [{k: line[k] for k in key} for line in done(RESULTS)]:
                continue
            line = key | {"scores": run(name, seed, options.data), **provenance()}
            keep(line, RESULTS)
            print(*key.values(), flush=True)
