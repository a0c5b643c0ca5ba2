"""Seconds of an epoch: fit against a bare torch loop, and bfloat16 against float32.

    python doc/benchmarks/speed.py

Each ratio is the median over rounds of two neighbours in time: the epochs of one fit and
as many epochs of the loop. The loop slices a resident tensor, steps a fused Adam over the
same network in the same precision, and reads nothing back.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from records import provenance
from skorch.callbacks import Callback

from skdeepcluster import DCEC
from skdeepcluster.nn import mlp_autoencoder

RESULTS = Path(__file__).with_suffix(".json")
N_SAMPLES, SIDE, BATCH, ROUNDS = 10_000, 28, 256, 7
# with epochs that take seconds: over three of the small network the ratio of one run is noise
NETWORKS = {
    "784-128-64-10": ({"hidden_units": (128, 64)}, 20),
    "784-500-500-2000-10": ({"hidden_units": (500, 500, 2000)}, 3),
}


class EpochTimes(Callback):
    """When epochs began; the time between two is all that an epoch costs."""

    def on_train_begin(self, net, **kwargs):
        self.began = []

    def on_epoch_begin(self, net, **kwargs):
        self.began.append(time.perf_counter())


def ours(X, parameters, precision, epochs):
    """Median seconds of an epoch within a fit."""
    times = EpochTimes()
    DCEC(
        2,
        pretrain_epochs=epochs + 1,
        max_epochs=0,
        n_init=1,
        init="k-means",
        precision=precision,
        augmentation=None,
        callbacks=[times],
        random_state=0,
        **parameters,
    ).fit(X)
    return statistics.median(np.diff(times.began))


def bare(X, parameters, precision, epochs):
    """Median seconds of an epoch of the loop."""
    pair = mlp_autoencoder((SIDE * SIDE,), 10, parameters["hidden_units"])
    data = torch.from_numpy(X)
    net = torch.nn.Sequential(*pair)
    optimizer = torch.optim.Adam(net.parameters(), fused=True)
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for index in torch.randperm(len(data)).split(BATCH):
            x = data[index]
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                x_hat = net(x)
            (x_hat.float() - x).square().mean().backward()
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main():
    X = np.random.default_rng(0).random((N_SAMPLES, SIDE * SIDE), dtype=np.float32)
    table = {}
    for name, (parameters, epochs) in NETWORKS.items():
        pairs = {precision: [] for precision in ("32", "bf16")}
        for _ in range(ROUNDS):
            for precision, rows in pairs.items():
                setting = (X, parameters, precision, epochs)
                rows.append((ours(*setting), bare(*setting)))
        for precision, rows in pairs.items():
            ratios = [a / b for a, b in rows]
            seconds = statistics.median(a for a, _ in rows)
            low, high = min(ratios), max(ratios)
            median = statistics.median(ratios)
            table[f"{name}, {precision}: fit / bare loop"] = [median, low, high]
            print(
                f"{name:22}{precision:5} fit / bare loop {median:.3f} ({low:.3f} .. {high:.3f}),"
                f" {seconds:.3f} s an epoch",
                flush=True,
            )
        ratios = [a / b for (a, _), (b, _) in zip(pairs["bf16"], pairs["32"], strict=True)]
        table[f"{name}: bf16 / 32"] = [statistics.median(ratios), min(ratios), max(ratios)]
        print(f"{name:22}      bf16 / 32       {statistics.median(ratios):.3f}", flush=True)
    table |= provenance()
    RESULTS.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
