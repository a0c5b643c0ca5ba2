"""What users can pick instead of our estimators, into compare.jsonl; every run is one line.

The tables have ours beside them, from accuracy.jsonl. The rivals have an environment of their own.
From the root of a checkout (the first two lines once):

    python -m venv rivals
    rivals/bin/pip install -c constraints.txt -r doc/benchmarks/rivals.txt -e .
    rivals/bin/python doc/benchmarks/compare.py --data data  # all that is missing
    rivals/bin/python doc/benchmarks/compare.py --table > doc/benchmarks/compare.txt  # what was run

A run that compare.jsonl already holds is not repeated, so the command can be stopped and started
again. Each run is a process of its own, on one thread, that is stopped after LIMIT seconds of
processor; then, or if it fails, its line says so. Memory is the highest resident set of the process
less that before the fit, after imports and loading. Seconds of processor hardly depend on other
jobs beside it, unlike those of the clock. numba compiles UMAP during its first fit, which is within
both; `--twice optdigits UMAP+KMeans` prints the seconds of processor of a first fit and the next.

Settings: every method gets the number of classes, if it takes one, and images scaled to [0, 1];
labels are read after the fit, for the scores. Ours are at their defaults, with `image_shape` for
images. ClustPy is at its defaults; DDC finds the number of clusters itself. SpectralNet is as in
its README, and once more as in its example for MNIST, with autoencoder and Siamese network.
UMAP is as in the chapter on clustering of its documentation. HDBSCAN, which finds the number of
clusters itself, has its min_samples too, and as min_cluster_size a quarter of the mean class: with
a 14th, which the 500 of that chapter are of MNIST, it found 21 clusters in digits at seed 0 (ACC
.781 instead of .914), on USPS both gave the same. Its noise counts as wrong in ACC, and is a
cluster of its own in NMI and ARI. UMAP+KMeans is told the number.

Text goes in as sparse TF-IDF, to UMAP with the Hellinger distance, as its documentation has it for
documents. GaussianMixture, ClustPy and SpectralNet do not take sparse rows: they get
TruncatedSVD(100) and Normalizer, whose time counts, and VaDE, which wants [0, 1], MinMaxScaler
after these. KMeans runs on both.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from accuracy import RESULTS as OUR_RESULTS
from accuracy import load
from records import OURS, done, keep, provenance, spread
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import HDBSCAN, KMeans, SpectralClustering
from sklearn.decomposition import TruncatedSVD
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer

from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
LIMIT = 600  # seconds of processor for a run, with imports and loading
IMAGES = ["digits", "optdigits", "usps", "mnist_test", "coil20_32"]
TEXTS = ["r8", "20newsgroups"]
ALL = IMAGES + TEXTS
SEEDS = range(3)
LIBRARIES = ("clustpy", "spectralnet", "umap-learn")


class SeededSpectralNet(ClusterMixin, BaseEstimator):
    """SpectralNet behind scikit-learn's interface; it draws from the global generators."""

    def __init__(self, n_clusters, with_networks, random_state):
        self.n_clusters = n_clusters
        self.with_networks = with_networks
        self.random_state = random_state

    def fit(self, X, y=None):
        import spectralnet

        # it would load the weights of its last run, from its own folder
        folder = Path(spectralnet.__file__).parent / "_trainers" / "weights"
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(self.random_state)
        np.random.seed(self.random_state)
        X = torch.tensor(X, dtype=torch.float32)
        model = spectralnet.SpectralNet(
            self.n_clusters,
            should_use_ae=self.with_networks,
            should_use_siamese=self.with_networks,
            spectral_hiddens=[1024, 1024, 512, self.n_clusters],  # it asks for so many outputs
        )
        model.fit(X)
        self.labels_ = model.predict(X)
        return self


def clustpy(name, **parameters):
    # ClustPy imports torchvision, whose operators do not load beside another build of torch; it
    # calls none of them here, and to declare them is enough
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            operators.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    from clustpy import deep

    return getattr(deep, name)(**parameters)


def umap(X, seed):
    from umap import UMAP

    metric = "hellinger" if sp.issparse(X) else "euclidean"
    return UMAP(n_neighbors=30, min_dist=0.0, metric=metric, random_state=seed)


def umap_hdbscan(X, n_clusters, seed):
    size = X.shape[0] // (4 * n_clusters)
    return make_pipeline(umap(X, seed), HDBSCAN(min_cluster_size=size, min_samples=10, copy=True))


QUICK = {  # of X, number of clusters, seed
    "KMeans": lambda X, k, seed: KMeans(k, n_init=10, random_state=seed),
    "KMeans, SVD": lambda X, k, seed: KMeans(k, n_init=10, random_state=seed),
    "GaussianMixture": lambda X, k, seed: GaussianMixture(k, random_state=seed),
    "SpectralClustering": lambda X, k, seed: SpectralClustering(
        k, affinity="nearest_neighbors", random_state=seed
    ),
    "UMAP+HDBSCAN": umap_hdbscan,
    "UMAP+KMeans": lambda X, k, seed: make_pipeline(
        umap(X, seed), KMeans(k, n_init=10, random_state=seed)
    ),
}
DEEP = {
    "SpectralNet": lambda X, k, seed: SeededSpectralNet(k, False, seed),
    "ClustPy DDC": lambda X, k, seed: clustpy("DDC", random_state=seed),
    **{
        f"ClustPy {name}": lambda X, k, seed, name=name: clustpy(
            name, n_clusters=k, random_state=seed
        )
        for name in ("DEC", "IDEC", "DCN", "VaDE")
    },
    "SpectralNet, AE+Siamese": lambda X, k, seed: SeededSpectralNet(k, True, seed),
}
METHODS = [*QUICK, *OURS, *DEEP]
DENSE = {"KMeans, SVD", "GaussianMixture", *DEEP}  # do not get sparse rows


def cells(names, methods, seeds):
    return [
        (name, method, seed)
        for name in names
        for seed in seeds
        for method in methods
        if name in TEXTS or method != "KMeans, SVD"
    ]


PLAN = list(  # cheap and telling runs first, each once
    dict.fromkeys(
        cells(["digits"], [*QUICK, *DEEP], [0])
        + cells(ALL, QUICK, SEEDS)
        + [cell for seed in SEEDS for cell in cells(ALL, DEEP, [seed])]
    )
)


def build(method, X, n_clusters, image_shape, seed):
    if method in OURS:
        return OURS[method](n_clusters, image_shape=image_shape, random_state=seed)
    model = (QUICK | DEEP)[method](X, n_clusters, seed)
    if sp.issparse(X) and method in DENSE:
        steps = [TruncatedSVD(100, random_state=seed), Normalizer()]
        steps += [MinMaxScaler(clip=True)] if method == "ClustPy VaDE" else []
        model = make_pipeline(*steps, model)
    return model


def run(name, method, seed, folder):
    """The scores and costs of a fit, in this process."""
    X, y, image_shape = load(name, folder)
    model = build(method, X, len(np.unique(y)), image_shape, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, processor = time.perf_counter(), time.process_time()
        labels = model.fit_predict(X)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = labels >= 0  # HDBSCAN calls noise -1
    return {
        "acc": clustering_accuracy(y[found], labels[found]) * float(found.mean()),
        "nmi": normalized_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
        "clusters": len(np.unique(labels[found])),
        "noise": 1 - float(found.mean()),
        "seconds": seconds,
        "processor_seconds": processor,
        "megabytes": (after - before) / 1024,
        "warnings": sorted({str(w.message)[:100] for w in caught}),
    }


def run_apart(name, method, seed, folder):
    """The same in a process of its own; what went wrong is in the answer as well."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    result = {"set": name, "method": method, "seed": seed}
    process = subprocess.run(
        [sys.executable, __file__, "--data", folder, "--one", name, method, str(seed)],
        env=os.environ | threads,
        capture_output=True,
        text=True,
    )
    if process.returncode == -signal.SIGXCPU:
        result["failed"] = f"over {LIMIT} s"
    elif process.returncode:
        messages = process.stderr.strip().splitlines() or [f"signal {-process.returncode}"]
        result["failed"] = messages[-1][:200]
    else:  # the last line, as SpectralNet prints too
        result |= json.loads(process.stdout.splitlines()[-1])
    return result | {
        "load": os.getloadavg()[0],  # jobs that ran, this one included
        **provenance(*LIBRARIES, threads=1),
    }


def everything():
    """The runs of the rivals, and ours from accuracy.jsonl, which has no memory."""
    same = ("set", "seed", "acc", "nmi", "ari", "seconds")
    ours = [
        {name: row[name] for name in same}
        | {"method": row["configuration"], "processor_seconds": row.get("cpu_seconds")}
        | dict.fromkeys(("clusters", "noise", "megabytes"))
        for row in done(OUR_RESULTS)
        if row["configuration"] in OURS
    ]
    return done(RESULTS) + ours


def mean(rows, column):
    # None where it was not measured, for instance because the machine paused the run
    values = [row[column] for row in rows if row[column] is not None]
    return np.mean(values) if values else np.nan


def table():
    """ACC of every method on every set, then a line for each with everything else."""
    results = everything()
    ran = {
        cell: [row for row in results if (row["set"], row["method"]) == cell]
        for cell in [(name, method) for name, method, _ in cells(ALL, METHODS, [0])]
    }

    def fitted(name, method):
        return [row for row in ran.get((name, method), []) if "failed" not in row]

    def missing(name, method):
        reasons = [row["failed"] for row in ran.get((name, method), []) if "failed" in row]
        if not reasons:
            return "not run"
        return reasons[0] if reasons[0].startswith("over") else "failed"

    print("ACC" + " " * 21 + "".join(f"{name:>14}" for name in ALL))
    for method in METHODS:
        print(f"{method:24}", end="")
        for name in ALL:
            rows = fitted(name, method)
            cell = f"{mean(rows, 'acc'):.3f} ({len(rows)})" if rows else missing(name, method)
            print(f"{cell if (name, method) in ran else '':>14}", end="")
        print()
    print(f"\n{'set':14}{'method':24}{'n':>3}{'ACC':>15}{'min':>7}{'NMI':>7}{'ARI':>7}", end="")
    print(f"{'clusters':>9}{'noise':>7}{'clock s':>9}{'proc. s':>9}{'MB':>6}")
    for name, method in ran:
        print(f"{name:14}{method:24}", end="")
        rows = fitted(name, method)
        if not rows:
            print(f"  0  {missing(name, method)}")
            continue
        accuracies = [row["acc"] for row in rows]
        print(
            f"{len(rows):3}  {spread(accuracies)}"
            f"{min(accuracies):7.3f}{mean(rows, 'nmi'):7.3f}{mean(rows, 'ari'):7.3f}"
            f"{mean(rows, 'clusters'):9.1f}{mean(rows, 'noise'):7.3f}{mean(rows, 'seconds'):9.2f}"
            f"{mean(rows, 'processor_seconds'):9.2f}{mean(rows, 'megabytes'):6.0f}"
        )
    for row in results:
        if "failed" in row:
            print(f"\n{row['set']} {row['method']}, seed {row['seed']}: {row['failed']}", end="")


def picture():
    """ACC against seconds, a panel a set; a mark is the mean over the seeds that ran."""
    import matplotlib.pyplot as plt

    results = [row for row in everything() if "failed" not in row]
    names = [name for name in ALL if any(row["set"] == name for row in results)]
    figure, axes = plt.subplots(
        2, 4, figsize=(13, 6.5), sharex=True, layout="constrained", squeeze=False
    )
    axes = axes.ravel()
    for panel in axes[len(names) :]:
        panel.axis("off")
    for name, panel in zip(names, axes, strict=False):
        for methods, marker in ((OURS, "o"), (QUICK, "s"), (DEEP, "^")):
            for color, method in enumerate(methods):
                rows = [row for row in results if (row["set"], row["method"]) == (name, method)]
                if rows:
                    seconds, acc = mean(rows, "processor_seconds"), mean(rows, "acc")
                    panel.plot(seconds, acc, f"{marker}C{color}", label=method, ls="", alpha=0.8)
        panel.set(title=name, xscale="log")
        panel.tick_params(labelbottom=True)
        panel.grid(alpha=0.3)
    marks = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    marks = {method: marks[method] for method in METHODS if method in marks}
    axes[-1].legend(
        marks.values(), marks.keys(), loc="center", frameon=False, fontsize=9, labelspacing=0.2
    )
    figure.supxlabel("seconds of processor, one thread")
    figure.supylabel("ACC")
    figure.savefig(RESULTS.with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=[], help="words that set or method must hold")
    parser.add_argument(
        "--one", nargs=3, metavar=("SET", "METHOD", "SEED"), help="run this here, print its result"
    )
    parser.add_argument(
        "--twice", nargs=2, metavar=("SET", "METHOD"), help="fit it two times here, print seconds"
    )
    parser.add_argument(
        "--table", action="store_true", help="print the results, draw compare.png, run nothing"
    )
    options = parser.parse_args()
    if options.one:
        name, method, seed = options.one
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 10))
        print("\n" + json.dumps(run(name, method, int(seed), options.data)))
        raise SystemExit
    if options.twice:
        name, method = options.twice
        for _ in range(2):
            print(f"{run(name, method, 0, options.data)['processor_seconds']:.2f}", flush=True)
        raise SystemExit
    if options.table:
        table()
        picture()
        raise SystemExit
    finished = {(row["set"], row["method"], row["seed"]) for row in done(RESULTS)}
    for name, method, seed in PLAN:
        words = f"{name} {method}"
        if (name, method, seed) in finished or not all(word in words for word in options.only):
            continue
        result = run_apart(name, method, seed, options.data)
        keep(result, RESULTS)
        outcome = result.get("failed") or f"{result['acc']:.3f} {result['seconds']:.0f} s"
        print(name, method, seed, outcome, flush=True)
