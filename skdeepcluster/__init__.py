"""Deep clustering with the interface of scikit-learn, on PyTorch."""

from ._dcec import DCEC
from ._dmae import DMAE
from ._dual_ae_spectral import DualAESpectral
from ._version import __version__

__all__ = ["DCEC", "DMAE", "DualAESpectral", "__version__"]
