"""What the Displays read from a fitted estimator: public attributes and methods only."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._data.door import check_X
from .._sklearn import Interval
from .._warnings import ignoring
from ..base import BaseDeepClusterer

COUNT = [Interval(Integral, 1, None, closed="left")]


def check_clusterer(estimator: Any) -> BaseDeepClusterer:
    """Return the fitted clusterer: the estimator itself, or the last step of a Pipeline."""
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(model, BaseDeepClusterer):
        raise TypeError(
            f"estimator={estimator!r} is not a deep clustering estimator (a subclass of "
            f"{BaseDeepClusterer.__module__}.{BaseDeepClusterer.__name__}), and not a Pipeline "
            "that ends with one. Pass a fitted one. For a search such as GridSearchCV, pass its "
            "best_estimator_."
        )
    check_is_fitted(model)
    return model


def check_samples(estimator: Any, X: Any) -> tuple[BaseDeepClusterer, Any]:
    """Return the clusterer and its samples, an ndarray or CSR matrix of one row per sample."""
    model = check_clusterer(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    return model, check_X(model, X, reset=False)[0]


def call(method: Callable[[Any], Any], X: Any) -> np.ndarray:
    """Call ``predict``, ``predict_proba`` or ``transform`` on rows from `check_samples`."""
    # check_samples has compared the names of the columns; its rows have none
    with ignoring(UserWarning, "X does not have valid feature names"):
        return np.asarray(method(X))  # a frame, if the user set transform_output


def refuse_vectors(model: BaseDeepClusterer, given: str, instead: str) -> None:
    """Raise an error if the estimator was not fitted on images."""
    if model.image_shape_ is None:
        raise ValueError(
            f"{given} but {type(model).__name__} was fitted on vectors: fit it with image_shape= "
            f"if the rows of X are images, or set {instead}."
        )


def dense(rows: Any) -> np.ndarray:
    return rows.toarray() if sp.issparse(rows) else np.asarray(rows)


def check_feature_names(estimator: Any, feature_names: Any) -> np.ndarray:
    """Return the given names, or else the names that fit or the steps of a Pipeline know."""
    model = check_clusterer(estimator)
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
        except AttributeError:  # a step that does not name its outputs
            pass
    return np.array([f"feature {j}" for j in range(model.n_features_in_)], dtype=object)
