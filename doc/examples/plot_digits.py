"""
Handwritten digits: KMeans beside DCCS
======================================

The 1797 digits of scikit-learn are images of 8 x 8 pixels. Clusters of pixels are not clusters of
digits: a digit that is written one pixel further to the right is far away in pixel space.
:class:`~skdeepcluster.DCCS` learns an embedding in which a slightly moved or bent digit stays where
it is, and clusters that.

Labels are used only to say afterwards how good the clusters are.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from skdeepcluster import DCCS
from skdeepcluster.metrics import clustering_accuracy

X, y = load_digits(return_X_y=True)

k_means = KMeans(10, n_init=10, random_state=0).fit(X)
model = DCCS(10, image_shape=(8, 8), random_state=0).fit(X)

for each in (k_means, model):
    print(f"{type(each).__name__:8} accuracy {clustering_accuracy(y, each.labels_):.3f}")

# %%
# What the clusters are
# ---------------------
# The prototype of a cluster is its center, for the network one decoded from the embedding. Where
# KMeans joins two digits the prototype is a blur of both.

prototypes = {
    "KMeans": k_means.cluster_centers_,
    "DCCS": model.inverse_transform(model.cluster_centers_),
}
figure, axes = plt.subplots(2, 10, figsize=(9, 2.4), layout="constrained")
for row, (name, images) in zip(axes, prototypes.items(), strict=True):
    for panel, image in zip(row, images, strict=True):
        panel.imshow(image.reshape(8, 8), cmap="gray_r")
        panel.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# %%
# How sure
# --------
# ``predict_proba`` gives the probability of each cluster. The images with the least sure labels are
# those one would look at first.

sure = model.predict_proba(X).max(axis=1)
wanted = sure.argsort()[:10]
figure, axes = plt.subplots(1, 10, figsize=(9, 1.5), layout="constrained")
for panel, index in zip(axes, wanted, strict=True):
    panel.imshow(X[index].reshape(8, 8), cmap="gray_r")
    panel.set(xticks=[], yticks=[], title=f"{sure[index]:.2f}")

plt.show()
