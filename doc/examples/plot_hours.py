"""
Hours of the day: KMeans beside DMAE
====================================

23 h and 1 h are two hours apart, but KMeans sees a distance of 22. :class:`~skdeepcluster.DMAE`
takes the dissimilarity that fits the columns: "toroidal" is the distance on a circle, here of 24
hours. There is no network in this: ``architecture=None`` clusters the columns themselves."""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans

from skdeepcluster import DMAE
from skdeepcluster.metrics import clustering_accuracy

rng = np.random.default_rng(0)
true_hours = [0.0, 8.0, 13.0]  # at night, in the morning, at noon
y = np.repeat([0, 1, 2], 200)
hours = rng.normal(np.take(true_hours, y), 1.3) % 24
X = hours[:, None]

k_means = KMeans(3, n_init=10, random_state=0).fit(X)
model = DMAE(
    3,
    dissimilarity="toroidal",
    dissimilarity_params={"period": 24},
    architecture=None,
    random_state=0,
).fit(X)
centers = model.inverse_transform(model.cluster_centers_)

for each in (k_means, model):
    print(f"{type(each).__name__:8} accuracy {clustering_accuracy(y, each.labels_):.3f}")
print("hours of the centers:", np.sort(centers.ravel()).round(1))

# %%
# The night is one cluster, across midnight.

figure, axes = plt.subplots(
    1, 2, figsize=(8, 4), layout="constrained", subplot_kw={"projection": "polar"}
)
for panel, each in zip(axes, (k_means, model), strict=True):
    for label in range(3):
        counts, edges = np.histogram(hours[each.labels_ == label], bins=48, range=(0, 24))
        panel.bar(edges[:-1] / 24 * 2 * np.pi, counts, width=2 * np.pi / 48, align="edge")
    panel.set_theta_zero_location("N")
    panel.set_theta_direction(-1)
    panel.set_xticks(np.arange(8) * np.pi / 4, [f"{3 * k} h" for k in range(8)])
    panel.set_yticks([])
    panel.set_title(type(each).__name__)

plt.show()
