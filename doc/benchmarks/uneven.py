"""Blobs of very different sizes, at the defaults, into uneven.jsonl.

    python doc/benchmarks/uneven.py          # all that is missing
    python doc/benchmarks/uneven.py --table  # of what was run

A seed draws the blobs and everything in the fits. Blobs are 8 apart, with variance 1, in 8 columns.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from records import OURS, done, keep, provenance, spread, timed
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(10)
SHARES = {
    "97/3": (970, 30),
    "99/1": (990, 10),
    "95/3/2": (950, 30, 20),
    "90/10": (900, 100),
}
ESTIMATORS = {"KMeans": KMeans, **OURS}


def run(shares, estimator, seed):
    sizes = SHARES[shares]
    X, y = make_blobs(sizes, centers=np.eye(len(sizes), 8) * 8, random_state=seed)
    model = ESTIMATORS[estimator](len(sizes), random_state=seed)
    labels, fit = timed(model.fit_predict, X)
    return {
        "shares": shares,
        "estimator": estimator,
        "seed": seed,
        "ari": adjusted_rand_score(y, labels),
        **fit,
        **provenance(),
    }


def table():
    print(f"{'shares':8}{'estimator':16}{'n':>3}{'ARI':>16}{'least':>7}{'warned':>8}")
    results = done(RESULTS)
    for shares in SHARES:
        for estimator in ESTIMATORS:
            rows = [r for r in results if (r["shares"], r["estimator"]) == (shares, estimator)]
            if not rows:
                print(f"{shares:8}{estimator:16}  not run")
                continue
            ari = [row["ari"] for row in rows]
            warned = sum(bool(row["warnings"]) for row in rows)
            print(
                f"{shares:8}{estimator:16}{len(rows):3}{spread(ari):>16}{min(ari):7.3f}{warned:8}"
            )


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
                key = (shares, estimator, seed)
                if key in [(r["shares"], r["estimator"], r["seed"]) for r in done(RESULTS)]:
                    continue
                result = run(shares, estimator, seed)
                keep(result, RESULTS)
                print(json.dumps(result), flush=True)
