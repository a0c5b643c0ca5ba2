"""The base class of all estimators, and all names that a new method imports."""

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags, Tags, check_array
from sklearn.utils.validation import check_is_fitted

from ._data.door import check_X, resolve_image_shape
from ._data.kind import data_kind
from ._data.objects import backgrounds_differ, objects_move
from ._data.scaling import IDENTITY
from ._engine.architecture import refuse_architecture
from ._engine.callbacks import check_callbacks
from ._engine.device import resolve_device, resolve_precision
from ._engine.method import Method
from ._engine.model import FittedModel
from ._engine.phases import Batch, Phase, Run, Step, gather, labels_stable
from ._engine.plan import SHARED, Data, Plan, make_plan, refuse_no_loss, shape_of_network
from ._engine.threads import answer_threads, fit_threads
from ._engine.trainer import warn_collapse
from ._fit import Fit
from ._sklearn import (
    ClassNamePrefixFeaturesOutMixin,
    HasMethods,
    Interval,
    StrOptions,
    with_valid_parameters,
)
from ._start.partition import start_clusters, start_partition
from ._start.pretraining import overclustered_round, pretraining, start_phases
from ._warnings import warn

__all__ = [
    "BaseDeepClusterer",
    "Batch",
    "Data",
    "HasMethods",
    "Interval",
    "Phase",
    "Plan",
    "Run",
    "Step",
    "StrOptions",
    "gather",
    "labels_stable",
    "overclustered_round",
    "pretraining",
    "refuse_no_loss",
    "start_clusters",
    "start_partition",
    "start_phases",
]


class BaseDeepClusterer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    BaseEstimator,
    Method,
):
    """Subclass this to write your own method: it has fit, predict, saving and all checks.

    A subclass has a constructor and defines ``make_module``, ``make_phases`` and ``sample_loss``;
    see the developers' guide on adding a method. Shared parameters that are not in its constructor
    keep their defaults.

    Examples
    --------
    k-means in the embedding of an autoencoder. The last phase has no epochs, only a start:

    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster.base import BaseDeepClusterer, Phase, Step, pretraining, start_clusters
    >>> from skdeepcluster.functional import reconstruction_error
    >>> from skdeepcluster.nn import ClusteringAutoencoder, StudentTAssignment
    >>> def reconstruct(module, batch):
    ...     z, q = module(batch.x)
    ...     return {"reconstruction": reconstruction_error(module.decode(z), batch.x).mean()}
    >>> class AutoencoderKMeans(BaseDeepClusterer):
    ...     def __init__(self, n_clusters=4, *, random_state=None):
    ...         self.n_clusters = n_clusters
    ...         self.random_state = random_state
    ...
    ...     @staticmethod
    ...     def make_module(plan, encoder, decoder):
    ...         assign = StudentTAssignment(plan.n_clusters, plan.n_components)
    ...         return ClusteringAutoencoder(encoder, decoder, assign)
    ...
    ...     @staticmethod
    ...     def make_phases(plan):
    ...         step = Step("autoencoder", reconstruct, trains=("encoder", "decoder"))
    ...         cluster = Phase("cluster", 0, (step,), plan.learning_rate, setup=start_clusters)
    ...         return pretraining(plan), cluster
    ...
    ...     @staticmethod
    ...     def sample_loss(plan, module, x, z, q):
    ...         return reconstruction_error(module.decode(z), x)
    >>> X, y = make_blobs(n_samples=200, centers=3, n_features=8, random_state=0)
    >>> labels = AutoencoderKMeans(3, random_state=0).fit_predict(X)
    >>> len(set(zip(labels.tolist(), y.tolist())))  # one cluster for each blob
    3
    """

    parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "architecture": [StrOptions({"auto", "mlp", "conv"}), tuple, callable],
        "hidden_units": [StrOptions({"auto"}), tuple, list],
        "image_shape": [tuple, list, None],
        "max_pixels": [Interval(Integral, 1, None, closed="left"), None],
        "scaling": [StrOptions({"auto", "global", "standard", "none"})],
        "augmentation": [StrOptions({"auto", "affine", "crop", "masking"}), callable, None],
        "init": [StrOptions({"auto", "overclustered", "graph", "k-means", "spectral", "samples"})],
        "pretrain_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions({"annealed", "constant"})],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "n_jobs": [None, Integral],
        "precision": [StrOptions({"auto", "32", "bf16"})],
        "warm_start": ["boolean"],
        "memory": [None, str, os.PathLike, HasMethods("cache")],
        "checkpoint": [None, str, os.PathLike],
        "callbacks": [None, list, tuple],
        "verbose": [Interval(Integral, 0, 2, closed="both"), "boolean"],
        "random_state": ["random_state"],
    }
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    labels_: np.ndarray
    cluster_centers_: np.ndarray
    history_: list[dict[str, Any]]
    n_iter_: int
    converged_: bool
    n_features_in_: int
    _model: FittedModel

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give scikit-learn the constraints of the parameters in the constructor."""
        super().__init_subclass__(**kwargs)
        known: dict[str, list[Any]] = {}
        for one in reversed(cls.__mro__):
            known |= vars(one).get("parameter_constraints", {})
        names = inspect.signature(cls).parameters
        cls._parameter_constraints = {name: known[name] for name in known if name in names}
        for name in vars(Method).keys() & vars(cls).keys():  # hooks are documented once
            hook = getattr(cls, name)
            if callable(hook) and not hook.__doc__:
                getattr(hook, "__func__", hook).__doc__ = getattr(Method, name).__doc__

    # ---------------------------------------------------------------- fit

    @with_valid_parameters
    @fit_threads
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Train the network and cluster `X`.

        A fit that fails leaves the estimator as it was: fitted as before, or not fitted.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Training samples, of any real dtype and memory layout, or a torch Dataset, which
            is read into an array. They are not written to.
        y : Ignored
            Present for API consistency.
        **fit_params : dict
            No fit parameter is supported; anything here raises a TypeError.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If `X` or a parameter is invalid.
        TypeError
            If `fit_params` holds anything, for instance ``sample_weight``.
        FloatingPointError
            If training diverges.
        """
        if fit_params:
            raise TypeError(
                f"{type(self).__name__}.fit got {', '.join(sorted(fit_params))}, but takes only X. "
                "Samples cannot be weighted; pass labels, which are ignored, as y."
            )
        given = self._given()
        callbacks = check_callbacks(given["callbacks"])
        _refuse_parameters(type(self).__name__, given)
        again = given["warm_start"] and hasattr(self, "_model")
        X, found, features = self._admit(X, again)
        if X.shape[0] < given["n_clusters"]:
            raise ValueError(
                f"n_samples={X.shape[0]} should be >= n_clusters={given['n_clusters']}: pass more "
                "samples or ask for fewer clusters."
            )
        device = resolve_device(given["device"])
        plan = self._make_plan(X, found, given, device, again)
        _warn_moving_objects(plan, X)
        rows = plan.rows(X, device, resident=True)
        previous = self._model.module if again else None
        phases = self.resumed_phases(plan, previous) if again else self.make_phases(plan)
        self._warn_unused(plan)
        trainer = Fit(type(self), plan, rows, callbacks).train(phases, previous)
        warn_collapse(trainer.history, phases)
        answer_shape = self._model.answer_shape if again else found or (X.shape[1],)
        model = FittedModel(trainer.run.module.eval(), plan, answer_shape)
        labels, history = _number_clusters(model, X, trainer.history)
        self._become(model, X, labels, history, {"converged_": trainer.converged, **features})
        return self

    @fit_threads
    def _fit_more(self, X: Any, phases: Callable[[Plan, Any], tuple[Phase, ...]]) -> Self:
        """Train the fitted network with other phases on another batch of samples."""
        given = self._given()
        callbacks = check_callbacks(given["callbacks"])
        X, _, _ = self._admit(X, again=True)
        if X.shape[0] < 2:
            raise ValueError("partial_fit needs at least 2 samples: collect them into batches.")
        plan = self._make_plan(X, None, given, self._model.device, again=True)
        if isinstance(plan.random_state, Integral):  # another order in each call
            seeds = [int(plan.random_state), len(self.history_)]
            plan = plan.replace(random_state=np.random.RandomState(seeds))
        previous = self._model.module
        fit = Fit(type(self), plan, self._model.rows(X), callbacks, judged=False)
        trainer = fit.train(phases(plan, previous), previous)
        fitted = self._model.plan  # the settings of the fit
        model = FittedModel(trainer.run.module.eval(), fitted, self._model.answer_shape)
        self._become(model, X, model.labels(X), [*self.history_, *trainer.history], {})
        return self

    def _warn_unused(self, plan: Plan) -> None:
        """Tell the user about parameters that were changed in vain."""
        constructor = inspect.signature(type(self)).parameters
        for name, setting in self.without_effect(plan).items():
            if name in constructor and not _same(plan.given[name], constructor[name].default):
                warn(
                    f"{name}={plan.given[name]!r} has no effect on the training with {setting}: "
                    "leave it at its default.",
                    UserWarning,
                )

    def _given(self) -> dict[str, Any]:
        """All shared parameters and the method's own, as the user gave them."""
        return {**SHARED, **self.get_params(deep=False)}

    def _admit(self, X: Any, again: bool) -> tuple[Any, tuple[int, ...] | None, dict[str, Any]]:
        """Checked samples, the shape of images, and the attributes about the features."""
        if again:
            self._refuse_changes()
            names = {n: v for n, v in vars(self).items() if n in _OF_FEATURES}
            return self._check(X), None, names
        # a fit that fails leaves no trace; copy.copy would also copy the fitted network
        door = type(self).__new__(type(self))
        door.__dict__.update({n: v for n, v in vars(self).items() if n != "_model"})
        X, found = check_X(door, X, reset=True)
        return X, found, {n: v for n, v in vars(door).items() if n in _OF_FEATURES}

    def _make_plan(
        self,
        X: Any,
        found: tuple[int, ...] | None,
        given: Mapping[str, Any],
        device: torch.device,
        again: bool,
    ) -> Plan:
        """Resolve every "auto" for these samples."""
        n_samples, n_features = X.shape
        if again:
            fitted = self._model.plan.data
            data = dataclasses.replace(fitted, n_samples=n_samples)
        else:
            image_shape = resolve_image_shape(given["image_shape"], found, n_features)
            seen = shape_of_network(image_shape, given)
            kind = data_kind(X, image_shape)
            differ = (
                image_shape is not None
                and not issparse(X)
                and backgrounds_differ(X.reshape(-1, *image_shape))
            )
            data = Data(kind, n_samples, n_features, image_shape, seen, differ)
        plan = make_plan(data, given, self.defaults(data, given), IDENTITY)
        refuse_architecture(plan)
        self.make_augmentation(plan)  # refuses one that these samples cannot have
        scaler = self._model.plan.scaler if again else self.make_scaler(plan, X)
        return plan.with_scaler(scaler).replace(precision=resolve_precision(plan, device))

    def _refuse_changes(self) -> None:
        """Refuse changed parameters that the fitted network depends on."""
        fitted, given = self._model.plan.given, self._given()
        for name in sorted(self.fixed_parameters & given.keys()):
            if not _same(given[name], fitted[name]):
                raise ValueError(
                    f"{name}={given[name]!r} but the estimator was fitted with {fitted[name]!r}: "
                    "set it back, or set warm_start=False and fit anew to change it."
                )

    def _become(
        self,
        model: FittedModel,
        X: Any,
        labels: np.ndarray,
        history: list[dict[str, Any]],
        others: Mapping[str, Any],
    ) -> None:
        """Set all fitted attributes in one step."""
        fitted = {
            "_model": model,
            "labels_": labels,
            "cluster_centers_": self.find_centers(model, X, labels).astype(answer_dtype(X)),
            "history_": history,
            "n_iter_": len(history),
            **others,
        }
        kept = vars(self) if "n_features_in_" not in others else self._parameters()
        self.__dict__ = {**kept, **fitted}

    def _parameters(self) -> dict[str, Any]:
        """The attributes that are not fitted."""
        return {n: v for n, v in vars(self).items() if not n.endswith("_") or n.startswith("_")}

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> np.ndarray:
        """Fit, and return the cluster of each training sample.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Training samples.
        y : Ignored
            Present for API consistency.
        **fit_params : dict
            No fit parameter is supported, see fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            The attribute ``labels_``.
        """
        self.fit(X, y, **fit_params)
        return self.labels_

    # ---------------------------------------------------------------- what was fitted

    @property
    def module_(self) -> Any:
        """The trained network."""
        check_is_fitted(self)
        return self._model.module

    @property
    def image_shape_(self) -> tuple[int, ...] | None:
        """Channels, height and width of the samples, None for vectors."""
        check_is_fitted(self)
        return self._model.plan.data.image_shape

    @property
    def settings_(self) -> dict[str, Any]:
        """Settings of the fit, with "auto" resolved, and the kind of the samples."""
        check_is_fitted(self)
        return self._model.plan.settings()

    # ---------------------------------------------------------------- inference

    @answer_threads
    def predict(self, X: Any) -> np.ndarray:
        """Predict the cluster of each sample, also of new ones.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Numbers in ``0 .. n_clusters - 1``; equal to ``labels_`` on the training samples. The
            label of a row does not depend on the other rows.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is invalid, or its features or images are not like those of fit.
        """
        X = self._check(X)
        return self._model.labels(X)

    @answer_threads
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each cluster, for each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_clusters)
            In [0, 1], rows sum to one; float32 for float32 input, float64 otherwise.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is invalid, or its features or images are not like those of fit.
        """
        X = self._check(X)
        answers = [q.cpu().numpy() for *_, q in self._model.stream(X)]
        return np.concatenate(answers).astype(answer_dtype(X))

    @answer_threads
    def transform(self, X: Any) -> np.ndarray:
        """Embed each sample. Unlike KMeans, this does not give distances to the centers.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        embedding : ndarray of shape (n_samples, width of the embedding)
            Rows of numbers, float32 for float32 input, float64 otherwise.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is invalid, or its features or images are not like those of fit.
        """
        X = self._check(X)
        answers = [z.cpu().numpy() for _, _, z, _ in self._model.stream(X)]
        return np.concatenate(answers).astype(answer_dtype(X))

    @answer_threads
    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decode embeddings: ``inverse_transform(cluster_centers_)`` has the units of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, width of the embedding)
            Embeddings, as transform returns them.

        Returns
        -------
        decoded : ndarray of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            In the units of the training data, of its shape; float32 for float32
            embeddings, float64 otherwise.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` has another width, or values that are too large for float32.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32])
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {X.shape[1]} columns, but the embedding has {self._n_features_out} "
                "columns: pass rows that transform returned, or cluster_centers_."
            )
        answer = self._model.decode(X).astype(X.dtype)
        return answer.reshape(-1, *self._model.answer_shape)

    @answer_threads
    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the training objective, averaged over the samples.

        Use it to compare data under one model. Do not compare it between values of `n_clusters` or
        `n_components`, or between weights in the objective: the scale changes with them, so an
        elbow plot does not work. To choose the number of clusters, use
        :func:`~skdeepcluster.model_selection.suggest_n_clusters`. To choose other parameters, give
        GridSearchCV a ``scoring``, for instance one of :mod:`skdeepcluster.metrics`.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        score : float
            Higher is better. The Notes of the class say which terms of the objective are left
            out because they need the training samples.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is invalid, or its features or images are not like those of fit.
        """
        X = self._check(X)
        plan, module = self._model.plan, self._model.module
        total: float = 0.0
        for _, x, z, q in self._model.stream(X):
            with torch.no_grad():
                losses = self.sample_loss(plan, module, x, z, q)
            total += float(losses.cpu().double().sum())  # mps has no float64
        return -total / int(X.shape[0])

    def _check(self, X: Any) -> Any:
        """Samples like those of fit."""
        check_is_fitted(self)
        X, _ = check_X(self, X, reset=False)
        self.check_samples(self._model.plan, self._model.module, X)
        return X

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[1])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        # scikit-learn 1.9 reads this tag of every estimator that takes sparse X and has
        # predict_proba, also of a clusterer, and then expects 4 columns: the default n_clusters
        tags.classifier_tags = ClassifierTags(multi_class=True)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # a model trained on an accelerator opens on a machine without one
        state: dict[str, Any] = dict(super().__getstate__())
        return state | {"_model": self._model.on_cpu()} if "_model" in state else state


_OF_FEATURES = ("n_features_in_", "feature_names_in_")  # that check_X sets


def _refuse_parameters(name: str, given: Mapping[str, Any]) -> None:
    """Refuse what scikit-learn's constraints, which check each parameter alone, do not find."""
    n_clusters, random_state = given["n_clusters"], given["random_state"]
    if isinstance(n_clusters, bool):
        raise ValueError(
            f"The 'n_clusters' parameter of {name} must be an int in the range "
            f"[1, inf). Got {n_clusters!r} instead."
        )
    if given["checkpoint"] is not None and not isinstance(random_state, Integral):
        raise ValueError(
            f"checkpoint={given['checkpoint']!r} with random_state={random_state!r}: only a fit "
            "that repeats can be resumed. Pass an int as random_state, or checkpoint=None."
        )


def _warn_moving_objects(plan: Plan, X: Any) -> None:
    """Tell the user if clusters would follow the places of objects."""
    shape = plan.data.image_shape
    if shape is None or issparse(X):
        return
    images = X.reshape(-1, *shape)
    name = "X" if plan.given["image_shape"] is None else f"X.reshape(-1, *{shape})"
    if objects_move(images):
        warn(
            "The images show small objects at different places, and the clusters may follow the "
            "places and sizes. Cut out the objects first, also those of new images: pass "
            f"skdeepcluster.datasets.crop_to_objects({name}) instead of X, without image_shape.",
            UserWarning,
        )


def _same(a: Any, b: Any) -> bool:
    """Whether two values of a parameter are equal; they may hold arrays or be networks."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return a is b or bool(np.array_equal(a, b))


def _number_clusters(
    model: FittedModel, X: Any, history: list[dict[str, Any]]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Labels of the training samples, with clusters numbered without gaps, and the history."""
    n_clusters = model.plan.n_clusters
    labels = model.labels(X)
    used = np.unique(labels)
    if len(used) == n_clusters:
        return labels, history
    order = np.concatenate([used, np.setdiff1d(np.arange(n_clusters), used)])
    model.module.reorder(torch.from_numpy(order))
    warn(
        f"Only {len(used)} of n_clusters={n_clusters} clusters hold training samples. "
        f"Set n_clusters={len(used)}, or check X for duplicated samples and outliers.",
        ConvergenceWarning,
    )
    history = [
        row if row["cluster_sizes"] is None else row | {"cluster_sizes": _in(order, row)}
        for row in history
    ]
    return np.searchsorted(used, labels).astype(labels.dtype), history


def _in(order: np.ndarray, row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(row["cluster_sizes"][cluster] for cluster in order)


def answer_dtype(X: Any) -> type[np.floating[Any]]:
    """The dtype of outputs for `X`: float32 for float32, else float64."""
    return np.float32 if X.dtype == np.float32 else np.float64
