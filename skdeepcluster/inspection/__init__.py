"""Displays: pictures of fitted estimators, in the style of scikit-learn.

Make a Display with ``from_estimator``. It keeps the computed values, and ``plot`` draws them again.
The estimator is a fitted deep clustering estimator, or a fitted
:class:`~sklearn.pipeline.Pipeline` that ends with one. With a pipeline, pass the ``X`` that the
pipeline takes; the Display shows the samples as the last step sees them,
``pipeline[:-1].transform(X)``. :class:`ClusterSummaryDisplay` is different: it describes the
original table, takes any estimator with ``predict``, and can be made from labels.

The Displays need matplotlib, and import it only when they draw.
Legends are drawn to the right of the axes. If a figure holds several Displays, create it with
``layout="constrained"``, so that there is room for the legends.
"""

from .cluster_gallery import ClusterGalleryDisplay
from .cluster_summary import ClusterSummaryDisplay
from .embedding import EmbeddingDisplay
from .n_clusters import NClustersDisplay
from .reconstruction import ReconstructionDisplay
from .training_curve import TrainingCurveDisplay

__all__ = [
    "ClusterGalleryDisplay",
    "ClusterSummaryDisplay",
    "EmbeddingDisplay",
    "NClustersDisplay",
    "ReconstructionDisplay",
    "TrainingCurveDisplay",
]
