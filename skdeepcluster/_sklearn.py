"""The only file that imports private scikit-learn names."""

from sklearn.base import ClassNamePrefixFeaturesOutMixin, _fit_context
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params

__all__ = [
    "ClassNamePrefixFeaturesOutMixin",
    "HasMethods",
    "Interval",
    "StrOptions",
    "_fit_context",
    "check_matplotlib_support",
    "validate_params",
]
