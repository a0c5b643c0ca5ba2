"""Tables of numbers and categories with missing values, into mixed_tables.jsonl.

    python doc/benchmarks/mixed_tables.py                           # all that is missing
    python doc/benchmarks/mixed_tables.py --only KMeans Gaussian    # estimators with these words
    python doc/benchmarks/mixed_tables.py --one-hot 1 --sets plain  # one weight, one table
    python doc/benchmarks/mixed_tables.py --table                   # of what was run

Five made tables with known segments, the same with one more column that says nothing about the
segments (one of two answers, or one of 80 towns), a survey whose answers count as categories, the
penguins of the package palmerpenguins (left out where it is not installed), and the wines and
tumours of scikit-learn. Each estimator clusters the same preprocessed columns, once with one-hot
columns as they are and once divided by sqrt(2). The first five were fixed before the first result
was seen. Labels are read after a fit, for its score.
"""

import argparse
import json
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from records import done, keep, provenance, spread, timed
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral

RESULTS = Path(__file__).with_suffix(".jsonl")
N_SEEDS = 3
N_ROWS, N_NUMBERS, N_VALUES = 3000, 6, (2, 3, 4, 6)
MISSING = 0.06
N_ANSWERS = 12  # from 1 to 5, in three segments
# segments in percent, distance of their means, log-normal columns, correlation, random categories
MADE = {
    "plain": ((35, 25, 20, 12, 8), 1.2, 0, 0.0, 0.3),
    "skewed": ((40, 30, 20, 10), 1.2, 3, 0.0, 0.3),
    "correlated": ((35, 25, 20, 12, 8), 1.2, 0, 0.7, 0.3),
    "few": ((55, 30, 15), 0.9, 2, 0.4, 0.5),
    "many": ((30, 22, 18, 14, 10, 6), 1.5, 2, 0.4, 0.4),
}
MEANINGLESS = ("yes/no", "town")  # one more column, which has nothing to do with the segments
SETS = (
    *MADE,
    *(f"{name}, {column}" for column, name in product(MEANINGLESS, MADE)),
    "answers",
    "penguins",
    "wine",
    "breast_cancer",
)
ONE_HOT = {"1": 1.0, "1/sqrt(2)": 0.5**0.5}
ESTIMATORS = {
    "KMeans": partial(KMeans, n_init=10),
    "GaussianMixture": GaussianMixture,
    "DCEC": partial(DCEC, scaling="none"),
    "DMAE": partial(DMAE, scaling="none"),
    "DMAE, euclidean, no network": partial(
        DMAE, dissimilarity="euclidean", architecture=None, scaling="none"
    ),
    "DualAESpectral": partial(DualAESpectral, scaling="none"),
    "DCCS": partial(DCCS, scaling="none"),
}


def make_table(percent, separation, n_skewed, correlation, randomness, seed):
    """Segments that are Gaussian, in the logarithm for skewed columns, each with its own values."""
    rng = np.random.default_rng(seed)
    n_clusters = len(percent)
    y = rng.permutation(np.repeat(range(n_clusters), np.array(percent) * N_ROWS // 100))
    covariance = np.full((N_NUMBERS, N_NUMBERS), correlation)
    np.fill_diagonal(covariance, 1.0)
    means = separation * rng.normal(size=(n_clusters, N_NUMBERS))
    numbers = means[y] + rng.multivariate_normal(np.zeros(N_NUMBERS), covariance, N_ROWS)
    numbers[:, :n_skewed] = np.exp(0.5 * numbers[:, :n_skewed])
    table = pd.DataFrame(numbers * 10.0 ** np.arange(N_NUMBERS)).add_prefix("number")
    for j, n_values in enumerate(N_VALUES):
        usual = rng.integers(n_values, size=n_clusters)[y]
        random = rng.integers(n_values, size=N_ROWS)
        values = np.where(rng.random(N_ROWS) < randomness, random, usual)
        table[f"category{j}"] = [f"value {value}" for value in values]
    for name in ("number0", "number2", "number4", "category1", "category3"):
        table[name] = table[name].mask(rng.random(N_ROWS) < MISSING)
    return table, y


def load(name):
    """The table and its true labels."""
    made, _, column = name.partition(", ")
    if made in MADE:
        table, y = make_table(*MADE[made], seed=list(MADE).index(made))
        if column == "yes/no":
            table[column] = np.where(np.random.default_rng(0).random(N_ROWS) < 0.4, "yes", "no")
        if column == "town":
            table[column] = np.random.default_rng(0).integers(80, size=N_ROWS).astype(str)
        return table, y
    if name == "answers":
        rng = np.random.default_rng(0)
        y = rng.integers(3, size=N_ROWS)
        opinions = rng.uniform(1.5, 4.5, (3, N_ANSWERS))[y] + rng.normal(size=(N_ROWS, N_ANSWERS))
        return pd.DataFrame(opinions.round().clip(1, 5).astype(str)), y
    if name == "penguins":
        from palmerpenguins import load_penguins

        table = load_penguins()
        return table.drop(columns=["species", "year"]), table["species"]
    loader = {"wine": load_wine, "breast_cancer": load_breast_cancer}[name]
    return loader(return_X_y=True, as_frame=True)


def preprocessing(one_hot):
    """Numbers with variance 1, categories as one-hot columns with a weight."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)
    )
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ],
        transformer_weights={"categories": ONE_HOT[one_hot]},
    )


def run(name, one_hot, estimator, seed):
    table, y = load(name)
    X = preprocessing(one_hot).fit_transform(table)
    model = ESTIMATORS[estimator](len(np.unique(y)), random_state=seed)
    labels, fit = timed(model.fit_predict, X)
    return {
        "set": name,
        "one_hot": one_hot,
        "estimator": estimator,
        "seed": seed,
        "ari": adjusted_rand_score(y, labels),
        **fit,
        **provenance(),
    }


def print_table():
    print(
        f"{'set':20}{'one-hot':11}{'estimator':29}{'n':>3}{'ARI':>16}{'- KMeans':>10}{'CPU s':>8}"
    )
    results = done(RESULTS)
    for name in SETS:
        for one_hot in choices(name):
            shallow = float("nan")
            for estimator in ESTIMATORS:
                key = (name, one_hot, estimator)
                rows = [r for r in results if (r["set"], r["one_hot"], r["estimator"]) == key]
                begin = f"{name:20}{one_hot:11}{estimator:29}"
                if not rows:
                    print(f"{begin}  not run")
                    continue
                ari = [row["ari"] for row in rows]
                if estimator == "KMeans":
                    shallow = np.mean(ari)
                seconds = np.mean([row["cpu_seconds"] for row in rows])
                difference = np.mean(ari) - shallow
                print(f"{begin}{len(rows):3}{spread(ari):>16}{difference:+10.3f}{seconds:8.1f}")


def choices(name):
    """Weights of one-hot columns; one for tables without categories."""
    return ["1"] if name in ("wine", "breast_cancer") else list(ONE_HOT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    parser.add_argument("--only", nargs="+", default=[""], help="words, one in the estimator")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--one-hot", nargs="+", default=ONE_HOT, choices=ONE_HOT)
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="number of seeds")
    options = parser.parse_args()
    if options.table:
        print_table()
        raise SystemExit
    if find_spec("palmerpenguins") is None:
        print("penguins left out: pip install palmerpenguins")
        options.sets = [name for name in options.sets if name != "penguins"]
    for seed, name in product(range(options.seeds), options.sets):
        for one_hot, estimator in product(choices(name), ESTIMATORS):
            key = (name, one_hot, estimator, seed)
            chosen = one_hot in options.one_hot and any(w in estimator for w in options.only)
            known = [(r["set"], r["one_hot"], r["estimator"], r["seed"]) for r in done(RESULTS)]
            if chosen and key not in known:
                result = run(*key)
                keep(result, RESULTS)
                print(json.dumps(result), flush=True)
