"""Deep clustering with the interface of scikit-learn, on PyTorch.

Which estimator first?

* Images: ``DCCS`` or ``DualAESpectral``.
* Embeddings of a pretrained network (photographs, sentences): ``DCCS`` or ``DualAESpectral``.
* Texts as tf-idf: ``DCEC`` or ``DMAE``.
* Tables: any, after encoding categories and imputing missing values.
* Curves and sheets in few dimensions: ``DualAESpectral``.
* Periodic columns, angles or shares: ``DMAE`` with ``architecture=None``.
* Round clusters, or a table or embeddings with fewer than about 300 rows:
  :class:`~sklearn.cluster.KMeans` is enough.
"""

from ._dccs import DCCS
from ._dcec import DCEC
from ._dmae import DMAE
from ._dual_ae_spectral import DualAESpectral
from ._export import export_onnx, export_torch
from ._saving import load_model, save_model
from ._version import __version__

__all__ = [
    "DCCS",
    "DCEC",
    "DMAE",
    "DualAESpectral",
    "__version__",
    "export_onnx",
    "export_torch",
    "load_model",
    "save_model",
]
