"""
How many clusters
=================

No estimator here finds the number of clusters. What can be measured, without labels, for each
number? On images of six digits, so that we know what should come out:

* prediction strength: whether a fit to other samples finds the same clusters
  (:class:`~skdeepcluster.metrics.StabilityScorer`),
* the silhouette of the clusters in the space of the samples
  (:class:`~skdeepcluster.metrics.SilhouetteScorer`).
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold, cross_validate

from skdeepcluster import DualAESpectral
from skdeepcluster.metrics import SilhouetteScorer, StabilityScorer

X, _ = load_digits(n_class=6, return_X_y=True)
models = [
    KMeans(n_init=10, random_state=0),
    # shorter than by default, for these pages
    DualAESpectral(image_shape=(8, 8), pretrain_epochs=80, max_epochs=50, random_state=0),
]
scoring = {"prediction strength": StabilityScorer(), "silhouette of samples": SilhouetteScorer()}
folds = KFold(2, shuffle=True, random_state=0)
numbers = [5, 6, 7, 8]

figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for model in models:
    scores = [
        cross_validate(model.set_params(n_clusters=number), X, scoring=scoring, cv=folds)
        for number in numbers
    ]
    for panel, name in zip(panels, scoring, strict=True):
        means = [score[f"test_{name}"].mean() for score in scores]
        panel.plot(numbers, means, marker="o", label=type(model).__name__)
        panel.set(xlabel="n_clusters", xticks=numbers, title=name)
        print(f"{type(model).__name__:15} {name:22}", *(f"{mean:.2f}" for mean in means))
panels[0].axhline(0.8, color="gray", linestyle=":")
panels[0].set_ylim(0, 1.02)
panels[0].legend()
plt.show()

# %%
# The authors of prediction strength take the largest number whose mean is at least 0.8 to 0.9 (the
# dotted line). For DualAESpectral that is six, the number of digits; for KMeans on the pixels no
# number gets there. The silhouette of the samples still rises after six for both: it favours
# clusters that are compact in pixels, and digits are not.
#
# The silhouette *in the embedding* is not drawn, as it is high for every number: training makes
# clusters tight there, right or wrong. ``score`` changes its scale with the number of clusters.
# Neither must be used to choose.
