"""Seconds and memory of fits to a million rows of 100 features, into large.jsonl.

    python doc/benchmarks/large.py --folder /var/tmp/large  # makes the data there: 0.6 GB
    python doc/benchmarks/large.py --table

Each run is a process of its own, on a read-only memory map of float32 or on a CSR matrix of which a
tenth is not zero, ten Gaussian clusters. Memory is the most that the process held of its own (the
pages of the map are the system's) less what it held before the call. Seconds of an epoch are those
of the last phase. KMeans is there for comparison. A run that large.jsonl holds is not repeated.
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from records import done, keep, provenance
from sklearn.cluster import KMeans
from skorch.callbacks import Callback

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
METHODS = {
    estimator.__name__: estimator for estimator in (KMeans, DCEC, DMAE, DualAESpectral, DCCS)
}
KINDS = ("memmap", "csr")
SIZES = (250_000, 1_000_000)
CHUNK = 50_000


def chunk(number):
    """Rows of a part of the data and their clusters."""
    centers = np.random.default_rng(0).normal(size=(10, 100)).astype(np.float32)
    rng = np.random.default_rng([1, number])
    labels = rng.integers(10, size=CHUNK)
    return centers[labels] + rng.normal(size=(CHUNK, 100)).astype(np.float32), labels


def load(kind, size, folder):
    """The data, made where they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{size}.{'npy' if kind == 'memmap' else 'npz'}"
    numbers = range(size // CHUNK)
    if kind == "memmap":
        if not path.exists():
            X = np.lib.format.open_memmap(path, "w+", np.float32, (size, 100))
            for number in numbers:
                X[number * CHUNK : (number + 1) * CHUNK] = chunk(number)[0]
            X.flush()
        X = np.load(path, mmap_mode="r")
    else:
        if not path.exists():
            parts = []
            for number in numbers:
                rows = np.maximum(chunk(number)[0], 0)
                rows[np.random.default_rng([2, number]).random(rows.shape) > 0.2] = 0
                parts.append(sp.csr_array(rows))
            sp.save_npz(path, sp.vstack(parts, format="csr"))
        X = sp.load_npz(path)
    return X, np.concatenate([chunk(number)[1] for number in numbers])


class EpochSeconds(Callback):
    """How long each epoch took."""

    clock = staticmethod(time.perf_counter)

    def __init__(self):
        self.seconds = []

    def on_epoch_begin(self, net, **kwargs):
        self.began = self.clock()

    def on_epoch_end(self, net, **kwargs):
        self.seconds.append(self.clock() - self.began)


def own_megabytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell the memory that is a process's own")


def measured(call, X):
    """Answer, seconds, and the most megabytes beyond those before the call."""
    before = peak = own_megabytes()
    ended = threading.Event()

    def watch():
        nonlocal peak
        while not ended.wait(0.01):
            peak = max(peak, own_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    answer = call(X)
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    return answer, seconds, peak - before


def run(method, kind, size, folder):
    X, y = load(kind, size, folder)
    epochs = EpochSeconds()
    model = METHODS[method](10, random_state=0)
    if method != "KMeans":
        model.set_params(callbacks=[epochs])
    result = {"method": method, "kind": kind, "rows": size}
    for call in (model.fit, model.predict, model.transform):
        answer, seconds, megabytes = measured(call, X)
        result |= {f"{call.__name__}_seconds": seconds, f"{call.__name__}_megabytes": megabytes}
        del answer
    result |= {
        "epoch_seconds": epochs.seconds[-1] if epochs.seconds else None,
        "epochs": len(epochs.seconds),
        "acc": clustering_accuracy(y, model.labels_),
        **provenance(),
    }
    keep(result, RESULTS)


def table():
    columns = ("fit", "predict", "transform")
    print(f"{'':16}{'':8}{'rows':>9}{'fit s':>8}{'epoch s':>9}", end="")
    print("".join(f"{name + ' MB':>14}" for name in columns) + f"{'ACC':>7}")
    for r in done(RESULTS):
        print(f"{r['method']:16}{r['kind']:8}{r['rows']:9}{r['fit_seconds']:8.0f}", end="")
        seconds = r["epoch_seconds"]
        print(f"{seconds:9.1f}" if seconds else " " * 9, end="")
        print("".join(f"{r[f'{name}_megabytes']:14.0f}" for name in columns) + f"{r['acc']:7.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the data are, or are made")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "KIND", "ROWS"), help="run this here")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.one:
        method, kind, size = options.one
        run(method, kind, int(size), options.folder)
        raise SystemExit
    if not options.table:
        finished = {(r["method"], r["kind"], r["rows"]) for r in done(RESULTS)}
        for size in SIZES:
            for method in METHODS:
                for kind in KINDS:
                    if (method, kind, size) not in finished:
                        one = ["--one", method, kind, str(size), "--folder", str(options.folder)]
                        subprocess.run([sys.executable, __file__, *one], check=True)
    table()
