"""Deep clustering with the interface of scikit-learn, on PyTorch."""

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
