"""The main task on built-in data: ``python -m skdeepcluster`` clusters load_digits."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from . import __all__ as names
from . import _version
from .base import BaseDeepClusterer
from .metrics import clustering_accuracy

_DRAWN = 1000  # rows; t-SNE takes seconds for this number
_QUICK = "DCCS"  # the most accurate on these images
_QUICK_BUDGETS = {"pretrain_epochs": 30, "max_epochs": 15}
_NEXT = """
Next, cluster your own data, an array or a data frame X with a row for each sample:

    from skdeepcluster import DCCS, DCEC
    labels = DCCS(n_clusters=10, image_shape=(8, 8)).fit_predict(X)  # each row is an image
    labels = DCEC(n_clusters=10).fit_predict(X)  # a table, or other vectors

help(skdeepcluster) says which estimator fits which data."""


def main(arguments: list[str] | None = None) -> None:
    """Cluster digits with every estimator, print a table and draw the embeddings.

    Parameters
    ----------
    arguments : list of str, default=None
        Command line; ``sys.argv`` by default.
    """
    parser = argparse.ArgumentParser(prog="python -m skdeepcluster", description=__doc__)
    parser.add_argument("--output", default="skdeepcluster_digits.png", help="picture to write")
    parser.add_argument("--seed", type=int, default=0, help="random_state of every estimator")
    available = {estimator.__name__: estimator for estimator in _estimators()}
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only", nargs="+", choices=available, metavar="NAME", help=", ".join(available)
    )
    which.add_argument(
        "--quick",
        action="store_true",
        help=f"{_QUICK} alone, with a shorter training: less than a minute",
    )
    options = parser.parse_args(arguments)
    budgets = _QUICK_BUDGETS if options.quick else {}
    chosen = [_QUICK] if options.quick else options.only or list(available)

    X, y = load_digits(return_X_y=True)
    shallow = [
        KMeans(10, n_init=10, random_state=options.seed),
        SpectralClustering(10, affinity="nearest_neighbors", random_state=options.seed),
    ]
    deep = [
        available[name](10, image_shape=(8, 8), verbose=1, random_state=options.seed, **budgets)
        for name in chosen
    ]
    print(f"skdeepcluster {_version.__version__}: load_digits, {len(X)} images of 8 x 8")
    print(f"{'':20}{'ACC':>8}{'NMI':>8}{'ARI':>8}{'seconds':>10}")
    accuracies = {}
    for model in [*shallow, *deep]:
        name, (accuracy, information, rand, seconds) = type(model).__name__, _measure(model, X, y)
        accuracies[name] = accuracy
        numbers = f"{accuracy:8.3f}{information:8.3f}{rand:8.3f}{seconds:10.1f}"
        print(f"{name:20}{numbers}", flush=True)
    spaces = {f"pixels: KMeans, ACC {accuracies['KMeans']:.3f}": X}
    for model in deep:
        name = type(model).__name__
        spaces[f"{name}: ACC {accuracies[name]:.3f}"] = model.transform(X)
    _draw(spaces, y, options.output)
    if options.quick:
        print("For the full training of all estimators, leave out --quick.")
    print(_NEXT)


def _estimators() -> list[type[BaseDeepClusterer]]:
    package = sys.modules[__package__]
    public = [getattr(package, name) for name in names]
    return [c for c in public if isinstance(c, type) and issubclass(c, BaseDeepClusterer)]


def _measure(model: Any, X: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    started = time.perf_counter()
    labels = model.fit_predict(X)
    seconds = time.perf_counter() - started
    return (
        clustering_accuracy(y, labels),
        float(normalized_mutual_info_score(y, labels)),
        float(adjusted_rand_score(y, labels)),
        seconds,
    )


def _draw(spaces: dict[str, np.ndarray], y: np.ndarray, path: str) -> None:
    """Draw a panel for each space, with its title."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print(
            'No picture: matplotlib is missing. Install it with: pip install "skdeepcluster[plot]"'
        )
        return
    figure = Figure(figsize=(5 * len(spaces) + 1, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("t-SNE of the space that each method clusters, colored by digit")
    some = np.random.default_rng(0).permutation(len(y))[:_DRAWN]
    panels = figure.subplots(1, len(spaces), squeeze=False)[0]
    for axes, (title, space) in zip(panels, spaces.items(), strict=True):
        # two principal components would show two of the orthogonal directions of a spectral
        # embedding, and the other clusters on top of each other
        flat = TSNE(max_iter=500, random_state=0).fit_transform(space[some])
        points = axes.scatter(*flat.T, c=y[some], cmap="tab10", s=6)
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(points, ax=axes, ticks=range(10), label="digit")
    figure.savefig(path, dpi=100)
    print(f"Picture of the embeddings: {Path(path).resolve()}")


if __name__ == "__main__":
    main()
