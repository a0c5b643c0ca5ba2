"""Each dissimilarity against scipy or numpy, its gradients, and what is refused."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from skdeepcluster.dissimilarities import (
    Dissimilarity,
    kullback_leibler,
    log_determinants,
    mahalanobis,
    names,
    precision_factors,
    resolve,
    toroidal,
    wrap,
)

FLOAT64 = {"rtol": 1e-12, "atol": 1e-14}
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.float64, FLOAT64)]
)
PERIOD = (2.0, None, 3.0, 0)


def by_hand(formula):
    """All pairs, one at a time, from a formula of two vectors."""
    return lambda x, centers: np.array([[formula(a, b) for b in centers] for a in x])


def by_cdist(metric, **kwargs):
    return lambda x, centers: cdist(x, centers, metric, **kwargs)


def kl(share):
    def formula(a, b):
        p, q = share(a) / share(a).sum(), share(b) / share(b).sum()
        return (p * np.log(p / q)).sum()

    return by_hand(formula)


def shortest_way_round(a, b):
    turns = itertools.product(*([-2, -1, 0, 1, 2] if period else [0] for period in PERIOD))
    return min(sum((a - b + [t * (T or 0) for t, T in zip(turn, PERIOD, strict=True)]) ** 2)
               for turn in turns)  # fmt: skip


# name, params, the expected pairs
CASES = [
    ("euclidean", {}, by_cdist("euclidean")),
    ("sqeuclidean", {}, by_cdist("sqeuclidean")),
    ("manhattan", {}, by_cdist("cityblock")),
    ("minkowski", {}, by_cdist("minkowski", p=3)),
    ("minkowski", {"p": 1}, by_cdist("cityblock")),
    ("minkowski", {"p": 1.5}, by_cdist("minkowski", p=1.5)),
    ("chebyshev", {}, by_cdist("chebyshev")),
    ("cosine", {}, by_cdist("cosine")),
    ("correlation", {}, by_cdist("correlation")),
    ("dot_product", {}, by_hand(lambda a, b: -a @ b / max(1, np.sqrt(b @ b)))),
    ("itakura_saito", {}, by_hand(lambda a, b: (a / b - np.log(a / b) - 1).sum())),
    ("kullback_leibler", {}, kl(lambda v: np.abs(v) + 1e-3)),
    ("kullback_leibler", {"normalizer": "abs_sum"}, kl(lambda v: np.abs(v) + 1e-3)),
    ("kullback_leibler", {"normalizer": "identity"}, kl(lambda v: v + 1e-3)),
    ("kullback_leibler", {"normalizer": "softmax_abs"}, kl(lambda v: np.exp(np.abs(v)))),
    ("kullback_leibler", {"normalizer": "softmax_relu"}, kl(lambda v: np.exp(np.maximum(v, 0)))),
    ("kullback_leibler", {"normalizer": "squared_sum"}, kl(lambda v: v**2 + 1e-3)),
    ("kullback_leibler", {"normalizer": "relu_sum"}, kl(lambda v: np.maximum(v, 0) + 1e-3)),
    ("toroidal", {"period": 2.0}, by_hand(lambda a, b: ((a - b - 2 * np.round((a - b) / 2)) ** 2)
                                          .sum())),
    ("toroidal", {"period": PERIOD}, by_hand(shortest_way_round)),
]  # fmt: skip
IDS = ["-".join([name, *map(str, params.values())]) for name, params, _ in CASES]
EACH = pytest.mark.parametrize(("name", "params", "expected"), CASES, ids=IDS)


def positive(name, params):
    return name == "itakura_saito" or params.get("normalizer") == "identity"


def draw(name, params, n=6, k=3, m=4, seed=0):
    """Points and centers in the domain; no two coordinates are near a kink."""
    rng = np.random.default_rng(seed)
    x, centers = rng.normal(size=(n, m)), 2 * rng.normal(size=(k, m))
    if positive(name, params):
        x, centers = np.abs(x) + 0.1, np.abs(centers) + 0.1
    return x, centers


def tensors(*arrays, dtype=torch.float64, requires_grad=False):
    return [torch.tensor(a, dtype=dtype, requires_grad=requires_grad) for a in arrays]


def draw_factors(k=3, m=4, seed=1):
    return np.random.default_rng(seed).normal(size=(k, m, m))


def test_every_name_is_tested():
    assert {*names()} == {name for name, *_ in CASES} | {"mahalanobis"}


# ------------------------------------------------------------------ values


@EACH
@DTYPES
def test_pairs_agree_with_an_independent_formula(name, params, expected, dtype, tolerance):
    x, centers = draw(name, params)
    found = resolve(name, params).pairwise(*tensors(x, centers, dtype=dtype))
    assert found.dtype == dtype
    assert found.shape == (6, 3)
    np.testing.assert_allclose(found.numpy(), expected(x, centers), **tolerance)


@EACH
def test_rows_are_the_diagonal_of_the_pairs(name, params, expected):
    x, centers = tensors(*draw(name, params, n=5, k=5))
    found = resolve(name, params)
    rows = found.rowwise(x, centers)
    assert rows.shape == (5,)
    torch.testing.assert_close(rows, found.pairwise(x, centers).diagonal(), **FLOAT64)


@pytest.mark.parametrize(
    ("name", "params"), [case[:2] for case in CASES if case[0] != "dot_product"]
)
def test_none_is_negative_and_equal_points_are_at_zero(name, params):
    found = resolve(name, params)
    x, centers = tensors(*draw(name, params, n=300, k=40))
    assert (found.pairwise(x, centers) >= 0).all()
    itself = found.rowwise(x, x.clone())
    assert (itself >= 0).all()
    torch.testing.assert_close(itself, torch.zeros(300).double(), rtol=0, atol=1e-14)
    # also next to it, where rounding could go below zero
    assert (found.rowwise(x.float(), (x * (1 + 1e-6)).float()) >= 0).all()


def test_the_dot_product_is_bounded_by_the_length_of_the_point():
    found = resolve("dot_product")
    x, centers = tensors(*draw("dot_product", {}, n=300, k=40))
    lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    assert (found.pairwise(x, 9 * centers).abs() <= lengths).all()
    torch.testing.assert_close(found.rowwise(x, 9 * x), -lengths.squeeze(1), **FLOAT64)
    # within the unit ball it is linear
    assert torch.equal(found.pairwise(x, centers / 64), found.pairwise(x, centers / 32) / 2)


@EACH
def test_a_batch_of_one_point_and_one_center(name, params, expected):
    x, centers = draw(name, params, n=1, k=1)
    found = resolve(name, params)
    assert found.pairwise(*tensors(x, centers)).shape == (1, 1)
    assert found.rowwise(*tensors(x, centers)).shape == (1,)


@EACH
def test_narrow_embeddings_take_the_dtype_of_the_centers(name, params, expected):
    # embeddings are bfloat16 under autocast, centers are float32
    x, centers = tensors(*draw(name, params), dtype=torch.float32)
    found, narrow = resolve(name, params), x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        pairs = found.pairwise(narrow, centers)
    assert pairs.dtype == torch.float32
    torch.testing.assert_close(pairs, found.pairwise(narrow.float(), centers), rtol=0, atol=0)


def test_squared_distances_do_not_cancel_far_from_the_origin():
    x, center = torch.tensor([[4096.0, 4096.5]]), torch.tensor([[4096.0, 4096.0]])
    assert resolve("sqeuclidean").pairwise(x, center).item() == 0.25
    assert resolve("euclidean").pairwise(x, center).item() == 0.5


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_minkowski_of_a_high_order_neither_overflows_nor_vanishes(scale):
    x = torch.tensor([[3.0, 1.0, -4.0]], requires_grad=True)
    found = resolve("minkowski", {"p": 60}).pairwise(x * scale, torch.zeros(1, 3))
    found.backward()
    np.testing.assert_allclose(found.item(), 4 * scale, rtol=1e-6)
    np.testing.assert_allclose(x.grad, [[0, 0, -scale]], atol=1e-6 * scale)


def test_cosine_and_correlation_do_not_see_the_length_of_a_row():
    x, centers = tensors(*draw("cosine", {}))
    for name in ("cosine", "correlation"):
        found = resolve(name)
        torch.testing.assert_close(
            found.pairwise(1e-9 * x, 1e9 * centers), found.pairwise(x, centers), **FLOAT64
        )


def test_kullback_leibler_of_far_logits_is_the_difference_of_logarithms():
    # the shares themselves, e^-300, are no float32
    found = resolve("kullback_leibler", {"normalizer": "softmax_abs"})
    x, center = torch.tensor([[300.0, 0.0]]), torch.tensor([[0.0, 300.0]], requires_grad=True)
    pairs = found.pairwise(x, center)
    pairs.backward()
    assert pairs.item() == 300
    assert center.grad.isfinite().all()


def test_itakura_saito_does_not_see_the_scale_of_a_spectrum():
    x, centers = tensors(*draw("itakura_saito", {}))
    found = resolve("itakura_saito")
    torch.testing.assert_close(
        found.pairwise(1e-9 * x, 1e-9 * centers), found.pairwise(x, centers), **FLOAT64
    )


def test_itakura_saito_pulls_a_center_back_across_zero():
    center = torch.tensor([[-0.1]], requires_grad=True)
    resolve("itakura_saito").pairwise(torch.tensor([[2.0]]), center).backward()
    assert center.grad.item() > 0  # longer is better, and then it counts by its magnitude
    center = torch.tensor([[0.0]])
    assert resolve("itakura_saito").pairwise(torch.tensor([[2.0]]), center).isfinite().all()


@EACH
def test_no_formula_depends_on_the_default_dtype(name, params, expected):
    x, centers = tensors(*draw(name, params), dtype=torch.float32)
    found = resolve(name, params)
    outside = found.pairwise(x, centers)
    torch.set_default_dtype(torch.float64)
    try:
        inside = found.pairwise(x, centers)
    finally:
        torch.set_default_dtype(torch.float32)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


# ------------------------------------------------------------------ the torus


@pytest.mark.parametrize("period", [2.0, (2.0, 2.0), np.array([2.0, 2.0])])
def test_toroidal_is_that_of_the_authors_within_one_period(period):
    rng = np.random.default_rng(0)
    x, centers = rng.uniform(-1, 1, size=(50, 2)), rng.uniform(-1, 1, size=(7, 2))
    shifts = np.array(list(itertools.product([-1, 0, 1], repeat=2)))
    all_ways = x[:, None, None] - centers[:, None] + 2 * shifts  # (50, 7, 9, 2)
    found = resolve("toroidal", {"period": period}).pairwise(*tensors(x, centers))
    np.testing.assert_allclose(found, (all_ways**2).sum(-1).min(-1), **FLOAT64)


def test_toroidal_does_not_count_whole_turns():
    x, centers = tensors(*draw("toroidal", {}))
    found = resolve("toroidal", {"period": PERIOD})
    turned = centers + torch.tensor([2.0 * 5, 0, -3.0 * 4, 0])
    torch.testing.assert_close(found.pairwise(x, turned), found.pairwise(x, centers), **FLOAT64)
    torch.testing.assert_close(found.pairwise(turned, x), found.pairwise(centers, x), **FLOAT64)
    # the others are not periodic
    shifted = centers + torch.tensor([0, 100.0, 0, 0])
    assert (found.pairwise(x, shifted) > 90**2).all()


def test_toroidal_without_a_period_is_the_squared_distance():
    x, centers = tensors(*draw("toroidal", {}))
    flat = resolve("toroidal", {"period": [None, 0, 0.0, None]})
    expected = resolve("sqeuclidean").pairwise(x, centers)
    torch.testing.assert_close(flat.pairwise(x, centers), expected, **FLOAT64)


def test_toroidal_needs_one_period_a_column():
    for call in (
        lambda: toroidal(torch.zeros(2, 3), torch.zeros(3), period=(1, 2)),
        lambda: wrap(torch.zeros(2, 3), (1, 2)),
    ):
        with pytest.raises(ValueError, match="2 entries for 3 columns: pass one entry per column"):
            call()
    # one entry is not meant for all columns
    with pytest.raises(ValueError, match="1 entries for 3 columns"):
        toroidal(torch.zeros(2, 3), torch.zeros(3), period=[1])


def test_wrapping_moves_a_center_by_whole_turns_into_the_period():
    x, centers = tensors(*draw("toroidal", {}, k=40))
    centers = 10 * centers
    wrapped = wrap(centers, PERIOD)
    assert wrapped.dtype == torch.float64
    for column, period in enumerate(PERIOD):
        if period:
            assert ((wrapped[:, column] >= 0) & (wrapped[:, column] < period)).all()
        else:
            assert torch.equal(wrapped[:, column], centers[:, column])
    found = resolve("toroidal", {"period": PERIOD})
    torch.testing.assert_close(found.pairwise(x, wrapped), found.pairwise(x, centers))
    assert torch.equal(wrap(wrapped, PERIOD), wrapped)


def test_wrapping_takes_one_period_for_all_columns():
    wrapped = wrap(torch.tensor([[2.5, -1.0], [1.0, 0.5]]), 2)
    assert torch.equal(wrapped, torch.tensor([[0.5, 1.0], [1.0, 0.5]]))


# ------------------------------------------------------------------ gradients


@EACH
def test_gradients_are_those_of_the_values(name, params, expected):
    found = resolve(name, params)
    x, centers = tensors(*draw(name, params), requires_grad=True)
    assert torch.autograd.gradcheck(found.pairwise, (x, centers))
    x, centers = tensors(*draw(name, params, n=3), requires_grad=True)
    assert torch.autograd.gradcheck(found.rowwise, (x, centers))


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("where", ["coincident", "zero", "both zero", "constant"])
def test_values_and_gradients_are_finite_where_a_formula_has_a_gap(
    name, params, expected, dtype, where
):
    x, centers = draw(name, params)
    if where == "coincident":
        x[:3] = centers
    elif where == "constant":
        x[0] = 0.3
        centers[0] = 0.7
    else:
        x[0] = 0
        if where == "both zero":
            centers[0] = 0
    for call in (resolve(name, params).pairwise, resolve(name, params).rowwise):
        a, b = tensors(x[:3], centers, dtype=dtype, requires_grad=True)
        found = call(a, b)
        found.sum().backward()
        assert found.isfinite().all()
        assert a.grad.isfinite().all()
        assert b.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "level"), [("cosine", 0.0), ("correlation", 0.0), ("correlation", 0.3)]
)
def test_a_row_without_direction_has_dissimilarity_one_and_no_gradient(name, level):
    points, others = draw(name, {}, k=6)
    points[2] = level
    for swapped in (False, True):
        x, centers = tensors(points, others, requires_grad=True)
        pairs = resolve(name).pairwise(*((centers, x) if swapped else (x, centers)))
        pairs = pairs.T if swapped else pairs
        assert (pairs[2] == 1).all()
        (pairs * torch.arange(1, 7)).sum().backward()
        assert (x.grad[2] == 0).all()
        assert (x.grad[1] != 0).all()
        assert (centers.grad != 0).all()
    row = torch.full((1, 4), level)
    assert resolve(name).pairwise(row, row).item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [3, 7, 2000])
def test_rounding_does_not_give_a_constant_row_a_correlation(dtype, m):
    # the mean of equal numbers is not exactly that number
    levels = torch.tensor(10.0 ** np.random.default_rng(0).uniform(-8, 8, size=200), dtype=dtype)
    rows = levels.reshape(-1, 1).expand(-1, m)
    assert (rows - rows.mean(dim=1, keepdim=True) != 0).any()
    centers = torch.randn(3, m, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert (resolve("correlation").pairwise(rows, centers) == 1).all()


# ------------------------------------------------------------------ mahalanobis


def test_only_mahalanobis_needs_factors():
    assert [name for name, params, _ in CASES if resolve(name, params).needs_factors] == []
    assert resolve("mahalanobis").needs_factors


@DTYPES
def test_mahalanobis_agrees_with_scipy(dtype, tolerance):
    x, centers = draw("mahalanobis", {})
    factors = draw_factors()
    expected = np.column_stack(
        [
            cdist(x, center[None], "mahalanobis", VI=factor @ factor.T) ** 2
            for center, factor in zip(centers, factors, strict=True)
        ]
    )
    found = resolve("mahalanobis").pairwise(*tensors(x, centers, factors, dtype=dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, **tolerance)


def test_rows_of_mahalanobis_are_the_diagonal_of_the_pairs():
    x, centers, factors = tensors(*draw("mahalanobis", {}, n=3), draw_factors())
    found = resolve("mahalanobis")
    rows = found.rowwise(x, centers, factors)
    assert rows.shape == (3,)
    torch.testing.assert_close(rows, found.pairwise(x, centers, factors).diagonal(), **FLOAT64)
    one = found.pairwise(x[:1], centers[:1], factors[:1])
    torch.testing.assert_close(one, rows[:1].unsqueeze(1), **FLOAT64)


def test_mahalanobis_of_the_identity_is_the_squared_distance():
    x, centers = tensors(*draw("mahalanobis", {}))
    identity = torch.eye(4).double().expand(3, 4, 4)
    expected = resolve("sqeuclidean").pairwise(x, centers)
    torch.testing.assert_close(mahalanobis(x[:, None], centers, identity), expected, **FLOAT64)


def test_mahalanobis_is_not_cut_to_bfloat16():
    x, centers, factors = tensors(*draw("mahalanobis", {}), draw_factors(), dtype=torch.float32)
    found = resolve("mahalanobis")
    with torch.autocast("cpu", torch.bfloat16):
        pairs = found.pairwise(x, centers, factors)
        assert (x @ factors[0]).dtype == torch.bfloat16  # so it would be
    torch.testing.assert_close(pairs, found.pairwise(x, centers, factors), rtol=0, atol=0)


def test_gradients_of_mahalanobis_are_those_of_the_values():
    found = resolve("mahalanobis")
    arguments = tensors(*draw("mahalanobis", {}), draw_factors(), requires_grad=True)
    assert torch.autograd.gradcheck(found.pairwise, arguments)
    arguments = tensors(*draw("mahalanobis", {}, n=3), draw_factors(), requires_grad=True)
    assert torch.autograd.gradcheck(found.rowwise, arguments)


def test_mahalanobis_is_zero_with_finite_gradients_at_a_center():
    x, centers, factors = tensors(*draw("mahalanobis", {}), draw_factors())
    found = resolve("mahalanobis")
    arguments = [t.requires_grad_() for t in (centers.clone(), centers, factors)]
    rows = found.rowwise(*arguments)
    rows.sum().backward()
    assert (rows == 0).all()
    assert all((t.grad == 0).all() for t in arguments)
    assert (found.pairwise(x, centers, factors) > 0).all()


def shrunk(rows, regularization=1e-3):
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    m = len(covariance)
    return covariance + regularization * np.trace(covariance) / m * np.eye(m)


def precisions(factors):
    return (factors @ factors.mT).numpy()


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("regularization", [1e-3, 0.5])
def test_precisions_are_the_inverses_of_the_shrunk_covariances(m, regularization):
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(60, m)) @ rng.normal(size=(m, m)), rng.integers(3, size=60)
    factors = precision_factors(*tensors(points), torch.tensor(labels), 3, regularization)
    assert factors.shape == (3, m, m)
    assert torch.equal(factors, factors.tril())
    assert (factors.diagonal(dim1=1, dim2=2) > 0).all()
    expected = [np.linalg.inv(shrunk(points[labels == j], regularization)) for j in range(3)]
    np.testing.assert_allclose(precisions(factors), expected, rtol=1e-9)


def test_precisions_of_small_clusters_are_pooled():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    points[20:] += 5
    labels = np.repeat([0, 1, 2], [20, 7, 3])  # as many as columns are too few; 3 is empty
    factors = precision_factors(*tensors(points), torch.tensor(labels), 4)
    scatter = sum(
        np.cov(points[labels == j], rowvar=False) * ((labels == j).sum() - 1) for j in range(3)
    )
    pooled = scatter / (30 - 3)
    pooled += 1e-3 * np.trace(pooled) / 3 * np.eye(3)
    own = [shrunk(points[labels == j]) for j in (0, 1)]
    np.testing.assert_allclose(
        precisions(factors), np.linalg.inv([*own, pooled, pooled]), rtol=1e-9
    )


def test_precisions_of_a_constant_cluster_are_pooled():
    points = np.random.default_rng(0).normal(size=(40, 2))
    points[20:] = 0.1
    factors = precision_factors(*tensors(points), torch.arange(40) // 20, 2)
    pooled = np.cov(points[:20], rowvar=False) * 19 / 38
    pooled += 1e-3 * np.trace(pooled) / 2 * np.eye(2)
    np.testing.assert_allclose(precisions(factors)[1], np.linalg.inv(pooled), rtol=1e-9)


@DTYPES
@pytest.mark.parametrize("level", [0.0, 0.1, 1e-20, 3e7])
def test_precisions_of_constant_data_are_the_identity(dtype, tolerance, level):
    points = torch.full((50, 3), level, dtype=dtype)
    factors = precision_factors(points, torch.arange(50) % 4, 4)
    assert factors.dtype == dtype
    expected = torch.eye(3, dtype=dtype).expand(4, 3, 3)
    torch.testing.assert_close(factors, expected, rtol=1e-3, atol=0)


@DTYPES
def test_precisions_are_finite_for_singular_covariances(dtype, tolerance):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 5))
    points[:, 1] = points[:, 0]  # a copy, a column that is dead, and one that nearly is
    points[:, 2] = 0
    points[:, 3] *= 1e-12
    points, labels = torch.tensor(points, dtype=dtype), torch.tensor(rng.integers(2, size=50))
    factors = precision_factors(points, labels, 2)
    assert factors.isfinite().all()
    # on average a cluster's own dissimilarities count its free columns, here 2
    centers = torch.stack([points[labels == j].mean(dim=0) for j in range(2)])
    own = resolve("mahalanobis").rowwise(points, centers[labels], factors[labels])
    assert 1.8 < own.mean() < 2.0


def test_precisions_are_computed_in_float64():
    # ten columns far from zero that are nearly one
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 1)) + 1e-3 * rng.normal(size=(200, 10)) + 100
    points = points.astype(np.float32)
    factors = precision_factors(torch.tensor(points), torch.zeros(200, dtype=torch.long), 1)
    assert factors.dtype == torch.float32
    expected = np.linalg.inv(shrunk(points.astype(np.float64)))
    found = precisions(factors.double())[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_precisions_have_no_gradient():
    points = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert not precision_factors(points, torch.arange(20) % 2, 2).requires_grad


@DTYPES
def test_log_determinants_agree_with_numpy(dtype, tolerance):
    factors = draw_factors()
    found = log_determinants(torch.tensor(factors, dtype=dtype))
    assert found.dtype == dtype
    expected = np.linalg.slogdet(factors @ np.swapaxes(factors, 1, 2)).logabsdet
    np.testing.assert_allclose(found, expected, **tolerance)


def test_log_determinants_have_the_gradients_of_their_values():
    factors = torch.tensor(draw_factors(), requires_grad=True)
    assert torch.autograd.gradcheck(log_determinants, (factors,))


def test_log_determinant_of_a_singular_factor_is_minus_infinity():
    assert log_determinants(torch.zeros(1, 2, 2)).item() == -math.inf


# ------------------------------------------------------------------ resolve


def test_resolve_returns_what_was_asked_for():
    found = resolve("minkowski", {"p": 4})
    assert (found.name, found.params, found.domain) == ("minkowski", {"p": 4}, "real")
    assert resolve("minkowski").params == {}
    assert resolve("itakura_saito").domain == "positive"
    assert resolve("kullback_leibler").domain == "real"
    assert resolve("kullback_leibler", {"normalizer": "identity"}).domain == "non-negative"


def test_what_resolve_returns_does_not_change_with_the_params_given():
    params = {"p": 4}
    found = resolve("minkowski", params)
    params["p"] = 1
    assert found.params == {"p": 4}


@EACH
def test_what_resolve_returns_can_be_stored_and_copied(name, params, expected):
    found = resolve(name, params)
    assert pickle.loads(pickle.dumps(found)) == found
    assert copy.deepcopy(found) == found


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"'euclid' must be one of .*'euclidean'.* a callable"):
        resolve("euclid")
    with pytest.raises(TypeError, match=r"dissimilarity=3 must be one of .*'euclidean'"):
        resolve(3)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("euclidean", {"p": 2}, "'euclidean': unknown parameter 'p'. Its parameters: none"),
        ("minkowski", {"q": 2}, r"'minkowski': unknown parameter 'q'. Its parameters: \['p'\]"),
        ("minkowski", {"center": 2}, r"'minkowski': .*'center'. Its parameters: \['p'\]"),
        ("mahalanobis", {"factor": 2}, "'mahalanobis': .*'factor'. Its parameters: none"),
        ("toroidal", {}, r"'toroidal': missing 'period'. Its parameters: \['period'\]"),
        ("toroidal", {"peroid": 24}, "'toroidal': unknown parameter 'peroid'"),
    ],
)
def test_unknown_and_missing_parameters_are_refused(name, params, message):
    with pytest.raises(TypeError, match=message):
        resolve(name, params)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("minkowski", {"p": 0.5}, "p=0.5 of dissimilarity='minkowski' must be a number of at lea"),
        ("minkowski", {"p": math.inf}, "choose 'chebyshev'"),
        ("minkowski", {"p": math.nan}, "must be a number"),
        ("minkowski", {"p": "3"}, "p='3'"),
        ("minkowski", {"p": True}, "p=True"),
        ("kullback_leibler", {"normalizer": "sum"}, "normalizer='sum'.*must be one of .*'abs_sum'"),
        ("kullback_leibler", {"normalizer": ["abs_sum"]}, "must be one of"),
        ("toroidal", {"period": 0}, "period=0 .*must be a positive number, or a sequence"),
        ("toroidal", {"period": None}, "period=None"),
        ("toroidal", {"period": -2.0}, "period=-2.0"),
        ("toroidal", {"period": (2, -1)}, r"period=\(2, -1\)"),
        ("toroidal", {"period": (2, math.inf)}, "period="),
        ("toroidal", {"period": "24"}, "period='24'"),
    ],
)
def test_bad_parameters_are_refused(name, params, message):
    with pytest.raises(ValueError, match=message):
        resolve(name, params)


# ------------------------------------------------------------------ the user's own


def weighted(x, center, weight=1.0):
    return weight * (x - center).abs().mean(dim=-1)


def test_a_callable_is_taken_with_its_parameters():
    x, centers = tensors(*draw("manhattan", {}))
    found = resolve(weighted, {"weight": 8.0})
    assert (found.name, found.params, found.needs_factors) == ("weighted", {"weight": 8.0}, False)
    expected = 2 * resolve("manhattan").pairwise(x, centers)  # 8 / 4 columns
    torch.testing.assert_close(found.pairwise(x, centers), expected, **FLOAT64)
    torch.testing.assert_close(found.rowwise(x[:3], centers), expected.diagonal(), **FLOAT64)
    with pytest.raises(TypeError, match="wait"):
        resolve(weighted, {"wait": 8.0}).pairwise(x, centers)


def test_a_builtin_function_and_an_instance_are_callables_too():
    x, centers = tensors(*draw("manhattan", {}))
    found = resolve(torch.pairwise_distance, {"p": 1.0, "eps": 0.0})
    expected = resolve("manhattan").pairwise(x, centers)
    torch.testing.assert_close(found.pairwise(x, centers), expected, **FLOAT64)
    module = torch.nn.PairwiseDistance(1.0, eps=0.0)
    assert resolve(module).name == "PairwiseDistance"
    torch.testing.assert_close(resolve(module).pairwise(x, centers), expected, **FLOAT64)


@pytest.mark.parametrize(
    ("bad", "shape"),
    [
        (lambda x, center: (x - center).abs(), r"\(6, 3, 4\)"),
        (lambda x, center: (x - center).abs().sum(), r"\(\)"),
        (torch.cdist, r"\(6, 1, 3\)"),
    ],
    ids=["not reduced", "reduced twice", "cdist"],
)
def test_a_callable_of_another_shape_is_refused(bad, shape):
    x, centers = tensors(*draw("manhattan", {}))
    message = rf"returned shape {shape} where \(6, 3\) is needed: it must broadcast"
    with pytest.raises(ValueError, match=message):
        resolve(bad).pairwise(x, centers)


def test_a_callable_of_another_shape_is_refused_by_row():
    x, centers = tensors(*draw("manhattan", {}, n=3))
    with pytest.raises(ValueError, match=r"'cdist' returned shape \(3, 3\) where \(3,\) is needed"):
        resolve(torch.cdist).rowwise(x, centers)


# ------------------------------------------------------------------ the domain of the data


@pytest.mark.parametrize(
    ("name", "params"), [*((name, params) for name, params, _ in CASES), ("mahalanobis", {})]
)
def test_values_that_are_not_finite_are_refused(name, params):
    found = resolve(name, params)
    x = torch.ones(4, 3)
    found.check(x)
    for value in (math.nan, math.inf, -math.inf):
        x[2, 1] = value
        message = f"X has {value:g} in row 2, column 1.*{name!r} needs finite values: impute"
        with pytest.raises(ValueError, match=message):
            found.check(x)


def test_kullback_leibler_of_data_taken_as_shares_refuses_negative_values():
    found = resolve("kullback_leibler", {"normalizer": "identity"})
    found.check(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    message = "the data has -0.5 in row 1, column 0; .* values of at least 0: .*'squared_sum'"
    with pytest.raises(ValueError, match=message):
        found.check(torch.tensor([[0.0, 1.0], [-0.5, 0.0]]), "the data")
    resolve("kullback_leibler").check(torch.tensor([[-0.5, 0.0]]))


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_itakura_saito_refuses_values_that_are_not_positive(value):
    found = resolve("itakura_saito")
    found.check(torch.tensor([[1e-30, 1.0]]))
    message = f"X has {value:g} in row 0, column 1; .* values greater than 0: add a small constant"
    with pytest.raises(ValueError, match=message):
        found.check(torch.tensor([[1.0, value]]))


@pytest.mark.parametrize("name", ["cosine", "correlation", "dot_product", "kullback_leibler"])
def test_zero_rows_are_allowed(name):
    found, x = resolve(name), torch.zeros(3, 4)
    found.check(x)
    assert found.pairwise(x, torch.ones(2, 4)).isfinite().all()


def test_a_dissimilarity_cannot_be_changed():
    found = resolve("euclidean")
    with pytest.raises(AttributeError):
        found.name = "other"
    assert isinstance(found, Dissimilarity)


def test_a_misspelt_normalizer_is_refused():
    x = torch.rand(2, 3)
    with pytest.raises(ValueError, match=r"normalizer='softmax' must be one of \['abs_sum'"):
        kullback_leibler(x, x, normalizer="softmax")
