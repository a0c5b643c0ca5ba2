"""
How many clusters
=================

No estimator here finds the number of clusters. What can be looked at, without labels, for each
number? On images of six digits, so that we know what should come out:

* the silhouette of the labels *in the space of the samples*,
* the silhouette *in the embedding*,
* the agreement of two seeds (adjusted Rand index).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, silhouette_score

from skdeepcluster import DualAESpectral

X, _ = load_digits(n_class=6, return_X_y=True)
numbers = [4, 5, 6, 7, 8]
rows = []
for n_clusters in numbers:
    baseline = KMeans(n_clusters, n_init=10, random_state=0).fit(X)
    model, other = (
        DualAESpectral(
            n_clusters,
            image_shape=(8, 8),
            pretrain_epochs=50,  # shorter than by default, for these pages
            max_epochs=30,
            random_state=seed,
        ).fit(X)
        for seed in (0, 1)
    )
    rows.append(
        [
            silhouette_score(X, baseline.labels_),
            silhouette_score(X, model.labels_),
            silhouette_score(model.transform(X), model.labels_),
            adjusted_rand_score(model.labels_, other.labels_),
        ]
    )
table = np.array(rows)

names = [
    "KMeans, silhouette of samples",
    "DualAESpectral, silhouette of samples",
    "DualAESpectral, silhouette of embedding",
    "DualAESpectral, agreement of two seeds",
]
figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for column, name in enumerate(names):
    panels[column // 2].plot(numbers, table[:, column], marker="o", label=name)
for panel in panels:
    panel.set(xlabel="n_clusters", xticks=numbers)
    panel.legend()
panels[1].set_ylim(0, 1.02)
plt.show()

# %%
# The silhouette of the embedding is high for every number: training makes clusters tight there,
# right or wrong. It says nothing, and must not be used to choose. Nor must ``score``, which
# changes its scale with the number of clusters.
#
# The silhouette of the samples rises to six, and hardly any more after that. That bend is a hint,
# no proof: to cut a digit into its two ways of writing is also a fair partition. Seeds that
# disagree tell of a number that does not fit; that they agree does not tell that it does.
