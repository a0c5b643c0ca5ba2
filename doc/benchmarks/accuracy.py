"""Accuracy of the estimators beside KMeans, into accuracy.jsonl; every run is one line.

    python doc/benchmarks/accuracy.py --data data  # all that is missing
    python doc/benchmarks/accuracy.py --data data --only usps DMAE
    python doc/benchmarks/accuracy.py --table      # of what was run

The labels are read after a fit, for its scores; no setting, epoch or seed depends on them.
A run that accuracy.jsonl already holds for the configuration, set and seed is not repeated.
"""

import argparse
import inspect
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from records import done, keep, provenance, spread, timed
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.pipeline import make_pipeline

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")

# without augmentation the autoencoder of a conv net is still improving after the default budget
PLAIN = {
    "architecture": "conv",
    "augmentation": None,
    "init": "overclustered",
    "n_init": 1,
    "pretrain_epochs": 130,
}


def spectral_on_latents(n_clusters, *, image_shape, random_state):
    """The dual autoencoder alone, and spectral clustering of what it sees."""
    latents = DualAESpectral(
        n_clusters,
        image_shape=image_shape,
        embedding="latent",
        max_epochs=0,
        random_state=random_state,
    )
    spectral = SpectralClustering(
        n_clusters, affinity="nearest_neighbors", random_state=random_state
    )
    return make_pipeline(latents, spectral)


# the paper's method from nothing on images of 8 x 8, at a rate and budget that a laptop affords
TABLE_5 = {"init": None, "balance_weight": 0.0, "max_epochs": 500, "tol": 0.0}
NO_INFORMATION, NO_VIEWS = {"mutual_information": None}, {"augmentation_weight": 0.0}
LOSSES = {
    "M1, Adv": NO_INFORMATION | NO_VIEWS,
    "M2, Adv+MI": NO_VIEWS,
    "M3, Adv+Aug": NO_INFORMATION,
    "M4, all": {},
    "decoder": {"mutual_information": "decoder", "information_weight": 5.0},
}

CONFIGURATIONS = {
    "KMeans": (KMeans, {"n_init": 10}),
    "DCEC": (DCEC, {}),
    "DCEC, flat rows": (DCEC, {}),
    "DMAE": (DMAE, {}),
    "DMAE, flat rows": (DMAE, {}),
    "DMAE, euclidean": (DMAE, {"dissimilarity": "euclidean"}),
    "DMAE, AE+DMM": (DMAE, {"train_encoder": False}),
    "DMAE, DMM": (DMAE, {"architecture": None, "augmentation": None}),
    "DualAESpectral": (DualAESpectral, {}),
    "DualAESpectral, flat rows": (DualAESpectral, {}),
    "DualAESpectral, self-tuned": (DualAESpectral, {"affinity": "self-tuned"}),
    "DualAESpectral, gaussian": (DualAESpectral, {"affinity": "gaussian"}),
    "DualAESpectral, batch": (DualAESpectral, {"neighborhood": "batch"}),
    "DCCS": (DCCS, {}),
    "DCCS, flat rows": (DCCS, {}),
    "DCCS, adversarial, flat rows": (DCCS, {"augmentation": "adversarial"}),
    **{f"table 5: {name}": (DCCS, TABLE_5 | parameters) for name, parameters in LOSSES.items()},
    "SpectralClustering": (SpectralClustering, {"affinity": "nearest_neighbors"}),
    "SpectralClustering on latents": (spectral_on_latents, {}),
    "no augmentation, CAE + k-means": (DCEC, PLAIN | {"max_epochs": 0, "init": "k-means"}),
    "no augmentation, DCEC": (DCEC, PLAIN),
}
PLAIN_ROWS = ["no augmentation, CAE + k-means", "no augmentation, DCEC"]
DMAE_ROWS = ["DMAE", "DMAE, euclidean"]
NEIGHBOR_ROWS = ["DualAESpectral, self-tuned", "DualAESpectral, gaussian", "DualAESpectral, batch"]
TABLE_5_ROWS = [name for name in CONFIGURATIONS if name.startswith("table 5")]
PLAN = [  # set, configurations, seeds
    ("usps", ["KMeans", "DCEC"], 5),
    ("mnist_test", ["KMeans", "DCEC"], 5),
    ("digits", ["KMeans", "DCEC", "DCEC, flat rows"], 5),
    ("coil20_32", ["KMeans", "DCEC"], 5),
    ("optdigits", ["KMeans", "DCEC"], 5),
    ("usps", ["SpectralClustering", "DualAESpectral"], 5),
    ("mnist_test", ["SpectralClustering", "DualAESpectral"], 5),
    ("digits", ["SpectralClustering", "DualAESpectral", "DualAESpectral, flat rows"], 5),
    ("coil20_32", ["SpectralClustering", "DualAESpectral"], 5),
    ("optdigits", ["SpectralClustering", "DualAESpectral"], 5),
    ("r8", ["DualAESpectral"], 3),
    ("20newsgroups", ["DualAESpectral"], 3),
    ("fashion_10k", ["DualAESpectral"], 5),
    ("usps", ["SpectralClustering on latents", *NEIGHBOR_ROWS], 3),
    ("mnist_test", ["SpectralClustering on latents"], 3),
    ("usps", ["DCCS"], 5),
    ("mnist_test", ["DCCS"], 5),
    ("digits", ["DCCS"], 15),
    ("digits", ["DCCS, flat rows"], 5),
    ("digits", ["DCCS, adversarial, flat rows"], 3),
    ("optdigits", ["DCCS"], 5),
    ("coil20_32", ["DCCS"], 5),
    ("fashion_10k", ["DCCS"], 5),
    ("r8", ["DCCS"], 8),
    ("20newsgroups", ["DCCS"], 3),
    ("digits", TABLE_5_ROWS, 3),
    ("usps", ["DMAE"], 5),
    ("usps", ["DMAE, euclidean", "DMAE, AE+DMM", "DMAE, DMM"], 3),
    ("mnist_test", ["DMAE"], 5),
    ("mnist_test", ["DMAE, euclidean", "DMAE, AE+DMM", "DMAE, DMM"], 3),
    ("digits", ["DMAE"], 5),
    ("digits", ["DMAE, euclidean"], 3),
    ("digits", ["DMAE, flat rows"], 3),
    ("optdigits", ["DMAE"], 5),
    ("coil20_32", ["DMAE"], 5),
    ("r8", ["KMeans", "DCEC", *DMAE_ROWS], 3),
    ("20newsgroups", ["KMeans", "DCEC", *DMAE_ROWS], 3),
    ("fashion_10k", ["KMeans", "DCEC", "DMAE"], 5),
    ("usps", ["DCEC, flat rows", *PLAIN_ROWS], 5),
    ("mnist_test", ["DCEC, flat rows", *PLAIN_ROWS], 3),
]


def load(name, folder):
    """Flat rows, labels and image shape; pixels in [0, 1] where the paper's are."""
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y, (8, 8)
    if name in ("r8", "20newsgroups"):
        X = sp.load_npz(folder / f"{name}_tfidf2000.npz")
        return X, np.load(folder / f"{name}_y.npy"), None
    file = {"mnist_test": "mnist", "fashion_10k": "fashion_mnist"}.get(name, name)
    with np.load(folder / f"{file}.npz") as archive:
        X, y = archive["x"], archive["y"]
    rows = {"mnist_test": slice(60_000, None), "fashion_10k": slice(10_000)}.get(name, slice(None))
    X, y = X[rows].astype(np.float32), y[rows]
    X = (X - X.min()) / (X.max() - X.min())
    return X.reshape(len(X), -1), y, X.shape[1:]


def run(configuration, name, seed, folder, memory):
    X, y, image_shape = load(name, folder)
    n_clusters = len(np.unique(y))
    estimator, parameters = CONFIGURATIONS[configuration]
    takes_images = "image_shape" in inspect.signature(estimator).parameters
    if takes_images and not configuration.endswith(("flat rows", ", DMM")):
        parameters = parameters | {"image_shape": image_shape}
    model = estimator(n_clusters, random_state=seed, **parameters)
    if configuration.startswith("no augmentation"):
        model.set_params(memory=memory)  # the rows share their autoencoders
    labels, fit = timed(model.fit_predict, X)
    return {
        "configuration": configuration,
        "set": name,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
        **fit,
        "epochs": getattr(model, "n_iter_", None),
        "converged": getattr(model, "converged_", None),
        **provenance(),
    }


def table():
    """Mean +- standard deviation over seeds, "not run" where there is none."""
    print(f"{'set':14}{'configuration':32}{'n':>3}", end="")
    print(f"{'ACC':>15}{'NMI':>16}{'ARI':>16}{'min ACC':>9}{'seconds':>9}")
    results = done(RESULTS)
    for name, configurations, _ in PLAN:
        for configuration in configurations:
            rows = [r for r in results if (r["set"], r["configuration"]) == (name, configuration)]
            print(f"{name:14}{configuration:32}", end="")
            if not rows:
                print("  not run")
                continue
            cells = []
            for metric in ("acc", "nmi", "ari"):
                values = [row[metric] for row in rows]
                cells.append(spread(values))
            # None where the machine paused the run
            known = [row["seconds"] for row in rows if row["seconds"] is not None]
            seconds = f"{np.mean(known):.1f}" if known else "-"
            worst = min(row["acc"] for row in rows)
            print(f"{len(rows):3}  " + "  ".join(cells) + f"{worst:9.3f}{seconds:>9}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument(
        "--only", nargs="+", default=[], help="words that set or configuration must hold"
    )
    parser.add_argument("--memory", default=None, help="folder where pretrained networks are kept")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        table()
        raise SystemExit
    for name, configurations, n_seeds in PLAN:
        for seed in range(n_seeds):
            for configuration in configurations:
                words = f"{name} {configuration}"
                if not all(word in words for word in options.only):
                    continue
                key = (configuration, name, seed)
                known = done(RESULTS)
                if key in [(r["configuration"], r["set"], r["seed"]) for r in known]:
                    continue
                result = run(configuration, name, seed, options.data, options.memory)
                keep(result, RESULTS)
                print(
                    *key,
                    f"{result['acc']:.3f} {result['nmi']:.3f} {result['seconds']:.0f} s",
                    flush=True,
                )
