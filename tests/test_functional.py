"""Each formula against an independent float64 numpy version, and its gradients."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DCEC, functional
from skdeepcluster.functional import (
    constant,
    contrastive_loss,
    cosine,
    entropy,
    gaussian_divergence,
    gradient_penalty,
    jensen_shannon_loss,
    kl_divergence,
    neighbor_affinity,
    one_cycle,
    orthonormalizer,
    reconstruction_error,
    softmax_divergence,
    spectral_loss,
    squared_distances,
    student_t_assignment,
    target_distribution,
)

# a float32 result of a few dozen operations on values of order 1: 24 bits, so 6e-8 each
FLOAT32 = {"rtol": 2e-6, "atol": 1e-7}
# the same in float64, 53 bits
FLOAT64 = {"rtol": 1e-13, "atol": 1e-15}
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, FLOAT32), (torch.float64, FLOAT64)]
)


def draw(n=7, m=4, k=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, m)), rng.normal(size=(k, m))


def draw_q(n=7, k=3, seed=0):
    q = np.random.default_rng(seed).uniform(0.05, 1.0, size=(n, k))
    return q / q.sum(axis=1, keepdims=True)


def numpy_distances(z, centers):
    return np.array([[sum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in centers]
                     for x in z])  # fmt: skip


def numpy_student_t(z, centers, scale=1.0):
    kernel = (1.0 + numpy_distances(z, centers) / scale) ** -1.0
    return kernel / kernel.sum(axis=1)[:, None]


def numpy_target(q, frequencies=None):
    f = q.sum(axis=0) if frequencies is None else frequencies
    p = np.empty_like(q)
    for i, row in enumerate(q):
        weight = [a * a / b for a, b in zip(row, f, strict=True)]
        p[i] = np.array(weight) / sum(weight)
    return p


def numpy_kl(p, q):
    log_ratio = np.log(np.clip(p, 1e-7, 1.0)) - np.log(np.clip(q, 1e-7, 1.0))
    return np.einsum("ij,ij->i", p, log_ratio)


# ------------------------------------------------------------------ parity


@DTYPES
def test_squared_distances(dtype, tolerance):
    z, centers = draw()
    found = squared_distances(torch.tensor(z, dtype=dtype), torch.tensor(centers, dtype=dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), numpy_distances(z, centers), **tolerance)


def test_squared_distances_do_not_cancel_far_from_the_origin():
    # the expanded form |z|^2 - 2 z.c + |c|^2 loses all digits here
    z = torch.tensor([[4096.0, 4096.5]])
    assert squared_distances(z, torch.tensor([[4096.0, 4096.0]])).item() == 0.25


def test_squared_distances_take_the_wider_dtype():
    # embeddings are bfloat16 under autocast, centers are float32
    z, centers = torch.randn(5, 4).bfloat16(), torch.randn(3, 4)
    assert squared_distances(z, centers).dtype == torch.float32
    assert student_t_assignment(z, centers).dtype == torch.float32


@DTYPES
@pytest.mark.parametrize("scale", [1.0, 0.25, 7.0])
def test_student_t_assignment(dtype, tolerance, scale):
    z, centers = draw()
    found = student_t_assignment(
        torch.tensor(z, dtype=dtype), torch.tensor(centers, dtype=dtype), scale
    )
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), numpy_student_t(z, centers, scale), **tolerance)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1.0, **tolerance)


def test_student_t_assignment_takes_the_scale_as_a_tensor():
    z, centers = (torch.tensor(a) for a in draw())
    by_float = student_t_assignment(z, centers, 0.5)
    assert torch.equal(student_t_assignment(z, centers, torch.tensor(0.5)), by_float)


def test_the_largest_assignment_is_the_nearest_center():
    z, centers = draw(n=50)
    q = student_t_assignment(torch.tensor(z), torch.tensor(centers))
    np.testing.assert_array_equal(q.argmax(dim=1), numpy_distances(z, centers).argmin(axis=1))


@DTYPES
@pytest.mark.parametrize("given", [False, True])
def test_target_distribution(dtype, tolerance, given):
    q = draw_q()
    f = np.array([0.5, 3.0, 1.7]) if given else None
    found = target_distribution(
        torch.tensor(q, dtype=dtype), torch.tensor(f, dtype=dtype) if given else None
    )
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), numpy_target(q, f), **tolerance)


@DTYPES
def test_kl_divergence(dtype, tolerance):
    p, q = draw_q(seed=1), draw_q(seed=2)
    found = kl_divergence(torch.tensor(p, dtype=dtype), torch.tensor(q, dtype=dtype))
    assert found.shape == (7,)
    assert found.dtype == dtype
    # atol of the terms, which cancel: each is of order 1
    np.testing.assert_allclose(found.numpy(), numpy_kl(p, q), tolerance["rtol"], tolerance["rtol"])
    assert (found > 0).all()


def test_kl_divergence_of_equals_is_zero():
    q = torch.tensor(draw_q())
    assert (kl_divergence(q, q) == 0).all()


def test_kl_divergence_clips_as_the_authors_code():
    p = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    q = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    np.testing.assert_allclose(kl_divergence(p, q).item(), -math.log(1e-7), **FLOAT64)
    assert kl_divergence(p, p).item() == 0.0


@DTYPES
@pytest.mark.parametrize("shape", [(6, 5), (6, 1), (6, 2, 3, 4)])
def test_reconstruction_error(dtype, tolerance, shape):
    rng = np.random.default_rng(0)
    x_hat, x = rng.normal(size=shape), rng.normal(size=shape)
    found = reconstruction_error(torch.tensor(x_hat, dtype=dtype), torch.tensor(x, dtype=dtype))
    expected = [np.mean((a - b) ** 2) for a, b in zip(x_hat, x, strict=True)]
    assert found.shape == (6,)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), expected, **tolerance)


def test_reconstruction_error_is_float32_for_a_bfloat16_decoder():
    x_hat, x = torch.randn(4, 6).bfloat16(), torch.randn(4, 6)
    found = reconstruction_error(x_hat, x)
    assert found.dtype == torch.float32
    expected = (x_hat.double() - x.double()).square().mean(dim=1)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), **FLOAT32)


# ------------------------------------------------------------------ the target


@DTYPES
def test_target_rows_sum_to_one(dtype, tolerance):
    p = target_distribution(torch.tensor(draw_q(n=40, k=6), dtype=dtype))
    np.testing.assert_allclose(p.sum(dim=1).numpy(), 1.0, **tolerance)
    assert (p > 0).all()


def test_target_equals_a_one_hot_assignment():
    # unequal sizes: the frequencies must cancel
    q = torch.eye(3)[[0, 0, 0, 1, 2, 2]]
    assert torch.equal(target_distribution(q), q)


def test_target_of_a_one_hot_assignment_with_an_empty_cluster():
    q = torch.eye(4)[[0, 0, 1, 2]]
    assert torch.equal(target_distribution(q), q)


def test_target_sharpens():
    q = draw_q(n=40)
    p = target_distribution(torch.tensor(q), torch.ones(3).double()).numpy()
    entropy = -(p * np.log(p)).sum(axis=1), -(q * np.log(q)).sum(axis=1)
    assert (entropy[0] <= entropy[1]).all()


class Watch(Callback):
    """Keeps what every epoch trains on."""

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, net, **kwargs):
        if net.phase.name == "cluster":
            self.seen.append({k: v.clone() for k, v in net.run.targets.items()})
            assert not any(v.requires_grad for v in net.run.targets.values())
            self.frequencies = net.run.module.assign.frequencies.clone()


def test_training_uses_the_target_of_all_samples_without_a_gradient():
    X, _ = make_blobs(50, 6, centers=3, random_state=0)
    watch = Watch()
    DCEC(
        3,
        pretrain_epochs=2,
        max_epochs=2,
        n_init=1,
        init="k-means",
        hidden_units=(8,),
        batch_size=16,
        tol=0.0,
        callbacks=[watch],
        random_state=0,
    ).fit(X)
    assert len(watch.seen) == 2
    for targets in watch.seen:
        q, p = targets["q"].double().numpy(), targets["p"]
        assert p.shape == (50, 3)
        np.testing.assert_allclose(p.numpy(), numpy_target(q), **FLOAT32)
    np.testing.assert_allclose(watch.frequencies.numpy(), q.sum(axis=0), **FLOAT32)
    assert not torch.equal(watch.seen[0]["p"], watch.seen[1]["p"])


# ------------------------------------------------------------------ gradients


def closed_form_gradients(z, centers, p):
    """specs/dcec.md section 1.2, by nu = 1, summed over samples."""
    q = numpy_student_t(z, centers)
    by_z, by_centers = np.zeros_like(z), np.zeros_like(centers)
    for i in range(len(z)):
        for j in range(len(centers)):
            difference = z[i] - centers[j]
            pull = 2.0 / (1.0 + difference @ difference) * (p[i, j] - q[i, j]) * difference
            by_z[i] += pull
            by_centers[j] -= pull
    return by_z, by_centers


@DTYPES
def test_kl_gradients_are_the_closed_form(dtype, tolerance):
    z, centers = draw(n=9)
    p = numpy_target(numpy_student_t(z, centers))
    tensor_z = torch.tensor(z, dtype=dtype, requires_grad=True)
    tensor_centers = torch.tensor(centers, dtype=dtype, requires_grad=True)
    q = student_t_assignment(tensor_z, tensor_centers)
    kl_divergence(torch.tensor(p, dtype=dtype), q).sum().backward()
    by_z, by_centers = closed_form_gradients(z, centers, p)
    # sums of terms of order 1 that cancel to about 0.1
    slack = {"rtol": 10 * tolerance["rtol"], "atol": 10 * tolerance["rtol"]}
    np.testing.assert_allclose(tensor_z.grad.numpy(), by_z, **slack)
    np.testing.assert_allclose(tensor_centers.grad.numpy(), by_centers, **slack)


def leaf(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_gradcheck_of_the_clustering_loss(scale):
    z, centers = draw()
    p = torch.tensor(draw_q(seed=3))

    def loss(z, centers):
        return kl_divergence(p, student_t_assignment(z, centers, scale))

    assert torch.autograd.gradcheck(loss, (leaf(z), leaf(centers)))


def test_gradcheck_of_the_target():
    assert torch.autograd.gradcheck(target_distribution, (leaf(draw_q()),))


def test_gradcheck_of_the_divergence_in_both_arguments():
    assert torch.autograd.gradcheck(kl_divergence, (leaf(draw_q(seed=1)), leaf(draw_q(seed=2))))


def test_gradcheck_of_the_reconstruction():
    rng = np.random.default_rng(0)
    x_hat, x = rng.normal(size=(2, 4, 1, 2, 3))
    assert torch.autograd.gradcheck(reconstruction_error, (leaf(x_hat), leaf(x)))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def critic():
    layers = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 1), nn.Flatten(0)).float()
    generator = torch.Generator().manual_seed(0)
    for parameter in layers.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layers


Z, OTHER, CENTERS, Q = random(7, 4), random(7, 4, seed=1), random(3, 4), random(7, 3).softmax(dim=1)
CALLS = {
    "squared_distances": (squared_distances, Z, CENTERS),
    "student_t_assignment": (student_t_assignment, Z, CENTERS),
    "target_distribution": (target_distribution, Q),
    "kl_divergence": (kl_divergence, Q, Q.flip(0)),
    "entropy": (entropy, Q),
    "reconstruction_error": (reconstruction_error, Z, OTHER),
    "contrastive_loss": (contrastive_loss, Z, OTHER),
    "jensen_shannon_loss": (jensen_shannon_loss, Z, OTHER),
    "softmax_divergence": (softmax_divergence, Z, OTHER),
    "gradient_penalty": (lambda z: gradient_penalty(critic(), z), Z),
    "gaussian_divergence": (gaussian_divergence, Z, OTHER),
    "orthonormalizer": (lambda y: orthonormalizer(y).float(), Z),
    "spectral_loss": (spectral_loss, Z, OTHER.expand(7, 7, 4), Q[:, :1].expand(7, 7)),
    "neighbor_affinity": (lambda d: neighbor_affinity(d, "gaussian"), Q.sort(dim=1).values),
}
EACH_CALL = pytest.mark.parametrize("name", CALLS)
SCHEDULES = {"constant", "cosine", "one_cycle"}


def test_every_function_of_tensors_is_called():
    public = {n for n, f in vars(functional).items() if getattr(f, "__module__", "") ==
              functional.__name__ and not n.startswith("_")}  # fmt: skip
    assert set(CALLS) == public - SCHEDULES


@EACH_CALL
@pytest.mark.parametrize("narrow", [False, True])
def test_every_function_is_float32_under_autocast(name, narrow):
    function, *arguments = CALLS[name]
    if narrow:  # as a layer under autocast gives it
        arguments = [argument.bfloat16() for argument in arguments]
    outside = function(*[argument.float() for argument in arguments])
    with torch.autocast("cpu", torch.bfloat16):
        inside = function(*arguments)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@EACH_CALL
def test_every_function_is_float32_whatever_the_default(name, float64_by_default):
    function, *arguments = CALLS[name]
    found = function(*arguments)
    assert found.dtype == torch.float32
    torch.set_default_dtype(torch.float32)
    assert torch.equal(found, function(*arguments))


def test_gaussian_divergence_is_never_below_its_minimum():
    """Means of zero and variances of nearly one, by a layer under autocast and without one."""
    layer = nn.Linear(4, 64)
    for scale in (1e-6, 1e-3, 1e-1, 1.0):
        log_variance = scale * random(500, 64)
        assert gaussian_divergence(torch.zeros(500, 64), log_variance).min() >= 0
        nn.init.normal_(layer.weight, std=scale, generator=torch.Generator().manual_seed(0))
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            log_variance = layer(random(500, 4))
            assert log_variance.dtype == torch.bfloat16
            found = gaussian_divergence(torch.zeros_like(log_variance), log_variance)
        assert found.min() >= 0
        wide = log_variance.double()
        expected = 0.5 * (wide.exp() - 1 - wide).sum(dim=1)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-14)


def test_the_loss_is_float32_under_autocast():
    z, centers = (torch.tensor(a, dtype=torch.float32) for a in draw())
    outside = kl_divergence(torch.tensor(draw_q()).float(), student_t_assignment(z, centers))
    with torch.autocast("cpu", torch.bfloat16):
        inside = kl_divergence(torch.tensor(draw_q()).float(), student_t_assignment(z, centers))
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


# ------------------------------------------------------------------ softmax divergence


@DTYPES
def test_softmax_divergence(dtype, tolerance):
    logits, other = (np.random.default_rng(seed).normal(size=(6, 5)) for seed in (0, 1))
    p, q = (np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) for a in (logits, other))
    expected = (p * np.log(p / q)).sum(axis=1)
    found = softmax_divergence(torch.tensor(logits, dtype=dtype), torch.tensor(other, dtype=dtype))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.numpy(), expected, rtol=10 * tolerance["rtol"], atol=0)


def test_softmax_divergence_takes_logits_up_to_a_constant_a_row():
    logits, other = (torch.tensor(draw(seed=seed)[0]) for seed in (0, 1))
    constants = torch.arange(7.0, dtype=logits.dtype)[:, None]
    torch.testing.assert_close(
        softmax_divergence(logits + constants, other - 3 * constants),
        softmax_divergence(logits, other),
    )


def test_softmax_divergence_of_equals_is_zero_with_no_gradient():
    z, _ = draw()
    logits, other = (torch.tensor(z, requires_grad=True) for _ in range(2))
    divergence = softmax_divergence(logits, other)
    assert torch.equal(divergence, torch.zeros(7, dtype=divergence.dtype))
    divergence.sum().backward()
    for one in (logits, other):
        np.testing.assert_allclose(one.grad, 0, atol=1e-15)


def test_softmax_divergence_has_a_gradient_in_both_arguments():
    logits, other = (torch.tensor(draw(seed=seed)[0], requires_grad=True) for seed in (0, 1))
    assert torch.autograd.gradcheck(softmax_divergence, (logits, other))
    softmax_divergence(logits, other).sum().backward()
    assert min(one.grad.abs().sum(dim=1).min() for one in (logits, other)) > 0


@pytest.mark.parametrize("certain", [0, 1])
def test_softmax_divergence_of_certainty_is_finite(certain):
    """Clipped probabilities would lose the gradient, unclipped ones divide by zero."""
    pair = [torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.0, -1e4, 1.0]])]
    logits, other = (one.requires_grad_() for one in (pair if certain else pair[::-1]))
    divergence = softmax_divergence(logits, other)
    divergence.sum().backward()
    assert torch.isfinite(divergence).all()
    assert divergence.item() > 0
    for one in (logits, other):
        assert torch.isfinite(one.grad).all()
    assert other.grad.abs().max() > 0


# ------------------------------------------------------------------ gradient penalty


@pytest.mark.parametrize("length", [1.0, 3.0, 0.25])
def test_gradient_penalty_of_a_linear_critic(length):
    """The same at all points: (slope - 1)^2, so 0 for weights of norm one."""
    weight = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64) * length
    z = torch.tensor(draw(5, 3)[0])
    penalty = gradient_penalty(lambda z: z @ weight + 7, z)
    assert penalty.shape == (5,)
    np.testing.assert_allclose(penalty, (length - 1) ** 2, atol=1e-11)


def test_gradient_penalty_is_that_of_each_point():
    """||z||^2 / 2 has the slope z."""
    z = torch.tensor([[3.0, 4.0], [0.6, 0.8], [0.0, 2.0]])
    penalty = gradient_penalty(lambda z: z.square().sum(dim=1) / 2, z)
    np.testing.assert_allclose(penalty.detach(), [16, 0, 1], atol=1e-6)


def test_gradient_penalty_trains_the_critic_and_not_the_points():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 1), nn.Flatten(0))
    source = torch.randn(5, 3, requires_grad=True)
    gradient_penalty(critic, 2 * source).sum().backward()
    assert source.grad is None
    for weight in (critic[0].weight, critic[2].weight):
        assert weight.grad.abs().max() > 0
    # what the weights of a linear critic get: 2 (|w| - 1) w / |w|
    linear = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)).double()
    gradient_penalty(linear, source.double()).mean().backward()
    weight = linear[0].weight
    expected = 2 * (weight.norm() - 1) * weight / weight.norm()
    torch.testing.assert_close(weight.grad, expected.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_gradient_penalty_has_a_gradient_where_the_slope_is_zero(slope):
    weight = torch.tensor([slope, 0.0], requires_grad=True)
    z = torch.ones(1, 2).expand(4, 2)  # points that coincide
    penalty = gradient_penalty(lambda z: z @ weight, z)
    penalty.sum().backward()
    np.testing.assert_allclose(penalty.detach(), (1 - slope) ** 2, atol=1e-5)
    assert torch.isfinite(weight.grad).all()


# ------------------------------------------------------------------ spectral loss


def test_spectral_loss_is_the_quadratic_form_of_the_laplacian():
    """Equation 15 with D - W for any W; rows sum to one here, columns do not."""
    rng = np.random.default_rng(0)
    n, k = 20, 4
    W = rng.exponential(size=(n, n)) ** 4
    W /= W.sum(axis=1, keepdims=True)
    Y = np.sqrt(n) * np.linalg.qr(rng.normal(size=(n, k)))[0]
    y = torch.from_numpy(Y)
    found = spectral_loss(y, y.expand(n, n, k), torch.from_numpy(W))
    pairs = [[W[i, j] * ((Y[i] - Y[j]) ** 2).sum() for j in range(n)] for i in range(n)]
    np.testing.assert_allclose(found, np.sum(pairs, axis=1), rtol=1e-12)
    both = (W + W.T) / 2
    laplacian = np.diag(both.sum(axis=1)) - both
    expected = 2 * np.trace(Y.T @ laplacian @ Y) / n
    assert found.mean().item() == pytest.approx(expected, rel=1e-12)
    # I - W is the same only where columns sum to one too
    other = 2 * np.trace(Y.T @ (np.eye(n) - both) @ Y) / n
    assert abs(other - expected) > 0.1


def test_spectral_loss_has_a_gradient_in_outputs_and_neighbours():
    rng = np.random.default_rng(0)
    W = torch.from_numpy(rng.uniform(size=(5, 2)))

    def loss(y, neighbors):
        return spectral_loss(y, neighbors, W)

    y, neighbors = leaf(rng.normal(size=(5, 3))), leaf(rng.normal(size=(5, 2, 3)))
    assert torch.autograd.gradcheck(loss, (y, neighbors))


# ------------------------------------------------------------------ schedules

PROGRESS = np.linspace(0.0, 1.0, 101)


def test_constant_schedule():
    assert {constant(p) for p in PROGRESS} == {1.0}


def test_cosine_schedule():
    factors = [cosine(p) for p in PROGRESS]
    assert factors[0] == 1.0
    assert factors[-1] == 0.0
    assert (np.diff(factors) < 0).all()
    np.testing.assert_allclose(factors, (1 + np.cos(np.pi * PROGRESS)) / 2, **FLOAT64)


@pytest.mark.parametrize("warmup", [0.3, 0.1, 0.75])
def test_one_cycle_schedule(warmup):
    factors = np.array([one_cycle(p, warmup) for p in PROGRESS])
    assert factors[0] == pytest.approx(1 / 25, rel=1e-15)
    assert one_cycle(warmup, warmup) == 1.0
    assert factors[-1] == 0.0
    rising = warmup >= PROGRESS
    assert (np.diff(factors[rising]) > 0).all()
    assert (np.diff(factors[~rising]) < 0).all()
    # no jump where the branches meet: the slope is 0 there
    assert one_cycle(warmup - 1e-6, warmup) == pytest.approx(1.0, abs=1e-9)


def test_one_cycle_warms_up_for_three_tenths_by_default():
    assert [one_cycle(p) for p in PROGRESS] == [one_cycle(p, 0.3) for p in PROGRESS]


def test_the_schedule_is_what_the_optimiser_gets():
    X, _ = make_blobs(48, 6, centers=3, random_state=0)
    rates = {"pretrain": [], "cluster": []}

    class Rates(Callback):
        def on_batch_end(self, net, **kwargs):
            (group,) = net.optimizer_of(net.step_).param_groups
            rates[net.phase.name].append(group["lr"])

    DCEC(
        3,
        pretrain_epochs=4,
        max_epochs=3,
        n_init=1,
        init="k-means",
        hidden_units=(8,),
        batch_size=16,
        tol=0.0,
        callbacks=[Rates()],
        learning_rate=0.01,
        random_state=0,
    ).fit(X)
    expected = [0.01 * one_cycle(i / 12) for i in range(12)]
    np.testing.assert_allclose(rates["pretrain"], expected, **FLOAT64)
    np.testing.assert_allclose(
        rates["cluster"], [0.01 * cosine(i / 9) for i in range(9)], **FLOAT64
    )


def test_a_misspelt_affinity_is_refused():
    with pytest.raises(ValueError, match="kind='selftuned' must be 'probabilistic', 'self-tuned'"):
        neighbor_affinity(torch.rand(3, 4).sort(dim=1).values, "selftuned")
