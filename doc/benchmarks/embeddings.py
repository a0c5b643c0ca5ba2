"""Embeddings of pretrained networks, beside UMAP and EVoC, into embeddings.jsonl.

    python doc/benchmarks/embeddings.py --data ../shared/data             # all that is missing
    python doc/benchmarks/embeddings.py --data ../shared/data --only DCEC DCCS
    python doc/benchmarks/embeddings.py --table                           # of what was run

UMAP and EVoC are in the environment of rivals.txt; without them these rows are left out. UMAP
compiles in the first fit of a process, so that its first seed takes longer. EVoC chooses
its number of clusters; the layer whose number is closest to that of the classes counts.
"""

import argparse
import os
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accuracy import commit, cpu_name, done, keep
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import normalize

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(3)
SETS = ("cifar10_efflite0", "r8_minilm")
OURS = {"DCEC": DCEC, "DMAE": DMAE, "DualAESpectral": DualAESpectral, "DCCS": DCCS}


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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.process_time()
        if estimator in OURS:
            labels = OURS[estimator](n_clusters, random_state=seed).fit_predict(X)
        else:
            labels = OTHERS[estimator](X, n_clusters, seed)
        seconds = time.process_time() - started
    return {
        "set": name,
        "estimator": estimator,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "cpu_seconds": seconds,
        "warnings": [str(warning.message)[:60] for warning in caught],
        "commit": commit(),
        "versions": {name: version(name) for name in ("torch", "scikit-learn", "numpy")},
        "threads": torch.get_num_threads(),
        "machine": f"{os.cpu_count()} x {cpu_name()}",
    }


def table():
    print(f"{'set':18}{'estimator':26}{'n':>3}{'ACC':>16}{'NMI':>16}{'CPU s':>8}")
    for name in SETS:
        for estimator in [*OTHERS, *OURS]:
            rows = [r for r in done(RESULTS) if (r["set"], r["estimator"]) == (name, estimator)]
            if not rows:
                print(f"{name:18}{estimator:26}  not run")
                continue
            cells = ""
            for metric in ("acc", "nmi"):
                values = [row[metric] for row in rows]
                cells += f"{f'{np.mean(values):.3f} +- {np.std(values):.3f}':>16}"
            seconds = np.mean([row["cpu_seconds"] for row in rows])
            print(f"{name:18}{estimator:26}{len(rows):3}{cells}{seconds:8.1f}")


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
