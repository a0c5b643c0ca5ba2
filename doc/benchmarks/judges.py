"""How often a label-free judge ranks the better of two partitions right, into judges.jsonl.

    python doc/benchmarks/judges.py --data data          # all that is missing
    python doc/benchmarks/judges.py --data data --table  # of what was run

Shallow methods partition at most 3000 rows of each set. Each pair of partitions whose ARI differs
by .05 or more is a question to each judge. "by .8" leaves a question open unless one cut is less
than .8 of the other, as the start of a fit does. Neighbours of embeddings are those by cosine.
"""

import argparse
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
from accuracy import load
from battery import tables
from records import done, keep, provenance
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from skdeepcluster._data.scaling import Scaler
from skdeepcluster._start.judge import normalized_cut
from skdeepcluster._start.neighbors import directions, nearest_graph, smooth_on_graph, symmetric
from skdeepcluster._start.samples import spectral_partition

RESULTS = Path(__file__).with_suffix(".jsonl")
ROWS = 3000
IMAGES = ("digits", "optdigits", "usps", "coil20_32")
TEXTS = ("r8", "20newsgroups")
DRAWS, TOPICS = 6, 5  # of newsgroups
EMBEDDINGS = ("cifar10_efflite0", "r8_minilm")
METHODS = {
    "k-means": lambda F, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(F),
    "k-means, 1 run": lambda F, k, seed: KMeans(k, n_init=1, random_state=seed).fit_predict(F),
    "smooth": lambda F, k, seed: KMeans(k, n_init=10, random_state=seed).fit_predict(
        directions(smooth_on_graph(F, nearest_graph(F)))
    ),
    "mixture": lambda F, k, seed: GaussianMixture(
        k,
        covariance_type="full" if len(F) > 2 * k * F.shape[1] else "diag",
        reg_covar=1e-3,
        random_state=seed,
    ).fit_predict(F),
    "spectral": spectral_partition,
    "ward": lambda F, k, seed: AgglomerativeClustering(k).fit_predict(F),
}


def sets(folder):
    """Kind, name, features and reference labellings."""
    for name, X, labellings in tables(folder):
        yield "table", name, Scaler.fit(X, "auto", images=False)(X), labellings
    for name in IMAGES:
        X, y, _ = load(name, folder)
        yield "images", name, Scaler.fit(X, "global", images=True)(X), [y + 1]
    for name in TEXTS:
        X, y, _ = load(name, folder)
        yield "bag of words", name, topics(X), [y + 1]
    for draw in range(DRAWS):  # of the last text
        chosen = np.random.RandomState(draw).choice(20, TOPICS, replace=False)
        some = np.isin(y, chosen)
        yield "bag of words", f"newsgroups, draw {draw}", topics(X[some]), [y[some] + 1]
    for name in EMBEDDINGS:
        with np.load(folder / f"{name}.npz") as archive:
            X, y = normalize(archive["x"].astype(np.float32)), archive["y"]
        yield (
            "embeddings",
            name,
            directions(TruncatedSVD(100, random_state=0).fit_transform(X)),
            [y + 1],
        )


def topics(X):
    return directions(TruncatedSVD(50, random_state=0).fit_transform(X))


def stability(method, F, k, seed):
    """Agreement of two partitions of 70 % of the rows, on the rows that both have."""
    parts = []
    for draw in range(2):
        index = np.random.RandomState(draw).permutation(len(F))[: int(0.7 * len(F))]
        labels = np.full(len(F), -1)
        labels[index] = method(F[index], k, seed)
        parts.append(labels)
    both = (parts[0] >= 0) & (parts[1] >= 0)
    return adjusted_rand_score(parts[0][both], parts[1][both])


def run(kind, name, F, labellings):
    """Scores of all partitions by all judges."""
    some = np.random.RandomState(0).permutation(len(F))[:ROWS]
    F, labellings = F[some], [y[some] for y in labellings]
    graphs = {n: symmetric(nearest_graph(F, n)) for n in (5, 10)}
    rows = []
    for n_clusters in sorted({len(np.unique(y[y > 0])) for y in labellings}):
        for method, partition in METHODS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                labels = partition(F, n_clusters, 0)
                stable = stability(partition, F, n_clusters, 0)
            found = len(np.unique(labels))
            rows.append(
                {
                    "kind": kind,
                    "set": name,
                    "n_clusters": n_clusters,
                    "method": method,
                    "ari": max(adjusted_rand_score(y[y > 0], labels[y > 0]) for y in labellings),
                    "cut, 5": -normalized_cut(graphs[5], labels, n_clusters) / n_clusters,
                    "cut, 10": -normalized_cut(graphs[10], labels, n_clusters) / n_clusters,
                    "silhouette": silhouette_score(F, labels) if found > 1 else -1.0,
                    "stability": stable,
                    **provenance(),
                }
            )
    return rows


def table():
    judges = ("cut, 5", "cut, 10", "silhouette", "stability")
    print(f"{'kind':14}{'pairs':>6}" + "".join(f"{judge:>12}" for judge in (*judges, "by .8")))
    results = done(RESULTS)
    for kind in ("table", "images", "embeddings", "bag of words"):
        right = {judge: [] for judge in (*judges, "by .8")}
        groups = {(r["set"], r["n_clusters"]) for r in results if r["kind"] == kind}
        for group in groups:
            rows = [r for r in results if (r["set"], r["n_clusters"]) == group]
            for one, two in combinations(rows, 2):
                better, worse = sorted((one, two), key=lambda r: -r["ari"])
                if better["ari"] - worse["ari"] < 0.05:
                    continue
                for judge in judges:
                    gap = better[judge] - worse[judge]
                    right[judge].append(0.5 if gap == 0 else float(gap > 0))
                cuts = -better["cut, 5"], -worse["cut, 5"]
                if min(cuts) < 0.8 * max(cuts):
                    right["by .8"].append(float(cuts[0] < cuts[1]))
        shares = "".join(f"{np.mean(right[judge]):12.2f}" for judge in judges)
        decided = f"{np.mean(right['by .8']):.2f} of {len(right['by .8'])}"
        print(f"{kind:14}{len(right['cut, 5']):6}{shares}{decided:>12}")


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
    for kind, name, F, labellings in sets(options.data):
        if name not in {r["set"] for r in done(RESULTS)}:
            for row in run(kind, name, F, labellings):
                keep(row, RESULTS)
            print(name, flush=True)
