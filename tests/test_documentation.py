"""The pages name everything that is public, and only what is there."""

import importlib
import inspect
import itertools
import re
from pathlib import Path

import pytest

import skdeepcluster

DOC = Path(__file__).parents[1] / "doc"
MODULES = ["augment", "datasets", "dissimilarities", "functional", "inspection", "metrics", "nn"]
MODULES += ["model_selection"]
METHODS = sorted(path for path in (DOC / "methods").glob("*.rst") if path.stem != "index")


def listed(module):
    """Names under a module in the API reference."""
    text = (DOC / "api.rst").read_text()
    sections = text.split(".. currentmodule:: ")[1:]
    names = [part.splitlines()[1:] for part in sections if part.splitlines()[0] == module]
    return set(re.findall(r"^   (\w+)$", "\n".join(itertools.chain(*names)), re.M))


def defined(module):
    """Public names of a module; a package lists them in ``__all__``."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__.startswith(module.__name__)
    }


@pytest.mark.parametrize("name", MODULES)
def test_the_api_reference_lists_a_module(name):
    module = importlib.import_module(f"skdeepcluster.{name}")
    assert listed(module.__name__) == defined(module)


def test_the_api_reference_lists_the_package():
    assert listed("skdeepcluster") == set(skdeepcluster.__all__) - {"__version__"}


@pytest.mark.parametrize("path", METHODS, ids=[path.stem for path in METHODS])
def test_the_code_that_a_method_is_traced_to_is_there(path):
    traced = re.findall(r"``([\w.]+)\.(\w+)``", path.read_text())
    assert traced
    classes = vars(skdeepcluster) | vars(importlib.import_module("skdeepcluster.nn"))
    classes |= vars(importlib.import_module("skdeepcluster.dissimilarities"))
    for owner, name in traced:
        home = classes.get(owner) or importlib.import_module(f"skdeepcluster.{owner}")
        assert hasattr(home, name), f"{owner}.{name}"


def test_each_method_has_a_page():
    titles = {path.read_text().splitlines()[0] for path in METHODS}
    public = vars(skdeepcluster)
    assert titles == {name for name in skdeepcluster.__all__ if inspect.isclass(public[name])}
