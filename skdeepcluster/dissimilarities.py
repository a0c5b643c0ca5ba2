"""Dissimilarities between points and the centers of clusters.

Each formula is a function ``f(x, center, **params)`` of two tensors of shape ``(..., m)``, which
are broadcast against each other. It reduces the last axis. So the same formula gives the
dissimilarities of all pairs of points and centers, or those of the rows of two tensors. Gradients
are never NaN, even if a point equals a center or a row is zero. At a point without a gradient, they
are the gradient of one side, or zero.

The formulas are those of Lara and Gonzalez 2020, "Dissimilarity Mixture Autoencoder for Deep
Clustering" (arXiv 2006.08177), table 1, and of their code (github.com/juselara1/dmae).
"""

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

_FLOOR = 1e-12  # least argument of logarithms and fractions; 1 / _FLOOR**2 is still a float32
_SMOOTHING = 1e-3  # added to each entry before it is divided by the sum, as in the authors' code

Period = float | Collection[float | None]


def euclidean(x: Tensor, center: Tensor) -> Tensor:
    """Euclidean distance, for round clusters.

    Lara and Gonzalez 2020, table 1. Like their code, it does not square the distance.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> euclidean(torch.tensor([[3., 4.], [0., 0.]]), torch.zeros(2))
    tensor([5., 0.])
    """
    return _norm(x - center).squeeze(-1)


def _norm(rows: Tensor, order: float = 2.0) -> Tensor:
    """Norms ``(..., 1)`` of rows; the gradient at zero is zero."""
    norm: Tensor = torch.linalg.vector_norm(rows, order, dim=-1, keepdim=True)
    return norm


def sqeuclidean(x: Tensor, center: Tensor) -> Tensor:
    """Squared Euclidean distance, for round clusters as in k-means.

    It is the Bregman divergence of the squared norm (Banerjee et al. 2005, table 1).

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> sqeuclidean(torch.tensor([3., 4.]), torch.zeros(2))
    tensor(25.)
    """
    return (x - center).square().sum(dim=-1)


def manhattan(x: Tensor, center: Tensor) -> Tensor:
    """Sum of absolute differences; outliers count less than in the Euclidean distance.

    Lara and Gonzalez 2020, table 1.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> manhattan(torch.tensor([3., -4.]), torch.zeros(2))
    tensor(7.)
    """
    return (x - center).abs().sum(dim=-1)


def minkowski(x: Tensor, center: Tensor, *, p: float = 3.0) -> Tensor:
    """Norm of order `p` of the difference, between Manhattan (1) and Chebyshev (infinity).

    From the code of Lara and Gonzalez 2020. Differences are divided by the largest one first, so
    that high powers neither overflow nor vanish.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.
    p : float, default=3.0
        Order of the norm, at least 1.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> minkowski(torch.tensor([3., 4., 5.]), torch.zeros(3))
    tensor(6.)
    """
    difference = x - center
    # detached: the norm does not depend on this unit
    largest = difference.detach().abs().amax(dim=-1, keepdim=True)
    unit = largest.where(largest > 0, 1.0)
    return (_norm(difference / unit, p) * unit).squeeze(-1)


def chebyshev(x: Tensor, center: Tensor) -> Tensor:
    """Largest absolute difference in any column.

    From the code of Lara and Gonzalez 2020. If several columns have the maximum, they share the
    gradient.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> chebyshev(torch.tensor([3., -4.]), torch.zeros(2))
    tensor(4.)
    """
    return (x - center).abs().amax(dim=-1)


def cosine(x: Tensor, center: Tensor) -> Tensor:
    """One minus the cosine of the angle, for rows whose length does not matter.

    From the code of Lara and Gonzalez 2020. If a row is zero, the result is 1 and the gradient is
    0.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...), in [0, 2]

    Examples
    --------
    >>> import torch
    >>> cosine(torch.tensor([[2., 0.], [0., 3.], [-1., 0.], [0., 0.]]), torch.tensor([1., 0.]))
    tensor([0., 1., 2., 1.])
    """
    return (1.0 - (_unit(x) * _unit(center)).sum(dim=-1)).clamp_min(0.0)


def _unit(rows: Tensor) -> Tensor:
    """Rows scaled to length 1; a zero row stays zero, and its gradient is 0."""
    norm = _norm(rows)
    return rows / norm.where(norm > 0, math.inf)


def correlation(x: Tensor, center: Tensor) -> Tensor:
    """One minus Pearson's correlation, for rows whose level and scale do not matter.

    From the code of Lara and Gonzalez 2020 (version 1.0.0). Each row is centered by its own mean.
    If a row is constant, the result is 1 and the gradient is 0.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...), in [0, 2]

    Examples
    --------
    >>> import torch
    >>> correlation(torch.tensor([[3., 2., 1.], [5., 5., 5.]]), torch.tensor([2., 4., 6.]))
    tensor([2., 1.])
    """
    return cosine(_centered(x), _centered(center))


def _centered(rows: Tensor) -> Tensor:
    """Rows minus their mean; exactly zero if only rounding errors are left."""
    deviations = rows - rows.mean(dim=-1, keepdim=True)
    rounding = 10 * torch.finfo(rows.dtype).eps * _norm(rows)
    return deviations.where(_norm(deviations) > rounding, 0.0)


def dot_product(x: Tensor, center: Tensor) -> Tensor:
    """Minus the dot product, with centers that are at most 1 long.

    Lara and Gonzalez 2020, table 1, which assumes bounded norms. Without a bound, training could
    make all dissimilarities smaller by making centers longer. So a longer center is scaled to
    length 1. The result is at least ``-|x|``, and negative if the angle is less than 90 degrees.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> dot_product(torch.tensor([2., 1.]), torch.tensor([[.5, 0.], [9., 0.]]))
    tensor([-1., -2.])
    """
    return -(x * center / _norm(center).clamp_min(1.0)).sum(dim=-1)


def itakura_saito(x: Tensor, center: Tensor) -> Tensor:
    """Itakura-Saito divergence, for positive data such as spectra.

    Lara and Gonzalez 2020, table 1: the sum of ``x / center - ln(x / center) - 1``. The absolute
    value of a center is used, so that training can correct a step across zero. Smaller values than
    1e-12 are replaced by 1e-12.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> itakura_saito(torch.tensor([1., 2.]), torch.tensor([1., 1.]))
    tensor(0.3069)
    """
    ratio = x.clamp_min(_FLOOR) / center.abs().clamp_min(_FLOOR)
    return (ratio - ratio.log() - 1.0).sum(dim=-1)


def _log_shares(weights: Tensor) -> Tensor:
    weights = weights + _SMOOTHING
    return weights.log() - weights.sum(dim=-1, keepdim=True).log()


# From values to logarithms of shares: logarithms do not underflow. A softmax needs no smoothing: it
# cancels. "identity" is for data without negative values; centers may be negative, hence abs.
_NORMALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "abs_sum": lambda v: _log_shares(v.abs()),
    "identity": lambda v: _log_shares(v.abs()),
    "softmax_abs": lambda v: v.abs().log_softmax(dim=-1),
    "softmax_relu": lambda v: v.relu().log_softmax(dim=-1),
    "squared_sum": lambda v: _log_shares(v.square()),
    "relu_sum": lambda v: _log_shares(v.relu()),
}


def kullback_leibler(x: Tensor, center: Tensor, *, normalizer: str = "abs_sum") -> Tensor:
    """Kullback-Leibler divergence of points from centers, for rows of counts or shares.

    Lara and Gonzalez 2020, table 1, with the normalizers of their code (there the default is
    "softmax_abs"). Both arguments are normalized to sum to 1, so the result is never negative.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.
    normalizer : str, default="abs_sum"
        How rows are made to sum to 1. "abs_sum", "squared_sum" and "relu_sum" take absolute values,
        squares or positive parts, add 1e-3 to each and divide by the sum. "softmax_abs" and
        "softmax_relu" take the softmax of absolute values or positive parts. "identity" is
        "abs_sum" for data without negative values, and refuses other data.

    Returns
    -------
    tensor of shape (...)

    Raises
    ------
    ValueError
        If `normalizer` is another word.

    Examples
    --------
    >>> import torch
    >>> kullback_leibler(torch.tensor([[.2, .8], [.4, .6]]), torch.tensor([1., 1.]))
    tensor([0.1919, 0.0201])
    """
    if normalizer not in _NORMALIZERS:
        raise ValueError(f"normalizer={normalizer!r} must be one of {list(_NORMALIZERS)}.")
    log_p, log_q = _NORMALIZERS[normalizer](x), _NORMALIZERS[normalizer](center)
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1).clamp_min(0.0)


def _periods(period: Period, like: Tensor) -> Tensor:
    """Period of each column, shape (m,) or (); 0 if a column is not periodic."""
    if not isinstance(period, Collection):
        return like.new_tensor(period)
    if len(period) != like.shape[-1]:
        raise ValueError(
            f"period has {len(period)} entries for {like.shape[-1]} columns: pass one entry per "
            "column, None where it is not periodic, or one number for all."
        )
    return like.new_tensor([entry or 0.0 for entry in period])


def toroidal(x: Tensor, center: Tensor, *, period: Period) -> Tensor:
    """Squared Euclidean distance for periodic columns such as angles and hours.

    In each periodic column, the difference is the shorter way around. From the code of Lara and
    Gonzalez 2020, which has two columns; here any number of columns and any position of points and
    centers is allowed.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.
    period : float or sequence of m floats
        One period for all columns, or one for each column; None or 0 if a column is not periodic.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    Hours of the day, and a temperature.

    >>> import torch
    >>> x, center = torch.tensor([23., 10.]), torch.tensor([1., 13.])
    >>> toroidal(x, center, period=(24, None))
    tensor(13.)
    """
    difference = x - center
    periods = _periods(period, difference)
    turns = (difference / periods.where(periods > 0, math.inf)).round()
    return (difference - turns * periods).square().sum(dim=-1)


def wrap(centers: Tensor, period: Period) -> Tensor:
    """Move centers by whole periods to the range of the data, so that users can read them.

    Training with :func:`toroidal` may move centers by whole periods, which changes no
    dissimilarity.

    Parameters
    ----------
    centers : tensor of shape (..., m)
        Centers.
    period : float or sequence of m floats
        One period for all columns, or one for each column, as in :func:`toroidal`.

    Returns
    -------
    tensor of shape (..., m)
        Up to rounding, periodic columns are in ``[0, period)``.

    Examples
    --------
    >>> import torch
    >>> wrap(torch.tensor([[25., 25.], [-1., -1.]]), period=(24, None))
    tensor([[ 1., 25.],
            [23., -1.]])
    """
    periods = _periods(period, centers)
    turns = (centers / periods.where(periods > 0, math.inf)).floor()
    return centers - turns * periods


def mahalanobis(x: Tensor, center: Tensor, factor: Tensor) -> Tensor:
    """Squared Mahalanobis distance, for elongated clusters.

    Lara and Gonzalez 2020, table 1. The precision of a cluster, the inverse of its covariance, is
    ``factor @ factor.T``. The factor may be any square matrix; :func:`precision_factors` computes
    one.

    Parameters
    ----------
    x, center : tensors of shape (..., m)
        Points and centers, which broadcast.
    factor : tensor of shape (..., m, m)
        Factors of the precisions of the centers.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> mahalanobis(torch.tensor([3., 4.]), torch.zeros(2), torch.diag(torch.tensor([1., 2.])))
    tensor(73.)
    """
    # autocast would compute this matrix product in bfloat16; matmul would copy the factors for
    # each point
    with torch.autocast(x.device.type, enabled=False):
        return torch.einsum("...i,...ij->...j", x - center, factor).square().sum(dim=-1)


def precision_factors(
    points: Tensor, labels: Tensor, n_clusters: int, regularization: float = 1e-3
) -> Tensor:
    """Cholesky factors of the precisions of clusters, to start :func:`mahalanobis` with.

    Lara and Gonzalez 2020 invert the sample covariance of each cluster. Here `regularization` times
    its mean variance is added to its diagonal first. A cluster that has at most `m` points, or only
    equal points, gets the covariance that is pooled over all clusters. If this is zero too, the
    factor is the identity matrix. All computations are in float64.

    Parameters
    ----------
    points : tensor of shape (n, m)
        Points.
    labels : int tensor of shape (n,)
        Their clusters, in ``range(n_clusters)``.
    n_clusters : int
        Number of clusters; some may be empty.
    regularization : float, default=1e-3
        Share of the mean variance that is added to the diagonal, greater than 0.

    Returns
    -------
    tensor of shape (n_clusters, m, m), of the dtype and on the device of `points`
        Lower triangular.

    Examples
    --------
    >>> import torch
    >>> points = torch.tensor([[0., 0.], [0., 2.], [4., 0.], [4., 2.]])
    >>> factors = precision_factors(points, torch.zeros(4, dtype=torch.long), n_clusters=1)
    >>> (factors[0] @ factors[0].T).inverse()  # the covariance; 0.0033 is added to its diagonal
    tensor([[5.3367, 0.0000],
            [0.0000, 1.3367]])
    """
    n, m = points.shape
    wide, labels = points.detach().cpu().double(), labels.cpu()  # mps has no float64
    members = [wide[labels == cluster] for cluster in range(n_clusters)]
    counts = torch.tensor([len(rows) for rows in members])
    scatter = torch.stack([_scatter(rows) for rows in members])  # (k, m, m)
    own = scatter / (counts - 1).clamp_min(1).reshape(-1, 1, 1)
    pooled = scatter.sum(dim=0) / max(n - int((counts > 0).sum()), 1)
    identity = torch.eye(m, dtype=wide.dtype)
    # the variance that rounding gives to equal points
    least = (10 * torch.finfo(points.dtype).eps * wide.abs().max()) ** 2
    if _mean_variance(pooled) <= least:
        pooled = identity
    usable = (counts > m) & (_mean_variance(own) > least)
    covariance = own.where(usable.reshape(-1, 1, 1), pooled)
    shrinkage = regularization * _mean_variance(covariance).reshape(-1, 1, 1) * identity
    precision = torch.cholesky_inverse(torch.linalg.cholesky(covariance + shrinkage))
    factors: Tensor = torch.linalg.cholesky(precision)
    return factors.to(points)


def _scatter(rows: Tensor) -> Tensor:
    """Scatter matrix ``(m, m)``: summed products of deviations from the mean; 0 without rows."""
    deviations = rows - rows.sum(dim=0) / max(len(rows), 1)
    return deviations.T @ deviations


def _mean_variance(covariance: Tensor) -> Tensor:
    return covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1)


def log_determinants(factors: Tensor) -> Tensor:
    """Logarithms of the determinants of the precisions ``factor @ factor.T``.

    The log-density of a Gaussian is half of this, minus half of :func:`mahalanobis`, plus a
    constant (Bishop 2006, equation 2.43).

    Parameters
    ----------
    factors : tensor of shape (k, m, m)
        Factors as in :func:`mahalanobis`; they need not be triangular.

    Returns
    -------
    tensor of shape (k,)
        Minus infinity for a singular factor.

    Examples
    --------
    >>> import torch
    >>> log_determinants(torch.diag(torch.tensor([1., 2.])).unsqueeze(0))
    tensor([1.3863])
    """
    log_determinant: Tensor = torch.linalg.slogdet(factors).logabsdet
    return 2.0 * log_determinant


class _Domain(NamedTuple):
    """Values of the data that a formula allows."""

    holds: Callable[[Tensor], Tensor]
    allowed: str
    remedy: str


_DOMAINS = {
    "real": _Domain(torch.isfinite, "finite values", "impute it or remove the row"),
    "non-negative": _Domain(
        lambda x: x >= 0,
        "values of at least 0",
        "shift the data, or pass a normalizer that allows negative values, such as 'squared_sum'",
    ),
    "positive": _Domain(
        lambda x: x > 0,
        "values greater than 0",
        "add a small constant to the data, or choose another dissimilarity",
    ),
}


@dataclass(frozen=True)
class Dissimilarity:
    """A formula with its parameters. :func:`resolve` makes it.

    Attributes
    ----------
    name : str
        Its name, one of :func:`names`, or the name of the user's function.
    formula : callable
        Function of points and centers, tensors of shape ``(..., m)`` that are broadcast, which
        returns a tensor of shape ``(...)``.
    domain : {"real", "non-negative", "positive"}
        Values that the data may have. Centers may have any values.
    params : dict
        Keyword arguments of the formula.
    needs_factors : bool
        Whether the formula takes factors ``(..., m, m)`` as its third argument.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[0., 0.], [1., 1.], [9., 9.]])
    >>> resolve("manhattan").pairwise(x, x[:2])
    tensor([[ 0.,  2.],
            [ 2.,  0.],
            [18., 16.]])
    """

    name: str
    formula: Callable[..., Tensor]
    domain: str = "real"
    params: Mapping[str, Any] = field(default_factory=dict)
    needs_factors: bool = False

    def pairwise(self, x: Tensor, centers: Tensor, *factors: Tensor) -> Tensor:
        """Dissimilarity of each point to each center.

        Parameters
        ----------
        x : tensor of shape (n, m)
            Points.
        centers : tensor of shape (k, m)
            Centers.
        *factors : tensor of shape (k, m, m)
            One argument if the dissimilarity needs factors, else none.

        Returns
        -------
        tensor of shape (n, k), of the wider dtype of points and centers

        Raises
        ------
        ValueError
            If the user's formula returns another shape.
        """
        found = self._evaluate(x.unsqueeze(1), centers, *factors)
        return self._shaped(found, (x.shape[0], centers.shape[0]))

    def rowwise(self, x: Tensor, centers: Tensor, *factors: Tensor) -> Tensor:
        """Dissimilarity of each point to the center in the same row.

        Parameters
        ----------
        x, centers : tensors of shape (n, m)
            Points, and a center for each.
        *factors : tensor of shape (n, m, m)
            One argument if the dissimilarity needs factors, else none.

        Returns
        -------
        tensor of shape (n,), of the wider dtype of points and centers

        Raises
        ------
        ValueError
            If the user's formula returns another shape.
        """
        return self._shaped(self._evaluate(x, centers, *factors), (x.shape[0],))

    def check(self, x: Tensor, what: str = "X") -> None:
        """Check that all values are finite and in the domain of the formula.

        Parameters
        ----------
        x : tensor of shape (n, m) or ()
            Points, or one value.
        what : str, default="X"
            Name of the points in the error message.

        Raises
        ------
        ValueError
            If a value is not finite or outside the domain of the formula.
        """
        for domain in (_DOMAINS["real"], _DOMAINS[self.domain]):
            refused = ~domain.holds(x)
            if refused.any():
                place = refused.nonzero()[0].tolist()
                where = " in row {}, column {}".format(*place) if place else ""
                raise ValueError(
                    f"{what} has {x[tuple(place)].item():g}{where}; "
                    f"dissimilarity={self.name!r} needs {domain.allowed}: {domain.remedy}."
                )

    def _evaluate(self, x: Tensor, centers: Tensor, *factors: Tensor) -> Tensor:
        # under autocast embeddings are bfloat16 while centers are float32
        x = x.to(torch.promote_types(x.dtype, centers.dtype))
        return self.formula(x, centers, *factors, **self.params)

    def _shaped(self, found: Tensor, shape: tuple[int, ...]) -> Tensor:
        if found.shape != shape:
            raise ValueError(
                f"dissimilarity={self.name!r} returned shape {tuple(found.shape)} where {shape} is "
                "needed: it must broadcast its two arguments of shape (..., n_features) against "
                "each other and reduce the last axis only."
            )
        return found


_REGISTRY = {
    entry.name: entry
    for entry in (
        Dissimilarity("euclidean", euclidean),
        Dissimilarity("sqeuclidean", sqeuclidean),
        Dissimilarity("manhattan", manhattan),
        Dissimilarity("minkowski", minkowski),
        Dissimilarity("chebyshev", chebyshev),
        Dissimilarity("cosine", cosine),
        Dissimilarity("correlation", correlation),
        Dissimilarity("dot_product", dot_product),
        Dissimilarity("itakura_saito", itakura_saito, domain="positive"),
        Dissimilarity("kullback_leibler", kullback_leibler),
        Dissimilarity("toroidal", toroidal),
        Dissimilarity("mahalanobis", mahalanobis, needs_factors=True),
    )
}


def names() -> tuple[str, ...]:
    """List the names of all dissimilarities, for :func:`resolve`.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> "mahalanobis" in names()
    True
    """
    return tuple(_REGISTRY)


def resolve(
    dissimilarity: str | Callable[..., Tensor], params: Mapping[str, Any] | None = None
) -> Dissimilarity:
    """Get a dissimilarity by its name, or make one from a function of your own.

    Parameters
    ----------
    dissimilarity : str or callable
        One of :func:`names`, or a function of two tensors of shape ``(..., m)`` that broadcasts
        them against each other and returns a tensor of shape ``(...)``. Its values are smaller for
        more similar rows.
    params : dict, default=None
        Keyword arguments of the formula: `p` for "minkowski", `normalizer` for "kullback_leibler",
        `period` for "toroidal", or those of your function.

    Returns
    -------
    Dissimilarity

    Raises
    ------
    TypeError
        If a parameter is unknown or missing, or if `dissimilarity` is neither a string nor
        callable.
    ValueError
        If the name is unknown or the value of a parameter is not allowed.

    Examples
    --------
    >>> import torch
    >>> x, centers = torch.zeros(5, 2), torch.ones(3, 2)
    >>> resolve("minkowski", {"p": 4}).pairwise(x, centers).shape
    torch.Size([5, 3])
    >>> resolve(lambda x, center: (x - center).abs().mean(dim=-1)).rowwise(x, x + 1)
    tensor([1., 1., 1., 1., 1.])
    """
    params = dict(params or {})
    if callable(dissimilarity):
        name = getattr(dissimilarity, "__name__", type(dissimilarity).__name__)
        return Dissimilarity(name, dissimilarity, params=params)
    if not isinstance(dissimilarity, str):
        raise TypeError(
            f"dissimilarity={dissimilarity!r} must be one of {list(names())} or a callable."
        )
    if dissimilarity not in _REGISTRY:
        raise ValueError(
            f"dissimilarity={dissimilarity!r} must be one of {list(names())} or a callable."
        )
    entry = _REGISTRY[dissimilarity]
    _check_params(entry, params)
    non_negative = params.get("normalizer") == "identity"
    return replace(entry, params=params, domain="non-negative" if non_negative else entry.domain)


def _check_params(entry: Dissimilarity, params: dict[str, Any]) -> None:
    signature = inspect.signature(entry.formula)
    known = signature.parameters.values()
    accepted = {p.name: p for p in known if p.kind is p.KEYWORD_ONLY}
    unknown = [name for name in params if name not in accepted]
    missing = [n for n, p in accepted.items() if p.default is p.empty and n not in params]
    if unknown or missing:
        what = f"unknown parameter {unknown[0]!r}" if unknown else f"missing {missing[0]!r}"
        raise TypeError(
            f"dissimilarity={entry.name!r}: {what}. Its parameters: {list(accepted) or 'none'}."
        )
    for name, value in params.items():
        holds, allowed = _ALLOWED[name]
        if not holds(value):
            raise ValueError(f"{name}={value!r} of dissimilarity={entry.name!r} must be {allowed}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_period(value: Any) -> bool:
    if isinstance(value, Collection):
        return all(entry is None or (_is_number(entry) and entry >= 0) for entry in value)
    return _is_number(value) and value > 0


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "p": (
        lambda value: _is_number(value) and value >= 1,
        "a number of at least 1; for infinity choose 'chebyshev'",
    ),
    "normalizer": (lambda value: value in list(_NORMALIZERS), f"one of {list(_NORMALIZERS)}"),
    "period": (
        _is_period,
        "a positive number, or a sequence with one entry per column: a positive number, or None "
        "or 0 where the column is not periodic",
    ),
}
