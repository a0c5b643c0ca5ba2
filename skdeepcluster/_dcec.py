"""Deep Clustering with Convolutional Autoencoders (Guo, Liu, Zhu, Yin, ICONIP 2017)."""

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from torch import Tensor, nn

from ._engine.method import epochs_of_a_target
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
    start_clusters,
    start_phases,
)
from .functional import cosine, kl_divergence, reconstruction_error, target_distribution
from .nn import ClusteringAutoencoder, StudentTAssignment


class DCEC(BaseDeepClusterer):
    """Use this for texts as tf-idf, and for tables whose clusters are not round.

    An autoencoder embeds the samples. A start partition of the embedding gives the cluster centers.
    Then the network and the centers are trained together: one loss draws samples to their centers,
    and the reconstruction loss keeps the embedding close to the data.

    Start with the parameters that describe your data: `image_shape` if flat rows hold images, and
    `augmentation` if rotated or sheared images belong to another cluster, or if you know changes
    that do not change the cluster of a vector. If results differ between values of `random_state`,
    raise `n_init`. To save time, lower `pretrain_epochs` and `max_epochs`. Change `gamma` last.

    Parameters that the estimators share are explained in full in :doc:`/parameters`.

    Parameters
    ----------
    n_clusters : int, default=4
        Number of clusters, at least 1.

    gamma : float, default=1.0
        Weight of the clustering loss, at least 0. The paper's 0.1 is for pixels in [0, 1]; for
        inputs that are scaled to unit variance the reconstruction loss is about 10 times larger.

    reconstruction_weight : float, default=1.0
        Weight of the reconstruction loss, at least 0. It applies in the clustering phase only. 0
        gives DEC: the clustering phase does not change the decoder.

    update_interval : int, default=1
        Epochs between two updates of the target, at least 1. Each update also checks `tol`. For
        augmented images, a target is kept for at least 32 batches, unless `init` is "k-means".

    image_shape : tuple of int, default=None
        Shape ``(channels, height, width)`` or ``(height, width)`` of the images that flat rows
        hold. Arrays of shape (n_samples, channels, height, width) do not need it.

    max_pixels : int or None, default=1024
        The network sees at most this number of pixels of an image (height times width). Larger
        images are averaged over areas, with the same proportions. None keeps all pixels.

    scaling : {"auto", "global", "standard", "none"}, default="auto"
        How the estimator scales the samples. The scale is fixed in fit. "auto" is "standard" for
        dense vectors whose columns have very different ranges, else "global": one factor for all
        columns.

    augmentation : {"auto", "affine", "crop", "masking"}, callable or None, default="auto"
        Random changes that must not change the cluster of a sample. "auto" is "affine" for
        images, "masking" for bags of words, else None.

    n_components : "auto" or int, default="auto"
        Number of features that the encoder learns. "auto" is 10, for images and bags of
        words the larger of 10 and `n_clusters`.

    architecture : {"auto", "mlp", "conv"}, tuple or callable, default="auto"
        The autoencoder: a name, a pair of modules or a function, see :doc:`/own_network`. "conv" is
        the network of the paper. "auto" is "mlp", but "conv" if the network sees more than 32 x 32
        pixels.

    hidden_units : "auto" or tuple of int, default="auto"
        Widths of the hidden layers of the "mlp" encoder; the decoder mirrors them. "auto" is
        ``(512, 256)``, with a smaller first layer above 7812 features.

    init : {"auto", "overclustered", "graph", "k-means", "spectral", "samples"}, default="auto"
        The partition that training starts from. "auto" is "samples" for tables and embeddings,
        "graph" for images and bags of words, else "overclustered". "spectral" is for curves and
        sheets; "k-means" is the start of the paper.

    n_init : "auto" or int, default="auto"
        Number of starts from new random weights, at least 1. The best one, chosen without labels
        (the first for bags of words), is trained to the end. "auto" is 2, but 1 if `init` is
        "samples".

    pretrain_epochs : "auto" or int, default="auto"
        Epochs of pretraining. "auto" is enough for about 2400 batches, for augmented images 700
        (unless `init` is "k-means"), with `init` "samples" 600 (embeddings 300). With "samples",
        as many epochs follow, in which the network learns the start partition.

    max_epochs : "auto" or int, default="auto"
        Maximum number of epochs of the clustering phase; 0 stops at the start. "auto" is
        enough epochs for about 1000 batches, with `init` "samples" 300.

    batch_size : int, default=256
        Number of samples in a batch, at least 2.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate of Adam, positive. "auto" is 3e-3, for bags of words 1e-3.

    learning_rate_schedule : {"annealed", "constant"}, default="annealed"
        "annealed": in most phases the learning rate falls to 0, in some it rises first.
        "constant": it does not change within a phase.

    tol : float, default=1e-3
        The clustering phase ends when less than this share of the labels changed between two
        checks, but not before its 100th batch.

    precision : {"auto", "32", "bf16"}, default="auto"
        "bf16" multiplies matrices in bfloat16 while training, "32" in float32. "auto" is
        "bf16" if the hardware supports it. Inference is always in float32.

    device : str or torch.device, default="auto"
        Where to train. "auto" is cuda, then mps, then cpu. "accelerate" shares each batch
        between the processes that a launcher started, see :doc:`/large_data`.

    n_jobs : int, default=None
        Number of CPU threads for fit, predict and the other methods. None is 1, unless a
        ``joblib.parallel_config`` says otherwise; -1 is one for each core.

    memory : str, path-like or joblib.Memory, default=None
        Folder for pretrained networks. A later fit with the same samples, pretraining and int
        `random_state` takes its network from there.

    checkpoint : str or path-like, default=None
        Folder for the state of an unfinished fit. If you start the same fit again, it resumes
        there. It needs an int `random_state` and safetensors.

    callbacks : list of skorch callbacks, default=None
        Called during training with the :class:`skorch.NeuralNet` of the phase. A callback that
        stops training ends the phase.

    warm_start : bool, default=False
        Whether fit continues the clustering phase from the state of the last fit.

    verbose : {0, 1, 2}, default=0
        0 is silent, 1 shows a progress bar, 2 writes the settings, then one line for each epoch.

    random_state : int, RandomState instance or None, default=None
        Pass an int for results that repeat with the same number of threads.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample, equal to ``predict(X)`` on the training samples.

    cluster_centers_ : ndarray of shape (n_clusters, width of the embedding)
        Centers of the clusters in the embedding. ``inverse_transform(cluster_centers_)`` decodes
        them into the units of the samples.

    module_ : torch.nn.Module
        The trained network. ``module_(x)`` returns the embedding and the soft assignment of
        scaled samples, with clusters numbered as in ``labels_``.

    settings_ : dict
        The settings of the fit, with "auto" resolved, and the kind, number and shape of the
        samples. It leaves out `random_state`, and parameters of the run, such as `device`.

    history_ : list of dict
        One row for each epoch of the start that was kept and of the last phase: "phase", "epoch",
        the mean of each weighted loss, "label_change" (share of the labels) and "cluster_sizes"
        (numbered as in ``labels_``). In an epoch that does not check the labels, "label_change" is
        nan and "cluster_sizes" is None. A row has "collapsed" if a collapse ended training, and
        "taken_back" if fit undid the last phase. ``pandas.DataFrame(history_)`` is a table.

    n_iter_ : int
        Number of rows of ``history_``, which counts the epochs of all phases.

    converged_ : bool
        Whether `tol` ended the clustering phase.

    image_shape_ : tuple of 3 ints or None
        Channels, height and width of the samples, None for vectors.

    n_features_in_ : int
        Number of features seen in fit.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if all are strings.

    See Also
    --------
    sklearn.cluster.KMeans : Good enough if clusters are round in the space of the samples.
    sklearn.cluster.SpectralClustering : Follows curves and sheets, but does not predict.

    Notes
    -----
    By default, the autoencoder for images also learns to tell the two views of an image from the
    views of other images (a contrastive loss). The paper does not have this loss.
    ``init="k-means"`` or ``augmentation=None`` removes it.

    The paper's own protocol is ``DCEC(n_clusters, **DCEC.PAPER)`` on images with pixels in [0, 1].
    The other rows of the paper's tables [1]_ change a few of these parameters: CAE + k-means adds
    ``max_epochs=0``, DEC-conv adds ``reconstruction_weight=0, gamma=1``, IDEC adds
    ``architecture="mlp", hidden_units=(500, 500, 2000)``, and DEC adds what DEC-conv and IDEC add.
    ``augmentation="affine"`` is the idea of DEC-DA [2]_.

    Where the paper and its authors' code differ, this class follows the code: the reconstruction
    error is averaged over pixels, the divergence over samples (equation 5), Adam trains both
    phases, and the embedding has 10 features (the paper says `n_clusters`). The paper updates the
    target every 140 batches. `update_interval` counts epochs: 4 is close to that for 10 000
    samples.

    A cluster that is empty after training, or becomes empty during it, gives a
    :class:`~sklearn.exceptions.ConvergenceWarning`. Training that diverges raises
    :class:`FloatingPointError`. Ctrl-C ends the fit and leaves a fitted estimator, with the state
    of the last finished epoch. Fit uses torch's global random generator only if you pass your own
    networks or functions. If you do not, fits in threads repeat too.

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
        "max_pixels": None,
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
    starts = 2
    not_in_pretraining = BaseDeepClusterer.not_in_pretraining | {
        "gamma",
        "reconstruction_weight",
        "update_interval",
    }

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        gamma: float = 1.0,
        reconstruction_weight: float = 1.0,
        update_interval: int = 1,
        image_shape: Sequence[int] | None = None,
        max_pixels: int | None = 1024,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        n_components: int | str = "auto",
        architecture: Any = "auto",
        hidden_units: str | Sequence[int] = "auto",
        init: str = "auto",
        n_init: int | str = "auto",
        pretrain_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 256,
        learning_rate: float | str = "auto",
        learning_rate_schedule: str = "annealed",
        tol: float = 1e-3,
        precision: str = "auto",
        device: str | torch.device = "auto",
        n_jobs: int | None = None,
        memory: str | Memory | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.gamma = gamma
        self.reconstruction_weight = reconstruction_weight
        self.update_interval = update_interval
        self.image_shape = image_shape
        self.max_pixels = max_pixels
        self.scaling = scaling
        self.augmentation = augmentation
        self.n_components = n_components
        self.architecture = architecture
        self.hidden_units = hidden_units
        self.init = init
        self.n_init = n_init
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.tol = tol
        self.precision = precision
        self.device = device
        self.n_jobs = n_jobs
        self.memory = memory
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.warm_start = warm_start
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
            setup=start_clusters,  # section 3.4: the centers become parameters
            refresh=_target,
            refresh_every=max(plan.update_interval, epochs_of_a_target(plan)),
            stop=labels_stable,
        )
        return *start_phases(plan), cluster

    @staticmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        p = target_distribution(q, module.assign.frequencies)
        error = reconstruction_error(module.decoder(z), x)
        loss: Tensor = plan.reconstruction_weight * error + plan.gamma * kl_divergence(p, q)
        return loss


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
