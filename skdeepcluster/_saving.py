"""Fitted estimators as files of arrays and JSON: a file holds no code, and loading runs none."""

import copy
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._data.kind import KINDS
from ._data.rows import Rows
from ._data.scaling import IDENTITY, Scaler
from ._encoding import decode, encode, intact, pack, plain, require_safetensors, unpack, write
from ._engine.checkpoint import load_module_state
from ._engine.device import resolve_device, seeded_layers
from ._engine.model import FittedModel
from ._engine.plan import RUN_ONLY, Data, Plan, is_auto, make_plan, shape_of_network
from ._fit import autoencoder
from ._sklearn import validate_parameter_constraints
from ._version import __version__
from .base import BaseDeepClusterer

_FORMAT_VERSION = 2
_MODULE = "module_."  # prefix of the names of the network's tensors
_TOLERANCE = 1e-2  # for the outputs on prototypes: other machines round differently
_REQUIRED = {
    "labels_",
    "cluster_centers_",
    "history_",
    "n_iter_",
    "converged_",
    "n_features_in_",
}
_OPTIONAL = {"feature_names_in_", "_sklearn_output_config"}
_PACKAGE = __name__.split(".")[0]


def _estimators() -> dict[str, type[BaseDeepClusterer]]:
    """The estimators of this package, by name."""
    found = BaseDeepClusterer.__subclasses__()
    return {one.__name__: one for one in found if _package(one) == _PACKAGE}


def _is_kind(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseDeepClusterer)


def _package(kind: type) -> str:
    return kind.__module__.split(".")[0]


def save_model(estimator: BaseDeepClusterer, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator as one file of arrays and JSON.

    The file is in the safetensors format, which any tool for this format reads. Unlike a pickle,
    the file holds no code, and loading runs no code.

    Parameters
    ----------
    estimator : BaseDeepClusterer
        A fitted estimator of this package, or of your own class that derives from
        :class:`skdeepcluster.base.BaseDeepClusterer`. Pipelines and searches are refused: save the
        estimator inside, ``pipeline[-1]`` or ``search.best_estimator_``.
    path : str or path-like
        Where to write; the usual ending is ``.safetensors``. An existing file is replaced, in one
        step, when the new one is complete.

    Raises
    ------
    TypeError
        If `estimator` is something else.
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
    load_model : Load the file again.

    Notes
    -----
    Your own networks, functions and other objects are not in the file. The file names the
    parameters that hold them, and load_model asks for them. These are a tuple or callable as
    `architecture`, a callable as `augmentation` or `dissimilarity`, `pretrain_target`, `callbacks`,
    a joblib.Memory as `memory`, a path object as `checkpoint` and a generator as `random_state`.

    The steps of a pipeline before the estimator are scikit-learn's: save those with joblib or
    skops. skops 0.16 cannot save the estimators themselves, because it does not know the tensors of
    torch; pickle and joblib can.

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
    if not isinstance(estimator, BaseDeepClusterer):
        raise TypeError(
            f"save_model takes a fitted {', '.join(_estimators())} or another BaseDeepClusterer, "
            f"not {type(estimator).__name__}. For a pipeline save its last step, pipeline[-1], and "
            "the steps before it with joblib or skops; for a search save search.best_estimator_."
        )
    check_is_fitted(estimator)
    estimator._refuse_changes()
    tensors: dict[str, Tensor] = {}
    parameters, by_caller = _encode_each(estimator.get_params(deep=False), "parameters", tensors)
    plan = estimator._model.plan
    settings = {n: plan.values[n] for n in _names_of_settings(plan, estimator)}
    state = vars(estimator)
    attributes = {name: state[name] for name in sorted(_REQUIRED | _OPTIONAL) if name in state}
    module = copy.deepcopy(estimator.module_).cpu()
    tensors |= {f"{_MODULE}{name}": plain(t, name) for name, t in module.state_dict().items()}
    description = {
        "estimator": type(estimator).__name__,
        "package": _package(type(estimator)),
        "version": __version__,
        "parameters": parameters,
        "given_by_caller": by_caller,
        "data": encode(dataclasses.asdict(plan.data), "data", tensors),
        "scaler": encode(vars(plan.scaler), "scaler", tensors),
        "settings": _encode_each(settings, "settings", tensors)[0],
        "answer_shape": encode(estimator._model.answer_shape, "answer_shape", tensors),
        "attributes": {n: encode(value, n, tensors) for n, value in attributes.items()},
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad],
    }
    tensors |= _probe(module, estimator.cluster_centers_)
    # a file that cannot be loaded is not written
    given = {name: getattr(estimator, name) for name in by_caller}
    try:
        _restore(description, tensors, given, type(estimator))
    except ValueError as error:
        raise ValueError(
            f"Nothing was saved, because the file could not be loaded again: {error}"
        ) from error
    header = {"format": "skdeepcluster", "format_version": str(_FORMAT_VERSION)}
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"There is no folder {Path(path).parent}: make it first.")
    write(Path(path), pack(header, description, tensors))


def load_model(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    estimator: type[BaseDeepClusterer] | None = None,
    **parameters: Any,
) -> BaseDeepClusterer:
    """Load an estimator that :func:`save_model` saved.

    On the machine that saved it, the loaded estimator gives exactly the same results. It can be
    trained further.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str or torch.device, default="cpu"
        The device of the loaded network, for any device that it was trained on: "auto" is cuda,
        then mps, then cpu. The estimator's own parameter `device` decides where it is trained
        further.
    estimator : class, default=None
        The class of the estimator, if it is not a class of this package.
    **parameters : dict
        The objects that the file cannot hold, such as ``architecture=`` for your own network: pass
        the values that the estimator was fitted with. Pass all parameters that the file names, and
        no others. For `callbacks`, `memory`, `checkpoint` and `random_state`, any value is allowed.

    Returns
    -------
    estimator : BaseDeepClusterer
        The fitted estimator.

    Raises
    ------
    TypeError
        If `estimator` is not a class that derives from
        :class:`skdeepcluster.base.BaseDeepClusterer`.
    ValueError
        If the file is damaged or changed, was not written by save_model, or has the file format of
        another version of skdeepcluster; if `parameters` are not the ones that the file names, or
        give another network.
    ImportError
        If safetensors is not installed.
    OSError
        If the file cannot be read.

    See Also
    --------
    save_model : It explains what is in the file, and has an example.

    Notes
    -----
    This package builds the network from the parameters in the file, which are checked as in fit.
    Then it compares the outputs of the network for the centers with those in the file. The checksum
    finds damage. The checksum is not a signature: a person who can write the file can change the
    model in it, but cannot make load_model run code.

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
    if estimator is not None and not _is_kind(estimator):
        raise TypeError(
            f"estimator={estimator!r} must be a class that derives from BaseDeepClusterer: pass "
            "the class of the model that was saved."
        )
    description, tensors = _read(path)
    target = resolve_device(device)
    try:
        loaded = _restore(json.loads(description), tensors, parameters, estimator)
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    except Exception as error:  # a file may hold anything
        raise ValueError(
            f"{path} cannot be loaded: its content is not what save_model writes ({error!r})."
        ) from error
    loaded.module_.to(target)
    return loaded


def _read(path: str | os.PathLike[str]) -> tuple[str, dict[str, Tensor]]:
    """Description and tensors of a file that is whole and of this format."""
    raw = Path(path).read_bytes()
    try:
        metadata, tensors = unpack(raw)
    except ValueError as error:
        raise ValueError(
            f"{path} is no safetensors file, or is damaged or incomplete: {error}"
        ) from error
    if metadata.get("format") != "skdeepcluster":
        raise ValueError(f"{path} is a safetensors file, but not one that save_model wrote.")
    version = metadata.get("format_version")
    if version != str(_FORMAT_VERSION):
        raise ValueError(
            f"{path} has format version {version}; skdeepcluster {__version__} reads only "
            f"{_FORMAT_VERSION}. Load it with the version of skdeepcluster that saved it, or fit "
            "and save the model again."
        )
    if not intact(metadata, tensors):
        raise ValueError(
            f"{path} is damaged or was changed: its checksum is wrong. Save the model again."
        )
    return metadata["description"], tensors


# ---------------------------------------------------------------- from values to an estimator


def _encode_each(
    values: Mapping[str, Any], part: str, tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that are data, encoded, and the types of the others, by name."""
    encoded, others = {}, {}
    for name, value in values.items():
        own: dict[str, Tensor] = {}
        try:
            encoded[name] = encode(value, f"{part}.{name}", own)
        except TypeError:
            others[name] = type(value).__name__
        else:
            tensors |= own
    return encoded, others


def _restore(
    description: Any,
    tensors: Mapping[str, Tensor],
    given: Mapping[str, Any],
    kind: type[BaseDeepClusterer] | None,
) -> BaseDeepClusterer:
    """The estimator that a description gives; the description may be malicious."""
    estimator = _new_estimator(description, tensors, given, kind)
    plan = _plan(description, tensors, estimator)
    attributes = {n: decode(value, tensors) for n, value in description["attributes"].items()}
    answer_shape = decode(description["answer_shape"], tensors)
    _check_attributes(attributes, answer_shape, plan, tensors["probe.samples"])
    state = {n[len(_MODULE) :]: t for n, t in tensors.items() if n.startswith(_MODULE)}
    try:
        module = _build(estimator, plan, state)
    except Exception as error:  # it may be the user's
        asked = ", ".join(description["given_by_caller"])
        reason = error if isinstance(error, ValueError) else f"{error!r}."
        raise ValueError(
            f"{reason} The network is built from the parameters"
            + (f" and {asked} as given here" if asked else "")
            + f". The file is from skdeepcluster {description['version']}, this is {__version__}. "
            "Pass the networks and functions that the estimator was fitted with, or load the file "
            "with the version that saved it."
        ) from error
    load_module_state(module, {"tensors": state, "frozen": description["frozen"], "evaluating": ()})
    for name, answer in _probe(module.eval(), attributes["cluster_centers_"]).items():
        _compare(name, answer, tensors[name])
    estimator.__dict__ |= {**attributes, "_model": FittedModel(module, plan, answer_shape)}
    return estimator


def _new_estimator(
    description: Any,
    tensors: Mapping[str, Tensor],
    given: Mapping[str, Any],
    kind: type[BaseDeepClusterer] | None,
) -> BaseDeepClusterer:
    """The estimator with its parameters, which are checked as in fit."""
    asked, known = description["given_by_caller"], description["parameters"]
    if set(given) != set(asked):
        _refuse_parameters(set(given), asked)
    name, package = description["estimator"], description["package"]
    if kind is None and (package != _PACKAGE or name not in _estimators()):
        raise ValueError(
            f"it is a {name} of {package}, which is not in {_PACKAGE}: pass load_model its class, "
            f"as estimator={name}. Without a class it loads {', '.join(_estimators())}."
        )
    kind = kind or _estimators()[name]
    if kind.__name__ != name:
        raise ValueError(f"it is a {name}, not a {kind.__name__}: pass estimator={name}.")
    if unknown := {*known, *asked} - {*kind._get_param_names()}:
        raise ValueError(
            f"{name} has no parameters {sorted(unknown)}; the file is of skdeepcluster "
            f"{description['version']}, this is {__version__}."
        )
    estimator = kind(**{n: decode(v, tensors) for n, v in known.items()}, **given)
    estimator._validate_params()
    return estimator


def _data(description: Any, tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> Data:
    """What the fit knew about its samples; the network sees no more than is in the file."""
    data = Data(**decode(description["data"], tensors))
    n, prototypes = data.n_features, tensors["probe.samples"]
    shape, seen = data.image_shape, data.network_shape
    _refuse_invalid(
        {
            "kind": data.kind in KINDS and (data.kind == "images") == (shape is not None),
            "n_samples": _is_int(data.n_samples) and 0 < data.n_samples <= sys.maxsize,
            "n_features": _is_int(n) and 0 < n <= sys.maxsize,
            "image_shape": shape is None or (_is_shape(shape) and math.prod(shape) == n),
            "backgrounds_differ": isinstance(data.backgrounds_differ, bool),
        }
    )
    _refuse_invalid({"network_shape": seen == shape_of_network(shape, given)})
    if prototypes.shape[1:] != data.sample_shape:
        seen_there = tuple(prototypes.shape[1:])
        raise _changed(f"it has samples of shape {data.sample_shape} and centers of {seen_there}")
    return data


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(_is_int(side) and side > 0 for side in value)
    )


def _plan(description: Any, tensors: Mapping[str, Tensor], estimator: BaseDeepClusterer) -> Plan:
    """The plan of the fit: the settings in the file, and what fit makes of the parameters."""
    given = estimator._given()
    data = _data(description, tensors, given)
    scaler = Scaler(**decode(description["scaler"], tensors))
    plan = make_plan(data, given, estimator.defaults(data, given), scaler)
    settings = {n: decode(v, tensors) for n, v in description["settings"].items()}
    if unknown := settings.keys() - {*_names_of_settings(plan, estimator)}:
        raise _changed(f"it has settings that no fit has, {sorted(unknown)}")
    _check_settings(settings, plan, estimator)
    return plan.replace(**settings)


def _names_of_settings(plan: Plan, estimator: BaseDeepClusterer) -> list[str]:
    """Names of what decided the fit and may differ from the parameters."""
    given = {n for n in estimator.fixed_parameters if not is_auto(plan.given.get(n))}
    return [name for name in plan.values if name not in RUN_ONLY | given]


def _check_settings(settings: Mapping[str, Any], plan: Plan, estimator: BaseDeepClusterer) -> None:
    """Refuse settings that cannot come from these parameters."""
    title = f"{type(estimator).__name__} in the settings"
    known = BaseDeepClusterer.parameter_constraints | estimator._parameter_constraints
    validate_parameter_constraints(known, settings, caller_name=title)
    for name, value in settings.items():
        expected = plan.values[name]
        held = not is_auto(value) or is_auto(expected)
        if name not in plan.given:  # the method chooses it
            saved: dict[str, Tensor] = {}
            held = type(value) is type(decode(encode(expected, name, saved), saved))
        if not held:
            raise _changed(f"{name}={value!r} in its settings, where fit has {expected!r}")


def _refuse_parameters(given: set[str], asked: Mapping[str, str]) -> None:
    missing = ", ".join(f"{name}= ({asked[name]})" for name in asked if name not in given)
    if missing:
        raise ValueError(
            f"the file does not hold your own objects: pass load_model {missing}, as the estimator "
            "had it."
        )
    raise ValueError(
        f"{', '.join(sorted(given - {*asked}))} is already in the file: change it with "
        "set_params after loading."
    )


def _check_attributes(
    attributes: dict[str, Any], answer_shape: Any, plan: Plan, prototypes: Tensor
) -> None:
    """Refuse attributes that fit cannot have set."""
    names = {*attributes}
    if names - _OPTIONAL != _REQUIRED:
        raise _changed(f"its attributes are {sorted(names)}")
    n, shape, k = plan.data.n_features, plan.data.image_shape, plan.n_clusters
    if len(prototypes) != k:  # checked first, so that a small file cannot ask for much memory
        raise _changed(f"it has n_clusters={k} and {len(prototypes)} centers")
    centers, labels = attributes["cluster_centers_"], attributes["labels_"]
    history, scaler = attributes["history_"], plan.scaler
    feature_names = attributes.get("feature_names_in_", ())
    config = attributes.get("_sklearn_output_config", {})
    holds = {
        "n_features_in_": _is_int(attributes["n_features_in_"])
        and attributes["n_features_in_"] == n,
        "answer_shape": answer_shape in (shape or (n,), (n,)) and all(map(_is_int, answer_shape)),
        "labels_": labels.dtype == np.int32 and labels.ndim == 1 and _within(labels, k),
        "cluster_centers_": centers.ndim == 2 and len(centers) == k and _finite(centers),
        "scaler": scaler.kind == plan.scaling != "auto"
        and all(
            part.dtype == np.float64 and part.shape in ((1,), (n,)) and _finite(part)
            for part in (scaler.shift, scaler.factor)
        ),
        "feature_names_in_": "feature_names_in_" not in names
        or (len(feature_names) == n and _texts(feature_names)),
        "history_": isinstance(history, list) and all(isinstance(row, dict) for row in history),
        "n_iter_": _is_int(attributes["n_iter_"]) and attributes["n_iter_"] == len(history),
        "converged_": isinstance(attributes["converged_"], bool),
        "_sklearn_output_config": isinstance(config, dict) and _texts(config.values()),
    }
    _refuse_invalid(holds)


def _refuse_invalid(holds: Mapping[str, bool]) -> None:
    if invalid := [name for name, held in holds.items() if not held]:
        raise _changed(f"its values of {', '.join(invalid)} are not valid")


def _changed(what: str) -> ValueError:
    return ValueError(
        f"{what}. save_model does not write this, so the file was changed, or another version of "
        "skdeepcluster wrote it: save the model again."
    )


def _is_int(value: Any) -> bool:
    return type(value) is int  # no bool


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _within(labels: np.ndarray, k: int) -> bool:
    return bool(((labels >= 0) & (labels < k)).all())


def _finite(values: np.ndarray) -> bool:
    return bool(values.dtype.kind == "f" and np.isfinite(values).all())


def _build(estimator: BaseDeepClusterer, plan: Plan, state: Mapping[str, Tensor]) -> nn.Module:
    """The network of the plan, whose shapes must be those in the file."""
    cpu, architecture = torch.device("cpu"), plan.architecture
    shape = plan.data.sample_shape
    no_samples = np.broadcast_to(np.float32(0), (2, math.prod(shape)))
    rows = Rows(no_samples, IDENTITY, shape if len(shape) == 3 else None, cpu)

    def new_module() -> nn.Module:
        pair = autoencoder(type(estimator), plan, rows, 0)
        return estimator.fitted_module(plan, *pair, state)

    with seeded_layers(0, cpu):  # layers draw their first weights
        if architecture is None or isinstance(architecture, str):
            # first without memory, because the file may ask for any amount of it
            with torch.device("meta"):
                _compare_states(new_module(), state)
        elif estimator.encoder_width(plan) > sum(tensor.numel() for tensor in state.values()):
            raise _changed(f"n_components={plan.n_components!r} is larger than its network")
        module = new_module()
    _compare_states(module, state)
    return module


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
    """Outputs of the network for the centers: their prototypes, and the embedding of these."""
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
            f"the network gives other results than the saved one ({name}), but its weights are "
            "the same: pass the functions and networks that the estimator was fitted with, and "
            "leave its parameters as they were in fit."
        )
