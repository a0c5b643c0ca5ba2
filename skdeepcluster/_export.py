"""Fitted estimators as one graph from samples to labels, for programs without this package."""

import contextlib
import copy
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._data.rows import as_seen
from ._warnings import ignoring
from .base import BaseDeepClusterer
from .nn.assignment import DissimilarityMixture


class _Answers(nn.Module):
    """Scaling, network and labels of a fitted estimator."""

    shift: Tensor
    factor: Tensor

    def __init__(self, estimator: BaseDeepClusterer) -> None:
        super().__init__()
        model = estimator._model.on_cpu()
        data, scaler = model.plan.data, model.plan.scaler
        self.module = copy.deepcopy(model.module).eval()
        assign = getattr(self.module, "assign", None)
        if isinstance(assign, DissimilarityMixture):
            self.module.assign = assign.fixed()
        self.full_shape = data.image_shape or (data.n_features,)
        self.sample_shape = data.sample_shape
        self.levelled = model.plan.levelled
        self.register_buffer("shift", torch.from_numpy(scaler.shift).float())
        self.register_buffer("factor", torch.from_numpy(scaler.factor).float())

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, responsibilities and embedding of samples in the units of the user."""
        scaled = (X.flatten(1) - self.shift) * self.factor
        x = as_seen(scaled, self.full_shape, self.sample_shape, levelled=self.levelled)
        z, q = self.module(x)
        return q.argmax(dim=1), q, z


def export_torch(estimator: BaseDeepClusterer) -> torch.export.ExportedProgram:
    """Export a fitted estimator as a graph of torch.

    Use it to run a model in torch without this package. ``torch.export.save`` writes the graph to a
    file.

    Parameters
    ----------
    estimator : BaseDeepClusterer
        A fitted estimator of this package, or of a class that derives from
        :class:`skdeepcluster.base.BaseDeepClusterer`.

    Returns
    -------
    program : torch.export.ExportedProgram
        ``program.module()(X)`` takes float32 samples of shape (n, n_features), or (n, channels,
        height, width) if the estimator was fitted on images, in the units of fit, for any n of at
        least 1. It gives labels (int64), responsibilities and embedding, all on the CPU.

    Raises
    ------
    TypeError
        If `estimator` is something else.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If torch cannot export the network.

    See Also
    --------
    export_onnx : The same as a file in the ONNX format.

    Notes
    -----
    The graph does not check its input: it accepts NaN, and samples that differ from those of fit.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCEC, export_torch
    >>> X, _ = make_blobs(100, centers=3, n_features=6, random_state=0)
    >>> model = DCEC(3, pretrain_epochs=5, max_epochs=5, random_state=0).fit(X)
    >>> answer = export_torch(model).module()
    >>> labels, responsibilities, embedding = answer(torch.from_numpy(X).float())
    >>> bool((labels.numpy() == model.labels_).all())
    True
    """
    if not isinstance(estimator, BaseDeepClusterer):
        raise TypeError(
            "The export takes a fitted estimator of this package or another BaseDeepClusterer, not "
            f"{type(estimator).__name__}. For a pipeline pass its last step, pipeline[-1]."
        )
    check_is_fitted(estimator)
    answers = _Answers(estimator)
    x = torch.zeros(2, *answers.full_shape, dtype=torch.float32)
    try:
        # torch's own deprecations
        with ignoring(Warning):
            return torch.export.export(answers, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    except Exception as error:
        raise ValueError(
            f"torch cannot export the network of this {type(estimator).__name__}: "
            f"{str(error).splitlines()[0]}. Use save_model or pickle."
        ) from error


def export_onnx(estimator: BaseDeepClusterer, path: str | os.PathLike[str]) -> None:
    """Export a fitted estimator as a file in the ONNX format.

    Use it to serve a model with onnxruntime, without torch and without this package. Scaling,
    network and the order of the clusters are in the graph. The export needs torch 2.5 or later.

    Parameters
    ----------
    estimator : BaseDeepClusterer
        A fitted estimator of this package, or of a class that derives from
        :class:`skdeepcluster.base.BaseDeepClusterer`.
    path : str or path-like
        Where to write; the usual ending is ``.onnx``.

    Raises
    ------
    TypeError
        If `estimator` is something else.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ImportError
        If onnxscript is not installed, or is older than the version that torch needs.
    ValueError
        If torch cannot export the network.

    See Also
    --------
    save_model : A file for load_model, after which training can continue.

    Notes
    -----
    The input "X" is float32 and has the shape (n, n_features), or (n, channels, height, width) if
    the estimator was fitted on images, for any n. The outputs are "labels" (int64),
    "responsibilities" and "embedding". The last bits differ from those of ``predict_proba`` and
    ``transform``, so a sample half way between two clusters may get the other label. The graph does
    not check its input.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np, onnxruntime
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCEC, export_onnx
    >>> X, _ = make_blobs(100, centers=3, n_features=6, random_state=0)
    >>> model = DCEC(3, pretrain_epochs=5, max_epochs=5, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_onnx(model, Path(folder) / "blobs.onnx")
    ...     session = onnxruntime.InferenceSession(Path(folder) / "blobs.onnx")
    >>> (labels,) = session.run(["labels"], {"X": X.astype(np.float32)})
    >>> bool((labels == model.labels_).all())
    True
    """
    if find_spec("onnxscript") is None:
        raise ImportError(
            "export_onnx needs onnxscript: pip install onnx onnxscript, or "
            'pip install "skdeepcluster[onnx]".'
        )
    program = export_torch(estimator)
    try:
        with ignoring(Warning), _silent_exporter():
            graph: Any = torch.onnx.export(
                program,
                input_names=["X"],
                output_names=["labels", "responsibilities", "embedding"],
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise ImportError(
            f"export_onnx needs newer packages for torch {torch.__version__}: "
            f"pip install --upgrade onnx onnxscript. The import that failed: {error}"
        ) from error
    except Exception as error:
        raise ValueError(
            f"torch cannot export the network of this {type(estimator).__name__} to ONNX: "
            f"{str(error).splitlines()[0]}. Use export_torch, save_model or pickle."
        ) from error
    graph.save(path)


@contextlib.contextmanager
def _silent_exporter() -> Iterator[None]:
    """Torch's exporter logs missing packages that it does not need, such as torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
