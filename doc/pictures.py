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
import torch
from matplotlib.collections import LineCollection
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_circles
from sklearn.manifold import TSNE
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import kneighbors_graph

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.augment import random_crop
from skdeepcluster.datasets import make_painwheel
from skdeepcluster.dissimilarities import resolve
from skdeepcluster.functional import student_t_assignment, target_distribution
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


def images(*rows):
    """A picture of rows of images, from dicts of the title and the images of each row."""
    figure, axes = plt.subplots(
        len(rows), len(rows[0][1]), figsize=(7.5, 0.8 * len(rows) + 0.1), layout="constrained"
    )
    for line, (title, row) in zip(axes, rows, strict=True):
        for panel, image in zip(line, row, strict=True):
            panel.imshow(np.asarray(image).reshape(8, 8), cmap="gray_r")
            panel.set(xticks=[], yticks=[])
        line[0].set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


def steps(X, y, *models):
    """t-SNE of the pixels and of the embeddings of some models, colored by class."""
    k_means = KMeans(len(np.unique(y)), n_init=10, random_state=0).fit(X)
    spaces = [("pixels, KMeans", X, k_means)]
    spaces += [(title, model.transform(X), model) for title, model in models]
    figure, axes = plt.subplots(1, len(spaces), figsize=(9, 3.3), layout="constrained")
    for panel, (title, space, model) in zip(axes, spaces, strict=True):
        points = TSNE(max_iter=500, random_state=0).fit_transform(space)
        panel.scatter(*points.T, c=y, cmap="tab10", vmax=9, s=4)
        accuracy = clustering_accuracy(y, model.labels_)
        panel.set(title=f"{title}: ACC {accuracy:.3f}", xticks=[], yticks=[])
    return figure


def five_digits(estimator):
    """Images of 0 to 4, their classes, and an estimator before and after the clustering phase."""
    X, y = load_digits(n_class=5, return_X_y=True)
    parameters = {"image_shape": (8, 8), "init": "k-means", "n_init": 1}
    parameters |= {"pretrain_epochs": 120, "random_state": 0}
    start = estimator(5, max_epochs=0, **parameters).fit(X)
    return X, y, start, estimator(5, max_epochs=100, **parameters).fit(X)


def dcec():
    """Reconstructions, the embedding before and after clustering, and the target."""
    X, y, start, model = five_digits(DCEC)
    pictures = {
        "dcec_reconstructions": images(
            ("images", X[:10]),
            ("redrawn", start.inverse_transform(start.transform(X[:10]))),
        )
    }

    pictures["dcec_steps"] = steps(X, y, ("after pretraining", start), ("after clustering", model))

    centers = torch.from_numpy(start.cluster_centers_)
    q = student_t_assignment(torch.from_numpy(start.transform(X)), centers)
    p = target_distribution(q).numpy()
    q = q.numpy()
    sure = q.max(axis=1).argsort()
    shown = sure[[-1, len(sure) // 4, 0]]
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.2), sharey=True, layout="constrained")
    for panel, title, index in zip(axes, ["sure", "less sure", "unsure"], shown, strict=True):
        panel.bar(np.arange(5) - 0.2, q[index], width=0.4, color="0.6", label="q, soft assignment")
        panel.bar(np.arange(5) + 0.2, p[index], width=0.4, color="C0", label="p, target")
        panel.set(title=title, xlabel="cluster", xticks=range(5), ylim=(0, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    pictures["dcec_target"] = figure
    return pictures


def plane(low, high):
    """Points of a grid in the plane, and the shape of the grid."""
    grid = np.stack(np.meshgrid(np.linspace(low, high, 200), np.linspace(low, high, 200)), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32), grid.shape[:2]


def dmae():
    """Three dissimilarities; a mixture before and after training; an embedding."""
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
    points, shape = plane(0, 24)
    x, center = torch.from_numpy(points), torch.tensor([[3.0, 15.0]])
    factor = torch.linalg.cholesky(torch.tensor([[[1.0, 0.8], [0.8, 1.0]]]))
    shown = [
        ("euclidean", resolve("euclidean").pairwise(x, center)),
        ("mahalanobis", resolve("mahalanobis").pairwise(x, center, factor)),
        ("toroidal, period 24", resolve("toroidal", {"period": 24}).pairwise(x, center)),
    ]
    for panel, (title, distances) in zip(axes, shown, strict=True):
        panel.contourf(distances.reshape(shape), levels=12, extent=(0, 24, 0, 24), cmap="Blues_r")
        panel.scatter(*center.T, c="C3", marker="X", s=80)
        panel.set(title=title, xticks=[0, 12, 24], yticks=[0, 12, 24], aspect="equal")
    pictures = {"dmae_dissimilarities": figure}

    X, y = make_painwheel(1000, random_state=0)
    limit = np.abs(X).max()
    points, shape = plane(-limit, limit)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
    for panel, title, each in [
        (axes[0], "KMeans", KMeans(5, n_init=10, random_state=0)),
        (axes[1], "DMAE, mahalanobis", DMAE(5, architecture=None, random_state=0)),
    ]:
        each.fit(X)
        regions = matched(y, each.labels_)[each.predict(points.astype(X.dtype))].reshape(shape)
        extent = (-limit, limit, -limit, limit)
        panel.imshow(
            regions, extent=extent, origin="lower", cmap="tab10", vmin=0, vmax=9, alpha=0.3
        )
        panel.scatter(*X.T, c=y, cmap="tab10", vmin=0, vmax=9, s=5)
        accuracy = clustering_accuracy(y, each.labels_)
        panel.set(title=f"{title}: ACC {accuracy:.3f}", xticks=[], yticks=[], aspect="equal")
    pictures["dmae_mixture"] = figure

    X, y, start, model = five_digits(DMAE)
    pictures["dmae_steps"] = steps(X, y, ("after pretraining", start), ("after clustering", model))
    return pictures


def dual_ae_spectral():
    """Two views, reconstructions from noise; the neighbour graph and the head's outputs."""
    X, y = load_digits(return_X_y=True)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.from_numpy(X[:10].reshape(-1, 1, 8, 8)).float()
    views = [random_crop(pixels, generator, pixel_range=(0.0, 16.0)) for _ in range(2)]
    pictures = {
        "dual_views": images(("images", X[:10]), ("view 1", views[0]), ("view 2", views[1]))
    }

    model = DualAESpectral(
        10, image_shape=(8, 8), embedding="latent", pretrain_epochs=40, max_epochs=0, random_state=0
    ).fit(X)
    latents = model.transform(X[:10])
    noisy = latents * np.random.default_rng(0).normal(1, model.noise, latents.shape)
    pictures["dual_reconstructions"] = images(
        ("images", X[:10]),
        ("from clean latents", model.inverse_transform(latents)),
        ("from noisy latents", model.inverse_transform(noisy.astype(latents.dtype))),
    )

    X, y = make_circles(500, noise=0.05, factor=0.5, random_state=0)
    model = DualAESpectral(2, random_state=0).fit(X)
    graph = kneighbors_graph(X, 5).tocoo()
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
    axes[0].add_collection(
        LineCollection(np.stack([X[graph.row], X[graph.col]], axis=1), colors="0.6", linewidths=0.6)
    )
    axes[0].scatter(*X.T, s=4, c="black")
    axes[0].set(title="neighbour graph", aspect="equal")
    axes[1].scatter(*model.transform(X).T, c=y, cmap="coolwarm", s=40)
    axes[1].margins(0.2)
    axes[1].set_title("outputs of the head")
    points, shape = plane(-1.3, 1.3)
    regions = model.predict(points).reshape(shape)
    axes[2].contourf(regions, levels=1, extent=(-1.3, 1.3) * 2, alpha=0.3, cmap="coolwarm")
    axes[2].scatter(*X.T, c=model.labels_, cmap="coolwarm", s=4)
    axes[2].set(title="predict, anywhere in the plane", aspect="equal")
    for panel in axes:
        panel.set(xticks=[], yticks=[])
    pictures["dual_spectral"] = figure
    return pictures


def dccs():
    """What an embedding consists of, before and after clustering, beside the prior."""
    X, y = load_digits(n_class=5, return_X_y=True)
    parameters = {"image_shape": (8, 8), "n_components": 10, "pretrain_epochs": 40}
    model = DCCS(5, max_epochs=20, random_state=0, **parameters).fit(X)
    rng = np.random.default_rng(0)
    some = rng.permutation(len(X))[:40]
    some = some[np.argsort(model.labels_[some], kind="stable")]
    Z = model.transform(X[some])
    prior = np.eye(5)[np.sort(rng.integers(5, size=40))]
    prior = np.hstack([prior, rng.normal(0, Z[:, 5:].std(), (40, 10))])
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for panel, title, rows in zip(axes, ["prior", "40 images"], [prior, Z], strict=True):
        shown = panel.imshow(rows, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        panel.axvline(4.5, color="black")
        panel.set(title=title, xticks=[2, 9.5], xticklabels=["category", "style"], yticks=[])
    figure.colorbar(shown, ax=axes)
    pictures = {"dccs_embedding": figure}

    start = DCCS(5, max_epochs=0, random_state=0, **parameters).fit(X)
    pictures["dccs_steps"] = steps(X, y, ("start partition", start), ("after clustering", model))
    return pictures


PICTURES = [digits, dcec, dmae, dual_ae_spectral, dccs]

if __name__ == "__main__":
    plt.switch_backend("agg")
    wanted = sys.argv[1:] or [draw.__name__ for draw in PICTURES]
    for draw in PICTURES:
        if draw.__name__ in wanted:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                figures = draw()
            for name, figure in figures.items():
                figure.savefig(STATIC / f"{name}.png", dpi=100, bbox_inches="tight")
                print(STATIC / f"{name}.png", flush=True)
