"""Blobs of very different sizes, at the defaults, into uneven.jsonl.

    python doc/benchmarks/uneven.py             # all that is missing
    python doc/benchmarks/uneven.py --table     # of what was run

A seed draws the blobs and everything in the fits. Blobs are 8 apart, with variance 1, in 8 columns.
"""

import argparse
import json
import os
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from accuracy import commit, cpu_name, done, keep
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(10)
SHARES = {
    "97/3": (970, 30),
    "99/1": (990, 10),
    "95/3/2": (950, 30, 20),
    "90/10": (900, 100),
}
ESTIMATORS = (KMeans, DCEC, DMAE, DualAESpectral, DCCS)


def run(shares, estimator, seed):
    sizes = SHARES[shares]
    X, y = make_blobs(sizes, centers=np.eye(len(sizes), 8) * 8, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        started = time.process_time()
        model = estimator(len(sizes), random_state=seed).fit(X)
        seconds = time.process_time() - started
    return {
        "shares": shares,
        "estimator": estimator.__name__,
        "seed": seed,
        "ari": adjusted_rand_score(y, model.labels_),
        "cpu_seconds": seconds,
        "warnings": [str(warning.message)[:60] for warning in caught],
        "commit": commit(),
        "versions": {name: version(name) for name in ("torch", "scikit-learn", "numpy")},
        "threads": torch.get_num_threads(),
        "machine": f"{os.cpu_count()} x {cpu_name()}",
    }


def table():
    print(f"{'shares':8}{'estimator':16}{'n':>3}{'ARI':>16}{'least':>7}{'warned':>8}")
    results = done(RESULTS)
    for shares in SHARES:
        for estimator in ESTIMATORS:
            name = estimator.__name__
            rows = [r for r in results if (r["shares"], r["estimator"]) == (shares, name)]
            if not rows:
                print(f"{shares:8}{name:16}  not run")
                continue
            ari = [row["ari"] for row in rows]
            warned = sum(bool(row["warnings"]) for row in rows)
            mean = f"{np.mean(ari):.3f} +- {np.std(ari):.3f}"
            print(f"{shares:8}{name:16}{len(rows):3}{mean:>16}{min(ari):7.3f}{warned:8}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    if parser.parse_args().table:
        table()
        raise SystemExit
    for seed in SEEDS:
        for shares in SHARES:
            for estimator in ESTIMATORS:
                key = (shares, estimator.__name__, seed)
                if key in [(r["shares"], r["estimator"], r["seed"]) for r in done(RESULTS)]:
                    continue
                result = run(shares, estimator, seed)
                keep(result, RESULTS)
                print(json.dumps(result), flush=True)
