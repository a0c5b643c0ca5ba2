"""What all estimators share: fit, predict, transform, score, seeding, labels."""

import copy
import dataclasses
import math
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags, Tags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, check_memory
from torch import Tensor, nn

from ._data.door import check_X, resolve_image_shape
from ._data.kind import is_bag_of_words
from ._data.rows import Rows
from ._data.scaling import Scaler
from ._engine.architecture import build_autoencoder
from ._engine.checkpoint import Checkpoint, hashes
from ._engine.device import local_torch_seed, resolve_device, use_bfloat16
from ._engine.net import check_callbacks
from ._engine.phases import Phase, Run, forward_batches
from ._engine.processes import LAUNCHED, Processes
from ._engine.trainer import InterruptedTraining, Progress, Trainer, warn_collapse
from ._sklearn import (
    ClassNamePrefixFeaturesOutMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from ._start.judge import input_graph, normalized_cut
from ._start.pretraining import (
    OVERCLUSTER_UPDATES,
    PRETRAIN_UPDATES,
    overclustered_round,
    pretraining,
)
from .augment import random_affine, random_crop, random_masking
from .nn import StudentTAssignment, conv_autoencoder, mlp_autoencoder

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

_FULL_STRENGTH_SIDE = 16  # pixels from which augmentation has its full strength
_COMPONENTS = 10  # of an embedding; in the authors' code, of DCEC and of DMAE
_LEARNING_RATE, _TEXT_LEARNING_RATE = 3e-3, 1e-3


class BaseDeepClusterer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator, ABC
):
    """Fit and inference of a method that is given by its module, losses and phases.

    A method writes ``_module``, ``_phases`` and ``_objective``; see the developers' guide.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "n_components": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "architecture": [StrOptions({"auto", "mlp", "conv"}), tuple, callable],
        "hidden_units": [StrOptions({"auto"}), tuple, list],
        "image_shape": [tuple, list, None],
        "scaling": [StrOptions({"auto", "global", "standard", "none"})],
        "augmentation": [StrOptions({"auto", "affine", "crop", "masking"}), callable, None],
        "init": [StrOptions({"auto", "overclustered", "graph", "k-means", "spectral"})],
        "pretrain_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions({"annealed", "constant"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "32", "bf16"})],
        "warm_start": ["boolean"],
        "memory": [None, str, HasMethods("cache")],
        "checkpoint": [None, str, os.PathLike],
        "callbacks": [None, list, tuple],
        "verbose": [Interval(Integral, 0, 2, closed="both"), "boolean"],
        "random_state": ["random_state"],
    }
    # parameters that the phases marked `cached` do not depend on
    _not_in_pretraining: ClassVar[frozenset[str]] = frozenset(
        {"n_clusters", "init", "max_epochs", "n_init", "tol", "device", "warm_start"}
        | {"memory", "checkpoint", "callbacks", "verbose", "random_state"}
    )

    # parameters that do not change what a fit from new weights ends with, given its seed
    _not_in_fit: ClassVar[frozenset[str]] = frozenset(
        {"device", "warm_start", "memory", "checkpoint", "callbacks", "verbose", "random_state"}
    )

    # what the module of the last fit was built with
    _fixed_in_warm_start: ClassVar[tuple[str, ...]] = (
        "n_clusters",
        "n_components",
        "architecture",
        "hidden_units",
        "scaling",
    )

    _start_decides: ClassVar[bool] = False  # the clusters, in the phases before the last
    _shortest_epoch: ClassVar[int] = 8  # batches; an "auto" budget counts one of less as so many
    _vector_init: ClassVar[str] = "overclustered"  # what "auto" stands for on vectors
    # and on images
    _image_augmentation: ClassVar[str] = "affine"
    _image_init: ClassVar[str] = "overclustered"
    _small_image: ClassVar[int] = 32 * 32  # up to which an MLP was as accurate, and faster

    module_: Any
    labels_: np.ndarray
    cluster_centers_: np.ndarray
    _network: dict[str, Any]
    image_shape_: tuple[int, ...] | None

    @abstractmethod
    def _module(self, encoder: nn.Module, decoder: nn.Module) -> nn.Module:
        """The module to train around the autoencoder, its ``forward(x)`` giving (z, q)."""

    @abstractmethod
    def _phases(self, n_samples: int) -> tuple[Phase, ...]:
        """The training, in the order of the paper's algorithm box.

        All but the last are run by each of the `n_init` starts, the last by the best one.
        """

    @abstractmethod
    def _objective(self, x: Tensor, z: Tensor, q: Tensor) -> Tensor:
        """The training objective of each sample, of shape (n,), by the fitted module."""

    # ---------------------------------------------------------------- fit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Train the network and cluster `X`.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Training samples, of any real dtype and memory layout, or a torch Dataset of them, which
            is read into an array. They are not written to.
        y : Ignored
            Present for API consistency.
        **fit_params : dict
            None is supported; present to say so clearly.

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
        check_callbacks(self.callbacks)
        if self.checkpoint is not None and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"checkpoint={self.checkpoint!r} with random_state={self.random_state!r}: only a "
                "fit that repeats can be gone on with. Pass an int as random_state, or "
                "checkpoint=None."
            )
        again = self.warm_start and hasattr(self, "module_")
        if again:
            X, found = self._check(X), None
        else:
            X, found = check_X(self, X, reset=True)
        if isinstance(self.n_clusters, bool):
            raise ValueError(
                f"The 'n_clusters' parameter of {type(self).__name__} must be an int in the range "
                f"[1, inf). Got {self.n_clusters!r} instead."
            )
        if X.shape[0] < self.n_clusters:
            raise ValueError(
                f"n_samples={X.shape[0]} should be >= n_clusters={self.n_clusters}: pass more "
                "samples or ask for fewer clusters."
            )
        if again:
            self._refuse_changes()
        else:
            self._network = {name: getattr(self, name) for name in self._fixed_in_warm_start}
            self.image_shape_ = resolve_image_shape(self.image_shape, found, X.shape[1])
            self._answer_shape = found or (X.shape[1],)  # of decoded samples
            self._scaler = self._fit_scaler(X)
        rows = self._rows(X, resolve_device(self.device), resident=True)
        if not again:
            self._bag_of_words = self.architecture is not None and is_bag_of_words(rows)
        trainer = self._train(rows, again)
        self.module_ = trainer.run.module.eval()
        self.history_ = trainer.history
        warn_collapse(self.history_)
        self.n_iter_ = len(trainer.history)
        self.converged_ = trainer.converged
        self._set_labels(X)
        return self

    def _refuse_changes(self) -> None:
        """What training goes on from fixes some parameters."""
        for name, fitted in self._network.items():
            value = getattr(self, name)
            # either may be an array; of modules none can be made
            if value is not fitted and not np.array_equal(value, fitted):
                raise ValueError(
                    f"{name}={value!r} but the estimator was fitted with {fitted!r}: set it back, "
                    "or set warm_start=False and fit anew to change it."
                )

    def _train(self, rows: Rows, again: bool) -> Trainer:
        """Make `n_init` starts, then train the best of them through the last phase."""
        phases = self._phases(len(rows))
        if again:
            # the module goes on from where the last fit left it
            phases = (dataclasses.replace(phases[-1], setup=None),)
        *start, last = phases
        n_init = int(self.n_init) if start else 1
        processes = self._processes(rows)
        random_state = check_random_state(self.random_state)
        drawn = random_state.randint(np.iinfo(np.int32).max, size=1 + n_init).tolist()
        seed, *seeds = processes.of_all(drawn)[0]
        kept = self._checkpoint(rows, seed, again)
        if "last" in kept.states:
            seeds = seeds[:1]  # the best start has been chosen
        judge = None
        if not again and (self._resolve_init() in ("graph", "overclustered") or n_init > 1):
            judge = input_graph(rows, np.random.RandomState(seed))
        constants = self._constants(rows, np.random.RandomState(seed))
        epochs = n_init * sum(phase.epochs for phase in start) + last.epochs
        progress = self._progress(epochs, processes)
        trainer: Trainer | None = None
        started: list[Trainer] = []
        try:
            for number, own in enumerate(seeds, 1):
                progress.part = f" {number}/{n_init}" if n_init > 1 else ""
                with local_torch_seed(own, rows.device):
                    state = kept.states.get("last", kept.states.get(str(number)))
                    module = self._initial_module(rows, own, again, state)
                    run = Run(module, rows, judge, constants, processes=processes)
                    trainer = self._trainer(run, progress)
                    trainer.checkpoint, trainer.name = kept, str(number)
                    if state is not None:
                        trainer.load_state(state)
                    self._train_start(trainer, start, own)
                started.append(trainer)
            progress.part = ""
            with local_torch_seed(seed, rows.device):
                trainer = self._best_start(started, last, seed)
                kept.states, trainer.name = {}, "last"
                trainer.train([last], seed)
            kept.remove()
        except (InterruptedTraining, KeyboardInterrupt):
            if 0 < len(started) < n_init:
                trainer = started[0]  # not one that was just begun
            if trainer is None or not trainer.history:
                raise KeyboardInterrupt from None  # there is nothing to keep
            self._give_clusters(trainer, last)
            warnings.warn(
                f"Interrupted after {len(trainer.history)} epochs. The estimator is fitted, with "
                "the state of the last finished epoch; fit again for the full training.",
                ConvergenceWarning,
                stacklevel=4,
            )
        finally:
            progress.close()
        return trainer

    def _processes(self, rows: Rows) -> Processes:
        """Those that fit together, if there are more than this one."""
        if self.device != LAUNCHED:
            return Processes()
        processes = Processes.launched()
        if processes.count > 1:
            for name in ("memory", "checkpoint"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}={getattr(self, name)!r} with {processes.count} processes, which "
                        f"would not read and write it in step: set {name}=None."
                    )
            own = self._fit_hashes(rows, "device")
            for other in processes.of_all(own):
                names = own.keys() | other.keys()
                unlike = sorted(name for name in names if own.get(name) != other.get(name))
                if unlike:
                    raise ValueError(
                        f"device='{LAUNCHED}' with {processes.count} processes that got unlike "
                        f"{', '.join(unlike)}. All must fit the same estimator to the same X: each "
                        "takes its share of the batches by itself."
                    )
        return processes

    def _progress(self, epochs: int, processes: Processes) -> Progress:
        """What the user sees of a fit, once."""
        verbose = int(self.verbose) if processes.index == 0 else 0
        return Progress(verbose, type(self).__name__, epochs)

    def _train_start(self, trainer: Trainer, phases: list[Phase], seed: int) -> None:
        """Run the phases before the last; what the leading ones give may lie in `memory`."""
        memory = check_memory(self.memory)
        cached = [] if memory.location is None else [phase for phase in phases if phase.cached]
        if cached:
            trainer.train_cached(cached, seed, memory, self._memory_key(trainer.run.rows, seed))
        trainer.train(phases[len(cached) :], seed + len(cached))

    def _best_start(self, started: list[Trainer], last: Phase, seed: int) -> Trainer:
        """The start whose clusters cut the input's neighbour graph the least.

        It is told the embeddings of the others, which err apart. Where that graph tells nothing,
        and the clusters are decided already, it is the one of the smallest loss.
        """
        best = started[0]
        if len(started) > 1 and best.run.judge is not None:
            best = min(started, key=lambda trainer: self._cut(trainer.run, last, seed))
        elif len(started) > 1 and self._start_decides:
            best = min(started, key=_last_loss)
        best.run.others = [trainer.run.embed() for trainer in started if trainer is not best]
        return best

    def _cut(self, run: Run, last: Phase, seed: int) -> float:
        """How badly the clusters that a run would start from cut the judge's graph."""
        nodes, graph = cast(tuple[np.ndarray, csr_array], run.judge)
        random_state = np.random.RandomState(seed)
        run = dataclasses.replace(
            run, module=copy.deepcopy(run.module), random_state=random_state, targets={}
        )
        if last.setup is not None:
            last.setup(run)
        labels = run.assign().argmax(dim=1).cpu().numpy()[nodes]
        return normalized_cut(graph, labels, self.n_clusters)

    def _give_clusters(self, trainer: Trainer, last: Phase) -> None:
        """Give a training that the user stopped before its last phase its clusters."""
        reached = bool(trainer.history) and trainer.history[-1]["phase"] == last.name
        if last.setup is not None and not reached:
            last.setup(trainer.run)
        if last.refresh is not None:
            last.refresh(trainer.run)

    def _constants(self, rows: Rows, random_state: np.random.RandomState) -> dict[str, Tensor]:
        """What the losses need to know of each sample, the same in every start and phase."""
        return {}

    def _checkpoint(self, rows: Rows, seed: int, again: bool) -> Checkpoint:
        """What is kept of this fit, and nothing of one that goes on from another."""
        if self.checkpoint is None or again:
            return Checkpoint()
        key = {
            **self._fit_hashes(rows, "checkpoint"),
            "seed": seed,
            "shape": rows.sample_shape,
            "device": str(rows.device),
        }
        return Checkpoint(self.checkpoint, key)

    def _initial_module(
        self, rows: Rows, seed: int, again: bool, state: Mapping[str, Any] | None
    ) -> nn.Module:
        """The module of the last fit, or a new one, on the device of the samples.

        Its layers are those of the state of a training, if there is one.
        """
        if again:
            module: nn.Module = copy.deepcopy(self.module_)
            return module.to(rows.device)
        pair = self._autoencoder(rows, seed)
        if state is None:
            return self._module(*pair).to(rows.device)
        tensors = state["module"]["tensors"]
        module = self._fitted_module(*pair, tensors)
        if "assign.frequencies" in tensors:  # and too many clusters, in the over-clustered round
            module.assign = StudentTAssignment(*tensors["assign.centers"].shape)
        return module.to(rows.device)

    def _autoencoder(self, rows: Rows, seed: int) -> tuple[nn.Module, nn.Module]:
        return build_autoencoder(
            self.architecture,
            rows,
            self._width(),
            self.hidden_units,
            seed,
            builders=self._builders(),
            small_image=self._small_image,
        )

    def _fitted_module(
        self, encoder: nn.Module, decoder: nn.Module, state: Collection[str]
    ) -> nn.Module:
        """A module like the one that fit left, whose state has these names."""
        return self._module(encoder, decoder)

    def _builders(self) -> dict[str, Callable[..., tuple[nn.Module, nn.Module]]]:
        """What the names of architectures stand for."""
        return {"mlp": mlp_autoencoder, "conv": conv_autoencoder}

    def _trainer(self, run: Run, progress: Progress) -> Trainer:
        own = isinstance(self.architecture, str)
        return Trainer(
            run,
            int(self.batch_size),  # of numpy's integers, products may overflow
            self._augmentation(),
            use_bfloat16(self.precision, run.rows, run.module, own=own),
            check_callbacks(self.callbacks),
            progress,
        )

    def _augmentation(self) -> Augmentation:
        """What changes samples without changing their cluster."""
        augmentation = self._resolve_augmentation()
        if callable(augmentation):
            return partial(_augment_by, augmentation)
        if augmentation in (None, "masking"):
            return lambda x, generator: x
        if self.image_shape_ is None:
            raise ValueError(
                f"augmentation={self.augmentation!r} needs images: pass X of shape (n_samples, "
                "channels, height, width), or flat rows with image_shape=."
            )
        if augmentation == "crop":
            return random_crop
        # one pixel is the same blur at any size, but a larger share of a small image
        strength = min(1.0, min(self.image_shape_[1:]) / _FULL_STRENGTH_SIDE)
        return lambda x, generator: random_affine(x, generator, strength=strength)

    def _resolve_augmentation(self) -> Any:
        """What ``augmentation`` stands for on this data."""
        if self.augmentation != "auto":
            return self.augmentation
        if self.image_shape_ is not None:
            return self._image_augmentation
        return "masking" if self._bag_of_words else None

    def _start_phases(self, n_samples: int) -> tuple[Phase, ...]:
        """Train the autoencoder alone, then with too many clusters where `init` says so."""
        pretrain = pretraining(
            self._epochs(self.pretrain_epochs, PRETRAIN_UPDATES, n_samples),
            self._rate(),
            annealed=self.learning_rate_schedule == "annealed",
            # half of a text may be of another cluster, so it only trains the autoencoder
            augment=random_masking if self._resolve_augmentation() == "masking" else None,
        )
        if self._resolve_init() != "overclustered":
            return (pretrain,)
        epochs = self._epochs("auto", OVERCLUSTER_UPDATES, n_samples)
        return pretrain, overclustered_round(int(self.n_clusters), epochs, self._rate())

    def _width(self) -> int:
        """What ``n_components`` stands for on this data."""
        if self.n_components == "auto":
            # a topic is a direction; images of 20 objects were measured with 10 only
            return max(_COMPONENTS, int(self.n_clusters) if self._bag_of_words else 0)
        return int(self.n_components)

    def _rate(self) -> float:
        """What ``learning_rate`` stands for on this data."""
        if self.learning_rate == "auto":
            return _TEXT_LEARNING_RATE if self._bag_of_words else _LEARNING_RATE
        return float(self.learning_rate)

    def _fit_scaler(self, X: Any) -> Scaler:
        """The map from samples to what the network sees."""
        return Scaler.fit(X, self.scaling, images=self.image_shape_ is not None)

    def _resolve_init(self) -> str:
        """What ``init`` stands for on this data."""
        if self.init != "auto":
            return str(self.init)
        if self._bag_of_words:
            return "graph"
        return self._vector_init if self.image_shape_ is None else self._image_init

    def _labels_stable(self, run: Run) -> bool:
        """Stop when fewer than `tol` of the labels changed (Guo et al. 2017, section 3.4)."""
        return bool(run.label_change < self.tol)

    def _epochs(self, parameter: int | str, updates: int, n_samples: int) -> int:
        """An epoch budget; "auto" is a number of updates, whatever the size of the data."""
        if parameter == "auto":
            an_epoch: int = max(math.ceil(n_samples / int(self.batch_size)), self._shortest_epoch)
            return math.ceil(updates / an_epoch)
        return int(parameter)

    def _memory_key(self, rows: Rows, seed: int) -> dict[str, Any]:
        """All that a cached phase depends on, besides `X`."""
        hashed = self._hashes(self._not_in_pretraining, "memory")
        return hashed | {"seed": seed, "shape": rows.sample_shape, "n_components": self._width()}

    def _fit_hashes(self, rows: Rows, by: str) -> dict[str, str]:
        """Hashes of all that a fit from new weights depends on, besides its seed."""
        return self._hashes(self._not_in_fit, by) | hashes({"X": rows.X}, by)

    def _hashes(self, without: Collection[str], by: str) -> dict[str, str]:
        """The estimator's name, and hashes of its parameters."""
        parameters = self.get_params(deep=False).items()
        hashed = hashes({n: value for n, value in parameters if n not in without}, by)
        return {"estimator": f"{type(self).__module__}.{type(self).__qualname__}", **hashed}

    def _set_labels(self, X: Any) -> None:
        """Label the training samples as predict does, clusters numbered without a gap."""
        self._cluster_order = np.arange(int(self.n_clusters))
        labels = self._labels(X)
        used = np.unique(labels)
        if len(used) < self.n_clusters:
            self._cluster_order = np.concatenate([used, np.setdiff1d(self._cluster_order, used)])
            labels = np.searchsorted(used, labels).astype(labels.dtype)
            warnings.warn(
                f"Only {len(used)} of n_clusters={self.n_clusters} clusters hold training samples. "
                f"Set n_clusters={len(used)}, or check X for duplicated samples and outliers.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.labels_ = labels
        self._set_centers(X)

    def _set_centers(self, X: Any) -> None:
        centers = self.module_.assign.centers.detach().cpu().numpy()
        self.cluster_centers_ = centers[self._cluster_order].astype(answer_dtype(X))

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
            None is supported, see fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            The attribute ``labels_``.
        """
        self.fit(X, y, **fit_params)
        return self.labels_

    # ---------------------------------------------------------------- inference

    def predict(self, X: Any) -> np.ndarray:
        """Cluster of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Numbers in ``0 .. n_clusters - 1``; equal to ``labels_`` on the training samples. The
            answer for a row does not depend on the other rows.
        """
        return self._labels(self._check(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Soft assignment of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_clusters)
            In [0, 1], rows sum to one; float32 for float32 input, float64 otherwise.
        """
        X = self._check(X)
        return np.concatenate([q.cpu().numpy() for *_, q in self._stream(X)]).astype(
            answer_dtype(X)
        )

    def transform(self, X: Any) -> np.ndarray:
        """Embedding of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix, tensor} of shape (n_samples, n_features) or \
                (n_samples, channels, height, width)
            Samples like those of fit.

        Returns
        -------
        embedding : ndarray of shape (n_samples, width of the embedding)
            Rows of numbers, float32 for float32 input, float64 otherwise.
        """
        X = self._check(X)
        return np.concatenate([z.cpu().numpy() for _, _, z, _ in self._stream(X)]).astype(
            answer_dtype(X)
        )

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Decode embeddings; ``inverse_transform(cluster_centers_)`` gives prototypes.

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
        """
        check_is_fitted(self)
        X = check_array(X, dtype=[np.float64, np.float32])
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {X.shape[1]} columns, but the embedding has {self._n_features_out} "
                "columns: pass rows that transform returned, or cluster_centers_."
            )
        identity = Scaler("none", np.zeros(1), np.ones(1))
        embeddings = Rows(X, identity, None, self._device)
        decoded = []
        for where, z in embeddings.padded_batches():
            with torch.no_grad():
                x = self.module_.decode(z)[: where.stop - where.start]
            decoded.append(self._scaler.inverse(x.flatten(1).cpu().numpy()))
        answer = np.concatenate(decoded).astype(X.dtype)
        return answer.reshape(-1, *self._answer_shape)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the training objective, per sample.

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
            The higher the better. Objectives with other weights or another width of the
            embedding are not comparable: to choose those, give GridSearchCV a ``scoring``. What
            cannot be computed of a new sample stands in the Notes of the class.
        """
        total, count = 0.0, 0
        for where, x, z, q in self._stream(self._check(X), ordered=False):
            with torch.no_grad():
                total += float(self._objective(x, z, q).cpu().double().sum())  # mps has no float64
            count = where.stop
        return -total / count

    def _check(self, X: Any) -> Any:
        check_is_fitted(self)
        return check_X(self, X, reset=False)[0]

    def _rows(self, X: Any, device: torch.device, *, resident: bool = False) -> Rows:
        return Rows(X, self._scaler, self.image_shape_, device, resident=resident)

    def _stream(
        self, X: Any, *, ordered: bool = True
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Checked samples as (rows, x, z, q); `ordered` numbers clusters as labels_ does."""
        order = torch.tensor(self._cluster_order)  # which may be a read-only memory map
        for where, x, z, q in forward_batches(self.module_, self._rows(X, self._device)):
            if not torch.isfinite(q).all():
                row = where.start + int(torch.isfinite(q).all(dim=1).int().argmin())
                raise ValueError(
                    f"The values of sample {row} of X are too far from those of fit for float32: "
                    "its distances to the clusters overflow. Remove or clip it."
                )
            yield where, x, z, q[:, order.to(q.device)] if ordered else q

    def _labels(self, X: Any) -> np.ndarray:
        labels = [q.argmax(dim=1).cpu().numpy() for *_, q in self._stream(X)]
        return np.concatenate(labels).astype(np.int32)

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.module_.parameters()).device
        return device

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[1])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        # scikit-learn 1.9 reads this tag of whatever takes sparse X and has predict_proba,
        # also of a clusterer, and then expects 4 columns: the default n_clusters
        tags.classifier_tags = ClassifierTags(multi_class=True)
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # a model trained on an accelerator opens on a machine without one
        state: dict[str, Any] = dict(super().__getstate__())
        if "module_" in state and self._device.type != "cpu":
            state["module_"] = copy.deepcopy(self.module_).cpu()
        return state


def _augment_by(
    augmentation: Callable[[Tensor], Tensor], x: Tensor, generator: torch.Generator
) -> Tensor:
    """A user's augmentation, which draws from torch's global generator."""
    augmented = augmentation(x)
    if not isinstance(augmented, Tensor) or augmented.shape != x.shape:
        kind = "nothing" if augmented is None else type(augmented).__name__
        got = getattr(augmented, "shape", kind)
        raise ValueError(
            f"augmentation turned a batch of shape {tuple(x.shape)} into {got}; it must return a "
            "tensor of the same shape."
        )
    return augmented


def _last_loss(trainer: Trainer) -> float:
    """The losses of the last epoch, summed as in training; 0 before there is one."""
    if not trainer.history:
        return 0.0
    values = [value for value in trainer.history[-1].values() if isinstance(value, float)]
    return math.fsum(value for value in values if not math.isnan(value))


def answer_dtype(X: Any) -> type[np.floating[Any]]:
    """Of what is answered about `X`: float32 for float32, else float64."""
    return np.float32 if X.dtype == np.float32 else np.float64
