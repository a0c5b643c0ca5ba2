"""Seconds and peak memory of DualAESpectral and SpectralClustering, against the number of rows.

    python doc/benchmarks/scaling.py --data data

Each fit is a process of its own on the first rows of MNIST. Memory is the highest resident set of
the process less what it held before the fit. A row of scaling.jsonl is a fit; the accuracy is read
after it.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from records import keep, provenance
from sklearn.cluster import SpectralClustering

from skdeepcluster import DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SIZES = (2_000, 8_000, 32_000)
METHODS = {
    "DualAESpectral": lambda: DualAESpectral(10, image_shape=(28, 28), random_state=0),
    "SpectralClustering": lambda: SpectralClustering(
        10, affinity="nearest_neighbors", random_state=0
    ),
}


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fit(method, size, folder):
    with np.load(folder / "mnist.npz") as archive:
        X, y = archive["x"][:size], archive["y"][:size]
    X = X.reshape(size, -1).astype(np.float32) / 255
    before, started = megabytes(), time.perf_counter()
    labels = METHODS[method]().fit_predict(X)
    result = {
        "method": method,
        "rows": size,
        "seconds": time.perf_counter() - started,
        "megabytes": megabytes() - before,
        "acc": clustering_accuracy(y, labels),
        **provenance(),
    }
    keep(result, RESULTS)
    print(f"{method:20}{size:8}{result['seconds']:9.1f} s{result['megabytes']:9.0f} MB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "ROWS"), help="fit this one here")
    options = parser.parse_args()
    if options.one:
        fit(options.one[0], int(options.one[1]), options.data)
        raise SystemExit
    RESULTS.unlink(missing_ok=True)
    for size in SIZES:
        for method in METHODS:
            one = ["--one", method, str(size), "--data", str(options.data)]
            subprocess.run([sys.executable, __file__, *one], check=True)
