"""The chart of README, doc/_static/accuracy.png, from the committed results.

From the root of a checkout:

    python doc/benchmarks/chart.py

It reads accuracy.jsonl (KMeans and ours), compare.jsonl (other packages) and embeddings.jsonl (the
photographs), and runs nothing. The large dot is the estimator that doc/choosing.rst names first
for this kind of data, not the best of our four. "best other" is the best of the methods
that compare.py or embeddings.py ran on this set, KMeans and UMAP+KMeans left out.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from records import OURS, done

FOLDER = Path(__file__).parent
CHART = FOLDER.parent / "_static" / "accuracy.png"
SETS = {  # title and recommended estimator
    "digits": ("digits, 8 x 8", "DCCS"),
    "optdigits": ("optdigits, 8 x 8", "DCCS"),
    "usps": ("USPS digits, 16 x 16", "DCCS"),
    "mnist_test": ("MNIST test set, 28 x 28", "DCCS"),
    "coil20_32": ("COIL-20 objects, 32 x 32", "DCCS"),
    "cifar10_efflite0": ("CIFAR-10 photos, features", "DCCS"),
    "20newsgroups": ("20newsgroups, tf-idf", "DCEC"),
    "r8": ("R8 news, tf-idf", "DCEC"),
}
SHORT = {"KMeans of unit rows": "KMeans", "UMAP(5, cosine) + KMeans": "UMAP+KMeans"}


def accuracies():
    """Mean ACC over seeds, for each set a dict of methods."""
    rows = [(r["set"], r["configuration"], r) for r in done(FOLDER / "accuracy.jsonl")]
    rows = [row for row in rows if row[1] in {"KMeans", *OURS}]
    rows += [
        (r["set"], r["method"], r)
        for r in done(FOLDER / "compare.jsonl")
        if "failed" not in r and r["method"] != "KMeans"
    ]
    rows += [
        (r["set"], SHORT.get(r["estimator"], r["estimator"]), r)
        for r in done(FOLDER / "embeddings.jsonl")
    ]
    runs = {name: {} for name in SETS}
    for name, method, row in rows:
        if name in runs:
            runs[name].setdefault(method, []).append(row["acc"])
    return {
        name: {method: np.mean(values) for method, values in methods.items()}
        for name, methods in runs.items()
    }


def draw(means):
    figure, axes = plt.subplots(figsize=(7.5, 5.4), layout="constrained")
    for height, (name, (_, recommended)) in enumerate(SETS.items()):
        acc = means[name]
        others = {m: a for m, a in acc.items() if m not in {"KMeans", "UMAP+KMeans", *OURS}}
        best = max(others, key=others.get)
        axes.axhline(height, color="0.93", zorder=0)
        for index, (method, value, style) in enumerate(
            [
                ("KMeans", acc["KMeans"], {"color": "0.55", "marker": "s"}),
                ("UMAP + KMeans", acc["UMAP+KMeans"], {"color": "C1", "marker": "^"}),
                ("best other method", others[best], {"color": "C3", "marker": "D"}),
                *(
                    ("our other three", acc[ours], {"color": "C0", "s": 16, "alpha": 0.6})
                    for ours in OURS
                    if ours != recommended
                ),
                ("ours, as recommended", acc[recommended], {"color": "C0", "s": 110, "zorder": 1}),
            ]
        ):
            seen = height or index in (4, 5)  # one entry of the legend for each kind of mark
            # the large dot lies below: it would hide a method that is as good
            axes.scatter(value, height, label=None if seen else method, **{"zorder": 2, **style})
        axes.annotate(
            best, (others[best], height), (0, -15), textcoords="offset points", ha="center",
            color="C3", fontsize=9,
        )  # fmt: skip
        axes.annotate(
            recommended, (acc[recommended], height), (0, 8), textcoords="offset points",
            ha="center", color="C0", fontsize=9,
        )  # fmt: skip
    axes.set(
        yticks=range(len(SETS)),
        yticklabels=[title for title, _ in SETS.values()],
        xlim=(0.3, 1.02),
        ylim=(len(SETS) - 0.4, -0.6),
        xlabel="ACC: share in the right cluster (mean over seeds)",
    )
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=11)
    figure.savefig(CHART, dpi=110)


if __name__ == "__main__":
    plt.switch_backend("agg")
    plt.rcParams["font.size"] = 11  # readable on a phone
    draw(accuracies())
