"""The equations of the papers, each as one function of tensors without side effects.

`z` is a batch of embeddings, `q` its soft assignment and `p` the target of the soft assignment.
All computations are in float32 or wider, also under autocast: narrower inputs are converted to
float32, and matrix products do not run in bfloat16.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus


def _wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, converted to float32 if they are narrower."""
    return tuple(t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors)


def squared_distances(z: Tensor, centers: Tensor) -> Tensor:
    """Squared Euclidean distances from each embedding to each center.

    Differences are squared and summed. The expanded form ``|z|^2 - 2 z.c + |c|^2`` is faster but
    loses digits far from the origin.

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
    """Soft assignment by a Student-t kernel with one degree of freedom.

    Guo et al. 2017, equation 6 (from Xie et al. 2016, equation 1); both have ``scale=1``.

    Parameters
    ----------
    z : tensor of shape (n, m)
        Embeddings.
    centers : tensor of shape (k, m)
        Cluster centers.
    scale : float or scalar tensor, default=1.0
        Squared width of the kernel, greater than 0.

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
    """Target distribution of a soft assignment: the same, but sharper.

    Guo et al. 2017, equation 8.

    Parameters
    ----------
    q : tensor of shape (n, k)
        Soft assignment.
    frequencies : tensor of shape (k,), default=None
        Soft cluster frequencies ``f_j``. By default the column sums of `q`, as in the paper, where
        `q` has a row for every sample. Pass them if `q` is a batch.

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

    Guo et al. 2017, equation 7. As in the authors' code, both arguments are clipped to [1e-7, 1]
    before the logarithm.

    Parameters
    ----------
    p, q : tensors of shape (n, k)
        Each row is a distribution.

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
    """Entropy of each distribution.

    Probabilities are clipped to [1e-7, 1] before the logarithm, as in :func:`kl_divergence`.

    Parameters
    ----------
    p : tensor of shape (..., k)
        Distributions along the last axis.

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
    """Mean squared error of each sample.

    Guo et al. 2017, equation 4. It is the mean over features, as in the authors' code, and not the
    sum; the weight `gamma` of the paper is meant for the mean.

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
    """Contrastive loss: small if each row is more similar to its partner than to other rows.

    Oord et al. 2018, equation 4, with pairs as in Chen et al. 2020, equation 1. The similarity is
    the cosine of the angle. Up to a constant, minus this loss is a lower bound of the mutual
    information of the pairs.

    Parameters
    ----------
    z, other : tensors of shape (n, m)
        Embeddings. Row i of `other` is the partner of row i of `z`.
    temperature : float, default=0.2
        Greater than 0. A small value gives more weight to the most similar wrong partners.

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

    Yang et al. 2019, equations 8 and 9. If all scores are zero, the loss is 2 ln 2.

    Parameters
    ----------
    joint : tensor of shape (n, ...)
        Scores (logits) of pairs that belong together.
    product : tensor of shape (n, ...)
        Scores (logits) of pairs that were drawn independently.

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
    """Kullback-Leibler divergence KL(p || q) of each row, where p and q are given as logits.

    Zhao et al. 2020, equation 7. Unlike :func:`kl_divergence` it needs no clipping, which would
    set gradients to zero.

    Parameters
    ----------
    logits, other : tensors of shape (n, k)
        Logits of p and of q. A constant added to a row changes nothing.

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
    """Squared difference between the slope of a critic and 1, at each point.

    It keeps the critic of a Wasserstein distance 1-Lipschitz. Gulrajani et al. 2017, equation 3;
    Zhao et al. 2020, equation 11.

    Parameters
    ----------
    critic : callable
        From points ``(n, m)`` to scores ``(n,)``. A score may depend on its own point only.
    z : tensor of shape (n, m)
        Points between the two distributions that the critic compares.

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
    # the square root has no gradient at 0
    length = (slope.square().sum(dim=1) + 1e-12).sqrt()
    return (length - 1.0).square()


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of Gaussians with diagonal covariance from N(0, I).

    Yang et al. 2019, equation 6. For the divergence from N(m, I) pass ``mean - m``. The result is
    never negative.

    Parameters
    ----------
    mean : tensor of shape (..., m)
        Means of the Gaussians.
    log_variance : tensor that broadcasts with `mean`
        Logarithms of their variances.

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
    # with exp(), rounding could make the difference negative
    return 0.5 * (mean.square() + (log_variance.expm1() - log_variance)).sum(dim=-1)


def orthonormalizer(y: Tensor, jitter: float = 1e-4) -> Tensor:
    """Matrix that makes columns orthonormal: ``Y = y @ matrix`` has ``Y.T @ Y / n = I``.

    Yang et al. 2019, equation 17: the inverse transpose of the Cholesky factor of ``y.T @ y / n``,
    in float64. If columns are empty or equal, there is no such factor; `jitter` then grows tenfold,
    up to four times, until there is one.

    Parameters
    ----------
    y : tensor of shape (n, k)
        Columns to make orthonormal.
    jitter : float, default=1e-4
        Added to the diagonal of ``y.T @ y / n``, as a share of its mean.

    Returns
    -------
    tensor of shape (k, k), upper triangular
        float64; float32 on mps, which has no float64.

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
    """Weights of the edges from each row to its nearest neighbours.

    Parameters
    ----------
    distances : tensor of shape (n, k + 1)
        Squared distances from each row to its k + 1 nearest other rows, ascending. The last one
        gets no weight: it is the border of the neighbourhood. With only one column, this one gets
        the weight.
    kind : {"probabilistic", "self-tuned", "gaussian"}
        "probabilistic" falls linearly to 0 at the border (Nie et al. 2016, equation 21).
        "self-tuned" is a Gaussian; its squared width is the squared distance to the border (after
        Zelnik-Manor and Perona 2004). "gaussian" is a Gaussian; its squared width is the median
        squared distance to the nearest row (Shaham et al. 2018).

    Returns
    -------
    tensor of shape (n, k)
        Rows sum to one.

    Raises
    ------
    ValueError
        If `kind` is another word.

    Examples
    --------
    >>> import torch
    >>> neighbor_affinity(torch.tensor([[1.0, 3.0, 5.0]]), "probabilistic")
    tensor([[0.6667, 0.3333]])
    """
    if kind not in ("probabilistic", "self-tuned", "gaussian"):
        raise ValueError(f"kind={kind!r} must be 'probabilistic', 'self-tuned' or 'gaussian'.")
    (distances,) = _wide(distances)
    near, last = distances[:, :-1] if distances.shape[1] > 1 else distances, distances[:, -1:]
    tiny = torch.finfo(distances.dtype).tiny
    if kind == "probabilistic":
        # if all neighbours lie on the border, they get equal weights
        weights = last - near
        weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, 1.0)
    else:
        width = last if kind == "self-tuned" else near[:, 0].median()
        weights = (-near / (2.0 * width).clamp_min(tiny)).exp().clamp_min(tiny)
    return weights / weights.sum(dim=1, keepdim=True)


def constant(progress: float) -> float:
    """Learning-rate schedule that keeps the learning rate as it is.

    Parameters
    ----------
    progress : float
        Share of the phase that is done, in [0, 1].

    Returns
    -------
    float
        Factor of the learning rate: 1.

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
        Factor of the learning rate, in [0, 1].

    Examples
    --------
    >>> round(cosine(0.5), 3)
    0.5
    """
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def one_cycle(progress: float, warmup: float = 0.3) -> float:
    """Learning-rate schedule that rises from 1/25 to 1, then falls to 0.

    Both parts follow half a cosine. Smith and Topin 2019.

    Parameters
    ----------
    progress : float
        Share of the phase that is done, in [0, 1].
    warmup : float, default=0.3
        Share of the phase in which the learning rate rises, in (0, 1).

    Returns
    -------
    float
        Factor of the learning rate, in [0, 1].

    Examples
    --------
    >>> one_cycle(0.0), one_cycle(0.3), one_cycle(1.0)
    (0.04, 1.0, 0.0)
    """
    if progress < warmup:
        return 0.04 + 0.96 * (1.0 - cosine(progress / warmup))
    return cosine((progress - warmup) / (1.0 - warmup))
