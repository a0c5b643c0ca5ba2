"""The house rules of imports: arrows point one way, and importing is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skdeepcluster

PACKAGE = Path(skdeepcluster.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TENSOR_FILES = {"nn", "functional", "augment", "dissimilarities"}  # torch only
MAY_IMPORT_SKORCH = {"_net", "callbacks"}
MAY_IMPORT_PRIVATE_SKLEARN = {"_sklearn"}
# known to methods, and knowing none
FOUNDATION = {"_base", "_phases", "_net", "_data", "_sklearn", "_training", "_partition", "_start"}
FOUNDATION |= {"_checkpoint", "_encoding"}


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
    return {m.split(".")[1] for m, _ in imports(path) if m.startswith("skdeepcluster.")}


def is_method(path):
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    bases = {getattr(base, "id", getattr(base, "attr", None)) for c in classes for base in c.bases}
    return "BaseDeepClusterer" in bases


METHODS = {path.stem for path in FILES if is_method(path)}
BY_NAME = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def test_the_rules_see_the_package():
    stems = {path.stem for path in FILES}
    assert {"_dcec"} <= METHODS
    assert {"nn", "functional", "augment"} <= stems
    assert stems >= FOUNDATION
    # and the reading of imports works: what each of these is there for
    by_stem = {path.stem: path for path in FILES}
    assert "skorch" in {top(m) for m, _ in imports(by_stem["_net"])}
    constraints = ("HasMethods", "Interval", "StrOptions", "validate_params")
    assert ("sklearn.utils._param_validation", constraints) in list(imports(by_stem["_sklearn"]))
    assert {"_base", "functional", "nn"} <= own(by_stem["_dcec"])


@pytest.mark.parametrize("stem", sorted(TENSOR_FILES))
def test_tensor_files_import_torch_only(stem):
    for path in [p for p in FILES if p.stem == stem]:
        allowed = {"torch", "skdeepcluster", *sys.stdlib_module_names}
        assert {top(module) for module, _ in imports(path)} <= allowed
        assert own(path) <= TENSOR_FILES


@BY_NAME
def test_only_the_net_imports_skorch(path):
    if path.stem not in MAY_IMPORT_SKORCH:
        assert "skorch" not in {top(module) for module, _ in imports(path)}


@BY_NAME
def test_private_names_of_sklearn_are_in_one_file(path):
    private = []
    for module, names in imports(path):
        if top(module) == "sklearn":
            parts = [*module.split("."), *names]
            private += [f"{module}: {names}"] if any(p.startswith("_") for p in parts) else []
    if path.stem not in MAY_IMPORT_PRIVATE_SKLEARN:
        assert private == []


@BY_NAME
def test_no_method_imports_another(path):
    if path.stem in METHODS:
        assert own(path) & METHODS <= set()


@BY_NAME
def test_the_foundation_knows_no_method(path):
    if path.stem in FOUNDATION | TENSOR_FILES | {"metrics", "callbacks", "inspection"}:
        assert own(path).isdisjoint(METHODS)


def test_imports_have_no_circle():
    arrows = {path.stem: own(path) - {"__init__"} for path in FILES if path.stem != "__init__"}
    left = dict(arrows)
    while left:
        leaves = {stem for stem, targets in left.items() if targets.isdisjoint(left)}
        assert leaves, f"a circle among {sorted(left)}"
        left = {stem: targets for stem, targets in left.items() if stem not in leaves}


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
