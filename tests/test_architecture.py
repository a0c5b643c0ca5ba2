"""The house rules of imports: arrows point one way, and importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdeepcluster

PACKAGE = Path(skdeepcluster.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TENSOR_ROOMS = {"nn", "functional", "augment", "dissimilarities"}  # torch only
MAY_IMPORT_SKORCH = {"_engine.net", "_engine.callbacks"}
MAY_IMPORT_PRIVATE_SKLEARN = {"_sklearn"}
# known to methods, and knowing none
FOUNDATION = {"base", "_fit", "_sklearn", "_encoding", "_warnings", "_data", "_engine", "_start"}


def name(path):
    """A file as its imports name it: ``_engine.net``; a room's own file as ``nn``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)


def room(module):
    return module.split(".")[0]


def imports(path):
    """All imports of a file, also those inside functions, as (module, names).

    Modules of this package come out as ``skdeepcluster.<name>``, however they are written.
    """
    package = ["skdeepcluster", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = tuple(alias.name for alias in node.names)
            if module == "skdeepcluster":  # from . import nn
                yield from ((f"skdeepcluster.{name}", ()) for name in names)
            else:
                yield module, names


def top(module):
    return module.split(".")[0]


def own(path):
    """Names of the files of this package that a file imports."""
    return {m.split(".", 1)[1] for m, _ in imports(path) if m.startswith("skdeepcluster.")}


def is_method(path):
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    bases = {getattr(base, "id", getattr(base, "attr", None)) for c in classes for base in c.bases}
    return "BaseDeepClusterer" in bases


BY_FILE = {name(path): path for path in FILES}
METHODS = {name(path) for path in FILES if is_method(path)}
BY_NAME = pytest.mark.parametrize("path", FILES, ids=[name(path) for path in FILES])


def test_the_rules_see_the_package():
    assert {"_dcec"} <= METHODS
    assert {room(file) for file in BY_FILE} >= FOUNDATION | TENSOR_ROOMS
    # and the reading of imports works: what each of these is there for
    assert "skorch" in {top(m) for m, _ in imports(BY_FILE["_engine.net"])}
    found = dict(imports(BY_FILE["_sklearn"]))["sklearn.utils._param_validation"]
    assert {"HasMethods", "Interval", "StrOptions", "validate_params"} <= set(found)
    assert {"base", "functional", "nn"} <= own(BY_FILE["_dcec"])


@BY_NAME
def test_tensor_files_import_torch_only(path):
    if room(name(path)) in TENSOR_ROOMS:
        allowed = {"torch", "skdeepcluster", *sys.stdlib_module_names}
        assert {top(module) for module, _ in imports(path)} <= allowed
        assert {room(module) for module in own(path)} <= TENSOR_ROOMS


@BY_NAME
def test_only_the_net_imports_skorch(path):
    if name(path) not in MAY_IMPORT_SKORCH:
        assert "skorch" not in {top(module) for module, _ in imports(path)}


@BY_NAME
def test_private_names_of_sklearn_are_in_one_file(path):
    private = []
    for module, names in imports(path):
        if top(module) == "sklearn":
            parts = [*module.split("."), *names]
            private += [f"{module}: {names}"] if any(p.startswith("_") for p in parts) else []
    if name(path) not in MAY_IMPORT_PRIVATE_SKLEARN:
        assert private == []


@BY_NAME
def test_no_method_imports_another(path):
    if name(path) in METHODS:
        assert own(path) & METHODS <= set()


@BY_NAME
def test_the_foundation_knows_no_method(path):
    if room(name(path)) in FOUNDATION | TENSOR_ROOMS | {"metrics", "inspection", "model_selection"}:
        assert own(path).isdisjoint(METHODS)


def circle(arrows):
    """What is left of a graph when its leaves are taken away, again and again."""
    left = dict(arrows)
    while left:
        leaves = {one for one, targets in left.items() if targets.isdisjoint(left)}
        if not leaves:
            break
        left = {one: targets for one, targets in left.items() if one not in leaves}
    return set(left)


def test_imports_have_no_circle():
    arrows = {file: own(path) - {"__init__"} for file, path in BY_FILE.items()}
    arrows.pop("__init__")
    assert circle(arrows) == set()
    assert circle({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == {"a", "b", "c"}


def test_arrows_between_rooms_point_down():
    rooms = {}
    for file, path in BY_FILE.items():
        if file != "__init__":
            rooms.setdefault(room(file), set()).update(map(room, own(path)))
    assert circle({one: targets - {one, "__init__"} for one, targets in rooms.items()}) == set()


def test_nothing_is_imported_by_star():
    for path in FILES:
        assert not [module for module, names in imports(path) if "*" in names], path.name


IMPORTS = """
import sys, time
import torch, sklearn
before, start = set(sys.modules), time.process_time()
import skdeepcluster
print(time.process_time() - start)
import skdeepcluster.inspection  # not a part of the package's import, and it draws later
print(*sorted(set(sys.modules) - before))
print("matplotlib" in sys.modules)
"""


def import_once():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    seconds, new, matplotlib = done.stdout.splitlines()
    return float(seconds), {top(module) for module in new.split()}, matplotlib == "True"


def test_importing_is_cheap():
    runs = [import_once() for _ in range(3)]
    for _, new, matplotlib in runs:
        assert not matplotlib
        # torch or scikit-learn may have imported pandas before; this package adds none of these
        assert new.isdisjoint(
            {"pandas", "polars", "matplotlib", "safetensors", "pytest", "IPython"}
        )
        assert "skdeepcluster" in new
    # processor seconds: the wall clock also counts what else the machine does
    assert min(seconds for seconds, *_ in runs) < 0.5
