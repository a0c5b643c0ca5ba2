"""
How many clusters
=================

:func:`~skdeepcluster.model_selection.suggest_n_clusters` suggests a number without labels. Here
the samples are images of ten digits, so that we know what should come out.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from skdeepcluster import DualAESpectral
from skdeepcluster.inspection import NClustersDisplay
from skdeepcluster.model_selection import suggest_n_clusters

X, y = load_digits(return_X_y=True)
model = DualAESpectral(image_shape=(8, 8), random_state=0)

suggestion = suggest_n_clusters(model, X, range(2, 17))
print(suggestion)

# %%
# The line shows how deep the valley is that separates the k-th dense region from the others. A bar
# shows by how much the next valley is shallower. The suggestion is the number with the longest bar.

NClustersDisplay.from_suggestion(suggestion)
plt.show()

# %%
# The suggestion is one too many. The digit 1 is written in two ways, and they are two dense
# regions: no method without labels can know that we want them in one cluster. So look at the
# clusters before you believe a number, for instance with
# :class:`~skdeepcluster.inspection.ClusterGalleryDisplay`.
