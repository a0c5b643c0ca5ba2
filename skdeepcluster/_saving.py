"""Fitted estimators as files of arrays and JSON: nothing in a file is code, and none is run."""

import copy
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._data.rows import Rows
from ._data.scaling import Scaler
from ._dccs import DCCS
from ._dcec import DCEC
from ._dmae import DMAE
from ._dual_ae_spectral import DualAESpectral
from ._encoding import decode, encode, intact, pack, plain, require_safetensors, unpack, write
from ._engine.checkpoint import load_module_state
from ._engine.device import resolve_device
from ._version import __version__
from .base import BaseDeepClusterer

_FORMAT_VERSION = 1
_ESTIMATORS = {estimator.__name__: estimator for estimator in (DCCS, DCEC, DMAE, DualAESpectral)}
_MODULE = "module_."  # what names of the network's tensors begin with
_TOLERANCE = 1e-2  # of the answers about prototypes: other machines round otherwise
_REQUIRED = {
    "labels_",
    "cluster_centers_",
    "history_",
    "n_iter_",
    "converged_",
    "n_features_in_",
    "image_shape_",
    "_answer_shape",
    "_bag_of_words",
    "_cluster_order",
    "_scaler",
}
_OPTIONAL = {"feature_names_in_", "_origin", "_sklearn_output_config"}


def save_model(estimator: BaseDeepClusterer, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator as one file of arrays and JSON.

    The file is in the safetensors format, which any tool for it reads. Unlike a pickle it holds no
    code, and loading runs none.

    Parameters
    ----------
    estimator : DCCS, DCEC, DMAE or DualAESpectral
        A fitted estimator. Subclasses, pipelines and searches are refused: of these save the
        estimator inside, ``pipeline[-1]`` or ``search.best_estimator_``.
    path : str or path-like
        Where to write; the usual ending is ``.safetensors``. A file that is there is replaced, in
        one step, once the new one is complete.

    Raises
    ------
    TypeError
        If `estimator` is not one of those.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    ValueError
        If parameters that the network was built with were changed since, or the network cannot be
        built from its parameters again.
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be written.

    See Also
    --------
    load_model : The way back.

    Notes
    -----
    Networks, functions and other objects of yours are not in the file: it names the parameters that
    hold them, and load_model asks for them. These are a tuple or callable as `architecture`, a
    callable as `augmentation` or `dissimilarity`, `pretrain_target`, `callbacks`, a joblib.Memory
    as `memory`, a path object as `checkpoint` and a generator as `random_state`.

    The steps of a pipeline before the estimator are scikit-learn's: save those with joblib or
    skops. skops 0.16 does not take the estimators themselves, as it knows no tensors of torch;
    pickle and joblib do.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import make_blobs
    >>> from skdeepcluster import DCEC, load_model, save_model
    >>> X, _ = make_blobs(n_samples=200, centers=3, n_features=8, random_state=0)
    >>> model = DCEC(3, pretrain_epochs=2, max_epochs=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.safetensors"
    ...     save_model(model, path)
    ...     loaded = load_model(path)
    >>> bool((loaded.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    require_safetensors()
    if type(estimator) not in _ESTIMATORS.values():
        raise TypeError(
            f"save_model takes a fitted {', '.join(_ESTIMATORS)}, not {type(estimator).__name__}. "
            "Of a pipeline save its last step, pipeline[-1], and the steps before it with joblib "
            "or skops; of a search save search.best_estimator_. A subclass is code, which is not "
            "stored: use pickle or joblib."
        )
    check_is_fitted(estimator)
    estimator._refuse_changes()
    tensors: dict[str, Tensor] = {}
    parameters, by_caller = {}, {}
    for name, value in estimator.get_params(deep=False).items():
        own: dict[str, Tensor] = {}
        try:
            parameters[name] = encode(value, name, own)
        except TypeError:
            by_caller[name] = type(value).__name__
        else:
            tensors |= own
    state = vars(estimator)
    attributes = {name: state[name] for name in sorted(_REQUIRED | _OPTIONAL) if name in state}
    attributes["_scaler"] = vars(estimator._scaler)
    module = copy.deepcopy(estimator.module_).cpu()
    tensors |= {f"{_MODULE}{name}": plain(t, name) for name, t in module.state_dict().items()}
    description = {
        "estimator": type(estimator).__name__,
        "version": __version__,
        "parameters": parameters,
        "given_by_caller": by_caller,
        "attributes": {n: encode(value, n, tensors) for n, value in attributes.items()},
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
    }
    tensors |= _probe(module, estimator.cluster_centers_)
    # what cannot be loaded is not written
    _restore(description, tensors, {name: getattr(estimator, name) for name in by_caller})
    header = {"format": "skdeepcluster", "format_version": str(_FORMAT_VERSION)}
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"There is no folder {Path(path).parent}: make it first.")
    write(Path(path), pack(header, description, tensors))


def load_model(
    path: str | os.PathLike[str], *, device: str | torch.device = "cpu", **parameters: Any
) -> BaseDeepClusterer:
    """Load an estimator that :func:`save_model` saved.

    On the machine that saved it, the answers of the loaded estimator are the same, bit by bit, and
    it can be trained further.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str or torch.device, default="cpu"
        Where the network is put, whatever it was trained on: "auto" is cuda, then mps, then cpu.
        The estimator's own parameter `device` says where it is trained further.
    **parameters : dict
        What the file could not hold, such as ``architecture=`` for a network of yours: the values
        that the estimator was fitted with. All of those that the file names must be passed, and
        no others; of `callbacks`, `memory`, `checkpoint` and `random_state` any value
        will do.

    Returns
    -------
    estimator : DCCS, DCEC, DMAE or DualAESpectral
        The fitted estimator.

    Raises
    ------
    ValueError
        If the file is damaged or changed, is none of save_model, or is of a later version of
        skdeepcluster; if `parameters` are not those that it asks for, or give another network.
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.

    See Also
    --------
    save_model : What is in the file, and an example.

    Notes
    -----
    The network is built by this package from the parameters in the file, which are checked as in
    fit, and its answers about the centers are compared with those in the file. The checksum finds
    damage. It is no signature: whoever can write the file can make a different model of it, but not
    code that is run.

    Examples
    --------
    A network of your own is passed again, trained or not:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import make_blobs
    >>> from torch import nn
    >>> from skdeepcluster import DCEC, load_model, save_model
    >>> X, _ = make_blobs(n_samples=200, centers=3, n_features=8, random_state=0)
    >>> network = nn.Linear(8, 2), nn.Linear(2, 8)
    >>> model = DCEC(3, n_components=2, architecture=network, pretrain_epochs=20, max_epochs=2,
    ...              random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "model.safetensors"
    ...     save_model(model, path)
    ...     loaded = load_model(path, architecture=network)
    >>> bool((loaded.transform(X) == model.transform(X)).all())
    True
    """
    require_safetensors()
    raw = Path(path).read_bytes()
    target = resolve_device(device)
    try:
        metadata, tensors = unpack(raw)
    except ValueError as error:
        raise ValueError(
            f"{path} is no safetensors file, or is damaged or cut off: {error}"
        ) from error
    if metadata.get("format") != "skdeepcluster":
        raise ValueError(f"{path} is a safetensors file, but not one that save_model wrote.")
    version = metadata.get("format_version")
    if version != str(_FORMAT_VERSION):
        raise ValueError(
            f"{path} has format version {version}; skdeepcluster {__version__} reads "
            f"{_FORMAT_VERSION}. Load it with the version of skdeepcluster that saved it, or a "
            "later one."
        )
    if not intact(metadata, tensors):
        raise ValueError(
            f"{path} is damaged or was changed: its checksum is another. Save the model again."
        )
    try:
        estimator = _restore(json.loads(metadata["description"]), tensors, parameters)
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    except Exception as error:  # a file may say anything
        raise ValueError(
            f"{path} cannot be loaded: its content is none that save_model writes ({error!r})."
        ) from error
    estimator.module_.to(target)
    return estimator


# ---------------------------------------------------------------- from values to an estimator


def _restore(
    description: Any, tensors: Mapping[str, Tensor], given: Mapping[str, Any]
) -> BaseDeepClusterer:
    """The estimator of a description, which is not to be trusted."""
    asked, known = description["given_by_caller"], description["parameters"]
    if set(given) != set(asked):
        _refuse_parameters(set(given), asked)
    kind = description["estimator"]
    if kind not in _ESTIMATORS:
        raise ValueError(f"it is a {kind}; there are {', '.join(_ESTIMATORS)}.")
    estimator = _ESTIMATORS[kind]()
    if unknown := {*known, *asked} - {*estimator.get_params(deep=False)}:
        raise ValueError(
            f"{kind} has no parameters {sorted(unknown)}; the file is of skdeepcluster "
            f"{description['version']}, this is {__version__}."
        )
    estimator.set_params(**{n: decode(v, tensors) for n, v in known.items()}, **given)
    estimator._validate_params()
    attributes = {n: decode(value, tensors) for n, value in description["attributes"].items()}
    attributes["_scaler"] = Scaler(**attributes["_scaler"])
    _check_attributes(attributes, estimator.n_clusters, tensors["probe.samples"])
    for name, value in attributes.items():
        setattr(estimator, name, value)
    estimator._network = {name: getattr(estimator, name) for name in estimator._fixed_in_warm_start}
    state = {n[len(_MODULE) :]: t for n, t in tensors.items() if n.startswith(_MODULE)}
    try:
        module = _build(estimator, state)
    except Exception as error:  # it may be the user's
        reason = error if isinstance(error, ValueError) else f"{error!r}."
        raise ValueError(
            f"{reason} The network is built from the parameters"
            + (f" and {', '.join(asked)} as given here" if asked else "")
            + f", by skdeepcluster {__version__}; {description['version']} saved it."
        ) from error
    load_module_state(module, {"tensors": state, "frozen": description["frozen"], "evaluating": ()})
    estimator.module_ = module.eval()
    for name, answer in _probe(module, estimator.cluster_centers_).items():
        _compare(name, answer, tensors[name])
    return estimator


def _refuse_parameters(given: set[str], asked: Mapping[str, str]) -> None:
    missing = ", ".join(f"{name}= ({asked[name]})" for name in asked if name not in given)
    if missing:
        raise ValueError(
            f"the file does not hold objects of yours: pass load_model {missing}, as the estimator "
            "had it."
        )
    raise ValueError(
        f"{', '.join(sorted(given - {*asked}))} stands in the file: change it with set_params "
        "after loading."
    )


def _check_attributes(attributes: dict[str, Any], k: int, samples: Tensor) -> None:
    """Refuse attributes that fit could not have left."""
    names = {*attributes}
    if names - _OPTIONAL != _REQUIRED:
        raise ValueError(f"its attributes are {sorted(names)}.")
    n, shape = attributes["n_features_in_"], attributes["image_shape_"]
    # first, as what is in the file bounds what is made of these numbers
    fits = samples.shape == (k, *(shape or (n,))) and samples.numel() == k * n
    if type(n) is not int or not fits:
        raise ValueError(f"{k} clusters of {n} features, {shape}, are not those of its prototypes.")
    centers, labels = attributes["cluster_centers_"], attributes["labels_"]
    order, scaler = attributes["_cluster_order"], attributes["_scaler"]
    history, origin = attributes["history_"], attributes.get("_origin", np.zeros((1, n)))
    feature_names = attributes.get("feature_names_in_", ["x"] * n)
    config = attributes.get("_sklearn_output_config", {})
    holds = {
        "image_shape_": shape is None or (isinstance(shape, tuple) and len(shape) == 3),
        "_answer_shape": attributes["_answer_shape"] in (shape or (n,), (n,)),
        "labels_": labels.dtype == np.int32 and labels.ndim == 1 and _within(labels, k),
        "cluster_centers_": centers.ndim == 2 and len(centers) == k and _finite(centers),
        "_cluster_order": order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(k)),
        "_scaler": scaler.kind in ("global", "standard", "none")
        and all(
            part.dtype == np.float64 and part.shape in ((1,), (n,)) and _finite(part)
            for part in (scaler.shift, scaler.factor)
        ),
        "_origin": origin.shape == (1, n) and _finite(origin),
        "feature_names_in_": len(feature_names) == n and _texts(feature_names),
        "history_": isinstance(history, list) and all(isinstance(row, dict) for row in history),
        "n_iter_": attributes["n_iter_"] == len(history),
        "converged_": isinstance(attributes["converged_"], bool),
        "_bag_of_words": isinstance(attributes["_bag_of_words"], bool),
        "_sklearn_output_config": isinstance(config, dict) and _texts(config.values()),
    }
    for name, held in holds.items():
        if not held:
            raise ValueError(f"its {name} is none that fit leaves.")


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _within(labels: np.ndarray, k: int) -> bool:
    return bool(((labels >= 0) & (labels < k)).all())


def _finite(values: np.ndarray) -> bool:
    return bool(values.dtype.kind == "f" and np.isfinite(values).all())


def _build(estimator: BaseDeepClusterer, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of the parameters, checked to be of the shapes in the file."""
    n_features = estimator.n_features_in_
    rows = estimator._rows(np.broadcast_to(np.float32(0), (2, n_features)), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights
        if estimator.architecture is None or isinstance(estimator.architecture, str):
            # first without memory, for the file may ask for any amount of it
            with torch.device("meta"):
                _compare_states(_new_module(estimator, rows, state), state)
        elif estimator._width() > sum(tensor.numel() for tensor in state.values()):
            raise ValueError(f"n_components={estimator.n_components!r} is too large.")
        module = _new_module(estimator, rows, state)
    _compare_states(module, state)
    return module


def _new_module(estimator: BaseDeepClusterer, rows: Rows, state: Mapping[str, Tensor]) -> nn.Module:
    return estimator._fitted_module(*estimator._autoencoder(rows, 0), state)


def _compare_states(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    built = module.state_dict()
    if different := built.keys() ^ state.keys():
        raise ValueError(f"The network and the file differ in {sorted(different)}.")
    for name, expected in built.items():
        tensor = state[name]
        if (expected.shape, expected.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"The file has {name!r} of shape {tuple(tensor.shape)}, {tensor.dtype}, the "
                f"network of shape {tuple(expected.shape)}, {expected.dtype}."
            )


@torch.no_grad()
def _probe(module: Any, centers: np.ndarray) -> dict[str, Tensor]:
    """What the network answers about the centers: their prototypes, and those seen again."""
    samples = module.decode(torch.from_numpy(centers.astype(np.float32)))
    embedding, responsibilities = module(samples)
    return {
        "probe.samples": samples.clone(),
        "probe.embedding": embedding.clone(),  # without a network the same memory
        "probe.responsibilities": responsibilities.clone(),
    }


def _compare(name: str, answer: Tensor, stored: Tensor) -> None:
    """Refuse a network that has the weights in the file, but does something else with them."""
    alike = (
        (answer.shape, answer.dtype) == (stored.shape, stored.dtype)
        and bool(stored.isfinite().all())
        and torch.allclose(answer, stored, rtol=0, atol=_TOLERANCE * float(stored.abs().max()))
    )
    if not alike:
        raise ValueError(
            f"the network answers otherwise than the saved one ({name}), though its weights are "
            "the same: pass the functions and networks that the estimator was fitted with, and "
            "leave its parameters as they were in fit."
        )
