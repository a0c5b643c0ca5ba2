"""Rows of the papers' tables by the papers' own protocols, into papers.jsonl.

    python doc/benchmarks/papers.py --data data  # all that is missing
    python doc/benchmarks/papers.py --data data --only dcec_1 usps "DEC-conv"
    python doc/benchmarks/papers.py --table      # beside print

Every run is one line. A run that was interrupted goes on from `--checkpoint`, a folder. The rows of
a table that pretrain the same autoencoder share it through `--memory`, a folder. The labels are
read after a fit, for its scores.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from accuracy import load
from curve import Accuracies
from records import done, keep, provenance, spread, timed
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
ONLY_CLUSTERING = {"reconstruction_weight": 0.0, "gamma": 1.0}  # DEC has no decoder in this phase
DENSE = {"architecture": "mlp", "hidden_units": (500, 500, 2000)}

# Lara and Gonzalez 2020 search learning rates and epochs; these are of their released scripts, with
# Adam for pretraining, too. Their clustering loss is a sum over a batch of 256
DMAE_PAPER = {
    "hidden_units": (500, 500, 2000),
    "scaling": "none",
    "init": "k-means",
    "n_init": 1,
    "pretrain_epochs": 500,
    "max_epochs": 77,
    "learning_rate": 1e-3,
    "objective": "paper",
    "tol": 0.0,
    "precision": "32",
}
DMAE_RATE = 1e-5  # of the clustering phase
DMM = {"architecture": None, "scaling": "none", "objective": "paper", "precision": "32"}
NO_MI, NO_RS = {"mutual_information": None}, {"relative_weight": 0.0}
NO_PRIOR = NO_MI | {"prior_weight": 0.0}  # Yang et al. 2019, equation 6: it is a part of that term
NO_AUG = {"augmentation_weight": 0.0}

ROWS = {
    "dcec_1": {  # Guo et al. 2017, table 1
        "CAE + k-means": (DCEC, DCEC.PAPER | {"max_epochs": 0}),
        "DCEC": (DCEC, DCEC.PAPER),
        "DEC-conv": (DCEC, DCEC.PAPER | ONLY_CLUSTERING),
        "SAE + k-means": (DCEC, DCEC.PAPER | DENSE | {"max_epochs": 0}),
        "IDEC": (DCEC, DCEC.PAPER | DENSE),
        "DEC": (DCEC, DCEC.PAPER | DENSE | ONLY_CLUSTERING),
    },
    "dmae_3": {  # Lara and Gonzalez 2020, table 3
        "DMM": (DMAE, DMM),
        "AE+DMM": (DMAE, DMAE_PAPER | {"train_encoder": False}),
        "DMAE": (DMAE, DMAE_PAPER | {"clustering_weight": 2.56, "reconstruction_weight": 0.0}),
    },
    "dual_ae_4": {  # Yang et al. 2019, table 4
        "ConvAE": (DualAESpectral, DualAESpectral.PAPER | NO_PRIOR | NO_RS | {"max_epochs": 0}),
        "ConvAE+MI": (DualAESpectral, DualAESpectral.PAPER | NO_RS | {"max_epochs": 0}),
        "ConvAE+RS": (DualAESpectral, DualAESpectral.PAPER | NO_PRIOR | {"max_epochs": 0}),
        "ConvAE+MI+RS": (DualAESpectral, DualAESpectral.PAPER | {"max_epochs": 0}),
        "full": (DualAESpectral, DualAESpectral.PAPER),
        "ConvAE, 10": (  # latents, not 120
            DualAESpectral,
            DualAESpectral.PAPER | NO_PRIOR | NO_RS | {"max_epochs": 0, "n_components": 10},
        ),
    },
    "dccs_5": {  # Zhao et al. 2020, table 5
        "M1, Adv": (DCCS, DCCS.PAPER | NO_MI | NO_AUG),
        "M2, Adv+MI": (DCCS, DCCS.PAPER | NO_AUG),
        "M3, Adv+Aug": (DCCS, DCCS.PAPER | NO_MI),
        "M4, all": (DCCS, DCCS.PAPER),
    },
}
SEEDS = {
    "dcec_1": {"usps": 3, "mnist_test": 1},
    "dmae_3": {"usps": 3},
    "dual_ae_4": {"usps": 3, "mnist_test": 1},
    "dccs_5": {"digits": 1, "usps": 1},
}
# ACC and NMI in print
PRINT = {
    ("dcec_1", "usps"): {
        "CAE + k-means": (0.7415, 0.7330),
        "DCEC": (0.7900, 0.8257),
        "DEC-conv": (0.7790, 0.8108),
        "SAE + k-means": (0.6165, 0.5727),
        "IDEC": (0.7210, 0.7323),
        "DEC": (0.6928, 0.7018),
    },
    ("dcec_1", "mnist_test"): {
        "CAE + k-means": (0.7900, 0.7255),
        "DCEC": (0.8529, 0.8361),
        "DEC-conv": (0.8483, 0.8262),
        "SAE + k-means": (0.6681, 0.5959),
        "IDEC": (0.7145, 0.6940),
        "DEC": (0.6994, 0.6769),
    },
    ("dmae_3", "usps"): {
        "DMM": (0.659, 0.611),
        "AE+DMM": (0.937, 0.863),
        "DMAE": (0.965, 0.952),
    },
    ("dual_ae_4", "usps"): {
        "ConvAE": (0.698, 0.652),
        "ConvAE+MI": (0.785, 0.744),
        "ConvAE+RS": (0.798, 0.752),
        "ConvAE+MI+RS": (0.831, 0.827),
        "full": (0.869, 0.857),
        "ConvAE, 10": (np.nan, np.nan),
    },
    ("dual_ae_4", "mnist_test"): {
        "ConvAE": (0.781, 0.751),
        "ConvAE+MI": (0.844, 0.796),
        "ConvAE+RS": (0.850, 0.801),
        "ConvAE+MI+RS": (0.961, 0.914),
        "full": (0.980, 0.946),
        "ConvAE, 10": (np.nan, np.nan),
    },
    ("dccs_5", "digits"): dict.fromkeys(ROWS["dccs_5"], (np.nan, np.nan)),  # not in print
    ("dccs_5", "usps"): dict.fromkeys(ROWS["dccs_5"], (np.nan, np.nan)),  # not in print
}


def fit_in_two_parts(model, X):
    """Labels of DMAE with another learning rate in its clustering phase."""
    max_epochs = model.max_epochs
    model.set_params(max_epochs=0).fit(X)
    model.set_params(warm_start=True, learning_rate=DMAE_RATE, max_epochs=max_epochs)
    return model.fit_predict(X)


def run(table, row, name, seed, options):
    X, y, image_shape = load(name, options.data)
    estimator, parameters = ROWS[table][row]
    model = estimator(len(np.unique(y)), random_state=seed, **parameters)
    model.set_params(checkpoint=options.checkpoint, memory=options.memory)
    if row != "DMM":
        model.set_params(image_shape=image_shape)
    if table == "dual_ae_4":  # its errors are sums over pixels
        for weight in ("reconstruction_weight", "relative_weight"):
            model.set_params(**{weight: getattr(model, weight) * X.shape[1] / 784})
    accuracies = Accuracies(y, every=50)
    if table == "dccs_5":
        X = 2 * X - 1  # pixels from -1 to 1
        model.set_params(callbacks=[accuracies])
    if (table, row) == ("dmae_3", "DMAE"):
        labels, fit = timed(fit_in_two_parts, model, X)
    else:
        labels, fit = timed(model.fit_predict, X)
    return {
        "table": table,
        "row": row,
        "set": name,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        "ari": adjusted_rand_score(y, labels),
        **fit,
        "epochs": model.n_iter_,
        "converged": model.converged_,
        **({"curve": accuracies.found} if accuracies.found else {}),  # ACC after these epochs
        **provenance(),
    }


def table():
    """Mean and standard deviation over seeds beside the figures in print."""
    print(f"{'table':12}{'set':12}{'row':16}{'n':>2}{'ACC':>16}{'print':>7}{'NMI':>16}{'print':>7}")
    results = done(RESULTS)
    for (name, data), rows in PRINT.items():
        for row, (acc, nmi) in rows.items():
            key = (name, data, row)
            found = [r for r in results if (r["table"], r["set"], r["row"]) == key]
            ours = [spread([r[m] for r in found]) if found else "not run" for m in ("acc", "nmi")]
            print(f"{name:12}{data:12}{row:16}{len(found):2}", end="")
            print(f"{ours[0]:>16}{acc:7.3f}{ours[1]:>16}{nmi:7.3f}")


def missing(words):
    """The runs that the file of results lacks, seed by seed."""
    known = {(r["table"], r["row"], r["set"], r["seed"]) for r in done(RESULTS)}
    for name, sets in SEEDS.items():
        for data, seeds in sets.items():
            for seed, row in product(range(seeds), ROWS[name]):
                key = (name, row, data, seed)
                if key not in known and set(words) <= {name, row, data}:
                    yield key


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", default=[], help="a table, a row, a set")
    parser.add_argument("--checkpoint", type=Path, help="folder of unfinished runs")
    parser.add_argument("--memory", type=Path, help="folder of pretrained autoencoders")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    known = {word for key in PRINT for word in key}.union(*ROWS.values())
    if unknown := set(options.only) - known:
        parser.error(f"--only takes {sorted(known)}, not {sorted(unknown)}")
    if options.table:
        table()
        raise SystemExit
    for key in missing(options.only):
        result = run(*key, options)
        keep(result, RESULTS)
        print(
            *key, f"{result['acc']:.3f} {result['nmi']:.3f} {result['seconds']:.0f} s", flush=True
        )
