"""What test_distributed runs in each of two processes: fits, whose outcomes it stores."""

import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from _instances import ESTIMATORS, BatchNormPair, digits, small
from skorch.callbacks import Callback

from skdeepcluster import DCEC, DMAE
from skdeepcluster._engine import processes

RANK = int(os.environ.get("RANK", "0"))  # also where examples are looked for in docstrings


class StopInTheSecond(Callback):
    """Ends a phase, as the user's callbacks may, in one process only."""

    def on_epoch_end(self, net, **kwargs):
        if RANK == 1:
            raise KeyboardInterrupt


def outcomes():
    """Name -> array, of each fit."""
    X, _ = digits(85)  # the last batch has 5 rows, 3 and 2 for each process
    outcome = {}

    def keep(name, model, X=X):
        try:
            model.fit(X)
        except ValueError as error:
            outcome[name] = np.array(str(error))
            return
        outcome[f"{name} labels"] = model.labels_
        outcome[f"{name} embedding"] = model.transform(X)
        outcome[f"{name} epochs"] = np.array(len(model.history_))
        losses = [row.get("reconstruction", np.nan) for row in model.history_]
        outcome[f"{name} reconstruction"] = np.array(losses)

    shared = {"n_clusters": 4, "device": "accelerate", "random_state": 0}
    for estimator in (DCEC, DMAE):
        keep(f"{estimator.__name__} exact", small(estimator, precision="32", **shared))
    for estimator in ESTIMATORS:
        free = shared | {"random_state": None, "image_shape": (8, 8), "n_init": 2}
        pair = BatchNormPair() if estimator is not DCEC else "conv"
        keep(f"{estimator.__name__} free", small(estimator, **free, architecture=pair))
    online = small(DMAE, precision="32", **shared)
    for part in (X, X[:40]):
        online.partial_fit(part)
    outcome["online embedding"] = online.transform(X)
    keep("stopped", small(DCEC, callbacks=[StopInTheSecond()], **shared))
    own = X + RANK
    keep("unlike X", small(DCEC, **shared), own)
    keep("unlike gamma", small(DCEC, gamma=1.0 + RANK, **shared))
    keep("unlike estimator", small(ESTIMATORS[RANK], **shared))
    processes._PATIENCE = 1.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        time.sleep(2.5 * RANK)
        keep("late", small(DCEC, max_epochs=1, **shared))
    processes._PATIENCE = 60.0
    outcome["waiting"] = np.array([str(warning.message) for warning in caught])
    keep("checkpoint", small(DCEC, checkpoint="folder", **shared))
    return outcome


if __name__ == "__main__":
    np.savez(Path(sys.argv[1]) / f"{RANK}.npz", **outcomes())
