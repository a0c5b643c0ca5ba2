"""Many fits in one process leave nothing behind."""

import gc

import numpy as np
import psutil
import pytest
import torch
from _instances import ESTIMATORS, digits, small

ROUNDS = 10  # of 20 fits
VARIANTS = [
    {},
    {"image_shape": (8, 8)},
    {"image_shape": (8, 8), "architecture": "conv", "learning_rate": 5e-4},
    {"init": "k-means", "n_init": 2},
    {"init": "spectral", "scaling": "standard"},
]
# Of 380 fits after the 20 first ones, resident memory went up and down by 8 MB and stayed where it
# was. A leak of the samples and the network of each fit would be 100 kB x 200 or more.
GROWTH = 16e6


def held():
    """Resident bytes, and numbers of tensors, open files and threads of this process."""
    gc.collect()
    process = psutil.Process()
    tensors = sum(type(o) in (torch.Tensor, torch.nn.Parameter) for o in gc.get_objects())
    return process.memory_info().rss, (tensors, len(process.open_files()), process.num_threads())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of tiny budgets
def test_many_fits_leave_nothing_behind():
    X, _ = digits()
    budget = {"pretrain_epochs": 2, "max_epochs": 2, "random_state": 0}
    models = [
        small(estimator, **{**budget, **variant})
        for estimator in ESTIMATORS
        for variant in VARIANTS
    ]

    def one_round():
        for model in models:
            model.fit(X)
            np.testing.assert_array_equal(model.predict(X), model.labels_)
            model.transform(X)
            model.score(X)

    one_round()  # imports, thread pools and arenas of the allocator
    one_round()
    before, counts = held()
    for _ in range(ROUNDS):
        one_round()
        after, now = held()
        assert now == counts
    assert after - before < GROWTH
