"""Dissimilarity Mixture Autoencoder for Deep Clustering (Lara and Gonzalez, 2020)."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from joblib import Memory
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._data.scaling import Scaler
from ._engine.method import (
    PRETRAIN_UPDATES,
    epochs_of_a_target,
    learns_from_views,
    starts_from_samples,
)
from ._engine.phases import forward_batches
from ._sklearn import parameters_named
from ._start.neighbors import TINY
from ._start.partition import seed_centers
from ._start.pretraining import reconstruct, sharpening_round
from .base import (
    BaseDeepClusterer,
    Batch,
    Data,
    HasMethods,
    Interval,
    Phase,
    Plan,
    Run,
    Step,
    StrOptions,
    gather,
    labels_stable,
    refuse_no_loss,
    start_partition,
    start_phases,
)
from .dissimilarities import Dissimilarity, names, precision_factors, resolve, wrap
from .functional import constant, cosine, one_cycle, reconstruction_error
from .nn import ClusteringAutoencoder, DissimilarityMixture

# batches of the "auto" budget; measured on USPS and the MNIST test set, doc/benchmarks
_CLUSTER_UPDATES = 600
# after a pretraining with views, which is shorter and leaves the embedding further from clusters,
# and no round of self-training
_VIEW_CLUSTER_UPDATES = 1800
# least mean number of images in a cluster for a round of self-training: it made the start better
# with 100 (MNIST) or more, and worse with 72 (coil20)
_IMAGES_TO_SHARPEN = 100
# alpha times the median gap between the two smallest dissimilarities of a sample. Responsibilities
# are nearly one-hot, as with the authors' alpha: at 10, samples between two clusters drew the
# embeddings of both together
_SHARPNESS = 1000.0
# share of a network's learning rate in partial_fit: Adam starts again in each call, at full steps
_ONLINE_RATE = 0.1
# factor of the learning rate on a fixed embedding: a center moves further than a network's weight
_MIXTURE_RATE = 10.0
# share of their mean variance that is added to the covariances while the encoder trains:
# augmented samples scatter in directions where clean ones do not
_SHRINKAGE = 1.0
_RECONSTRUCTIONS = ("prototype_weight", "reconstruction_weight")
_WEIGHTS = ("clustering_weight", *_RECONSTRUCTIONS)  # of one term alone, none has an effect
_OF_A_NETWORK = ("n_components", "hidden_units", "n_init", "pretrain_epochs", "pretrain_target")
# the others measure angles, shares or signs: subtracting a mean would change these
_TRANSLATION_INVARIANT = {
    "euclidean",
    "sqeuclidean",
    "manhattan",
    "minkowski",
    "chebyshev",
    "mahalanobis",
    "toroidal",
}


class DMAE(BaseDeepClusterer):
    """Use this for hours, angles and shares, for texts as tf-idf, and if rows arrive in batches.

    The clusters are the components of a mixture, ``exp(-alpha d(z, center))`` with any
    dissimilarity ``d``. The mixture is fitted to the samples themselves, or to the embedding of an
    autoencoder that is trained with it. ``partial_fit`` follows a stream of batches.

    Start with the parameters that describe your data: `dissimilarity`, with ``architecture=None``
    for a few columns. With a network, these are `image_shape` if flat rows hold images, and
    `augmentation` if rotated or sheared images belong to another cluster. If results differ between
    values of `random_state`, raise `n_init`. Lower `alpha` to get less certain probabilities from
    predict_proba. Change the weights last.

    Parameters that the estimators share are explained in full in :doc:`/parameters`.

    Parameters
    ----------
    n_clusters : int, default=4
        Number of clusters, at least 1.

    dissimilarity : str or callable, default="mahalanobis"
        How far a sample is from a center: a name from
        :func:`skdeepcluster.dissimilarities.names`, or a function of two tensors
        ``(..., m)`` that broadcasts them and returns ``(...)``.

    dissimilarity_params : dict, default=None
        Parameters of the dissimilarity: ``p`` of "minkowski"; ``normalizer`` of
        "kullback_leibler"; ``period`` of "toroidal", in the units of the samples, one number or
        one for each column (None for a column that is not periodic); ``log_determinant`` of
        "mahalanobis". True makes each component a Gaussian with its normaliser, False (the
        default) keeps the determinants of the precisions equal. Without a network the
        normalizers "abs_sum" (the default), "softmax_abs" and "identity" refuse negative samples.
        "identity" needs ``architecture=None``.

    alpha : "auto" or float, default="auto"
        Inverse temperature of the responsibilities, positive. "auto" is 1000 divided by the median
        gap between the two smallest dissimilarities of a sample to the first centers:
        responsibilities are nearly 0 or 1. A smaller value gives less certain probabilities in
        predict_proba.

    objective : {"expected", "nll", "paper"}, default="expected"
        "expected" is minus the expected complete log-likelihood (equation 8), with responsibilities
        from an E-step on all samples once per epoch (for augmented images, after at least 32
        batches, unless `init` is "k-means"). "nll" is minus the log-likelihood. "paper" is equation
        12, the dissimilarity to averaged parameters: a smaller value of it does not mean a larger
        likelihood, and it is zero for any sample between centers. All three are divided by alpha.

    clustering_weight : float, default=1.0
        Weight of the objective, at least 0. Its unit is the median dissimilarity to the nearest
        center at the start.

    prototype_weight : float, default=1.0
        Weight of the reconstruction from averaged centers (equation 17), at least 0. It makes
        ``inverse_transform(cluster_centers_)`` look like typical samples. It needs a network that
        is trained with the mixture.

    reconstruction_weight : float, default=1.0
        Weight of the reconstruction loss, at least 0. It needs a network that is trained with the
        mixture. It keeps the embedding in place, as it reconstructs from it. The paper has no such
        term.

    train_encoder : bool, default=True
        Whether the autoencoder is trained with the mixture. False is the paper's AE+DMM.

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

    architecture : {"auto", "mlp", "conv"}, tuple, callable or None, default="auto"
        The autoencoder: a name, a pair of modules or a function, see :doc:`/own_network`. "auto" is
        "mlp", but "conv" if the network sees more than 32 x 32 pixels. None trains no network: the
        embedding is the scaled samples. "toroidal" and "itakura_saito" need None.

    hidden_units : "auto" or tuple of int, default="auto"
        Widths of the hidden layers of the "mlp" encoder; the decoder mirrors them. "auto" is
        ``(512, 256)``, with a smaller first layer above 7812 features.

    init : {"auto", "overclustered", "graph", "k-means", "spectral", "samples", "seeded"}, \
            default="auto"
        The partition that training starts from. "auto" is "samples" for tables and embeddings,
        "graph" for images and bags of words, else "overclustered"; without a network "k-means" if
        `dissimilarity` is "mahalanobis", "euclidean" or "sqeuclidean", else "seeded".

    n_init : "auto" or int, default="auto"
        Number of starts from new random weights, at least 1. The best one, chosen without labels
        (the first for bags of words), is trained to the end. "auto" is 2, but 1 if `init` is
        "samples". Without a network there is one start.

    pretrain_epochs : "auto" or int, default="auto"
        Epochs of pretraining. "auto" is enough for about 2400 batches, for augmented images 700
        (unless `init` is "k-means"), with `init` "samples" 600 (embeddings 300). With "samples",
        as many epochs follow, in which the network learns the start partition.

    pretrain_target : transformer, default=None
        Pretraining trains the encoder to reproduce the features of this transformer, not to
        reconstruct the samples. The decoder is trained afterwards. The paper's networks for moons
        and circles take ``RBFSampler(gamma, n_components=n_components)`` of scikit-learn. It is
        cloned, gets all scaled samples as one array and needs `fit_transform`. If its
        `random_state` is None, a seed is drawn from the `random_state` of the estimator.

    max_epochs : "auto" or int, default="auto"
        Maximum number of epochs of the clustering phase; 0 stops at the start. "auto" is
        enough epochs for about 600 batches, with `init` "samples" 300. For augmented images it is
        1800, unless the round of self-training that the Notes describe comes first.

    batch_size : int, default=256
        Number of samples in a batch, at least 2.

    learning_rate : "auto" or float, default="auto"
        Peak learning rate of Adam, positive. "auto" is 3e-3, for bags of words 1e-3. The rate is
        10 times higher if only the mixture is trained. In partial_fit, the rate for a network is 10
        times lower.

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

    weights_ : ndarray of shape (n_clusters,)
        Mixing weights, which sum to one.

    precisions_ : ndarray of shape (n_clusters, width of the embedding, width of the embedding)
        Precisions of the components in the embedding, if the dissimilarity is "mahalanobis". Their
        determinant is 1 without ``log_determinant``. If an encoder is trained too, the precisions
        do not change after the start partition.

    alpha_ : float
        Inverse temperature.

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
    DCEC : The same autoencoder, with round clusters and a sharpened target.
    sklearn.mixture.GaussianMixture : EM for Gaussians. It is faster than DMAE without a network,
        and better on correlated columns.

    Notes
    -----
    The rows of the paper's tables: DMM is ``architecture=None``, AE+DMM is ``train_encoder=False``,
    DMAE trains both. The paper has ``hidden_units=(500, 500, 2000)``, ``init="k-means"``,
    ``objective="paper"`` and ``reconstruction_weight=0`` (equation 18). The released code differs
    from the paper and between versions. Where they disagree, this class follows the equations [1]_,
    with the divergence averaged over samples (the code sums it over a batch) and log-weights from a
    softmax.

    With ``dissimilarity="mahalanobis"``, ``dissimilarity_params={"log_determinant": True}``,
    ``alpha=0.5``, ``objective="nll"`` and no network, this is a Gaussian mixture that is fitted by
    gradients.

    If there are 100 or more augmented images per cluster on average, the network first trains for
    600 batches with the loss of DCEC. This needs the default of `init` or "graph", an encoder that
    is trained and no `pretrain_target`. The paper has no such round.

    Without a network, ``scaling="auto"`` does not subtract the mean if the dissimilarity measures
    angles, shares or signs, and does not scale at all if it is a callable. The centers of
    "toroidal" lie within one period; this period begins at the largest multiple of half a period
    that is not above the smallest sample.

    Scores of two dissimilarities are not comparable: a grid search over them needs ``scoring``.

    A cluster that is empty after training, or becomes empty during it, gives a
    :class:`~sklearn.exceptions.ConvergenceWarning`. Training that diverges raises
    :class:`FloatingPointError`. Ctrl-C ends the fit and leaves a fitted estimator, with the state
    of the last finished epoch. Fit uses torch's global random generator only if you pass your own
    networks or functions. If you do not, fits in threads repeat too.

    References
    ----------
    .. [1] J. S. Lara, F. A. Gonzalez, "Dissimilarity Mixture Autoencoder for Deep Clustering",
       arXiv 2006.08177, 2020.

    Examples
    --------
    Hours of the day, where 23 and 1 are close:

    >>> import numpy as np
    >>> from skdeepcluster import DMAE
    >>> hours = np.array([[23.0], [0.5], [1.0], [23.5], [11.0], [12.0], [13.0], [12.5]])
    >>> model = DMAE(2, dissimilarity="toroidal", dissimilarity_params={"period": 24},
    ...              architecture=None, random_state=0)
    >>> labels = model.fit_predict(hours)
    >>> (labels[:4] == labels[0]).all(), (labels[4:] == labels[4]).all(), labels[0] != labels[4]
    (np.True_, np.True_, np.True_)
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "dissimilarity": [StrOptions(set(names())), callable],
        "dissimilarity_params": [dict, None],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "objective": [StrOptions({"expected", "nll", "paper"})],
        "clustering_weight": [Interval(Real, 0, None, closed="left")],
        "prototype_weight": [Interval(Real, 0, None, closed="left")],
        "reconstruction_weight": [Interval(Real, 0, None, closed="left")],
        "train_encoder": ["boolean"],
        "architecture": [*BaseDeepClusterer.parameter_constraints["architecture"], None],
        "pretrain_target": [HasMethods("fit_transform"), None],
        "init": [
            StrOptions(
                {"auto", "overclustered", "graph", "k-means", "spectral", "samples", "seeded"}
            )
        ],
    }
    starts = 2
    not_in_pretraining = BaseDeepClusterer.not_in_pretraining | {
        "dissimilarity",
        "dissimilarity_params",
        "alpha",
        "objective",
        "clustering_weight",
        "prototype_weight",
        "reconstruction_weight",
        "train_encoder",
    }
    fixed_parameters = BaseDeepClusterer.fixed_parameters | {
        "dissimilarity",
        "dissimilarity_params",
        "alpha",
        "train_encoder",
    }

    def __init__(
        self,
        n_clusters: int = 4,
        *,
        dissimilarity: str | Callable[[Tensor, Tensor], Tensor] = "mahalanobis",
        dissimilarity_params: Mapping[str, Any] | None = None,
        alpha: float | str = "auto",
        objective: str = "expected",
        clustering_weight: float = 1.0,
        prototype_weight: float = 1.0,
        reconstruction_weight: float = 1.0,
        train_encoder: bool = True,
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
        pretrain_target: Any = None,
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
        self.dissimilarity = dissimilarity
        self.dissimilarity_params = dissimilarity_params
        self.alpha = alpha
        self.objective = objective
        self.clustering_weight = clustering_weight
        self.prototype_weight = prototype_weight
        self.reconstruction_weight = reconstruction_weight
        self.train_encoder = train_encoder
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
        self.pretrain_target = pretrain_target
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

    # ---------------------------------------------------------------- training

    @classmethod
    def defaults(cls, data: Data, given: Mapping[str, Any]) -> dict[str, Any]:
        defaults = super().defaults(data, given) | {"centered": True}
        if not starts_from_samples(data, given):
            short = _sharpens(data, given) or not learns_from_views(data, given)
            updates = _CLUSTER_UPDATES if short else _VIEW_CLUSTER_UPDATES
            defaults["max_epochs"] = data.epochs(updates, int(given["batch_size"]))
        if given["pretrain_target"] is not None:  # without views
            defaults["pretrain_epochs"] = data.epochs(PRETRAIN_UPDATES, int(given["batch_size"]))
        if given["architecture"] is not None:
            return defaults
        dissimilarity = given["dissimilarity"]
        round_clusters = dissimilarity in ("euclidean", "sqeuclidean", "mahalanobis")
        defaults["augmentation"] = None
        defaults["init"] = "k-means" if round_clusters else "seeded"
        defaults["n_components"] = data.n_features
        if callable(dissimilarity):
            defaults["scaling"] = "none"
        elif dissimilarity not in _TRANSLATION_INVARIANT:
            defaults |= {"scaling": "global", "centered": given["scaling"] != "auto"}
        return defaults

    @staticmethod
    def make_scaler(plan: Plan, X: Any) -> Scaler:
        scaler = BaseDeepClusterer.make_scaler(plan, X)
        if plan.dissimilarity == "toroidal":
            return dataclasses.replace(scaler, shift=_first_turn(plan, X))
        return scaler if plan.centered else dataclasses.replace(scaler, shift=np.zeros(1))

    @staticmethod
    def encoder_width(plan: Plan) -> int:
        # without a network the embedding is the samples, and n_components is not used
        return int(plan.data.n_features if plan.architecture is None else plan.n_components)

    @staticmethod
    def make_module(plan: Plan, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        mixture = _mixture_of(plan, DMAE.encoder_width(plan))
        return ClusteringAutoencoder(encoder, decoder, mixture)

    @staticmethod
    def make_phases(plan: Plan) -> tuple[Phase, ...]:
        joint = _trains_jointly(plan)
        refuse_no_loss(plan, "clustering_weight", *(_RECONSTRUCTIONS if joint else ()))
        cluster = Phase(
            "cluster",
            plan.max_epochs,
            (
                Step("joint", _joint, trains=("encoder", "decoder", "assign"))
                if joint
                else Step("mixture", _mixture, trains=("assign",), rates=_units),
            ),
            plan.learning_rate if joint else _MIXTURE_RATE * plan.learning_rate,
            schedule=plan.schedule(cosine),
            setup=_start,
            refresh=_expectation,
            refresh_every=epochs_of_a_target(plan),
            stop=labels_stable,
        )
        if plan.architecture is None:
            return (cluster,)
        if plan.pretrain_target is not None:
            return *_regression_phases(plan), cluster
        if _sharpens(plan.data, plan.values):
            return *start_phases(plan), sharpening_round(plan), cluster
        return *start_phases(plan), cluster

    @classmethod
    def without_effect(cls, plan: Plan) -> dict[str, str]:
        if plan.architecture is None:
            masking = ("augmentation",) if plan.given["augmentation"] == "masking" else ()
            return dict.fromkeys((*_OF_A_NETWORK, *_WEIGHTS, *masking), "architecture=None")
        reasons = super().without_effect(plan)
        if plan.pretrain_target is not None and plan.given["augmentation"] == "masking":
            reasons["augmentation"] = "pretrain_target"
        if not plan.train_encoder:
            reasons |= dict.fromkeys(_WEIGHTS, "train_encoder=False")
        return reasons

    @staticmethod
    def sample_loss(plan: Plan, module: Any, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        mixture: DissimilarityMixture = module.assign
        loss: Tensor = plan.clustering_weight * _loss(plan, mixture, z, q) / mixture.scale
        if not _trains_jointly(plan):
            return loss
        prototypes = reconstruction_error(module.decoder(q @ mixture.centers), x)
        error = reconstruction_error(module.decoder(z), x)
        loss += plan.prototype_weight * prototypes + plan.reconstruction_weight * error
        return loss

    @staticmethod
    def finish(run: Run) -> None:
        # training may leave a center whole periods away from the samples
        if run.plan.dissimilarity == "toroidal":
            mixture: DissimilarityMixture = run.module.assign
            period = mixture.dissimilarity.params["period"]
            with torch.no_grad():
                mixture.centers.copy_(wrap(mixture.centers, period))

    @staticmethod
    def check_samples(plan: Plan, module: Any, X: Any) -> None:
        dissimilarity = module.assign.dissimilarity
        if dissimilarity.domain != "real":
            least = torch.tensor(float(X.min()), dtype=torch.float64)
            dissimilarity.check(least, "X")

    # ---------------------------------------------------------------- what was fitted

    @property
    def weights_(self) -> np.ndarray:
        """Mixing weights of the clusters, of shape (n_clusters,); they sum to one."""
        check_is_fitted(self)
        return self._answer(self.module_.assign.logits.softmax(dim=0))

    @property
    def alpha_(self) -> float:
        """Inverse temperature of the responsibilities."""
        check_is_fitted(self)
        return float(self.module_.assign.alpha)

    @property
    def precisions_(self) -> np.ndarray:
        """Precisions of a Mahalanobis mixture, of shape (n_clusters, m, m) in a width of m."""
        check_is_fitted(self)
        if self.settings_["dissimilarity"] != "mahalanobis":
            raise AttributeError(
                "precisions_ needs dissimilarity='mahalanobis', but the estimator was fitted with "
                f"{self.settings_['dissimilarity']!r}: fit it with 'mahalanobis'."
            )
        return self._answer(self.module_.assign.precisions())

    def _answer(self, values: Tensor) -> np.ndarray:
        """Parameters of the components, in the dtype of ``cluster_centers_``."""
        return values.detach().cpu().numpy().astype(self.cluster_centers_.dtype)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Train on a batch of samples once, or fit it if the estimator is not fitted yet.

        A call that fails leaves the estimator as it was. Ctrl-C does so too, except in the first
        call, where it does what it does in fit.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            At least 2 samples. The first call does all that fit does and fixes the scaling, so its
            batch should hold some samples of every cluster. Each later call takes one small step
            for each `batch_size` samples, so it follows moving clusters with a delay.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        self : object
            The estimator; ``labels_`` are those of this batch.

        Raises
        ------
        ValueError
            If `X` is invalid, has fewer than 2 samples, or other features than the earlier batches;
            or if a parameter is invalid.
        FloatingPointError
            If training diverges.
        """
        if not hasattr(self, "_model"):
            return self.fit(X)
        self._validate_params()
        return self._fit_more(X, _online)


def _online(plan: Plan, module: Any) -> tuple[Phase, ...]:
    """One epoch in small steps, from the current state of the module."""
    (last,) = DMAE.resumed_phases(plan, module)
    rate = last.learning_rate * (_ONLINE_RATE if _trains_jointly(plan) else 1.0)
    online = dataclasses.replace(
        last,
        epochs=1,
        learning_rate=rate,
        schedule=constant,
        # without "q": a cluster without samples in a small batch is no collapse
        refresh=lambda run: {"responsibilities": run.assign()},
        stop=None,
    )
    return (online,)


# ---------------------------------------------------------------- pretraining by a target


def _regression_phases(plan: Plan) -> tuple[Phase, Phase]:
    """The encoder learns features of the samples, then the decoder learns to invert the encoder."""
    epochs, rate, schedule = plan.pretrain_epochs, plan.learning_rate, plan.schedule(one_cycle)
    regress = Step("encoder", _regress, trains=("encoder",))
    decode = Step("decoder", reconstruct, trains=("decoder",))
    return (
        Phase("target", epochs, (regress,), rate, schedule, setup=_features, cached=True),
        Phase("decoder", epochs, (decode,), rate, schedule, cached=True),
    )


def _units(run: Run) -> dict[str, float]:
    """Units of the parameters for samples that are not scaled: steps of Adam are absolute."""
    if run.plan.architecture is not None or run.plan.scaling != "none":
        return {}
    deviation = float(np.median(run.embed().std(axis=0))) or 1.0
    return {"centers": deviation, "factors": 1.0 / deviation}


def _features(run: Run) -> dict[str, Tensor]:
    """Features of the samples that the encoder must reproduce."""
    plan = run.plan
    X = run.rows.take(np.arange(len(run.rows))).flatten(1).cpu().numpy()
    transformer = clone(plan.pretrain_target)
    if hasattr(transformer, "set_output"):
        transformer.set_output(transform="default")
    unseeded = [n for n, v in parameters_named("random_state", transformer).items() if v is None]
    transformer.set_params(**{name: run.draw_seed() for name in unseeded})
    features = torch.as_tensor(transformer.fit_transform(X), dtype=torch.float32)
    if features.shape != (len(X), plan.n_components):
        raise ValueError(
            f"pretrain_target={plan.pretrain_target!r} gives {features.shape[1]} features, the "
            f"embedding has n_components={plan.n_components}: make the two equal."
        )
    return {"target": features.to(run.rows.device)}


def _regress(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    z = module.encoder(batch.augment(batch.x))
    return {"target": reconstruction_error(z, batch.targets["target"]).mean()}


# ---------------------------------------------------------------- the mixture


def _start(run: Run) -> dict[str, Tensor]:
    """Parameters of the start partition, and alpha in units of its gaps."""
    plan, Z = run.plan, run.embed()
    mixture = _mixture_of(plan, Z.shape[1])
    scaled = "X" if plan.scaling == "none" else f"X after scaling={plan.scaling!r}"
    mixture.dissimilarity.check(torch.from_numpy(Z), scaled)
    if plan.init == "seeded":
        # there are no precisions yet
        by = resolve("sqeuclidean") if mixture.factors is not None else mixture.dissimilarity
        random_state = np.random.RandomState(run.draw_seed())
        centers = seed_centers(Z, by, plan.n_clusters, random_state)
        first: dict[str, Tensor] = {}
    else:
        assign, first = start_partition(run, plan.n_clusters, plan.init)
        centers = assign.centers.detach()
    if plan.architecture is None and plan.dissimilarity in ("cosine", "correlation"):
        # it ignores the lengths of centers, but steps of Adam turn a short one further
        centers = _of_one_length(centers, centered=plan.dissimilarity == "correlation")
    with torch.no_grad():
        mixture.centers.copy_(centers)
        run.module.assign = mixture.to(run.rows.device)
        labels = first["p"].argmax(dim=1) if first else _distances(run).argmin(dim=1)
        counts = torch.bincount(labels, minlength=plan.n_clusters)
        mixture.logits.copy_(counts.clamp_min(1).log())
        _start_precisions(plan, mixture, Z, labels)
        _choose_units(plan, mixture, _distances(run))
    return {"responsibilities": first["p"]} if first else {}


def _of_one_length(centers: Tensor, *, centered: bool) -> Tensor:
    """Centers whose entries have a mean square of 1, as the scaled samples."""
    if centered:
        centers = centers - centers.mean(dim=1, keepdim=True)
    length = centers.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(length > 0, centers / length.clamp_min(TINY), centers)


def _start_precisions(
    plan: Plan, mixture: DissimilarityMixture, Z: np.ndarray, labels: Tensor
) -> None:
    """Set the precisions to those of the start partition, if the dissimilarity has them."""
    if mixture.factors is None:
        return
    # an encoder that trains with them would flatten the directions with the largest precision
    mixture.factors.requires_grad_(not _trains_jointly(plan))
    shrinkage = _SHRINKAGE if _trains_jointly(plan) else 1e-3
    mixture.factors.copy_(
        precision_factors(torch.from_numpy(Z), labels, plan.n_clusters, shrinkage)
    )


def _choose_units(plan: Plan, mixture: DissimilarityMixture, distances: Tensor) -> None:
    """Set alpha in units of the typical gap, and the unit of the loss."""
    smallest = distances.topk(min(2, plan.n_clusters), largest=False).values
    gap = (smallest[:, -1] - smallest[:, 0]).median()
    typical = smallest[:, 0].abs()
    # if most samples are duplicates that lie on a center, the median is only a rounding error
    other = typical.mean() + gap
    # if all samples lie on the centers, the unit is so small that squares of gradients overflow
    other = other.where(other > torch.finfo(torch.float32).tiny ** 0.5, 1.0)
    if plan.alpha == "auto":
        # there is no gap with one cluster, or between equal centers
        mixture.alpha.copy_(_SHARPNESS / gap.maximum(1e-6 * other))
    else:
        mixture.alpha.fill_(plan.alpha)
    unit = typical.median().where(typical.median() > 1e-3 * other, other)
    mixture.scale.copy_(unit)


def _expectation(run: Run) -> dict[str, Tensor]:
    """Equation 4: the E-step, on all samples."""
    q = run.assign()
    return {"q": q, "responsibilities": q}


def _joint(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """Equation 18, and a reconstruction that does not pass through the centers.

    The paper decodes only averaged centers. That alone does not keep the embedding in place.
    """
    plan = batch.plan
    z = module.encoder(batch.augment(batch.x))
    mixture = cast(DissimilarityMixture, module.assign)
    losses = _clustering(mixture, z, batch)
    if plan.prototype_weight:
        average = batch.targets["responsibilities"] @ mixture.centers
        error = reconstruction_error(module.decoder(average), batch.x).mean()
        losses["prototypes"] = plan.prototype_weight * error
    if plan.reconstruction_weight:
        error = reconstruction_error(module.decoder(z), batch.x).mean()
        losses["reconstruction"] = plan.reconstruction_weight * error
    return losses


def _mixture(module: ClusteringAutoencoder, batch: Batch) -> dict[str, Tensor]:
    """The mixture alone, on a fixed embedding: equation 8 or 12, as `objective` says."""
    module.encoder.eval()  # it is not trained here: no batch statistics, no dropout
    with torch.no_grad():
        z = module.encoder(batch.augment(batch.x))
    return _clustering(cast(DissimilarityMixture, module.assign), z, batch)


def _clustering(mixture: DissimilarityMixture, z: Tensor, batch: Batch) -> dict[str, Tensor]:
    plan = batch.plan
    with torch.autocast(z.device.type, enabled=False):
        loss = _loss(plan, mixture, z.float(), batch.targets["responsibilities"]).mean()
    return {"clustering": plan.clustering_weight * loss / mixture.scale}


def _loss(plan: Plan, mixture: DissimilarityMixture, z: Tensor, q: Tensor) -> Tensor:
    """The objective of each embedding, in units of the dissimilarity."""
    bias, alpha = mixture.bias(), mixture.alpha
    if plan.objective == "expected":  # minus equation 8 over alpha
        return (q * (mixture.distances(z) - bias / alpha)).sum(dim=1)
    if plan.objective == "nll":
        return -(bias - alpha * mixture.distances(z)).logsumexp(dim=1) / alpha
    # equations 11 and 12; weights are averaged as logarithms, because a normaliser may overflow
    log_q = (bias - alpha * mixture.distances(z)).log_softmax(dim=1)
    log_weight = (log_q + bias).logsumexp(dim=1)
    return mixture.distance_to_average(z, log_q.exp()) - log_weight / alpha


@torch.no_grad()
def _distances(run: Run) -> Tensor:
    """Dissimilarities of all samples to all centers, of shape (n_samples, n_clusters)."""
    mixture = run.module.assign
    batches = forward_batches(run.module, run.rows)
    return gather(((where, mixture.distances(z)) for where, _, z, _ in batches), run.rows)


# ---------------------------------------------------------------- what the parameters mean


def _trains_jointly(plan: Plan) -> bool:
    """Whether the autoencoder is trained with the mixture."""
    return plan.architecture is not None and bool(plan.train_encoder)


def _sharpens(data: Data, values: Mapping[str, Any]) -> bool:
    """Whether a round of self-training makes the start better: of many images, from their views."""
    many = data.n_samples >= _IMAGES_TO_SHARPEN * int(values["n_clusters"])
    from_graph = values["init"] in ("auto", "graph") and values["pretrain_target"] is None
    return many and from_graph and values["train_encoder"] and learns_from_views(data, values)


def _mixture_of(plan: Plan, width: int) -> DissimilarityMixture:
    gaussian = (plan.dissimilarity_params or {}).get("log_determinant", False)
    if not isinstance(gaussian, bool | np.bool):
        raise TypeError(f"log_determinant={gaussian!r} must be True or False.")
    return DissimilarityMixture(
        plan.n_clusters, width, _dissimilarity_of(plan), log_determinant=bool(gaussian)
    )


def _dissimilarity_of(plan: Plan) -> Dissimilarity:
    """The dissimilarity, checked, with its parameters in the units of the scaled samples."""
    name, params = plan.dissimilarity, dict(plan.dissimilarity_params or {})
    if name == "mahalanobis":
        params.pop("log_determinant", None)
        if params:
            raise TypeError(
                f"dissimilarity='mahalanobis': unknown parameter {next(iter(params))!r}. Its "
                "parameters: ['log_determinant']."
            )
    resolved = resolve(name, params)
    if plan.architecture is not None and (name == "toroidal" or resolved.domain != "real"):
        by = " with normalizer='identity'" if name == "kullback_leibler" else ""
        other = "normalizer" if by else "dissimilarity"
        raise ValueError(
            f"dissimilarity={resolved.name!r}{by} measures the values of the samples, but an "
            f"embedding has other values: set architecture=None, or choose another {other}."
        )
    takes_magnitudes = params.get("normalizer", "abs_sum") in ("abs_sum", "softmax_abs")
    if name == "kullback_leibler" and takes_magnitudes and plan.architecture is None:
        # absolute values are for embeddings, which have signs; a negative sample is a mistake
        return dataclasses.replace(resolved, domain="non-negative")
    if name != "toroidal":
        return resolved
    # scaled only here, so that errors about the period are in the units of the samples
    n_features = plan.data.n_features
    periods = np.asarray(params["period"], dtype=float)
    if periods.shape not in ((), (n_features,)):
        return resolved  # its formula raises the error
    scaled = np.broadcast_to(periods * plan.scaler.factor, n_features)
    # None has become nan
    return dataclasses.replace(resolved, params={"period": np.nan_to_num(scaled).tolist()})


def _first_turn(plan: Plan, X: Any) -> np.ndarray:
    """Where the period that holds the smallest sample begins, for each column.

    It is a multiple of half a period: 0 for hours, -180 for longitudes.
    """
    params = resolve("toroidal", dict(plan.dissimilarity_params or {})).params  # refuses wrong ones
    period = np.asarray(params["period"], dtype=float)
    if period.shape not in ((), (X.shape[1],)):
        return np.zeros(1)  # the formula refuses it
    least = X.min(axis=0).toarray().ravel() if issparse(X) else X.min(axis=0)
    half = np.where(period > 0, period / 2, 1.0)
    turn: np.ndarray = np.floor(least / half) * half
    return turn
