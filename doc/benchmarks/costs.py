"""Where the seconds of a fit go, into costs.jsonl, a line a part.

    python doc/benchmarks/costs.py --folder /var/tmp/large  # where large.py has its data
    python doc/benchmarks/costs.py --table

peak: floating-point operations a second in an epoch of pretraining, over those of the fastest
matrix product of 256 to 2048 rows that this machine has shown just before and after; operations
are counted by torch, additions and multiplications apart, forward and backward. first: seconds of
imports, of the first fit in a process and of the next ones. parts: shares of a fit of 250 000 rows.
linear: seconds of processor of an epoch of the last phase, of 250 000 rows and of 1 000 000.
k-means: a partition of 250 000 rows in 10 dimensions by what the package does, and by others.
"""

import argparse
import cProfile
import pstats
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from large import METHODS, SIZES, EpochSeconds, chunk, load
from records import done, keep, provenance
from sklearn.cluster import KMeans, MiniBatchKMeans
from speed import BATCH, N_SAMPLES, NETWORKS, SIDE, ours
from torch.utils.flop_counter import FlopCounterMode

from skdeepcluster._start.partition import best_k_means
from skdeepcluster.nn import mlp_autoencoder

RESULTS = Path(__file__).with_suffix(".jsonl")
ROUNDS = 5
OURS = {method: estimator for method, estimator in METHODS.items() if estimator is not KMeans}
# functions that hold the parts of a fit; none is called within another one
PARTS = {
    "training": ["fit_loop"],
    "neighbours and input graph": ["_constants", "input_graph", "_graph"],
    "start partition": ["start_partition"],
    "labels at the end": ["_set_labels"],
}


def matmul_peak(dtype):
    """Operations a second of the fastest of some matrix products."""
    fastest = 0.0
    for rows in (256, 512, 1024, 2048):
        a, b = (torch.randn(rows, 2048).to(dtype), torch.randn(2048, 2048).to(dtype))
        for _ in range(5):
            started = time.perf_counter()
            a @ b
            fastest = max(fastest, 2 * rows * 2048**2 / (time.perf_counter() - started))
    return fastest


def epoch_operations(hidden_units):
    """Of matrix products, in an epoch of the autoencoder that speed.py trains."""
    net = torch.nn.Sequential(*mlp_autoencoder((SIDE * SIDE,), 10, hidden_units))
    x = torch.zeros(BATCH, SIDE * SIDE)
    with FlopCounterMode(display=False) as counter:
        net(x).square().mean().backward()
    return counter.get_total_flops() * N_SAMPLES / BATCH


def peak():
    X = np.random.default_rng(0).random((N_SAMPLES, SIDE * SIDE), dtype=np.float32)
    for name, (parameters, epochs) in NETWORKS.items():
        operations = epoch_operations(parameters["hidden_units"])
        for precision, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
            shares, rates = [], []
            for _ in range(ROUNDS):
                before = matmul_peak(dtype)
                rates.append(operations / ours(X, parameters, precision, epochs))
                shares.append(rates[-1] / max(before, matmul_peak(dtype)))
            yield {
                "name": f"{name}, {precision}",
                "share": statistics.median(shares),
                "range": [min(shares), max(shares)],
                "gigaflops": statistics.median(rates) / 1e9,
            }


FIRST = """
import time
started = time.perf_counter()
from skdeepcluster import {method}
from sklearn.datasets import load_digits
seconds = [time.perf_counter() - started]
X, _ = load_digits(return_X_y=True)
for _ in range(3):
    started = time.perf_counter()
    {method}(10, pretrain_epochs=2, max_epochs=2, n_init=1, init="graph", random_state=0).fit(X)
    seconds.append(time.perf_counter() - started)
print(*seconds)
"""


def first():
    for method in OURS:
        rows = []
        for _ in range(ROUNDS):
            program = [sys.executable, "-c", FIRST.format(method=method)]
            out = subprocess.run(program, capture_output=True, text=True, check=True).stdout
            rows.append([float(value) for value in out.split()])
        imports, fit, *others = [statistics.median(column) for column in zip(*rows, strict=True)]
        yield {"name": method, "imports": imports, "first": fit, "next": min(others)}


def parts(folder):
    X, _ = load("memmap", 250_000, folder)
    for method, estimator in OURS.items():
        profile = cProfile.Profile()
        profile.runcall(estimator(10, random_state=0).fit, X)
        stats = pstats.Stats(profile)
        seconds = {
            part: sum(row[3] for (_, _, name), row in stats.stats.items() if name in names)
            for part, names in PARTS.items()
        }
        seconds["embedding, assigning, the rest"] = stats.total_tt - sum(seconds.values())
        shares = {part: value / stats.total_tt for part, value in seconds.items()}
        yield {"name": method, "seconds": stats.total_tt, "shares": shares}


def k_means():
    Z = np.concatenate([chunk(number)[0] for number in range(5)])
    Z = (Z @ np.random.default_rng(3).normal(size=(100, 10))).astype(np.float32)

    ways = {
        "20 runs on all rows": lambda seed: KMeans(10, n_init=20, random_state=seed).fit(Z),
        "20 runs on 20 000, one on all": lambda seed: best_k_means(
            Z, 10, np.random.RandomState(seed)
        ),
        "MiniBatchKMeans, 20 runs": lambda seed: MiniBatchKMeans(
            10, n_init=20, random_state=seed
        ).fit(Z),
    }
    rows = {way: [] for way in ways}
    for seed in range(3):
        for way, fit in ways.items():
            started = time.perf_counter()
            inertia = fit(seed).inertia_
            rows[way].append((time.perf_counter() - started, inertia))
    reference = rows["20 runs on all rows"]
    for way, measured in rows.items():
        pairs = list(zip(measured, reference, strict=True))
        yield {
            "name": way,
            "seconds": statistics.median(seconds for seconds, _ in measured),
            "time_ratio": statistics.median(a[0] / b[0] for a, b in pairs),
            "inertia_ratio": max(a[1] / b[1] for a, b in pairs),
        }


class EpochProcessorSeconds(EpochSeconds):
    """The same of the processor, which other jobs change less."""

    clock = staticmethod(time.process_time)


def linear(folder):
    for method, estimator in OURS.items():
        seconds = []
        for size in SIZES:
            X, _ = load("memmap", size, folder)
            epochs = EpochProcessorSeconds()
            estimator(
                10,
                init="k-means",
                pretrain_epochs=1,
                max_epochs=1,
                n_init=1,
                callbacks=[epochs],
                random_state=0,
            ).fit(X)
            seconds.append(epochs.seconds[-1])
        yield {"name": method, "seconds": seconds, "ratio": seconds[1] / seconds[0]}


def table():
    for row in done(RESULTS):
        print(f"{row['part']:9}{row['name']:34}", end="")
        if row["part"] == "peak":
            low, high = row["range"]
            print(f"{row['share']:.2f} of the peak ({low:.2f} .. {high:.2f})", end="")
            print(f", {row['gigaflops']:.0f} Gflop/s")
        elif row["part"] == "first":
            print(f"imports {row['imports']:.2f} s, first fit {row['first']:.2f} s", end="")
            print(f", next {row['next']:.2f} s")
        elif row["part"] == "parts":
            shares = ", ".join(f"{part} {share:.2f}" for part, share in row["shares"].items())
            print(f"{row['seconds']:.0f} s: {shares}")
        elif row["part"] == "linear":
            print("{:.1f} s, {:.1f} s: a ratio of {:.2f}".format(*row["seconds"], row["ratio"]))
        else:
            print(f"{row['seconds']:.1f} s, {row['time_ratio']:.2f} of the first", end="")
            print(f", inertia at most {row['inertia_ratio']:.4f} of it")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="where the data are, or are made")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if not options.table:
        measures = {
            "peak": peak,
            "first": first,
            "k-means": k_means,
            "parts": lambda: parts(options.folder),
            "linear": lambda: linear(options.folder),
        }
        for part in measures.keys() - {row["part"] for row in done(RESULTS)}:
            for row in list(measures[part]()):
                keep({"part": part, **row, **provenance()}, RESULTS)
    table()
