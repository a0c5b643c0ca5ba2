"""
What training did: losses, label changes, embedding
===================================================

``history_`` holds a row for each epoch. Losses say whether training has settled, label changes
whether clusters still move. The embedding, drawn in the plane by t-SNE, shows which clusters are
apart."""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE

from skdeepcluster import DCEC
from skdeepcluster.metrics import clustering_accuracy

X, y = load_digits(n_class=5, return_X_y=True)
k_means = KMeans(5, n_init=10, random_state=0).fit(X)
# shorter than by default, for these pages
model = DCEC(
    5, image_shape=(8, 8), pretrain_epochs=60, max_epochs=40, n_init=1, random_state=0
).fit(X)

phases = {}
for row in model.history_:
    phases.setdefault(row["phase"], []).append(row)

figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
first = 0
for phase, rows in phases.items():
    epochs = range(first, first + len(rows))
    panels[0].plot(epochs, [row["reconstruction"] for row in rows], label=phase)
    first += len(rows)
panels[0].set(xlabel="epoch", title="reconstruction loss")
panels[0].legend()
panels[1].plot([row["label_change"] for row in phases["cluster"]])
panels[1].set(xlabel="epoch of the last phase", title="share of labels that changed")

# %%
# Colours are the clusters that each method found. KMeans cuts through what lies together in its
# own space, the pixels; the clusters of DCEC are apart in the embedding. That alone proves
# nothing, as training pulls clusters apart, right ones and wrong ones; the accuracies do.

spaces = {"KMeans, pixels": (X, k_means), "DCEC, embedding": (model.transform(X), model)}
figure, panels = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for panel, (name, (space, each)) in zip(panels, spaces.items(), strict=True):
    points = TSNE(max_iter=500, random_state=0).fit_transform(space)
    panel.scatter(*points.T, c=each.labels_, cmap="tab10", vmax=9, s=6)
    accuracy = clustering_accuracy(y, each.labels_)
    panel.set(title=f"{name}: accuracy {accuracy:.3f}", xticks=[], yticks=[])

plt.show()
