"""Embeddings of pretrained networks, beside UMAP and EVoC, into embeddings.jsonl.

    python doc/benchmarks/embeddings.py --data data  # all that is missing
    python doc/benchmarks/embeddings.py --data data --only DCEC DCCS
    python doc/benchmarks/embeddings.py --table      # of what was run

UMAP and EVoC are in the environment of rivals.txt; without them these rows are left out. UMAP
compiles in the first fit of a process, so that its first seed takes longer. EVoC chooses
its number of clusters; the layer whose number is closest to that of the classes counts.
"""

import argparse
from pathlib import Path

import numpy as np
from records import OURS, done, keep, print_accuracies, provenance, timed
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize

from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(3)
SETS = ("cifar10_efflite0", "r8_minilm")


def umap_and_k_means(X, n_clusters, seed):
    from umap import UMAP

    Z = UMAP(n_components=5, metric="cosine", random_state=seed).fit_transform(X)
    return KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(Z)


def evoc(X, n_clusters, seed):
    from evoc import EVoC

    model = EVoC(random_state=seed)
    model.fit(X)
    return min(model.cluster_layers_, key=lambda layer: abs(layer.max() + 1 - n_clusters))


OTHERS = {
    "KMeans of unit rows": lambda X, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(
        normalize(X)
    ),
    "UMAP(5, cosine) + KMeans": umap_and_k_means,
    "EVoC": evoc,
}


def run(name, estimator, seed, folder):
    with np.load(folder / f"{name}.npz") as archive:
        X, y = archive["x"].astype(np.float32), archive["y"]
    n_clusters = len(np.unique(y))
    if estimator in OURS:
        labels, fit = timed(OURS[estimator](n_clusters, random_state=seed).fit_predict, X)
    else:
        labels, fit = timed(OTHERS[estimator], X, n_clusters, seed)
    return {
        "set": name,
        "estimator": estimator,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        **fit,
        **provenance(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=[*OTHERS, *OURS], help="estimators")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        print_accuracies(done(RESULTS), SETS, [*OTHERS, *OURS])
        raise SystemExit
    for name in SETS:
        for estimator in options.only:
            for seed in SEEDS:
                key = (name, estimator, seed)
                if key in [(r["set"], r["estimator"], r["seed"]) for r in done(RESULTS)]:
                    continue
                try:
                    result = run(name, estimator, seed, options.data)
                except ImportError as error:
                    print(f"{estimator}: left out ({error})")
                    break
                keep(result, RESULTS)
                print(*key, f"{result['acc']:.3f} {result['nmi']:.3f}", flush=True)
