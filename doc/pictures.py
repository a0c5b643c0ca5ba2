"""The pictures of README and of the pages of the methods, into doc/_static.

From the root of a checkout, all pictures or some:

    python doc/pictures.py
    python doc/pictures.py digits dcec

Each takes less than a minute of one core. Run it again if an estimator changes, and look at the
pictures: the texts of the pages say what they show.
"""

import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics.cluster import contingency_matrix

from skdeepcluster import DCCS
from skdeepcluster.metrics import clustering_accuracy

STATIC = Path(__file__).parent / "_static"


def matched(y, labels):
    """The class that is matched with each cluster."""
    classes, clusters = linear_sum_assignment(-contingency_matrix(y, labels))
    return np.unique(y)[classes[np.argsort(clusters)]]


def digits():
    """A row of images for each cluster of KMeans and of DCCS, mistakes in red."""
    X, y = load_digits(return_X_y=True)
    models = [
        ("KMeans on pixels", KMeans(10, n_init=10, random_state=0)),
        ("DCCS", DCCS(10, image_shape=(8, 8), random_state=0)),
    ]
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), layout="constrained")
    rng = np.random.default_rng(0)
    for panel, (name, model) in zip(axes, models, strict=True):
        labels = model.fit_predict(X)
        mosaic = np.ones((10 * 10, 18 * 10, 3))
        found = matched(y, labels)
        for row, cluster in enumerate(np.argsort(found)):
            some = rng.permutation(np.flatnonzero(labels == cluster))[:18]
            for column, index in enumerate(some):
                tile = np.repeat(1 - X[index].reshape(8, 8, 1) / 16, 3, axis=2)
                if y[index] != found[cluster]:
                    tile[..., 0] = 1  # red on a pale red ground
                    tile[..., 1:] *= 0.8
                tile = np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=1)
                mosaic[10 * row : 10 * row + 10, 10 * column : 10 * column + 10] = tile
        panel.imshow(mosaic, interpolation="nearest")
        panel.set(xticks=[], yticks=[], ylabel="a row for each cluster")
        panel.set_title(f"{name}: ACC {clustering_accuracy(y, labels):.2f}")
    return {"digits": figure}


PICTURES = [digits]

if __name__ == "__main__":
    plt.switch_backend("agg")
    wanted = sys.argv[1:] or [draw.__name__ for draw in PICTURES]
    for draw in PICTURES:
        if draw.__name__ in wanted:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                figures = draw()
            for name, figure in figures.items():
                figure.savefig(STATIC / f"{name}.png", dpi=100)
                print(STATIC / f"{name}.png", flush=True)
