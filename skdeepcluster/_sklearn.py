"""Around scikit-learn: the only file that imports its private names."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import ClassNamePrefixFeaturesOutMixin, _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)

__all__ = [
    "ClassNamePrefixFeaturesOutMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_safe_indexing",
    "check_matplotlib_support",
    "parameters_named",
    "validate_parameter_constraints",
    "validate_params",
    "with_valid_parameters",
]

Fit = TypeVar("Fit", bound=Callable[..., Any])


def with_valid_parameters(fit: Fit) -> Fit:
    """Check the estimator's parameters before `fit`, which keeps its type."""
    return cast(Fit, _fit_context(prefer_skip_nested_validation=True)(fit))


def parameters_named(name: str, estimator: Any) -> dict[str, Any]:
    """Parameters of that name, of the estimator and of the steps of a pipeline."""
    parameters = estimator.get_params()
    return {path: value for path, value in parameters.items() if path.split("__")[-1] == name}
