"""What is declared about the package is true, and the same everywhere."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from test_architecture import FILES, imports, top

import skdeepcluster

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
FROM_PYPI_TO_CONDA = {"torch": "pytorch"}
CHECKED_BY_TYPES = {"torch"}  # doc/developers/versions.rst


def floors(requirements):
    """The oldest version by package, of those that are not of this package."""
    parsed = [Requirement(one) for one in requirements]
    return {
        one.name: Version(str(one.specifier).removeprefix(">="))
        for one in parsed
        if one.name != PROJECT["name"]
    }


def test_the_floors_that_run_are_those_declared():
    lines = (ROOT / "constraints-floors.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    run = [*PROJECT["dependencies"], *(one for e in EXTRAS if e != "doc" for one in EXTRAS[e])]
    declared = floors(run)
    assert {"numpy", "matplotlib", "pytest"} <= declared.keys()
    newer = {name for name, oldest in declared.items() if Version(pins[name]) != oldest}
    assert newer == CHECKED_BY_TYPES


def test_the_conda_recipe_needs_the_same():
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    python, *others = recipe["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    needed = {
        FROM_PYPI_TO_CONDA.get(name, name): oldest
        for name, oldest in floors(PROJECT["dependencies"]).items()
    }
    assert floors(one.replace(" ", "") for one in others) == needed


def test_every_import_is_declared():
    found = {top(module) for path in FILES for module, _ in imports(path)}
    modules = {"umap": ["umap-learn"], "pynndescent": ["pynndescent"]}  # may not be installed
    modules |= importlib.metadata.packages_distributions()
    names = found - set(sys.stdlib_module_names) - {"skdeepcluster"}
    needed = {modules[name][0].lower() for name in names}
    declared = floors([*PROJECT["dependencies"], *(one for e in EXTRAS for one in EXTRAS[e])])
    assert {"tqdm", "torch"} <= needed
    assert needed <= declared.keys()


def test_all_files_name_the_same_addresses():
    """``[project.urls]`` is where a maintainer sets them; this finds the others."""
    urls = PROJECT["urls"]
    owner = urls["Repository"].removeprefix("https://github.com/")
    endings = {".md", ".rst", ".cff", ".yaml", ".yml", ".toml"}
    places = [ROOT.glob("*"), *((ROOT / f).rglob("*") for f in ("doc", "conda", ".github"))]
    files = [path for place in places for path in place if path.suffix in endings]
    wrong = []
    for path in files:
        text = path.read_text()
        owners = re.findall(r"github(?:usercontent)?\.com/([\w-]+/skdeepcluster)\b", text)
        pages = re.findall(r"https://[\w.-]*skdeepcluster[\w-]*\.readthedocs\.io", text)
        if set(owners) - {owner} or set(pages) - {urls["Documentation"]}:
            wrong.append(path.relative_to(ROOT))
    assert len(files) > 30
    assert wrong == []


def test_the_citation_has_a_paper_for_each_estimator():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    papers = {one["notes"]: one["title"] for one in citation["references"]}
    for name, title in papers.items():
        assert title in " ".join(getattr(skdeepcluster, name).__doc__.split())
    assert papers.keys() == {"DCCS", "DCEC", "DMAE", "DualAESpectral"}


SCRIPT = """
import numpy as np
from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral

X = np.zeros((10, 3))
reveal_type(DCEC(3).fit(X))
reveal_type(DCEC(3).fit(X).labels_)
reveal_type(DMAE(3).fit(X).predict(X))
reveal_type(DualAESpectral(3).fit_predict(X))
reveal_type(DCCS(3).fit(X).transform(X))
DCEC("3")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_strict_script_is_typed(script):
    # with the options of this project, so that an earlier run of mypy makes this one short
    command = [sys.executable, "-m", "mypy", "--strict", str(script)]
    output = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    types = re.findall(r'Revealed type is "([\w.]+)', output)
    assert types == ["skdeepcluster._dcec.DCEC", *["numpy.ndarray"] * 4], output
    assert re.findall(r"script\.py:\d+: error: (.*)", output) == [
        'Argument 1 to "DCEC" has incompatible type "str"; expected "int"  [arg-type]'
    ]
