"""Deep Image Clustering with Category-Style Representation (Zhao et al., ECCV 2020)."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from joblib import Memory
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from ._data.rows import INFERENCE_BATCH, Rows
from ._engine.architecture import feature_shape
from ._engine.method import affine, short_pretraining, starts_from_samples
from ._engine.model import FittedModel
from ._engine.phases import evaluating, unchanged
from ._start.views import (
    STARTS,
    cluster_shares,
    input_neighbors,
    partition_to_imitate,
    view_pretraining,
)
from .augment import random_crop, random_masking, random_photo, random_swap
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
    labels_stable,
)
from .functional import (
    constant,
    contrastive_loss,
    cosine,
    entropy,
    gradient_penalty,
    jensen_shannon_loss,
    kl_divergence,
    reconstruction_error,
    softmax_divergence,
)
from .nn import (
    CategoryStyleNetwork,
    Critic,
    FeatureEncoder,
    category_style_autoencoder,
    mlp_autoencoder,
    residual_autoencoder,
)

# updates of the encoder in the "auto" budgets; measured on USPS and digits, doc/benchmarks
_PRETRAIN_UPDATES = 600
_IMITATION_SHARE = 0.25  # epochs to imitate a partition of the embedding, as a share of pretraining
_CLUSTER_UPDATES = 160
_TEXT_PRETRAIN_UPDATES = 1200
_SHORT_PRETRAIN_UPDATES = 300  # if the partition comes from the samples
_SHORT_CLUSTER_UPDATES = 100  # the same, and for texts: a longer phase makes them worse
_START_UPDATES = 400  # of each start, for several starts from random weights
_START_VIEWS = 8  # of each image, for the start partition
_BETAS = (0.5, 0.9)  # of Adam, section 4.2
_ADVERSARIAL_RATE = 1 / 6  # factor of the learning rate in the clustering phase
_STYLE_WIDTH = 50
_STYLE_LENGTH = 0.7  # of styles drawn from the prior: half the distance between two categories
_EVEN = 0.1  # factor of the first weights for the categories, so that these start nearly equal
_LOOKS = 10  # passes over all samples in the clustering phase, to check the labels
_STEADY = 0.05  # the Wasserstein distance has settled if it changes less between two checks
_PRIOR_DRAWS = 10_000  # draws from the prior for that distance
_RAREST = 0.1  # least estimated probability of a category, times n_clusters
_FAR, _REACH = 10, 0.25  # adversarial views go a quarter of the way to the 10th neighbour
_PROBE = 10.0  # length of the step that finds their direction, as in the code of Hu et al. 2017
_DROPPED = 0.2  # share of the words of a text that a view leaves out

View = tuple[Tensor, Tensor, Tensor]  # features, logits of the categories, styles


class DCCS(BaseDeepClusterer):
    """Use this for images, and for embeddings of pretrained networks.

    An encoder maps a sample to a category (the softmax of `n_clusters` logits) and a style. Three
    losses train it. A critic moves the distribution of category and style over all samples towards
    a prior: one-hot categories with the probabilities of `cluster_prior`, and small Gaussian
    styles. A discriminator keeps both informative about the sample. The third loss makes the
    category the same for all views of a sample. The cluster is the category with the largest
    probability.

    Start with the parameters that describe your data: `augmentation` says what the clusters must
    not depend on, and `cluster_prior` says how large the clusters are. Then change the two budgets,
    `pretrain_epochs` and `max_epochs`. For photographs, use ``architecture="resnet",
    augmentation="photo", augmentation_weight=4`` on a GPU, or cluster the features of a pretrained
    network as vectors. For such vectors the authors use (500, 500, 2000) as `hidden_units`.

    Parameters that the estimators share are explained in full in :doc:`/parameters`.

    Parameters
    ----------
    n_clusters : int, default=4
        Number of clusters, at least 1.

    mutual_information : {"discriminator", "decoder"} or None, default="discriminator"
        How the mutual information of samples and embeddings is estimated. "discriminator" learns
        whether a feature map and an embedding are of the same sample; "decoder" reconstructs the
        sample. None leaves it out.

    information_weight : float, default=0.5
        Weight of the mutual information, at least 0.

    adversarial_weight : float, default=1.0
        Weight of the distance from the prior, at least 0. 0 trains no critic.

    augmentation_weight : float, default=2.0
        Weight of the divergence between the categories of two views, at least 0.

    balance_weight : float, default=1.0
        Weight of the balance term, at least 0; the paper has none. It draws the mean category to
        the prior and makes each category certain.

    gradient_penalty : float, default=10.0
        Weight of the penalty on the critic's slope, at least 0.

    n_critic : int, default=4
        Updates of the critic for each update of the encoder, at least 1. Each uses a batch of its
        own.

    critic_units : tuple of int, default=(256, 128)
        Widths of the hidden layers of critic and discriminator; the paper has (1024, 512).

    cluster_prior : {"start", "uniform", "estimated"} or array-like of shape (n_clusters,), \
            default="start"
        Expected sizes of the clusters. "start" are those of the start partition (equal sizes with
        ``init=None``), "estimated" are those that training finds, updated ten times, "uniform" are
        equal sizes. An array holds positive shares that sum to 1; the first is for cluster 0.

    n_neighbors : int, default=5
        Number of nearest neighbours of a sample, at least 1. For vectors, and for images with the
        augmentation None or "adversarial", half of the views of a sample are views of one of its
        neighbours (of fewer, if clusters are small).

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

    augmentation : {"auto", "affine", "crop", "photo", "masking", "swap", "adversarial"}, \
            callable or None, default="auto"
        Random changes that must not change the cluster of a sample. "auto" is "crop" for images,
        "masking" for bags of words, else "swap". With a start partition, "crop" is "affine" in the
        clustering phase. "photo" is for photographs, "adversarial" [2]_ for vectors.

    n_components : "auto" or int, default="auto"
        Number of features that the encoder learns. They are the style, and the embedding also has
        `n_clusters` columns for the category. "auto" is 50, but at most the number of features of
        `X`, and at least 10. For bags of words it is the larger of 10 and `n_clusters`.

    architecture : {"auto", "mlp", "conv", "resnet"}, tuple or callable, default="auto"
        The autoencoder: a name, a pair of modules or a function, see :doc:`/own_network`. "conv"
        and "resnet" are the networks of the paper, for 28 x 28 and for more pixels; "resnet" needs
        a GPU. "auto" is "conv" for images, else "mlp".

    hidden_units : "auto" or tuple of int, default="auto"
        Widths of the hidden layers of the "mlp" encoder; the decoder mirrors them. "auto" is
        ``(512, 256)``, with a smaller first layer above 7812 features.

    preprocessing : {"auto", "grayscale", "sobel"} or None, default="auto"
        What "conv" and "resnet" do to an image first. "auto" and "grayscale" turn three channels
        into one gray channel, "sobel" takes the two derivatives of the gray image.

    init : {"auto", "graph", "k-means", "spectral", "samples"} or None, default="auto"
        The partition that training starts from. "auto" is "samples" for tables and embeddings,
        "spectral" for other vectors, "graph" for images and bags of words. None starts from random
        weights, without a partition and without pretraining, as in the paper.

    n_init : "auto" or int, default="auto"
        Number of starts from new random weights, at least 1. The best one, chosen without labels,
        is trained to the end. "auto" is 1. With ``init=None`` and 2 or more starts, each start
        trains for `pretrain_epochs`.

    pretrain_epochs : "auto" or int, default="auto"
        Epochs of pretraining. "auto" is enough for about 600 batches, with `init` "samples" 300
        (embeddings 150), for bags of words 1200. Then the encoder learns the start partition for
        a quarter of this number of epochs, or for the full number if `init` is "samples".

    max_epochs : "auto" or int, default="auto"
        Maximum number of epochs of the clustering phase; 0 stops at the start. "auto" is
        enough epochs for about 160 updates of the encoder, of ``n_critic + 1`` batches each; with
        `init` "samples" and for bags of words 100.

    batch_size : int, default=128
        Number of samples in a batch, at least 2.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate of Adam, positive. "auto" is 3e-3, for bags of words 1e-3. An annealed
        clustering phase starts at a sixth of it.

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
        "wasserstein" (the critic's estimate of the distance from the prior) and
        "wasserstein_change" are there if the labels were checked. Divided by `balance_weight`,
        "uncertainty" is the mean entropy of a category, in nats.

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
    DualAESpectral : It pretrains in the same way, then uses the neighbour graph.

    Notes
    -----
    ``DCCS(n_clusters, **DCCS.PAPER)`` is the paper's method for MNIST: gray images of 28 x 28
    pixels scaled to [-1, 1], not mirrored, with the authors' 3000 epochs; set ``max_epochs`` to fit
    the time that you have. The paper's beta_MI is `information_weight` (5 for a decoder), beta_Adv
    is `adversarial_weight`, beta_Aug is `augmentation_weight` and lambda is `gradient_penalty`. The
    rows of its table 5: without MI is ``mutual_information=None``, without Aug is
    ``augmentation_weight=0``. As in the authors' code, the mutual information is averaged over both
    kinds of pairs, which is half of equation 6, and a false pair takes its embedding from the next
    sample in the batch, so that no sample is paired with itself.

    These parts differ from the paper because they gave better results in the time that a laptop
    allows: the pretraining, the partition that the categories start from, styles that are
    directions with the most likely length under the prior, affine views in the clustering phase,
    and the balance term. ``init=None`` removes the first four of them.

    ``transform`` returns category and style in one array. With ``Z = transform(X)`` the category is
    ``Z[:, :n_clusters]``, equal to predict_proba if no cluster is empty; the other columns are the
    style. The discriminator sees the last feature map of "conv", the map before the last block of
    "resnet", or what :class:`~skdeepcluster.nn.FeatureEncoder` calls features; with any other
    encoder it sees the sample. A decoder is always trained, for inverse_transform.

    ``score`` is minus the critic's estimate of the Wasserstein distance from the prior, minus the
    weighted entropy of the category. It leaves out mutual information and views, which need other
    samples. Do not compare the scores of two fits, because each has its own critic: to choose
    parameters, give GridSearchCV a ``scoring``.

    The paper's prior of equally likely categories makes clusters of similar size; by default the
    prior has the sizes of the start partition. In the clustering phase Adam has the betas (0.5,
    0.9), and `tol` ends it only if the Wasserstein distance also changes by less than .05.

    A cluster that is empty after training, or becomes empty during it, gives a
    :class:`~sklearn.exceptions.ConvergenceWarning`. Training that diverges raises
    :class:`FloatingPointError`. Ctrl-C ends the fit and leaves a fitted estimator, with the state
    of the last finished epoch. Fit uses torch's global random generator only if you pass your own
    networks or functions. If you do not, fits in threads repeat too.

    References
    ----------
    .. [1] J. Zhao, D. Lu, K. Ma, Y. Zhang, Y. Zheng, "Deep Image Clustering with Category-Style
       Representation", ECCV 2020.
    .. [2] W. Hu, T. Miyato, S. Tokui, E. Matsumoto, M. Sugiyama, "Learning Discrete Representations
       via Information Maximizing Self-Augmented Training", ICML 2017.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCCS
    >>> X, y = make_blobs(n_samples=200, centers=3, n_features=8, random_state=0)
    >>> model = DCCS(n_clusters=3, pretrain_epochs=30, max_epochs=60, random_state=0)
    >>> labels = model.fit_predict(X)
    >>> len(set(zip(labels.tolist(), y.tolist())))  # one cluster for each blob
    3
    >>> model.transform(X).shape
    (200, 13)
    """

    PAPER: ClassVar[dict[str, Any]] = {
        "max_pixels": None,
        "balance_weight": 0.0,
        "cluster_prior": "uniform",
        "critic_units": (1024, 512),
        "architecture": partial(category_style_autoencoder, width=64),
        "scaling": "none",
        "augmentation": partial(
            random_crop, least_area=0.4, rotation=0.0, elastic=0.0, pixel_range=(-1.0, 1.0)
        ),
        "init": None,
        "max_epochs": 3000,
        "batch_size": 64,
        "learning_rate": 1e-4,
        "learning_rate_schedule": "constant",
        "tol": 0.0,
        "precision": "32",
    }

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mutual_information": [StrOptions({"discriminator", "decoder"}), None],
        "information_weight": [Interval(Real, 0, None, closed="left")],
        "adversarial_weight": [Interval(Real, 0, None, closed="left")],
        "augmentation_weight": [Interval(Real, 0, None, closed="left")],
        "balance_weight": [Interval(Real, 0, None, closed="left")],
        "gradient_penalty": [Interval(Real, 0, None, closed="left")],
        "n_critic": [Interval(Integral, 1, None, closed="left")],
        "critic_units": [tuple, list],
        "cluster_prior": [StrOptions({"start", "uniform", "estimated"}), "array-like"],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "preprocessing": [StrOptions({"auto", "grayscale", "sobel"}), None],
        "architecture": [StrOptions({"auto", "mlp", "conv", "resnet"}), tuple, callable],
        "augmentation": [
            StrOptions({"auto", "affine", "crop", "photo", "masking", "swap", "adversarial"}),
            callable,
            None,
        ],
        "init": [StrOptions({"auto", "graph", "k-means", "spectral", "samples"}), None],
    }
    not_in_pretraining = (
        BaseDeepClusterer.not_in_pretraining - {"n_clusters"}  # the encoder gives their logits
    ) | {
        "init",
        "mutual_information",
        "information_weight",
        "adversarial_weight",
        "augmentation_weight",
        "balance_weight",
        "gradient_penalty",
        "n_critic",
        "critic_units",
        "cluster_prior",
    }
    fixed_parameters = BaseDeepClusterer.fixed_parameters | {
        "mutual_information",
        "critic_units",
        "cluster_prior",
        "preprocessing",
        "init",
    }
    start_decides = True
    augmentations: ClassVar[Mapping[str, Callable[..., Tensor]]] = {
        **BaseDeepClusterer.augmentations,
        "photo": random_photo,
        "swap": random_swap,
        "masking": partial(random_masking, share=_DROPPED),
        "adversarial": unchanged,  # needs the network
    }

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        mutual_information: str | None = "discriminator",
        information_weight: float = 0.5,
        adversarial_weight: float = 1.0,
        augmentation_weight: float = 2.0,
        balance_weight: float = 1.0,
        gradient_penalty: float = 10.0,
        n_critic: int = 4,
        critic_units: Sequence[int] = (256, 128),
        cluster_prior: str | Sequence[float] = "start",
        n_neighbors: int = 5,
        image_shape: Sequence[int] | None = None,
        max_pixels: int | None = 1024,
        scaling: str = "auto",
        augmentation: str | Callable[[Tensor], Tensor] | None = "auto",
        n_components: int | str = "auto",
        architecture: Any = "auto",
        hidden_units: str | Sequence[int] = "auto",
        preprocessing: str | None = "auto",
        init: str | None = "auto",
        n_init: int | str = "auto",
        pretrain_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 128,
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
        self.mutual_information = mutual_information
        self.information_weight = information_weight
        self.adversarial_weight = adversarial_weight
        self.augmentation_weight = augmentation_weight
        self.balance_weight = balance_weight
        self.gradient_penalty = gradient_penalty
        self.n_critic = n_critic
        self.critic_units = critic_units
        self.cluster_prior = cluster_prior
        self.n_neighbors = n_neighbors
        self.image_shape = image_shape
        self.max_pixels = max_pixels
        self.scaling = scaling
        self.augmentation = augmentation
        self.n_components = n_components
        self.architecture = architecture
        self.hidden_units = hidden_units
        self.preprocessing = preprocessing
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
        images, words = data.kind == "images", data.kind == "bag of words"
        epochs = partial(data.epochs, batch_size=int(given["batch_size"]), shortest=3)
        # batches for one update of the encoder
        turn = 1 + (int(given["n_critic"]) if given["adversarial_weight"] else 0)
        few = starts_from_samples(data, given) or words
        shared = super().defaults(data, given)
        style_width = min(_STYLE_WIDTH, max(10, data.n_features))
        pretraining = _PRETRAIN_UPDATES
        if given["init"] is None:
            pretraining = _START_UPDATES * turn
        elif words:
            pretraining = _TEXT_PRETRAIN_UPDATES
        elif few:
            pretraining = short_pretraining(data, _SHORT_PRETRAIN_UPDATES)
        return shared | {
            "augmentation": "crop" if images else "masking" if words else "swap",
            "n_components": shared["n_components"] if words else style_width,
            "architecture": "conv" if images else "mlp",
            "preprocessing": "grayscale",
            "init": STARTS.get(data.kind, "spectral"),
            "pretrain_epochs": epochs(pretraining),
            "max_epochs": epochs((_SHORT_CLUSTER_UPDATES if few else _CLUSTER_UPDATES) * turn),
        }

    @staticmethod
    def encoder_width(plan: Plan) -> int:
        return int(plan.n_clusters + plan.n_components)

    @staticmethod
    def architectures(plan: Plan) -> dict[str, Callable[..., tuple[nn.Module, nn.Module]]]:
        return {
            "mlp": partial(mlp_autoencoder, batch_norm=plan.data.kind != "bag of words"),
            "conv": partial(category_style_autoencoder, preprocessing=plan.preprocessing),
            "resnet": partial(residual_autoencoder, preprocessing=plan.preprocessing),
        }

    @staticmethod
    def make_module(plan: Plan, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        own = isinstance(plan.architecture, str)
        _refuse_preprocessing(plan, own and isinstance(encoder, FeatureEncoder))
        _check_critic_units(plan)
        if own and plan.init is None:
            # nearly equal categories at the start: training must decide them, not chance
            last = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)][-1]
            with torch.no_grad():
                last.weight[: plan.n_clusters] *= _EVEN
        width, words = DCCS.encoder_width(plan), plan.data.kind == "bag of words"
        discriminator = None
        if plan.mutual_information == "discriminator":
            n_features = math.prod(feature_shape(encoder, plan.data.sample_shape))
            discriminator = Critic(n_features + width, plan.critic_units)
        return CategoryStyleNetwork(
            encoder,
            decoder,
            Critic(width, plan.critic_units),
            discriminator,
            _first_prior(plan),
            style_length=None if plan.init is None or words else _STYLE_LENGTH,
        )

    @staticmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        cluster = _adversarial_phase(plan)
        if plan.init is None and plan.n_init == 1:
            return (cluster,)
        if plan.init is None:
            start = dataclasses.replace(
                cluster,
                name="start",
                epochs=plan.pretrain_epochs,
                schedule=constant,
                refresh=None,
                stop=None,
            )
            return start, cluster
        network = ("encoder", "decoder")
        imitate = Phase(
            "imitate",
            math.ceil(plan.pretrain_epochs * (1.0 if plan.init == "samples" else _IMITATION_SHARE)),
            (Step("encoder", _imitate, trains=network),),
            plan.learning_rate,
            schedule=plan.schedule(cosine),
            setup=_start,
            whole_batches=True,
        )
        pretrain = view_pretraining(plan, _tell_apart, network)
        return pretrain, imitate, cluster

    @staticmethod
    def constants(plan: Plan, rows: Rows, random_state: np.random.RandomState) -> dict[str, Tensor]:
        # neighbours in the input, and how far an adversarial view may go
        augmentation = plan.augmentation
        if plan.data.kind == "images" and augmentation not in (None, "adversarial"):
            return {}
        count = max(int(plan.n_neighbors), _FAR)
        _, index = input_neighbors(rows, plan.data.kind, count, random_state)
        constants = {}
        # no more neighbours than there are in a cluster of average size
        n_neighbors = min(int(plan.n_neighbors), len(rows) // plan.n_clusters - 1)
        if n_neighbors:
            constants["partners"] = index[:, :n_neighbors]
        if augmentation == "adversarial":
            constants["reach"] = _REACH * _distances(rows, index[:, :_FAR][:, -1])
        return constants

    @classmethod
    def without_effect(cls, plan: Plan) -> dict[str, str]:
        reasons = super().without_effect(plan)
        if not plan.adversarial_weight:
            reasons |= dict.fromkeys(("gradient_penalty", "n_critic"), "adversarial_weight=0")
            if plan.mutual_information != "discriminator":
                reasons["critic_units"] = "adversarial_weight=0"
        return reasons

    @staticmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        distance: Tensor = module.prior_score - module.critic(z)
        loss: Tensor = plan.adversarial_weight * distance + plan.balance_weight * entropy(q)
        return loss

    @staticmethod
    def find_centers(model: FittedModel, X: Any, labels: np.ndarray) -> np.ndarray:
        # mean embeddings of the clusters; an empty cluster gets the mean of all samples
        sums = np.zeros((model.plan.n_clusters, DCCS.encoder_width(model.plan)))
        for where, _, z, _ in model.stream(X):
            np.add.at(sums, labels[where], z.cpu().numpy())
        sizes = np.bincount(labels, minlength=len(sums))[:, None]
        centers: np.ndarray = np.where(
            sizes > 0, sums / np.maximum(sizes, 1), sums.sum(axis=0) / sizes.sum()
        )
        return centers


def _distances(rows: Rows, others: Tensor) -> Tensor:
    """Distance of each sample, as the network sees it, to one other sample."""
    first, other = np.arange(len(rows)), others.cpu().numpy()
    parts = np.array_split(first, math.ceil(len(first) / INFERENCE_BATCH))
    steps = (rows.take(part) - rows.take(other[part]) for part in parts)
    return torch.cat([step.flatten(1).norm(dim=1) for step in steps])


# ---------------------------------------------------------------- pretraining


def _tell_apart(module: CategoryStyleNetwork, batch: Batch) -> dict[str, Tensor]:
    """The style of a view must show which sample it comes from; texts are only reconstructed."""
    view = module.encode(batch.augment(batch.x))
    if _reads_words(batch.plan):
        return _rebuild(module, batch, view)
    return _compare(module, batch, view, _encode_view(module, batch))


def _reads_words(plan: Plan) -> bool:
    """Whether samples are texts.

    Comparing two views of a text would move it away from all others. This spreads a large topic
    over the whole embedding, and k-means then cuts the topic.
    """
    return plan.data.kind == "bag of words"


def _rebuild(module: CategoryStyleNetwork, batch: Batch, view: View) -> dict[str, Tensor]:
    """Reconstruction of a sample from both parts of the embedding of its view."""
    _, logits, style = view
    z = torch.cat([logits.softmax(dim=1), style], dim=1)
    return {"reconstruction": reconstruction_error(module.decoder(z), batch.x).mean()}


def _compare(
    module: CategoryStyleNetwork, batch: Batch, view: View, other: View
) -> dict[str, Tensor]:
    """Information between the styles of two views; the decoder learns beside it."""
    information = contrastive_loss(view[2], other[2]).mean()
    fixed = (view[0], view[1].detach(), view[2].detach())
    return {"information": information} | _rebuild(module, batch, fixed)


def _start(run: Run) -> dict[str, Tensor]:
    """The start partition, for the categories to imitate."""
    plan, p = run.plan, partition_to_imitate(run, _pretrained(run))
    if not isinstance(plan.cluster_prior, str):
        # the largest part is the most probable category
        order = torch.empty(plan.n_clusters, dtype=torch.long)
        order[_first_prior(plan).argsort()] = p.sum(dim=0).cpu().argsort()
        p = p[:, order.to(p.device)]
    elif plan.cluster_prior == "start":
        run.module.prior.copy_(cluster_shares(p))
    return {"p": p}


@torch.no_grad()
def _pretrained(run: Run) -> Tensor:
    """What pretraining has taught about each sample, of shape (n_samples, m).

    That is the style: the categories have learned nothing yet, but for texts. For an image, the
    result is the mean of its own style and the mean style of 8 views, whose errors cancel out.
    """
    module, rows, first = run.module, run.rows, run.plan.n_clusters
    z = torch.from_numpy(run.embed()).to(rows.device)
    if _reads_words(run.plan):
        return z
    styles = z[:, first:]
    if run.plan.data.kind != "images":
        return styles
    # the judge chooses the partition of its nodes; other rows only take the nearest center
    nodes = np.arange(len(rows)) if run.judge is None else run.judge[0]
    with evaluating(module):
        for part in np.array_split(nodes, math.ceil(len(nodes) / INFERENCE_BATCH)):
            x = rows.take(part)
            views = [module.embed(run.augment(x, run.generator)) for _ in range(_START_VIEWS)]
            styles[part] = (styles[part] + torch.stack(views).mean(dim=0)[:, first:]) / 2
    return styles


def _imitate(module: CategoryStyleNetwork, batch: Batch) -> dict[str, Tensor]:
    """The losses of pretraining, and the cross-entropy of each view with the start partition."""
    view, other = module.encode(batch.augment(batch.x)), _encode_view(module, batch)
    words = _reads_words(batch.plan)
    losses = _rebuild(module, batch, view) if words else _compare(module, batch, view, other)
    p = batch.targets["p"]
    errors = [-(p * logits.log_softmax(dim=1)).sum(dim=1).mean() for _, logits, _ in (view, other)]
    return losses | {"imitation": errors[0] + errors[1]}


# ---------------------------------------------------------------- critic and encoder


def _adversarial_phase(plan: Plan) -> Phase:
    """Critic and encoder take turns, section 3.4."""
    network = ["encoder", "decoder"]
    if plan.mutual_information == "discriminator":
        network.append("discriminator")
    steps = [Step("encoder", _represent, trains=tuple(network), betas=_BETAS)]
    if plan.adversarial_weight:
        repeat = int(plan.n_critic)
        steps.insert(0, Step("critic", _criticise, trains=("critic",), repeat=repeat, betas=_BETAS))
    reduction = _ADVERSARIAL_RATE if plan.learning_rate_schedule == "annealed" else 1.0
    return Phase(
        "cluster",
        plan.max_epochs,
        tuple(steps),
        reduction * plan.learning_rate,
        schedule=plan.schedule(cosine),
        refresh=_look,
        refresh_every=max(1, math.ceil(plan.max_epochs / _LOOKS)),
        stop=_settled,
        whole_batches=True,
        # crops are the better views to pretrain with; affine views are closer to the images
        augment=affine if plan.augmentation == "crop" and plan.init is not None else None,
        # from random weights, categories appear and vanish at first, and this is no collapse
        guarded=plan.init is not None,
    )


def _criticise(module: CategoryStyleNetwork, batch: Batch) -> dict[str, Tensor]:
    """Equations 11 and 14: minus the Wasserstein estimate, and the penalty on the slope."""
    plan = batch.plan
    with torch.no_grad():
        z = module.embed(batch.x)
    with torch.autocast(z.device.type, enabled=False):
        drawn = _draw_prior(module, batch.run, len(z))
        scores, prior_scores = module.critic(torch.cat([z, drawn])).chunk(2)
        shape, generator = (len(z), 1), batch.generator
        mix = torch.rand(shape, generator=generator, device=z.device, dtype=z.dtype)
        penalty = gradient_penalty(module.critic, drawn + mix * (z - drawn)).mean()
    return {
        "critic": plan.adversarial_weight * (scores.mean() - prior_scores.mean()),
        "penalty": plan.adversarial_weight * plan.gradient_penalty * penalty,
    }


def _represent(module: CategoryStyleNetwork, batch: Batch) -> dict[str, Tensor]:
    """Equation 12: mutual information, invariance of the category, and the critic's score."""
    plan, losses = batch.plan, {}
    # the view comes first, so that the running statistics are last updated by the clean samples
    view = _encode_view(module, batch) if plan.augmentation_weight else None
    features, logits, style = module.encode(batch.x)
    q = logits.softmax(dim=1)
    z = torch.cat([q, style], dim=1)
    if plan.adversarial_weight:
        with torch.autocast(z.device.type, enabled=False):
            losses["adversarial"] = -plan.adversarial_weight * module.critic(z).mean()
    if module.discriminator is not None and plan.information_weight:
        # equation 6, halved as in the authors' code; batches are shuffled, so the next
        # sample in the batch is drawn at random, and is never the sample itself
        pairs = [torch.cat([features, other], dim=1) for other in (z, z.roll(1, dims=0))]
        joint, product = module.discriminator(torch.cat(pairs)).float().chunk(2)
        information = 0.5 * jensen_shannon_loss(joint, product).mean()
        losses["information"] = plan.information_weight * information
    if view is not None:
        invariance = softmax_divergence(logits, view[1]).mean()
        losses["augmentation"] = plan.augmentation_weight * invariance
    if plan.balance_weight:
        balance = kl_divergence(q.mean(dim=0, keepdim=True), module.prior).squeeze(0)
        losses["balance"] = plan.balance_weight * balance
        losses["uncertainty"] = plan.balance_weight * entropy(q).mean()
    losses["reconstruction"] = _reconstruct(plan, module, z, batch.x)
    return losses


def _reconstruct(plan: Plan, module: CategoryStyleNetwork, z: Tensor, x: Tensor) -> Tensor:
    """The decoder's loss. The encoder learns from it only if mutual_information is "decoder"."""
    informs = plan.mutual_information == "decoder" and plan.information_weight > 0
    error = reconstruction_error(module.decoder(z if informs else z.detach()), x).mean()
    return plan.information_weight * error if informs else error


def _encode_view(module: CategoryStyleNetwork, batch: Batch) -> View:
    """Features, logits and styles of a view of each sample, or half of the time of a neighbour."""
    x, generator = batch.x, batch.generator
    if "partners" in batch.targets:
        shape = (len(x), *[1] * (x.ndim - 1))
        draw = torch.rand(shape, generator=generator, device=x.device, dtype=x.dtype)
        swapped = draw < 0.5
        x = torch.where(swapped, batch.neighbors(batch.targets["partners"]), x)
    if "reach" in batch.targets:
        x = x + _adversarial_step(module, x, batch.targets["reach"], generator)
    return module.encode(batch.augment(x))


def _draw_prior(module: CategoryStyleNetwork, run: Run, n: int) -> Tensor:
    """Draw embeddings from the prior: a category, and a Gaussian style."""
    prior, generator = module.prior, run.generator
    width = DCCS.encoder_width(run.plan) - len(prior)
    drawn = torch.multinomial(prior, n, replacement=True, generator=generator)
    style = torch.randn(n, width, generator=generator, device=prior.device, dtype=prior.dtype)
    scale = _STYLE_LENGTH / math.sqrt(max(width, 1))
    return torch.cat([one_hot(drawn, len(prior)), style * scale], dim=1)


@torch.no_grad()
def _look(run: Run) -> dict[str, Tensor]:
    """Categories of all samples, and the Wasserstein distance of embeddings from the prior."""
    plan, module = run.plan, run.module
    z = torch.from_numpy(run.embed()).to(run.rows.device)
    q = z[:, : plan.n_clusters]
    if isinstance(plan.cluster_prior, str) and plan.cluster_prior == "estimated":
        shares = q.mean(dim=0).clamp_min(_RAREST / plan.n_clusters)
        module.prior.copy_(shares / shares.sum())
    module.prior_score.copy_(module.critic(_draw_prior(module, run, _PRIOR_DRAWS)).mean())
    # a batch at a time: the critic's layers are wide
    scores = torch.cat([module.critic(part) for part in torch.split(z, INFERENCE_BATCH)])
    distance = float(module.prior_score - scores.mean())
    change = distance - run.measures.get("wasserstein", math.inf)
    run.measures = {"wasserstein": distance, "wasserstein_change": change}
    return {"q": q[:, module.order]}


def _settled(run: Run) -> bool:
    """Whether the labels and the distance from the prior no longer change."""
    steady = abs(run.measures["wasserstein_change"]) < _STEADY
    return labels_stable(run) and (steady or not run.plan.adversarial_weight)


# ---------------------------------------------------------------- what the parameters mean


def _first_prior(plan: Plan) -> Tensor:
    """Probabilities of the categories, before anything is known about them."""
    if isinstance(plan.cluster_prior, str):
        return torch.full((plan.n_clusters,), 1.0 / plan.n_clusters, dtype=torch.float32)
    try:
        prior = np.asarray(plan.cluster_prior, dtype=np.float64)
    except (TypeError, ValueError):
        prior = np.empty(0)  # no numbers
    valid = prior.shape == (plan.n_clusters,) and bool((prior > 0).all())
    if not valid or not math.isclose(prior.sum(), 1.0, rel_tol=1e-3):
        raise ValueError(
            f"cluster_prior={plan.cluster_prior!r} must be 'start', 'uniform', 'estimated' or "
            f"n_clusters={plan.n_clusters} positive probabilities that sum to 1."
        )
    return torch.from_numpy(prior / prior.sum()).float()


def _refuse_preprocessing(plan: Plan, convolves: bool) -> None:
    given = plan.given["preprocessing"]
    if given in ("grayscale", "sobel") and not convolves:
        raise ValueError(
            f"preprocessing={given!r} is for images and the architectures 'conv' "
            "and 'resnet': leave it at 'auto' here, or prepare X yourself."
        )


def _check_critic_units(plan: Plan) -> None:
    if not plan.critic_units or not all(
        isinstance(width, Integral) and int(width) > 0 for width in plan.critic_units
    ):
        raise ValueError(
            f"critic_units={plan.critic_units!r} must hold positive integers, at least one, "
            "for instance (256, 128)."
        )


def _adversarial_step(
    module: CategoryStyleNetwork, x: Tensor, reach: Tensor, generator: torch.Generator
) -> Tensor:
    """The step of given lengths that changes the category most (Hu et al. 2017, section 3.3)."""
    drawn = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    direction = normalize(drawn.flatten(1), dim=1).view_as(x).requires_grad_()
    with evaluating(module.encoder):  # this pass must not change the statistics of the batch
        with torch.no_grad():
            logits = module.encode(x)[1]
        other = module.encode(x + _PROBE * direction)[1]
    (slope,) = torch.autograd.grad(softmax_divergence(logits, other).sum(), direction)
    step = reach.unsqueeze(1) * normalize(slope.flatten(1), dim=1)
    return step.view_as(x)
