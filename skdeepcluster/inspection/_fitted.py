"""What a Display reads of a fitted estimator."""

from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._sklearn import Interval
from ..base import BaseDeepClusterer

_COUNT = [Interval(Integral, 1, None, closed="left")]


def _clusterer(estimator: Any) -> BaseDeepClusterer:
    """The fitted clusterer that an estimator is or ends with."""
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(model, BaseDeepClusterer):
        raise TypeError(
            f"estimator={estimator!r} is none of this package's estimators (DCCS, DCEC, DMAE, "
            "DualAESpectral), nor a Pipeline that ends with one. Pass a fitted one; of a search, "
            "its best_estimator_."
        )
    check_is_fitted(model)
    return model


def _samples(estimator: Any, X: Any) -> tuple[BaseDeepClusterer, Any]:
    """The clusterer, and the samples as checked rows: an ndarray or CSR matrix."""
    model = _clusterer(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return model, model._check(X)


def _embed(model: BaseDeepClusterer, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and soft assignments of checked rows, in one pass."""
    answers = [(z.cpu().numpy(), q.cpu().numpy()) for *_, z, q in model._stream(X)]
    Z, q = zip(*answers, strict=True)
    return np.concatenate(Z), np.concatenate(q)


def _dense(rows: Any) -> np.ndarray:
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


def _feature_names(estimator: Any, feature_names: Any) -> np.ndarray:
    """Names that were given, or those that the samples have."""
    model = _clusterer(estimator)
    if feature_names is not None:
        names = np.asarray(feature_names, dtype=object)
        if names.shape != (model.n_features_in_,):
            raise ValueError(
                f"feature_names has shape {names.shape}, but X has {model.n_features_in_} "
                "features: pass one name for each."
            )
        return names
    if hasattr(model, "feature_names_in_"):
        return np.asarray(model.feature_names_in_, dtype=object)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            return np.asarray(estimator[:-1].get_feature_names_out(), dtype=object)
        except AttributeError:  # a step that has no names for what it makes
            pass
    return np.array([f"feature {j}" for j in range(model.n_features_in_)], dtype=object)
