"""Deep Clustering with Convolutional Autoencoders (Guo, Liu, Zhu, Yin, ICONIP 2017)."""

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from torch import Tensor, nn

from .base import (
    BaseDeepClusterer,
    Batch,
    Interval,
    Phase,
    Plan,
    Run,
    Step,
    labels_stable,
    refuse_no_loss,
    start_partition,
    start_phases,
)
from .functional import cosine, kl_divergence, reconstruction_error, target_distribution
from .nn import ClusteringAutoencoder, StudentTAssignment


class DCEC(BaseDeepClusterer):
    """Deep convolutional embedded clustering.

    An autoencoder embeds the samples, a start partition of the embedding gives cluster
    centers, and then network and centers are trained together: the reconstruction keeps
    the embedding honest while a self-sharpening target draws samples to their centers.

    Change first what says what the samples are: `image_shape` for images in flat rows, and
    `augmentation` where turned or sheared images would be of another cluster, or where you know
    changes that leave a vector in its cluster. Then `n_init`, where values of `random_state`
    disagree, and `pretrain_epochs` and `max_epochs`, for time. `gamma` comes after those.

    Parameters
    ----------
    n_clusters : int, default=4
        Number of clusters, at least 1.

    n_components : "auto" or int, default="auto"
        Width of the embedding. The paper says "the number of clusters", its code says 10. "auto"
        is 10, for bags of words the larger of the two.

    gamma : float, default=1.0
        Weight of the clustering loss. The paper's 0.1 is for pixels in [0, 1]; with the
        inputs scaled to unit variance the reconstruction loss is about 10 times larger.
        Without reconstruction it only scales the loss.

    reconstruction_weight : float, default=1.0
        Weight of the reconstruction loss while clustering. 0 gives DEC (DEC-conv with
        ``architecture="conv"``); the decoder then stays as pretraining left it.

    update_interval : int, default=1
        Epochs between two updates of the target, and so between two looks at the stop rule.

    architecture : {"auto", "mlp", "conv"}, tuple or callable, default="auto"
        The autoencoder. "conv" is the paper's, for images of any size. "mlp" is that of DEC
        and IDEC. "auto" is "conv" for images of more than 32 x 32 pixels and "mlp" for the
        rest: on small images it was as accurate at a fraction of the time. A tuple of
        two ``torch.nn.Module`` is the encoder, mapping samples to
        ``(n_samples, n_components)``, and the decoder; both are copied. A callable gets
        ``(sample_shape, n_components)`` and returns such a tuple.

    hidden_units : "auto" or tuple of int, default="auto"
        Widths of the encoder's hidden layers where the architecture is "mlp"; the decoder
        mirrors them. "auto" is ``(512, 256)``, the first less for data of more than
        7812 features. Other architectures do not read it.

    image_shape : tuple of int, default=None
        Shape ``(channels, height, width)``, or ``(height, width)``, of the images that flat
        rows hold. Samples of shape (n_samples, channels, height, width) need none.

    scaling : {"auto", "global", "standard", "none"}, default="auto"
        How samples are scaled inside, fixed in fit. "global" divides all features by one
        number, so that their mean variance is 1, after subtracting each feature's mean (the
        least value, for images). "standard" gives every feature mean 0 and variance 1.
        "none" leaves the samples alone. "auto" is "standard" for vectors whose features
        are of unlike scale (a quarter of the features that vary span less than a tenth of
        the widest one's range), "global" for the rest, for sparse samples and for images.

    augmentation : {"auto", "affine", "crop", "masking"}, callable or None, default="auto"
        Random changes that must not change the cluster. "affine" turns, shifts, scales and
        shears images (:func:`skdeepcluster.augment.random_affine`, below 16 pixels a side
        with less strength), "crop" crops, bends and relights them
        (:func:`skdeepcluster.augment.random_crop`). "masking" sets half of the entries of
        scaled samples to 0 while the autoencoder is pretrained, and only then. "auto" is
        "affine" for images, "masking" for bags of words (vectors with less than 5 % of the
        entries not 0), else None. A callable maps a float tensor of scaled samples, shape
        ``(batch, *sample_shape)``, to one of the same shape.

    init : {"auto", "overclustered", "graph", "k-means", "spectral"}, default="auto"
        The start partition. "k-means" is the paper's: 20 runs of k-means on the embedding.
        "graph" also tries k-means on the embeddings of all `n_init` starts, side by side and
        smoothed over their neighbour graph, and takes the partition that cuts the 5-nearest-
        neighbour graph of the samples least (normalised cut).
        For bags of words, whose neighbours tell little, it is k-means on those embeddings side
        by side, or on their directions: the one of which single starts agree more.
        "overclustered" first trains a round with twice the clusters, as many epochs as make
        600 batches, then does as "graph". "spectral" is spectral clustering of at most 2000
        samples (the rest goes with the nearest of them), whatever the network sees: for curves
        and sheets in few dimensions, as ``make_moons``, and a bad choice for images. "auto" is
        "graph" for bags of words, else "overclustered".

    pretrain_epochs : "auto" or int, default="auto"
        Epochs of the autoencoder alone. "auto" is as many as make 2400 batches, an epoch of
        less than 8 batches counted as 8.

    max_epochs : "auto" or int, default="auto"
        Most epochs of the clustering phase; 0 leaves the start partition as it is. "auto"
        is as many as make 1000 batches, counted in the same way.

    batch_size : int, default=256
        Samples a batch, at least 2.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate of Adam, in every phase. "auto" is 3e-3, for bags of words 1e-3.

    learning_rate_schedule : {"annealed", "constant"}, default="annealed"
        "annealed" is one cycle in pretraining and half a cosine down to 0 while clustering.

    n_init : int, default=2
        Starts from new random weights, each through all phases but the last. The last
        goes on from the start whose clusters cut the neighbour graph of the samples least;
        labels `y` play no part. For bags of words it is the first, with the partition that
        `init` takes from all.

    tol : float, default=1e-3
        The clustering phase ends when less than this share of the labels changed between
        two updates of the target, but not before its 100th batch.

    device : str or torch.device, default="auto"
        Where to train: "auto" is cuda, then mps, then cpu. "accelerate" shares each batch between
        the processes that a launcher started, see the user guide on large data.

    precision : {"auto", "32", "bf16"}, default="auto"
        "bf16" multiplies matrices in bfloat16 while training; losses, distances and all of
        inference stay in float32. "auto" does so where the hardware does, but on CPU not for
        convolutions of a network of yours or of images under 5 pixels a side, which torch 2.13
        gets wrong.

    warm_start : bool, default=False
        Whether fit goes on with the clustering phase from the last fit's state.

    memory : str or joblib.Memory, default=None
        Where to keep pretrained networks. A fit on the same samples, with the same
        parameters of pretraining and the same int `random_state`, takes its network from
        there: a grid search over `gamma` pretrains once a fold.

    checkpoint : str or path-like, default=None
        Directory for the state of an unfinished fit, written every 10 seconds or more. After a
        crash, or after Ctrl-C, the same fit on the same samples goes on from there, and on CPU ends
        as if nothing had been. A fit that ends removes its file; those of a grid search may
        share a directory. Needs an int `random_state` and safetensors. The state of `callbacks` is
        not kept: keep them the same. partial_fit, and fit with `warm_start`, keep nothing where
        they go on from a fitted state.

    callbacks : list of skorch callbacks, default=None
        Called during training, with the :class:`skorch.NeuralNet` of the phase. One that
        stops training, as skorch's EarlyStopping, ends the phase. A phase taken from
        `memory` calls none.

    verbose : {0, 1, 2}, default=0
        0 is silent, 1 shows a progress bar, 2 writes a line an epoch.

    random_state : int, RandomState instance or None, default=None
        Pass an int for results that repeat, at an equal number of threads.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; what predict says of it.

    cluster_centers_ : ndarray of shape (n_clusters, n_components)
        Centers in the embedding. ``inverse_transform(cluster_centers_)`` shows them in the
        units of the samples.

    module_ : torch.nn.Module
        The trained network; ``module_(x)`` gives embedding and soft assignment of scaled
        samples.

    history_ : list of dict
        A row for each epoch of the start that was kept and of the last phase: "phase",
        "epoch", the mean of each loss as it enters the objective, "label_change" (share of
        labels; nan in a row where the target was not updated), "cluster_sizes" (None there),
        "collapsed" where training stopped for that. ``pandas.DataFrame(history_)`` is a table.

    n_iter_ : int
        Number of rows of ``history_``: epochs of all phases, not of the last one alone.

    converged_ : bool
        Whether the stop rule (`tol`) ended the clustering phase.

    image_shape_ : tuple of 3 ints or None
        Channels, height and width of the samples, None for vectors.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where all are strings.

    See Also
    --------
    sklearn.cluster.KMeans : Enough where clusters are round in the space of the samples.
    sklearn.cluster.SpectralClustering : Follows manifolds, but does not predict.

    Notes
    -----
    The paper's own protocol is ``DCEC(n_clusters, **DCEC.PAPER)`` on images with pixels in
    [0, 1]. Its rows in the same terms: CAE + k-means adds ``max_epochs=0``, DEC-conv
    ``reconstruction_weight=0, gamma=1``; IDEC is ``architecture="mlp",
    hidden_units=(500, 500, 2000)`` and DEC both of these. ``augmentation="affine"`` is the
    idea of DEC-DA [2]_.

    Where paper and authors' code differ, this follows the code: reconstruction averaged
    over pixels, divergence averaged over samples (equation 5), Adam in both phases. The paper
    updates the target every 140 batches; here that is a number of epochs, 4 for sets of
    10 000 samples.

    Clusters that are empty after training, or that die in it, raise a
    :class:`~sklearn.exceptions.ConvergenceWarning`; training that diverges raises
    :class:`FloatingPointError`.

    Ctrl-C ends the fit, not the program: the estimator is fitted, with the state of
    the last finished epoch, and a ConvergenceWarning says so. A grid
    search goes on with its next fit.

    Where other jobs share the machine, one thread is faster than all:
    ``torch.set_num_threads(1)``, or OMP_NUM_THREADS=1 in the environment.

    Torch's global random generator is forked and reseeded during fit, so fits in threads
    of one process disturb each other where a network of yours draws from it: use processes.

    References
    ----------
    .. [1] X. Guo, X. Liu, E. Zhu, J. Yin, "Deep Clustering with Convolutional
       Autoencoders", ICONIP 2017.
    .. [2] X. Guo, E. Zhu, X. Liu, J. Yin, "Deep Embedded Clustering with Data
       Augmentation", ACML 2018.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCEC
    >>> X, y = make_blobs(n_samples=200, centers=3, n_features=8, random_state=0)
    >>> model = DCEC(n_clusters=3, pretrain_epochs=20, max_epochs=20, random_state=0)
    >>> labels = model.fit_predict(X)
    >>> len(set(zip(labels.tolist(), y.tolist())))  # one cluster for each blob
    3
    >>> model.transform(X).shape
    (200, 10)
    """

    PAPER: ClassVar[dict[str, Any]] = {
        "n_components": 10,
        "gamma": 0.1,
        "update_interval": 4,
        "architecture": "conv",
        "scaling": "none",
        "augmentation": None,
        "init": "k-means",
        "pretrain_epochs": 200,
        "max_epochs": 500,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "constant",
        "n_init": 1,
        "tol": 1e-3,
        "precision": "32",
    }

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "update_interval": [Interval(Integral, 1, None, closed="left")],
    }
    not_in_pretraining = BaseDeepClusterer.not_in_pretraining | {
        "gamma",
        "reconstruction_weight",
        "update_interval",
    }

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        n_components: int | str = "auto",
        gamma: float = 1.0,
        reconstruction_weight: float = 1.0,
        update_interval: int = 1,
        architecture: Any = "auto",
        hidden_units: str | Sequence[int] = "auto",
        image_shape: Sequence[int] | None = None,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        init: str = "auto",
        pretrain_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float | str = "auto",
        learning_rate_schedule: str = "annealed",
        n_init: int = 2,
        tol: float = 1e-3,
        device: str | torch.device = "auto",
        precision: str = "auto",
        warm_start: bool = False,
        memory: str | Memory | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.update_interval = update_interval
        self.architecture = architecture
        self.hidden_units = hidden_units
        self.image_shape = image_shape
        self.scaling = scaling
        self.augmentation = augmentation
        self.init = init
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.n_init = n_init
        self.tol = tol
        self.device = device
        self.precision = precision
        self.warm_start = warm_start
        self.memory = memory
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    @staticmethod
    def make_module(plan: Plan, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        assign = StudentTAssignment(plan.n_clusters, plan.n_components)
        return ClusteringAutoencoder(encoder, decoder, assign)

    @staticmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        refuse_no_loss(plan, "gamma", "reconstruction_weight")
        cluster = Phase(
            "cluster",
            plan.max_epochs,
            (Step("joint", _joint, trains=("encoder", "decoder", "assign")),),
            plan.learning_rate,
            schedule=plan.schedule(cosine),
            setup=_start,
            refresh=_target,
            refresh_every=plan.update_interval,
            stop=labels_stable,
        )
        return *start_phases(plan), cluster

    @staticmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        p = target_distribution(q, module.assign.frequencies)
        error = reconstruction_error(module.decoder(z), x)
        loss: Tensor = plan.reconstruction_weight * error + plan.gamma * kl_divergence(p, q)
        return loss


def _start(run: Run) -> dict[str, Tensor]:
    """Centers of the start partition become parameters, section 3.4."""
    run.module.assign, targets = start_partition(run, run.plan.n_clusters, run.plan.init)
    return targets


def _target(run: Run) -> dict[str, Tensor]:
    """Equation 8, on all samples."""
    q = run.assign()
    run.module.assign.frequencies.copy_(q.sum(dim=0))
    return {"q": q, "p": target_distribution(q)}


def _joint(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Equation 5: reconstruction plus gamma times the divergence from the target."""
    plan = batch.plan
    z, q = module(batch.augment(batch.x))
    losses = {"clustering": plan.gamma * kl_divergence(batch.targets["p"], q).mean()}
    if plan.reconstruction_weight:
        error = reconstruction_error(module.decoder(z), batch.x).mean()
        losses["reconstruction"] = plan.reconstruction_weight * error
    return losses
