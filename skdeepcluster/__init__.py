"""Deep clustering with the interface of scikit-learn, on PyTorch."""

from ._dcec import DCEC
from ._version import __version__

__all__ = ["DCEC", "__version__"]
