"""What the scorers say of the number of clusters, into n_clusters.jsonl; no label is read.

    python doc/benchmarks/n_clusters.py --data data
    python doc/benchmarks/n_clusters.py --table

A number that n_clusters.jsonl already holds for the set and estimator is not repeated.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from accuracy import load
from records import done, keep, provenance
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdeepcluster import DCEC, DualAESpectral
from skdeepcluster.metrics import SilhouetteScorer, StabilityScorer

RESULTS = Path(__file__).with_suffix(".jsonl")
PLAN = {  # set -> estimators, numbers
    "digits": (
        [KMeans(n_init=10), DualAESpectral(image_shape=(8, 8))],
        [5, 7, 8, 9, 10, 11, 12, 13, 15],
    ),
    "r8": ([KMeans(n_init=10), DCEC()], [2, 4, 6, 8, 10, 12]),
}
# a space that no candidate changes
SPACES = {
    "digits": DualAESpectral(
        image_shape=(8, 8), embedding="latent", max_epochs=0, init="k-means", random_state=0
    ),
    "r8": make_pipeline(TruncatedSVD(100, random_state=0), Normalizer()),
}
COLUMNS = ("silhouette", "fixed", "stability")


def run(name, model, n_clusters, X, space):
    scoring = {
        "silhouette": SilhouetteScorer(),
        "fixed": SilhouetteScorer(space),
        "stability": StabilityScorer(),
    }
    folds = KFold(2, shuffle=True, random_state=0)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_params(n_clusters=n_clusters, random_state=0)
        scores = cross_validate(model, X, scoring=scoring, cv=folds, error_score="raise")
    return {
        "set": name,
        "estimator": type(model).__name__,
        "n_clusters": n_clusters,
        **{column: scores[f"test_{column}"].tolist() for column in COLUMNS},
        "seconds": time.perf_counter() - started,
        "warnings": [str(w.message)[:100] for w in caught],
        **provenance(),
    }


def table():
    results = done(RESULTS)
    for name, (models, numbers) in PLAN.items():
        print(f"{name}, n_clusters" + " " * (31 - len(name)), *(f"{k:6}" for k in numbers))
        for model in models:
            estimator = type(model).__name__
            found = {
                row["n_clusters"]: row
                for row in results
                if (row["set"], row["estimator"]) == (name, estimator)
            }
            for column in COLUMNS:
                cells = [
                    f"{np.mean(found[k][column]):6.3f}" if k in found else "     -" for k in numbers
                ]
                print(f"  {estimator:20}{column:22}", *cells)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if not options.table:
        finished = {(r["set"], r["estimator"], r["n_clusters"]) for r in done(RESULTS)}
        for name, (models, numbers) in PLAN.items():
            X, _, _ = load(name, options.data)
            space = SPACES[name].fit(X)
            for model in models:
                for n_clusters in numbers:
                    if (name, type(model).__name__, n_clusters) not in finished:
                        result = run(name, model, n_clusters, X, space)
                        keep(result, RESULTS)
    table()
