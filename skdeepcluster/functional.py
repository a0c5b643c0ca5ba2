"""Each equation once, as a pure function of tensors.

``z`` is a batch of embeddings, ``q`` the soft assignment and ``p`` its target.
Every tensor is computed in float32 or wider, also under autocast: narrower inputs are
widened, and matrix products are not cut to bfloat16.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus


def _wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, those narrower than float32 as float32."""
    return tuple(t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors)


def squared_distances(z: Tensor, centers: Tensor) -> Tensor:
    """Squared Euclidean distances, without the cancellation of the expanded form.

    Parameters
    ----------
    z : tensor of shape (n, m)
        Embeddings.
    centers : tensor of shape (k, m)
        Cluster centers.

    Returns
    -------
    tensor of shape (n, k), of the wider dtype of the two, at least float32

    Examples
    --------
    >>> import torch
    >>> squared_distances(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.]]))
    tensor([[25.]])
    """
    z, centers = _wide(z, centers)
    return (z.unsqueeze(1) - centers).square().sum(dim=2)


def student_t_assignment(z: Tensor, centers: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Soft assignment by a Student-t kernel of one degree of freedom.

    Guo et al. 2017, equation 6 (from Xie et al. 2016, equation 1), where the
    kernel has unit width: ``scale=1``.

    Parameters
    ----------
    z : tensor of shape (n, m)
        Embeddings.
    centers : tensor of shape (k, m)
        Cluster centers.
    scale : float or scalar tensor, default=1.0
        Squared width of the kernel, positive, in units of squared distance.

    Returns
    -------
    tensor of shape (n, k)
        Rows are positive and sum to one.

    Examples
    --------
    >>> import torch
    >>> student_t_assignment(torch.tensor([[0.]]), torch.tensor([[0.], [1.]]))
    tensor([[0.6667, 0.3333]])
    """
    kernel = 1.0 / (1.0 + squared_distances(z, centers) / scale)
    return kernel / kernel.sum(dim=1, keepdim=True)


def target_distribution(q: Tensor, frequencies: Tensor | None = None) -> Tensor:
    """Sharpened target of a soft assignment, Guo et al. 2017, equation 8.

    Parameters
    ----------
    q : tensor of shape (n, k)
        Soft assignment.
    frequencies : tensor of shape (k,), default=None
        Soft cluster frequencies ``f_j``. By default the column sums of `q`, as
        in the paper, where `q` holds all samples.

    Returns
    -------
    tensor of shape (n, k)
        Rows are positive and sum to one.

    Examples
    --------
    >>> import torch
    >>> target_distribution(torch.tensor([[.8, .2], [.4, .6]]))
    tensor([[0.9143, 0.0857],
            [0.2286, 0.7714]])
    """
    (q,) = _wide(q)
    if frequencies is None:
        frequencies = q.sum(dim=0)
    weight = q.square() / frequencies.clamp_min(torch.finfo(q.dtype).tiny)
    return weight / weight.sum(dim=1, keepdim=True)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) of each row.

    Guo et al. 2017, equation 7. As in the authors' code both arguments are
    clipped to [1e-7, 1] under the logarithm.

    Parameters
    ----------
    p, q : tensors of shape (n, k)
        Distributions, one a row.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> kl_divergence(torch.tensor([[1., 0.]]), torch.tensor([[.5, .5]]))
    tensor([0.6931])
    """
    p, q = _wide(p, q)
    return (p * (p.clamp(1e-7, 1.0).log() - q.clamp(1e-7, 1.0).log())).sum(dim=1)


def entropy(p: Tensor) -> Tensor:
    """Entropy of distributions, clipped under the logarithm as :func:`kl_divergence` is.

    Parameters
    ----------
    p : tensor of shape (..., k)
        Distributions.

    Returns
    -------
    tensor of shape (...), in nats

    Examples
    --------
    >>> import torch
    >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]])).abs()
    tensor([0.6931, 0.0000])
    """
    (p,) = _wide(p)
    return -(p * p.clamp(1e-7, 1.0).log()).sum(dim=-1)


def reconstruction_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each sample over its features.

    Guo et al. 2017, equation 4, with the normalisation of the authors' code
    (mean over pixels, not sum), against which ``gamma`` is measured.

    Parameters
    ----------
    x_hat, x : tensors of shape (n, ...)
        Reconstructions and their targets.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> reconstruction_error(torch.zeros(1, 2), torch.tensor([[1., 3.]]))
    tensor([5.])
    """
    x_hat, x = _wide(x_hat, x)
    return (x_hat - x).square().flatten(1).mean(dim=1)


def contrastive_loss(z: Tensor, other: Tensor, temperature: float = 0.2) -> Tensor:
    """How badly each row finds its partner among all rows, by the cosine of their angle.

    Oord et al. 2018, equation 4, on pairs as in Chen et al. 2020, equation 1. Minus it bounds the
    mutual information of the pairs from below, up to a constant.

    Parameters
    ----------
    z, other : tensors of shape (n, m)
        Embeddings; row i of one is the partner of row i of the other.
    temperature : float, default=0.2
        Positive; the smaller, the more the nearest wrong partners count.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> contrastive_loss(torch.eye(2), torch.eye(2), temperature=1.0)
    tensor([0.5514, 0.5514])
    """
    n = len(z)
    both = normalize(torch.cat(_wide(z, other)), dim=1)  # (2n, m)
    with torch.autocast(z.device.type, enabled=False):
        similarity = both @ both.T / temperature
    similarity = similarity.masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf
    )
    partner = torch.arange(2 * n, device=z.device).roll(n)
    loss: Tensor = cross_entropy(similarity, partner, reduction="none")
    return 0.5 * (loss[:n] + loss[n:])


def jensen_shannon_loss(joint: Tensor, product: Tensor) -> Tensor:
    """Minus the Jensen-Shannon estimate of mutual information, from scores of pairs.

    Yang et al. 2019, equations 8 and 9. Scores of zero, which tell nothing, give 2 ln 2.

    Parameters
    ----------
    joint : tensor of shape (n, ...)
        Scores (logits) of pairs that belong together.
    product : tensor of shape (n, ...)
        Scores of pairs drawn apart.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> jensen_shannon_loss(torch.zeros(1, 1), torch.zeros(1, 1))
    tensor([1.3863])
    """
    joint, product = _wide(joint, product)
    return (softplus(-joint) + softplus(product)).reshape(len(joint), -1).mean(dim=1)


def softmax_divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each row's softmax from another's.

    Zhao et al. 2020, equation 7, from logits: no logarithm of zero, and no gradient that a clipped
    one would lose.

    Parameters
    ----------
    logits, other : tensors of shape (n, k)
        Logarithms of probabilities, up to a constant a row.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> softmax_divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -99.0]]))
    tensor([48.8069])
    """
    log_p, log_q = (t.log_softmax(dim=1) for t in _wide(logits, other))
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """How far the slope of a critic is from 1, at each point.

    Gulrajani et al. 2017, equation 3; Zhao et al. 2020, equation 11.

    Parameters
    ----------
    critic : callable
        From points ``(n, m)`` to scores ``(n,)``, each of its own point only.
    z : tensor of shape (n, m)
        Points, between those that the critic is to tell apart.

    Returns
    -------
    tensor of shape (n,)
        Differentiable with respect to the critic's parameters.

    Examples
    --------
    >>> import torch
    >>> gradient_penalty(lambda z: z @ torch.tensor([0.0, 3.0]), torch.zeros(1, 2))
    tensor([4.])
    """
    z = _wide(z.detach())[0].requires_grad_()
    with torch.autocast(z.device.type, enabled=False):
        (slope,) = torch.autograd.grad(critic(z).sum(), z, create_graph=True)
    # the root of a sum of zeros has no gradient
    length = (slope.square().sum(dim=1) + 1e-12).sqrt()
    return (length - 1.0).square()


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of diagonal Gaussians from the standard one.

    Yang et al. 2019, equation 6; with ``mean - m`` for `mean`, from N(m, I).

    Parameters
    ----------
    mean : tensor of shape (..., m)
        Means.
    log_variance : tensor that broadcasts with `mean`
        Logarithms of the variances.

    Returns
    -------
    tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> gaussian_divergence(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.5000])
    """
    mean, log_variance = _wide(mean, log_variance)
    # expm1: the difference is never negative, whatever the rounding
    return 0.5 * (mean.square() + (log_variance.expm1() - log_variance)).sum(dim=-1)


def orthonormalizer(y: Tensor, jitter: float = 1e-4) -> Tensor:
    """Map that makes columns orthonormal: ``Y = y @ map`` has ``Y.T @ Y / n = I``.

    Yang et al. 2019, equation 17: the inverse transpose of the Cholesky factor of the columns'
    products, in float64. Columns that are empty or alike make those singular; what is added to the
    diagonal then grows until the factor exists.

    Parameters
    ----------
    y : tensor of shape (n, k)
        Columns to combine.
    jitter : float, default=1e-4
        Added to the diagonal, in units of its mean.

    Returns
    -------
    tensor of shape (k, k), upper triangular, float64 where the device has it

    Examples
    --------
    >>> import torch
    >>> y = torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0], [0.0, 0.0]])
    >>> orthonormal = y.double() @ orthonormalizer(y, jitter=0.0)
    >>> (orthonormal.T @ orthonormal / 4).round(decimals=6).abs()
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64)
    """
    y = y.to(torch.float32 if y.device.type == "mps" else torch.float64)  # mps has no wider one
    with torch.autocast(y.device.type, enabled=False):
        products = y.T @ y / len(y)
    unit = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)
    scale = products.diagonal().mean().detach().clamp_min(torch.finfo(torch.float32).tiny)
    for attempt in range(5):
        factor, failed = torch.linalg.cholesky_ex(products + jitter * 10**attempt * scale * unit)
        if not failed:
            break
    inverse: Tensor = torch.linalg.solve_triangular(factor, unit, upper=False)
    return inverse.T


def spectral_loss(y: Tensor, neighbors: Tensor, affinity: Tensor) -> Tensor:
    """Squared distances of orthonormal outputs along the edges of a graph.

    Yang et al. 2019, equation 15: ``sum_j w_ij ||y_i - y_j||^2`` for each row i. Over all rows
    this sums to ``2 trace(Y.T @ (D - W) @ Y)``, where W holds the mean affinity of both directions
    and D is the diagonal of its row sums.

    Parameters
    ----------
    y : tensor of shape (n, k)
        Orthonormal outputs.
    neighbors : tensor of shape (n, j, k)
        Outputs of each row's neighbours.
    affinity : tensor of shape (n, j)
        Their weights.

    Returns
    -------
    tensor of shape (n,)

    Examples
    --------
    >>> import torch
    >>> y = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> spectral_loss(y, y.flip(0).unsqueeze(1), torch.tensor([[0.5], [1.0]]))
    tensor([2., 4.])
    """
    y, neighbors, affinity = _wide(y, neighbors, affinity)
    squares = (y.unsqueeze(1) - neighbors).square().sum(dim=2)  # (n, j)
    return (affinity * squares).sum(dim=1)


def neighbor_affinity(distances: Tensor, kind: str) -> Tensor:
    """Weights of each row's nearest neighbours, which sum to one.

    Parameters
    ----------
    distances : tensor of shape (n, k + 1)
        Squared distances to the nearest k + 1 other rows, ascending. The last one is not
        weighted: it says where the neighbourhood ends. Where there is one other row, it is k = 1.
    kind : {"probabilistic", "self-tuned", "gaussian"}
        "probabilistic" falls linearly to zero at the last distance (Nie et al. 2016, equation
        21), "self-tuned" is a Gaussian as wide as that distance (after Zelnik-Manor and Perona
        2004), "gaussian" one as wide as the median distance to the nearest row (Shaham et al.
        2018).

    Returns
    -------
    tensor of shape (n, k)

    Examples
    --------
    >>> import torch
    >>> neighbor_affinity(torch.tensor([[1.0, 3.0, 5.0]]), "probabilistic")
    tensor([[0.6667, 0.3333]])
    """
    (distances,) = _wide(distances)
    near, last = distances[:, :-1] if distances.shape[1] > 1 else distances, distances[:, -1:]
    tiny = torch.finfo(distances.dtype).tiny
    if kind == "probabilistic":
        # duplicates and ties at the border share alike
        weights = last - near
        weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, 1.0)
    else:
        width = last if kind == "self-tuned" else near[:, 0].median()
        weights = (-near / (2.0 * width).clamp_min(tiny)).exp().clamp_min(tiny)
    return weights / weights.sum(dim=1, keepdim=True)


def constant(progress: float) -> float:
    """Learning-rate schedule that does nothing.

    Parameters
    ----------
    progress : float
        Share of the phase that is done, in [0, 1].

    Returns
    -------
    float
        The factor on the learning rate: 1.

    Examples
    --------
    >>> constant(0.5)
    1.0
    """
    return 1.0


def cosine(progress: float) -> float:
    """Learning-rate schedule that falls from 1 to 0 along half a cosine.

    Loshchilov and Hutter 2017, equation 5, without restarts.

    Parameters
    ----------
    progress : float
        Share of the phase that is done, in [0, 1].

    Returns
    -------
    float
        The factor on the learning rate, in [0, 1].

    Examples
    --------
    >>> round(cosine(0.5), 3)
    0.5
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def one_cycle(progress: float, warmup: float = 0.3) -> float:
    """Learning-rate schedule that rises from 1/25 to 1, then falls to 0.

    Smith and Topin 2019, with both branches along half a cosine.

    Parameters
    ----------
    progress : float
        Share of the phase that is done, in [0, 1].
    warmup : float, default=0.3
        Share of the phase spent rising, in (0, 1).

    Returns
    -------
    float
        The factor on the learning rate, in [0, 1].

    Examples
    --------
    >>> one_cycle(0.0), one_cycle(0.3), one_cycle(1.0)
    (0.04, 1.0, 0.0)
    """
    if progress < warmup:
        return 0.04 + 0.96 * (1.0 - cosine(progress / warmup))
    return cosine((progress - warmup) / (1.0 - warmup))
