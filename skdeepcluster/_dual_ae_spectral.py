"""Deep Spectral Clustering using Dual Autoencoder Network (Yang et al., CVPR 2019)."""

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ._data.rows import INFERENCE_BATCH, Rows
from ._engine.architecture import feature_shape
from ._engine.device import seeded_layers
from ._engine.method import short_pretraining, starts_from_samples
from ._engine.phases import evaluating
from ._start.neighbors import nearest_neighbors
from ._start.views import (
    STARTS,
    cluster_shares,
    input_neighbors,
    partition_to_imitate,
    view_pretraining,
)
from ._warnings import ignoring
from .base import (
    BaseDeepClusterer,
    Batch,
    Data,
    Interval,
    Phase,
    Plan,
    Run,
    Step,
    StrOptions,
    gather,
    labels_stable,
    refuse_no_loss,
    start_clusters,
)
from .functional import (
    contrastive_loss,
    entropy,
    gaussian_divergence,
    jensen_shannon_loss,
    kl_divergence,
    neighbor_affinity,
    one_cycle,
    orthonormalizer,
    reconstruction_error,
    spectral_loss,
    squared_distances,
)
from .nn import (
    Discriminator,
    DualAutoencoder,
    FeatureEncoder,
    MixturePrior,
    SpectralAssignment,
    StudentTAssignment,
    dual_conv_autoencoder,
)

# batches of the "auto" budgets; measured on USPS and the MNIST test set, doc/benchmarks
_PRETRAIN_UPDATES = 700
_TEXT_PRETRAIN_UPDATES = 1200
_SHORT_PRETRAIN_UPDATES = 300  # if the partition comes from the samples
_CLUSTER_UPDATES = 500
_HEAD_SHARE = 0.4  # epochs that train the head alone first, as a share of the spectral phase
_LOOKS = 4  # searches for neighbours in the spectral phase
_NETWORK = ("encoder", "decoder", "log_variance", "discriminators")
# factor of the learning rate in the spectral phase: the map to orthonormal outputs is steep
_SPECTRAL_RATE = 1 / 3
# the same if only the head is trained
_CAREFUL_RATE = 1 / 10
_LEAST_VARIANCE = 1e-6  # around a center; orthonormal outputs have a mean square of 1
_CONFIDENCE = 0.2  # weight of the mean entropy of the samples, within the balance term


class DualAESpectral(BaseDeepClusterer):
    """Use this for images, for embeddings of pretrained networks, and for curves and circles.

    First an encoder learns latents that are similar for two views of a sample and different for
    different samples; a decoder learns to reconstruct the sample from clean and from noisy latents.
    Then a head on the latents learns the leading eigenvectors of their neighbour graph. Spectral
    clustering computes the same for the training samples only; a network also takes new samples.
    k-means of its outputs gives the clusters.

    Start with the parameters that describe your data: `image_shape` if flat rows hold images,
    `augmentation` if cropped or rotated images belong to another cluster, and `init` for vectors.
    If results differ between values of `random_state`, raise `n_init`. Change `n_neighbors` and the
    weights last.

    Parameters that the estimators share are explained in full in :doc:`/parameters`.

    Parameters
    ----------
    n_clusters : int, default=4
        Number of clusters, at least 1.

    embedding : {"spectral", "latent"}, default="spectral"
        What transform returns: the spectral embedding, `n_clusters` wide, or the latents.

    mutual_information : {"views", "jensen-shannon"} or None, default="views"
        How the mutual information of samples and embeddings is estimated. "views" compares the
        angles between latents of two views of a sample and of other samples [2]_; "jensen-shannon"
        trains discriminators, as in the paper. None leaves it out.

    information_weight : float, default=1.0
        Weight of the mutual information, at least 0.

    reconstruction_weight : float, default=0.05
        Weight of the reconstruction loss, at least 0. It reconstructs from clean latents.

    relative_weight : float or "auto", default="auto"
        Weight, at least 0, of the relative reconstruction loss: the difference between the
        reconstructions from noisy and from clean latents. "auto" is 0.05, for bags of words 0.

    noise : float, default=0.5
        Standard deviation, at least 0, of the random factors with mean 1 that make latents noisy.

    prior_weight : float, default=0.0
        Weight of the divergence of the latents from their prior: a standard Gaussian in
        pretraining, later a mixture with one Gaussian for each cluster.

    balance_weight : float, default=1.0
        Weight of the balance term, at least 0; the paper has none. It keeps the sizes of the
        clusters close to `cluster_prior`, so that none becomes empty.

    cluster_prior : {"start", "uniform"}, default="start"
        Expected sizes of the clusters. "start" are those of the start partition, "uniform" are
        equal sizes.

    affinity : {"probabilistic", "self-tuned", "gaussian"}, default="probabilistic"
        Weights of neighbours, see :func:`skdeepcluster.functional.neighbor_affinity`.

    n_neighbors : int, default=5
        Number of nearest neighbours of a sample, at least 1. They are its edges in the neighbour
        graph, and its other views if nothing is augmented.

    neighborhood : {"global", "batch"}, default="global"
        Where neighbours are searched. "global" searches the latents of all samples four times
        during training, and draws one neighbour for each sample of a batch. "batch" searches the
        batch. Above 20 000 samples "global" finds approximate neighbours with pynndescent if it
        is installed, else it searches among 20 000 samples.

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
        Random changes that must not change the cluster of a sample. "auto" is "crop" for images,
        "masking" for bags of words, else None: then the nearest neighbours of a sample are its
        other views.

    n_components : "auto" or int, default=20
        Number of features that the encoder learns. They are the latents; the paper has 120.
        "auto" is the larger of 10 and `n_clusters`.

    architecture : {"auto", "mlp", "conv"}, tuple or callable, default="auto"
        The autoencoder: a name, a pair of modules or a function, see :doc:`/own_network`. "conv"
        has the paper's encoder and a dense decoder. "auto" is "conv" for images, else "mlp".

    hidden_units : "auto" or tuple of int, default="auto"
        Widths of the hidden layers of the "mlp" encoder; the decoder mirrors them. "auto" is
        ``(512, 256)``, with a smaller first layer above 7812 features.

    init : {"auto", "graph", "k-means", "spectral", "samples"}, default="auto"
        The partition that training starts from. "auto" is "samples" for tables and embeddings,
        "spectral" for other vectors, "graph" for images and bags of words.

    n_init : "auto" or int, default="auto"
        Number of starts from new random weights, at least 1. The best one, chosen without labels,
        is trained to the end. "auto" is 1.

    pretrain_epochs : "auto" or int, default="auto"
        Epochs of pretraining. "auto" is enough epochs for about 700 batches, with `init`
        "samples" 300, or 150 for embeddings, for bags of words 1200.

    max_epochs : "auto" or int, default="auto"
        Maximum number of epochs of the clustering phase; 0 stops at the start. "auto" is
        enough epochs for about 500 batches. Before it, two fifths of this number of epochs train
        the head alone; with 0 there is no head, and the embedding is the latents.

    batch_size : int, default=256
        Number of samples in a batch, at least 2.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate of Adam, positive. "auto" is 3e-3, for bags of words 1e-3. An annealed
        clustering phase peaks at a third of it, or at a tenth if it trains the head alone.

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
    DCEC : The same interface, with clusters that are round in the embedding.
    sklearn.cluster.SpectralClustering : The same idea without a network. It does not predict.

    Notes
    -----
    The paper's objective is ``DualAESpectral(n_clusters, **DualAESpectral.PAPER)`` for 28 x 28
    images with pixels in [0, 1]. Its beta is `information_weight`, its gamma is `prior_weight`. For
    images with another number of pixels, scale `reconstruction_weight` and `relative_weight` by
    that number. The rows of its table 4: without SN is ``max_epochs=0``, without RS is
    ``relative_weight=0``, without MI is ``mutual_information=None``. The paper gives no schedule;
    the schedule here is that of its authors' code, except that the batch size is the same in both
    phases.

    These parts differ from the paper because they gave better results: the estimate of mutual
    information by views, neighbours among all samples, a head that starts from a partition of the
    latents, and the balance term. The variance of a latent is computed from its mean, so that any
    encoder works. Affinities of a sample sum to one, and the spectral loss (equation 15) is
    averaged over samples, as in the authors' code, and not over pairs. With
    ``mutual_information="views"``, bags of words are only reconstructed. The clustering phase then
    trains only the head, for bags of words and for samples whose views are their neighbours.

    ``score`` is minus the squared distance to the nearest center in the spectral embedding, minus
    the weighted reconstruction error. The spectral loss and the mutual information are not in it,
    because they need other samples, nor are the relative, prior and balance terms.

    ``inverse_transform(transform(X))`` gives prototypes, not reconstructions: a spectral embedding
    is decoded through the mean latents of the clusters near it, and holds little more than the
    cluster. With ``embedding="latent"`` it gives reconstructions. The probabilities of
    predict_proba are near 0 or 1, and they are not calibrated.

    A cluster that is empty after training, or becomes empty during it, gives a
    :class:`~sklearn.exceptions.ConvergenceWarning`. Training that diverges raises
    :class:`FloatingPointError`. Ctrl-C ends the fit and leaves a fitted estimator, with the state
    of the last finished epoch. Fit uses torch's global random generator only if you pass your own
    networks or functions. If you do not, fits in threads repeat too.

    References
    ----------
    .. [1] X. Yang, C. Deng, F. Zheng, J. Yan, W. Liu, "Deep Spectral Clustering using Dual
       Autoencoder Network", CVPR 2019.
    .. [2] A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive
       Coding", arXiv 1807.03748, 2018.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skdeepcluster import DualAESpectral
    >>> X, y = make_moons(300, noise=0.05, random_state=0)
    >>> model = DualAESpectral(2, pretrain_epochs=100, max_epochs=50, random_state=0).fit(X)
    >>> len(set(zip(model.labels_.tolist(), y.tolist())))  # one cluster for each moon
    2
    >>> model.predict([[0.0, 1.0]]) != model.predict([[1.0, -0.5]])  # also for new samples
    array([ True])
    """

    PAPER: ClassVar[dict[str, Any]] = {
        "max_pixels": None,
        "reconstruction_weight": 2.5 * 784,
        "relative_weight": 5.0 * 784,
        "mutual_information": "jensen-shannon",
        "information_weight": 0.01,
        "prior_weight": 1.0,
        "balance_weight": 0.0,
        "n_neighbors": 3,
        "neighborhood": "batch",
        "n_components": 120,
        "scaling": "none",
        "augmentation": None,
        "cluster_prior": "uniform",
        "init": "k-means",
        "pretrain_epochs": 100,
        "max_epochs": 100,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "constant",
        "precision": "32",
    }

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "embedding": [StrOptions({"spectral", "latent"})],
        "mutual_information": [StrOptions({"views", "jensen-shannon"}), None],
        "information_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "relative_weight": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "noise": [Interval(Real, 0, None, closed="left")],
        "prior_weight": [Interval(Real, 0, None, closed="left")],
        "balance_weight": [Interval(Real, 0, None, closed="left")],
        "cluster_prior": [StrOptions({"start", "uniform"})],
        "affinity": [StrOptions({"probabilistic", "self-tuned", "gaussian"})],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "neighborhood": [StrOptions({"global", "batch"})],
        "init": [StrOptions({"auto", "graph", "k-means", "spectral", "samples"})],
    }
    not_in_pretraining = BaseDeepClusterer.not_in_pretraining | {
        "init",
        "embedding",
        "balance_weight",
        "cluster_prior",
        "affinity",
        "neighborhood",
    }
    fixed_parameters = BaseDeepClusterer.fixed_parameters | {"embedding", "mutual_information"}
    start_decides = True

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        embedding: str = "spectral",
        mutual_information: str | None = "views",
        information_weight: float = 1.0,
        reconstruction_weight: float = 0.05,
        relative_weight: float | str = "auto",
        noise: float = 0.5,
        prior_weight: float = 0.0,
        balance_weight: float = 1.0,
        cluster_prior: str = "start",
        affinity: str = "probabilistic",
        n_neighbors: int = 5,
        neighborhood: str = "global",
        image_shape: Sequence[int] | None = None,
        max_pixels: int | None = 1024,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        n_components: int | str = 20,
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
        self.embedding = embedding
        self.mutual_information = mutual_information
        self.information_weight = information_weight
        self.reconstruction_weight = reconstruction_weight
        self.relative_weight = relative_weight
        self.noise = noise
        self.prior_weight = prior_weight
        self.balance_weight = balance_weight
        self.cluster_prior = cluster_prior
        self.affinity = affinity
        self.n_neighbors = n_neighbors
        self.neighborhood = neighborhood
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

    @classmethod
    def defaults(cls, data: Data, given: Mapping[str, Any]) -> dict[str, Any]:
        images = data.kind == "images"
        epochs = partial(data.epochs, batch_size=int(given["batch_size"]), shortest=3)
        words = data.kind == "bag of words"
        pretraining = _TEXT_PRETRAIN_UPDATES if words else _PRETRAIN_UPDATES
        if starts_from_samples(data, given):
            pretraining = short_pretraining(data, _SHORT_PRETRAIN_UPDATES)
        return super().defaults(data, given) | {
            "augmentation": "crop" if images else "masking" if words else None,
            # ACC of the start on R8: .56 to .60 without this loss, .40 to .58 with a weight of .05
            "relative_weight": 0.0 if words else 0.05,
            "n_components": max(10, int(given["n_clusters"])),
            "architecture": "conv" if images else "mlp",
            "init": STARTS.get(data.kind, "spectral"),
            "pretrain_epochs": epochs(pretraining),
            "max_epochs": epochs(_CLUSTER_UPDATES),
        }

    @staticmethod
    def architectures(plan: Plan) -> dict[str, Callable[..., tuple[nn.Module, nn.Module]]]:
        return BaseDeepClusterer.architectures(plan) | {"conv": dual_conv_autoencoder}

    @staticmethod
    def make_module(plan: Plan, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        width = plan.n_components
        discriminators: dict[str, nn.Module] = {}
        if plan.mutual_information == "jensen-shannon":
            shape = feature_shape(encoder, plan.data.sample_shape)
            if isinstance(encoder, FeatureEncoder):
                discriminators["places"] = Discriminator(shape[0], width)
            discriminators["whole"] = Discriminator(math.prod(shape), width)
        return DualAutoencoder(
            encoder,
            decoder,
            StudentTAssignment(plan.n_clusters, width),
            MixturePrior(plan.n_clusters, width),
            spherical=_compares_views(plan),
            discriminators=discriminators,
        )

    @classmethod
    def fitted_module(
        cls, plan: Plan, encoder: nn.Module, decoder: nn.Module, names: Collection[str]
    ) -> nn.Module:
        module = cls.make_module(plan, encoder, decoder)
        if "assign.spectral_centers" in names:
            module.assign = _head(plan)
        return module

    @staticmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        weights = ["reconstruction_weight", "relative_weight", "prior_weight"]
        if plan.mutual_information == "jensen-shannon" or _compares_views(plan):
            weights.append("information_weight")
        refuse_no_loss(plan, *weights)
        pretrain = view_pretraining(plan, _represent, _NETWORK)
        if not plan.max_epochs:
            return pretrain, Phase("cluster", 0, (), plan.learning_rate, setup=start_clusters)
        return pretrain, *_spectral_phases(plan)

    @classmethod
    def resumed_phases(cls, plan: Plan, module: Any) -> tuple[Phase, ...]:
        if isinstance(module.assign, StudentTAssignment):  # there is no head yet
            return cls.make_phases(plan)[1:]
        return super().resumed_phases(plan, module)

    @staticmethod
    def constants(plan: Plan, rows: Rows, random_state: np.random.RandomState) -> dict[str, Tensor]:
        # neighbours in the input are the second views if nothing is augmented
        if not _compares_views(plan) or plan.augmentation is not None:
            return {}
        kind, n_neighbors = plan.data.kind, int(plan.n_neighbors)
        return {"partners": input_neighbors(rows, kind, n_neighbors, random_state)[1]}

    @classmethod
    def without_effect(cls, plan: Plan) -> dict[str, str]:
        reasons = super().without_effect(plan)
        if not plan.relative_weight:
            reasons["noise"] = "relative_weight=0"
        return reasons

    @staticmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        latent = module.latent(x)
        if isinstance(module.assign, SpectralAssignment):
            y, assign = module.assign.spectral(latent), module.assign
            centers = assign.spectral_centers[assign.alive]
        else:
            y, centers = latent, module.assign.centers
        nearest = squared_distances(y, centers).min(dim=1).values
        error = reconstruction_error(module.decoder(latent), x)
        loss: Tensor = nearest + plan.reconstruction_weight * error
        return loss


# ---------------------------------------------------------------- stage A: the dual autoencoder


def _represent(module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Equation 13: the autoencoder's losses, and the divergence from a Gaussian prior."""
    plan = batch.plan
    views = [batch.augment(batch.x)]
    if _compares_views(plan) and plan.information_weight:
        partners = batch.targets.get("partners")
        views.append(batch.augment(batch.x if partners is None else batch.neighbors(partners)))
    z = module.latent(torch.cat(views))
    losses = _dual_losses(module, batch, views[0], z)
    if plan.prior_weight:
        mean = z[: len(batch)].float()
        divergence = gaussian_divergence(mean, module.log_variance(mean)).mean()
        losses["prior"] = plan.prior_weight * divergence
    return losses


def _compares_views(plan: Plan) -> bool:
    """Whether mutual information is estimated from two views of each sample.

    Texts are only reconstructed: comparing two views of a text would move it away from all others,
    which spreads a large topic over the whole embedding.
    """
    return bool(plan.mutual_information == "views" and plan.data.kind != "bag of words")


def _dual_losses(module: DualAutoencoder, batch: Batch, x: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Mutual information, and equation 12: reconstruction from clean and noisy latents.

    `z` holds the latents of `x`, one view of each sample, and then those of the other views.
    """
    plan, n = batch.plan, len(batch)
    losses = {}
    # with one view of each sample there are no pairs to compare
    pairs = _compares_views(plan) and len(z) > n
    informs = plan.mutual_information == "jensen-shannon" or pairs
    if plan.information_weight and plan.mutual_information is not None and informs:
        information = _information(module, batch, x, z)
        losses["information"] = plan.information_weight * information.mean()
    if plan.reconstruction_weight or plan.relative_weight:
        clean = module.decoder(z[:n])
        error = reconstruction_error(clean, batch.x).mean()
        losses["reconstruction"] = plan.reconstruction_weight * error
        if plan.relative_weight:
            noisy = z[:n] * (1.0 + plan.noise * _gaussian(z[:n], batch))
            error = reconstruction_error(module.decoder(noisy), clean).mean()
            losses["relative"] = plan.relative_weight * error
    return losses


def _information(module: DualAutoencoder, batch: Batch, x: Tensor, z: Tensor) -> Tensor:
    """Minus an estimate of the mutual information, for each sample."""
    n = len(batch)
    if batch.plan.mutual_information == "views":
        return contrastive_loss(z[:n], z[-n:])
    # equations 8 and 9, for draws from the posterior. Batches are shuffled, so the next sample in
    # the batch is drawn at random, and is never the sample itself
    features, z = module.features(x), z[:n]
    z = z + (0.5 * module.log_variance(z)).exp() * _gaussian(z, batch)
    loss = z.new_zeros(n, dtype=torch.float32)
    for name, discriminator in module.discriminators.items():
        seen = features.flatten(1).unsqueeze(1)  # (n, 1, channels * places)
        if name == "places":
            seen = features.flatten(2).mT  # (n, places, channels)
        joint, product = discriminator(seen, z), discriminator(seen, z.roll(1, dims=0))
        loss = loss + jensen_shannon_loss(joint.float(), product.float())
    return loss


def _gaussian(z: Tensor, batch: Batch) -> Tensor:
    """Standard Gaussian noise of the shape of `z`."""
    return torch.randn(z.shape, generator=batch.generator, device=z.device, dtype=z.dtype)


# ---------------------------------------------------------------- stage B: spectral clustering


def _spectral_phases(plan: Plan) -> tuple[Phase, Phase]:
    """The head imitates the start partition, then it learns from the neighbour graph."""
    head_epochs = math.ceil(_HEAD_SHARE * plan.max_epochs)
    head = Phase(
        "head",
        head_epochs,
        (Step("head", _imitate, trains=("assign",)),),
        plan.learning_rate,
        setup=_start_head,
        refresh=_eigenspace,
        refresh_every=head_epochs,
    )
    joint = _trains_jointly(plan)
    reduction = _SPECTRAL_RATE if joint else _CAREFUL_RATE
    cluster = Phase(
        "cluster",
        plan.max_epochs,
        (
            Step("joint", _joint, trains=(*_NETWORK, "prior", "assign"))
            if joint
            else Step("spectral", _head_alone, trains=("prior", "assign")),
        ),
        # a constant rate is the same in all phases, as in the authors' code
        plan.learning_rate * (reduction if plan.learning_rate_schedule == "annealed" else 1.0),
        schedule=plan.schedule(one_cycle),
        setup=_clusters_of_latents,
        refresh=_graph,
        refresh_every=math.ceil(plan.max_epochs / _LOOKS),
        stop=labels_stable,
        whole_batches=True,
    )
    return head, cluster


def _start_head(run: Run) -> dict[str, Tensor]:
    """The start partition, for the head to imitate."""
    z = _latents(run)
    p = partition_to_imitate(run, z)
    with torch.no_grad():
        run.module.prior.means.copy_(_means(z, p))
        if run.plan.cluster_prior == "start":
            run.module.prior.weights.copy_(cluster_shares(p))
    with seeded_layers(run.draw_seed(), run.rows.device):
        run.module.assign = _head(run.plan)
    run.module.assign.to(p.device)
    return {"p": p}


def _head(plan: Plan) -> SpectralAssignment:
    latent = plan.embedding == "latent"
    return SpectralAssignment(plan.n_clusters, plan.n_components, latent=latent)


def _imitate(module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Divergence of the head's posterior from the start partition."""
    with torch.autocast(batch.x.device.type, enabled=False):
        p = module.assign.posterior(_fixed_latents(module, batch.x))
    return {"imitation": kl_divergence(batch.targets["p"], p).mean()}


def _clusters_of_latents(run: Run) -> None:
    """Set the clusters of a training that the user stopped before it had a head."""
    if isinstance(run.module.assign, StudentTAssignment):
        start_clusters(run)


@torch.no_grad()
def _eigenspace(run: Run) -> dict[str, Tensor]:
    """Equation 17 on all samples, and k-means in the spectral embedding."""
    n_clusters, assign, z = run.plan.n_clusters, run.module.assign, _latents(run)
    p = torch.cat([assign.posterior(part) for part in torch.split(z, INFERENCE_BATCH)])
    assign.orthonormalizer.copy_(orthonormalizer(p))
    y = p @ assign.orthonormalizer
    # k-means starts from the head's own partition, so that clusters keep their numbers
    own = one_hot(p.argmax(dim=1), n_clusters).float()
    # outputs that collapsed onto others have a norm of nearly 0: k-means would cut another cluster
    # to fill their place
    n_alive = max(1, int(y.square().mean(dim=0).sum().round()))
    alive = own.sum(dim=0).topk(n_alive).indices.sort().values
    centers = _means(y, own)[alive]
    # k-means warns about duplicated samples; fit warns about its final labels
    with ignoring(ConvergenceWarning):
        k_means = KMeans(n_alive, init=centers.cpu().numpy(), n_init=1)
        labels = torch.from_numpy(k_means.fit_predict(y.cpu().numpy())).long().to(y.device)
    found = torch.from_numpy(k_means.cluster_centers_).to(y)
    assign.set_spectral_centers(alive, found)
    assign.latent_centers.copy_(_means(z, one_hot(alive[labels], n_clusters).float()))
    assign.variance.fill_(max(k_means.inertia_ / y.numel(), _LEAST_VARIANCE))
    return {}


def _graph(run: Run) -> dict[str, Tensor]:
    """Soft assignments, and neighbours among the latents of all samples."""
    plan = run.plan
    if isinstance(run.module.assign, SpectralAssignment):
        _eigenspace(run)
    targets = {"q": run.assign()}
    if plan.neighborhood == "global" and not run.over:
        z = _latents(run)
        random_state = np.random.RandomState(run.draw_seed())
        distances, index = nearest_neighbors(
            z.cpu().numpy(), int(plan.n_neighbors) + 1, random_state
        )
        squares = torch.from_numpy(distances).float().square().to(z.device)
        targets["affinity"] = neighbor_affinity(squares, plan.affinity)
        nearest = index[:, : targets["affinity"].shape[1]]
        targets["neighbors"] = torch.from_numpy(nearest).to(z.device)
    return targets


def _joint(module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Equation 19: the autoencoder's losses, the mixture prior and the spectral loss."""
    z = module.latent(_views(batch))
    losses = _dual_losses(module, batch, batch.x, z)
    with torch.autocast(z.device.type, enabled=False):
        return losses | _head_losses(module, batch, z.float())


def _head_alone(module: DualAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Mixture prior and spectral loss, on latents that stay as they are."""
    with torch.autocast(batch.x.device.type, enabled=False):
        return _head_losses(module, batch, _fixed_latents(module, _views(batch)))


def _views(batch: Batch) -> Tensor:
    """The samples, a neighbour of each, and an augmented view of each."""
    views = [batch.x]
    if batch.plan.neighborhood == "global":
        neighbors, affinity = batch.targets["neighbors"], batch.targets["affinity"]
        views.append(batch.neighbors(neighbors, affinity))
    if _augments(batch.plan):
        views.append(batch.augment(batch.x))
    return torch.cat(views)


def _head_losses(module: DualAutoencoder, batch: Batch, z: Tensor) -> dict[str, Tensor]:
    plan, n = batch.plan, len(batch)
    p = module.assign.posterior(z)
    losses = {"spectral": _spectral(plan, module.assign.orthonormal(p), z, n).float()}
    if plan.prior_weight:
        divergence = module.prior(z[:n], module.log_variance(z[:n]), p[:n])
        losses["prior"] = plan.prior_weight * divergence.mean()
    if plan.balance_weight:
        unlike = kl_divergence(p.mean(dim=0, keepdim=True), module.prior.weights).squeeze(0)
        balance = _CONFIDENCE * entropy(p).mean() + unlike
        losses["balance"] = plan.balance_weight * balance
    return losses


def _spectral(plan: Plan, y: Tensor, z: Tensor, n: int) -> Tensor:
    """Equation 15: along edges to other views in the batch, and to neighbours in it."""
    losses = []
    if len(y) > n:
        views = torch.stack(torch.split(y, n)[1:], dim=1)  # (n, views, k)
        alike = y.new_full(views.shape[:2], 1.0 / views.shape[1])
        losses.append(spectral_loss(y[:n], views, alike).mean())
    if plan.neighborhood == "batch":
        # no gradient through the affinities: the network would push neighbours apart
        squares = squared_distances(z[:n], z[:n]).detach().fill_diagonal_(torch.inf)
        near = squares.topk(min(int(plan.n_neighbors) + 1, n - 1), largest=False)
        affinity = neighbor_affinity(near.values, plan.affinity)
        neighbors = y[near.indices[:, : affinity.shape[1]]]  # (n, j, k)
        losses.append(spectral_loss(y[:n], neighbors, affinity).mean())
    return torch.stack(losses).mean()


# ---------------------------------------------------------------- what the parameters mean


def _trains_jointly(plan: Plan) -> bool:
    """Whether the autoencoder is trained with the head.

    If views are neighbours, the autoencoder has nothing more to learn. When its training continued,
    two circles that were correct at the start lost arcs to each other: the spectral loss does not
    depend on the length of an arc.
    """
    return plan.mutual_information != "views" or (_compares_views(plan) and _augments(plan))


def _augments(plan: Plan) -> bool:
    """Whether there are augmented views in the spectral phase."""
    return plan.augmentation not in (None, "masking")


@torch.no_grad()
def _latents(run: Run) -> Tensor:
    """Latents of all samples, of shape (n_samples, n_components)."""
    with evaluating(run.module):
        batches = ((where, run.module.latent(x)) for where, x in run.rows.padded_batches())
        parts = ((where, z[: where.stop - where.start]) for where, z in batches)
        return gather(parts, run.rows)


def _fixed_latents(module: DualAutoencoder, x: Tensor) -> Tensor:
    """Latents of samples, for losses that do not train the encoder."""
    module.encoder.eval()  # no batch statistics, no dropout
    with torch.no_grad():
        return module.latent(x)


def _means(values: Tensor, p: Tensor) -> Tensor:
    """Mean of the rows of each cluster; the mean of all rows if a cluster is empty."""
    sizes = p.sum(dim=0).unsqueeze(1)  # (k, 1)
    return torch.where(sizes > 0, p.T @ values / sizes.clamp_min(1.0), values.mean(dim=0))
