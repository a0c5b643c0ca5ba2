"""Pictures of fitted estimators, as scikit-learn's Displays.

Each class is made by ``from_estimator`` and holds what was computed; ``plot`` draws it, again if
need be. An estimator is a fitted one of this package, or a fitted
:class:`~sklearn.pipeline.Pipeline` whose last step is one: then ``X`` is what the pipeline takes,
and what is drawn is what its last step sees, ``pipeline[:-1].transform(X)``. Matplotlib is needed,
and imported, only here. Legends stand beside the axes: give a figure that holds several Displays
``layout="constrained"``, which makes room for them.
"""

from .cluster_gallery import ClusterGalleryDisplay
from .embedding import EmbeddingDisplay
from .reconstruction import ReconstructionDisplay
from .training_curve import TrainingCurveDisplay

__all__ = [
    "ClusterGalleryDisplay",
    "EmbeddingDisplay",
    "ReconstructionDisplay",
    "TrainingCurveDisplay",
]
