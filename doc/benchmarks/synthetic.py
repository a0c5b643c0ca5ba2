"""DMAE on the synthetic sets of its paper (table 2), beside shallow baselines.

    python doc/benchmarks/synthetic.py          # all, 10 seeds, into synthetic.jsonl
    python doc/benchmarks/synthetic.py --table  # of what was run

A seed draws the data and everything in the fits. Settings are those of the authors' code
(dissimilarity, random Fourier features), moons start from a spectral partition, the rest are
defaults; labels are read after a fit.
"""

import argparse
from pathlib import Path

import numpy as np
from records import done, keep, provenance, timed
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import make_circles, make_moons
from sklearn.kernel_approximation import RBFSampler
from sklearn.metrics import normalized_mutual_info_score
from sklearn.mixture import GaussianMixture

from skdeepcluster import DMAE
from skdeepcluster.datasets import make_painwheel, make_toroidal
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(10)
FEATURES = 100  # of the random Fourier features, and so of the embedding


def kernel_network(gamma):
    """The paper's network for moons and circles, its encoder trained towards an RBF kernel."""
    return {
        "hidden_units": (256, 256),
        "n_components": FEATURES,
        "pretrain_target": RBFSampler(gamma=gamma, n_components=FEATURES),
        "scaling": "none",
    }


SETS = {  # data, number of clusters, parameters of DMAE
    "painwheel": (
        lambda seed: make_painwheel(1000, random_state=seed),
        5,
        {"architecture": None},
    ),
    "toroidal": (
        lambda seed: make_toroidal(1000, random_state=seed),
        4,
        {
            "architecture": None,
            "dissimilarity": "toroidal",
            "dissimilarity_params": {"period": 2},
        },
    ),
    "moons": (
        lambda seed: make_moons(1000, noise=0.1, random_state=seed),
        2,
        kernel_network(30) | {"init": "spectral"},
    ),
    "circles": (
        lambda seed: make_circles(1000, noise=0.1, factor=0.1, random_state=seed),
        2,
        kernel_network(10),
    ),
}
METHODS = {
    "KMeans": lambda k, seed, _: KMeans(k, n_init=10, random_state=seed),
    "GaussianMixture": lambda k, seed, _: GaussianMixture(k, n_init=10, random_state=seed),
    "SpectralClustering": lambda k, seed, _: SpectralClustering(
        k, affinity="nearest_neighbors", random_state=seed
    ),
    "DMAE": lambda k, seed, parameters: DMAE(k, random_state=seed, **parameters),
}


def run(name, method, seed):
    make, n_clusters, parameters = SETS[name]
    X, y = make(seed)
    model = METHODS[method](n_clusters, seed, parameters)
    labels, fit = timed(model.fit_predict, X)
    return {
        "set": name,
        "method": method,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        **fit,
        **provenance(),
    }


def table():
    results = done(RESULTS)
    for name in SETS:
        for method in METHODS:
            rows = [r for r in results if (r["set"], r["method"]) == (name, method)]
            cells = [f"{name:12}{method:20}{len(rows):3}"]
            for metric in ("acc", "nmi"):
                values = [row[metric] for row in rows]
                cells.append(
                    f"{np.mean(values):.3f} +- {np.std(values):.3f}" if rows else "not run"
                )
            if rows:
                cells.append(f"{min(row['acc'] for row in rows):.3f}")
                timed = [row["seconds"] for row in rows if row["seconds"] is not None]
                cells.append(f"{np.mean(timed):.1f}")
            print("  ".join(cells))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    if not parser.parse_args().table:
        finished = {(r["set"], r["method"], r["seed"]) for r in done(RESULTS)}
        for name in SETS:
            for method in METHODS:
                for seed in SEEDS:
                    if (name, method, seed) not in finished:
                        keep(run(name, method, seed), RESULTS)
    table()
