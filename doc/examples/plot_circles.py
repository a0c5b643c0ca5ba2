"""
Two circles: spectral clustering that predicts
==============================================

KMeans cuts both circles in two. SpectralClustering follows them, but it labels the points it was
given and no others. :class:`~skdeepcluster.DualAESpectral` is a network that learns what spectral
clustering finds, so that it can say of any point to which circle it belongs.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import make_circles

from skdeepcluster import DualAESpectral
from skdeepcluster.metrics import clustering_accuracy

X, y = make_circles(1000, noise=0.05, factor=0.5, random_state=0)
models = [
    KMeans(2, n_init=10, random_state=0),
    SpectralClustering(2, gamma=100, random_state=0),
    DualAESpectral(2, random_state=0),
]
for model in models:
    labels = model.fit_predict(X)
    print(f"{type(model).__name__:20} accuracy {clustering_accuracy(y, labels):.3f}")

# %%
# What each says of the plane
# ---------------------------
# The background is the answer of ``predict``. SpectralClustering has none. Far from the samples,
# as in the corners, a network extrapolates, and its answer there means nothing.

grid = np.stack(np.meshgrid(np.linspace(-1.3, 1.3, 120), np.linspace(-1.3, 1.3, 120)), axis=-1)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.5), layout="constrained")
for panel, model in zip(axes, models, strict=True):
    if hasattr(model, "predict"):
        regions = model.predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        panel.contourf(grid[..., 0], grid[..., 1], regions, levels=1, alpha=0.25, cmap="coolwarm")
    panel.scatter(*X.T, c=model.labels_, s=6, cmap="coolwarm")
    panel.set(title=type(model).__name__, xticks=[], yticks=[], aspect="equal")

plt.show()
