"""Each equation once, as a pure function of tensors.

``z`` is a batch of embeddings, ``q`` the soft assignment and ``p`` its target.
Everything here is computed in float32 or wider: the inputs are never cast down,
also not under autocast, because none of these functions is a matrix product.
"""

import math

import torch
from torch import Tensor


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
    tensor of shape (n, k), of the wider dtype of the two

    Examples
    --------
    >>> import torch
    >>> squared_distances(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.]]))
    tensor([[25.]])
    """
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
    return (p * (p.clamp(1e-7, 1.0).log() - q.clamp(1e-7, 1.0).log())).sum(dim=1)


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
    wide = torch.promote_types(x_hat.dtype, torch.float32)
    return (x_hat.to(wide) - x).square().flatten(1).mean(dim=1)


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
