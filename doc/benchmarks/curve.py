"""Accuracy and Wasserstein estimate of DCCS against updates of its encoder, into curve.jsonl.

    python doc/benchmarks/curve.py --data data
    python doc/benchmarks/curve.py --table

From these curves the default budget was chosen. The labels are read beside the fit and steer
nothing in it. The learning rate is constant, so that a point is what a shorter fit would be at.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from accuracy import load
from records import done, keep, provenance
from skorch.callbacks import Callback

from skdeepcluster import DCCS
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
UPDATES = 1500
CONFIGURATIONS = {
    "default": {},
    "init=None": {"init": None},
    "init=None, balance_weight=0": {"init": None, "balance_weight": 0.0},
}
SETS = {"digits": 3, "usps": 1}  # and seeds


class Accuracies(Callback):
    """Accuracy of the categories at the end of every so many epochs of the clustering phase."""

    def __init__(self, y, every=None):
        self.y = y
        self.every = every
        self.found = {}

    def on_epoch_end(self, net, **kwargs):
        epoch = len(net.history)
        every = self.every or net.phase.refresh_every
        if net.phase.name == "cluster" and epoch % every == 0:
            categories = net.run.embed()[:, : len(np.unique(self.y))]
            self.found[epoch] = clustering_accuracy(self.y, categories.argmax(axis=1))


def run(name, configuration, seed, folder):
    X, y, image_shape = load(name, folder)
    model = DCCS(len(np.unique(y)), image_shape=image_shape, random_state=seed, tol=0.0)
    an_epoch = len(X) // model.batch_size
    turn = model.n_critic + 1
    accuracies = Accuracies(y)
    model.set_params(
        max_epochs=math.ceil(UPDATES * turn / an_epoch),
        learning_rate_schedule="constant",
        callbacks=[accuracies],
        **CONFIGURATIONS[configuration],
    ).fit(X)
    rows = {row["epoch"]: row for row in model.history_ if row["phase"] == "cluster"}
    return [
        {
            "updates": epoch * an_epoch // turn,
            "acc": accuracy,
            "wasserstein": rows[epoch]["wasserstein"],
        }
        for epoch, accuracy in accuracies.found.items()
    ]


def table():
    for line in done(RESULTS):
        print(f"{line['set']}, {line['configuration']}, seed {line['seed']}")
        for column, form in (("updates", "7d"), ("acc", "7.3f"), ("wasserstein", "7.2f")):
            print(f"  {column:12}" + "".join(f"{row[column]:{form}}" for row in line["curve"]))


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
    for name, n_seeds in SETS.items():
        for seed in range(n_seeds):
            for configuration in CONFIGURATIONS:
                key = {"set": name, "configuration": configuration, "seed": seed}
                if key in [{k: line[k] for k in key} for line in done(RESULTS)]:
                    continue
                line = key | {
                    "curve": run(name, configuration, seed, options.data),
                    **provenance(),
                }
                keep(line, RESULTS)
                print(*key.values(), flush=True)
