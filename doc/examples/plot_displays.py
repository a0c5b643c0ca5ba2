"""
Four pictures of a fit
======================

Before a partition is believed it should be looked at. :mod:`skdeepcluster.inspection` draws how
training went, where samples lie in the embedding, what is in the clusters, and what the decoder
makes of it. On images of five digits, beside KMeans.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from skdeepcluster import DCEC
from skdeepcluster.inspection import (
    ClusterGalleryDisplay,
    EmbeddingDisplay,
    ReconstructionDisplay,
    TrainingCurveDisplay,
)
from skdeepcluster.metrics import clustering_accuracy

X, y = load_digits(n_class=5, return_X_y=True)
k_means = KMeans(5, n_init=10, random_state=0).fit(X)
# shorter than by default, for these pages
model = DCEC(5, image_shape=(8, 8), pretrain_epochs=60, max_epochs=40, n_init=1, random_state=0)
model.fit(X)
for each in (k_means, model):
    print(f"{type(each).__name__:8} accuracy {clustering_accuracy(y, each.labels_):.3f}")

# %%
# Training
# --------
# Losses that still fall in the last epochs ask for a larger budget. A cluster whose size goes to
# zero is dying.

TrainingCurveDisplay.from_estimator(model)
plt.show()

# %%
# Embedding
# ---------
# Colours are the clusters, at the left those of KMeans, at the right those of the estimator, on the
# same t-SNE of the embedding. That the clusters of DCEC are apart here proves nothing: training
# pulls clusters apart, right ones and wrong ones. The accuracies above say more.

figure, panels = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
for panel, each in zip(panels, (k_means, model), strict=True):
    EmbeddingDisplay.from_estimator(
        model, X, labels=each.labels_, method="tsne", random_state=0, ax=panel
    )
    panel.set_title(type(each).__name__)
plt.show()

# %%
# Clusters
# --------
# The least typical samples are where mistakes are seen first.

ClusterGalleryDisplay.from_estimator(model, X)
plt.show()

# %%
# Reconstructions and prototypes
# ------------------------------

ReconstructionDisplay.from_estimator(model, X, random_state=0)
plt.show()
