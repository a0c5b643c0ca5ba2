"""Time of predict, beside the bare network and KMeans, into latency.jsonl.

    OMP_NUM_THREADS=1 python doc/benchmarks/latency.py           # all, again
    python doc/benchmarks/latency.py --table  # of what was run

Networks have the default architecture and a few batches of training. "bare" is ``module_(x)`` of
the same rows, "inner" is predict without the validation of its input. The calls take turns; of the
times of a call, the tenth percentile counts. For many rows, "bare" is a loop over batches of 256.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from records import OURS, done, keep, provenance
from sklearn.cluster import KMeans

RESULTS = Path(__file__).with_suffix(".jsonl")
KINDS = {"vectors of 50": (50,), "images of 8 x 8": (1, 8, 8), "images of 28 x 28": (1, 28, 28)}
MANY, BATCH = 100_000, 256


def seconds(calls, rounds):
    """The tenth percentile of the time of each call."""
    times = np.empty((len(calls), rounds))
    for i in range(rounds):
        for call, row in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            row[i] = time.perf_counter() - started
    return np.percentile(times, 10, axis=1)


def run(name, kind):
    rng = np.random.default_rng(0)
    X = rng.random((600, *KINDS[kind]), dtype=np.float32)
    short = {"init": "k-means", "n_init": 1, "pretrain_epochs": 1, "max_epochs": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise has no clusters
        model = OURS[name](10, precision="32", random_state=0, **short).fit(X)
    k_means = KMeans(10, n_init=1, random_state=0).fit(X.reshape(len(X), -1))
    one, checked = X[:1], X[:1].reshape(1, -1)
    x = model._model.rows(checked).take(np.arange(1))

    @torch.no_grad()
    def bare():
        model.module_(x)

    calls = [
        bare,
        lambda: model._model.labels(checked),
        lambda: model.predict(one),
        lambda: k_means.predict(checked),
    ]
    row = dict(zip(("bare", "inner", "predict", "KMeans"), seconds(calls, 500), strict=True))
    many = np.resize(X, (MANY, *X.shape[1:]))
    tensor = torch.from_numpy(many)

    @torch.no_grad()
    def loop():
        for part in tensor.split(BATCH):
            model.module_(part)

    row |= dict(
        zip(("loop", "predict_many"), seconds([loop, lambda: model.predict(many)], 3), strict=True)
    )
    return {"estimator": name, "kind": kind, **row, **provenance()}


def table():
    print(f"{'':18}{'':18}{'one row, ms':>40}{'inner / bare':>14}{f'{MANY} rows / loop':>20}")
    print(f"{'':36}{'bare':>10}{'inner':>10}{'predict':>10}{'KMeans':>10}")
    for row in done(RESULTS):
        times = "".join(f"{1e3 * row[key]:10.2f}" for key in ("bare", "inner", "predict", "KMeans"))
        print(
            f"{row['estimator']:18}{row['kind']:18}{times}{row['inner'] / row['bare']:14.2f}"
            f"{row['predict_many'] / row['loop']:20.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    if not parser.parse_args().table:
        RESULTS.unlink(missing_ok=True)
        for name in OURS:
            for kind in KINDS:
                keep(run(name, kind), RESULTS)
    table()
