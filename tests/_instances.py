"""The estimators under test. A new estimator joins every common test by one line here."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster._dmae import _OF_A_NETWORK
from skdeepcluster._engine.device import resolve_device

# estimator -> the parameters that make its budget small
BUDGETS = {
    DCEC: {
        "init": "graph",
        "pretrain_epochs": 6,
        "max_epochs": 3,
        "hidden_units": (32,),
        "learning_rate": 1e-2,
    },
    DMAE: {
        "init": "graph",
        "pretrain_epochs": 6,
        "max_epochs": 3,
        "hidden_units": (32,),
        "learning_rate": 1e-2,
    },
    DualAESpectral: {
        "init": "graph",
        "pretrain_epochs": 6,
        "max_epochs": 3,
        "hidden_units": (32,),
        "information_weight": 0.1,
    },
    DCCS: {
        "init": "graph",
        "pretrain_epochs": 10,  # with 6, one machine lost a cluster
        "max_epochs": 4,
        "hidden_units": (32,),
        "critic_units": (16,),
        "cluster_prior": "uniform",  # in so few batches a small cluster may be lost
        "n_critic": 1,
        "learning_rate": 2e-2,
    },
}
_SMALL = {"n_components": 4, "n_init": 1, "batch_size": 16}

ESTIMATORS = list(BUDGETS)
DEFAULTS = {estimator.__name__: estimator() for estimator in ESTIMATORS} | {
    f"DMM-{dissimilarity}": DMAE(dissimilarity=dissimilarity, architecture=None)
    for dissimilarity in ("mahalanobis", "euclidean", "manhattan", "cosine")
}


@dataclass(frozen=True)
class BatchNormPair:
    """A user's factory of autoencoders; a dataclass, so that its repr is the same everywhere."""

    width: int = 32

    def __call__(self, sample_shape, n_components):
        n_features = int(np.prod(sample_shape))
        encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_features, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Linear(self.width, n_components),
        )
        decoder = nn.Sequential(
            nn.Linear(n_components, self.width),
            nn.BatchNorm1d(self.width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(self.width, n_features),
            nn.Unflatten(1, tuple(sample_shape)),
        )
        return encoder, decoder


class Items(Dataset):
    """A torch Dataset of no array."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


# what every estimator is tried with; these pass through scikit-learn's checks
_CHECKED = {
    "small": {},
    "factory": {"architecture": BatchNormPair(), "scaling": "standard"},
}
# these too fit data of any width
_ANY_WIDTH = _CHECKED | {
    "k-means": {"init": "k-means", "scaling": "none"},
    "n_init=2": {"n_init": 2, "scaling": "global", "precision": "bf16"},
}
# these need rows of 8 x 8 pixels
_DIGITS = {
    "images": {"image_shape": (8, 8)},
    "conv": {
        "image_shape": (1, 8, 8),
        "architecture": "conv",
        "learning_rate": 5e-4,
        "max_epochs": 2,
    },
    "modules": lambda estimator: {"architecture": seeded_pair(encoder_width(small(estimator)))},
}


# for the environment of a process whose memory is measured. By default, glibc keeps large blocks
# that were freed, and the same fit then needs 60 to 260 MB
RETURNS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1000000"}


def seeded_pair(n_components):
    """Modules with the same weights in every run: the fit begins with the weights it is given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BatchNormPair()((64,), n_components)


def small(estimator, **parameters):
    """An instance that fits in a tenth of a second."""
    parameters = {**_SMALL, **BUDGETS[estimator], **parameters}
    # a fit warns about what it does not use
    architecture = parameters.get("architecture", "auto")
    unused = set()
    if architecture not in ("auto", "mlp"):
        unused.update(_OF_A_NETWORK if architecture is None else ("hidden_units",))
    if not parameters.get("adversarial_weight", 1):
        unused.add("n_critic")
    return estimator(**{n: value for n, value in parameters.items() if n not in unused})


def encoder_width(model):
    """Outputs of the encoder."""
    return model.n_components + (model.n_clusters if isinstance(model, DCCS) else 0)


def embedding_width(model):
    """Columns that transform answers."""
    return model.n_clusters if isinstance(model, DualAESpectral) else encoder_width(model)


def plan_of(estimator, X):
    """What a fit to these samples would do."""
    given = estimator._given()
    X, image_shape, _ = estimator._admit(X, again=False)
    return estimator._make_plan(X, image_shape, given, resolve_device(given["device"]), again=False)


def _instances(variants):
    return {
        f"{estimator.__name__}-{name}": small(
            estimator, **(parameters(estimator) if callable(parameters) else parameters)
        )
        for estimator in ESTIMATORS
        for name, parameters in variants.items()
    }


# what takes the parameter value init="overclustered"
OVERCLUSTERING = [
    estimator
    for estimator in ESTIMATORS
    if "overclustered" in estimator._parameter_constraints["init"][0].options
]

SMALL = {estimator.__name__: small(estimator) for estimator in ESTIMATORS}
CHECKED = _instances(_CHECKED)
ANY_WIDTH = _instances(_ANY_WIDTH)
ALL = ANY_WIDTH | _instances(_DIGITS)


def digits(n_samples=82, n_class=4):
    """Rows of 64 pixels, 0 to 16; five batches of 16 and one of 2."""
    X, y = load_digits(n_class=n_class, return_X_y=True)
    return X[:n_samples], y[:n_samples]
