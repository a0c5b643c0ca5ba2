"""
Four pictures of a fit
======================

Look at a partition before you trust it. :mod:`skdeepcluster.inspection` shows how training went,
where the samples lie in the embedding, what each cluster contains, and what the decoder
reconstructs. The data are images of five digits; KMeans is there for comparison.
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
# a short training, so that this page is built quickly
model = DCEC(5, image_shape=(8, 8), pretrain_epochs=60, max_epochs=40, n_init=1, random_state=0)
model.fit(X)
for each in (k_means, model):
    print(f"{type(each).__name__:8} accuracy {clustering_accuracy(y, each.labels_):.3f}")

# %%
# Training
# --------
# If the losses still fall in the last epochs, train longer: raise ``max_epochs``. If the size of a
# cluster goes to zero, ``n_clusters`` may be too large.

TrainingCurveDisplay.from_estimator(model)
plt.show()

# %%
# Embedding
# ---------
# Both plots show the same t-SNE of the embedding of DCEC. The colours are the clusters of KMeans on
# the left, and those of DCEC on the right. Separate clusters are no proof: training separates
# clusters, right or wrong. The accuracies above say more.

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
# Each row is a cluster: its mean, its most typical samples and its least typical samples. Look
# at the least typical samples first: most mistakes are among them.

ClusterGalleryDisplay.from_estimator(model, X)
plt.show()

# %%
# Reconstructions and prototypes
# ------------------------------
# The upper picture shows samples and their reconstructions. A difference is what the embedding does
# not keep. The lower picture shows the decoded center of each cluster.

ReconstructionDisplay.from_estimator(model, X, random_state=0)
plt.show()
