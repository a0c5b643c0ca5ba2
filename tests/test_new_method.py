"""The estimator that the developers' guide builds is complete, and the walk names real code."""

import ast
import doctest
import importlib
import importlib.util
import pickle
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import check_estimator
from test_architecture import BY_FILE, own, room
from test_documentation import listed

import skdeepcluster
from skdeepcluster import base, inspection, load_model, save_model
from skdeepcluster._engine.method import Method

DEVELOPERS = Path(__file__).parents[1] / "doc" / "developers"
PAGE = (DEVELOPERS / "adding_a_method.rst").read_text()
WALK = (DEVELOPERS / "from_x_to_labels.rst").read_text()
PUBLIC = {"base", "functional", "nn"}
X, y = make_blobs(120, centers=3, n_features=5, random_state=0)
SMALL = {"pretrain_epochs": 6, "max_epochs": 4}


def source():
    """The file that the page builds: its examples up to the estimator."""
    examples = [example.source for example in doctest.DocTestParser().get_examples(PAGE)]
    last = next(n for n, text in enumerate(examples) if "(BaseDeepClusterer):" in text)
    return "".join(examples[: last + 1])


@pytest.fixture(scope="module")
def deep_k_means(tmp_path_factory):
    """The class, imported from a file outside of the package."""
    path = tmp_path_factory.mktemp("author") / "deep_k_means.py"
    path.write_text(source())
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where pickle looks
    spec.loader.exec_module(module)
    yield module.DeepKMeans
    del sys.modules[path.stem]


@pytest.fixture(scope="module")
def fitted(deep_k_means):
    return deep_k_means(3, random_state=0, **SMALL).fit(X)


def assert_same(model, other):
    np.testing.assert_array_equal(model.labels_, other.labels_, strict=True)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X), strict=True)
    np.testing.assert_array_equal(model.transform(X), other.transform(X), strict=True)


def test_the_file_is_short_and_uses_public_names_only():
    assert 60 < len(source().splitlines()) < 120
    nodes = list(ast.walk(ast.parse(source())))
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    ours = {module for module in modules if module.startswith("skdeepcluster")}
    assert ours == {f"skdeepcluster.{name}" for name in PUBLIC}
    names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    names += [node.name for node in nodes if isinstance(node, ast.alias)]
    assert [name for name in names if re.match(r"_[a-z]", name)] == []
    for_authors = PAGE.split("In the package\n")[0]
    assert re.findall(r"(?:skdeepcluster|\w+)\._[a-z]\w*", for_authors) == []


def test_it_finds_clusters(fitted):
    assert adjusted_rand_score(y, fitted.labels_) == 1.0
    assert float(fitted.module_.assign.alpha) == 1000.0
    assert [row["phase"] for row in fitted.history_] == ["pretrain"] * 6 + ["cluster"] * 4


def test_check_estimator(deep_k_means):
    small = deep_k_means(**SMALL)
    with warnings.catch_warnings():
        # the checks fit tiny and hopeless data too
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "X (has|does not have valid) feature", UserWarning)
        report = check_estimator(small, on_skip=None)
    skipped = {row["check_name"] for row in report if row["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert [r["check_name"] for r in report if r["status"] not in ("passed", "skipped")] == []
    assert len(report) == 51


def test_wrong_parameters_are_refused(deep_k_means):
    for name, value in (("compactness", -1.0), ("alpha", 0.5), ("max_epochs", -1)):
        with pytest.raises(ValueError, match=f"'{name}' parameter of DeepKMeans must be"):
            deep_k_means(**{name: value}).fit(X)


def test_clone_and_pickle(fitted):
    again = clone(fitted).fit(X)
    assert_same(again, fitted)
    assert_same(pickle.loads(pickle.dumps(fitted)), fitted)


def test_save_and_load(fitted, deep_k_means, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(fitted, path)
    assert_same(load_model(path, estimator=deep_k_means), fitted)
    message = "it is a DeepKMeans of deep_k_means, which is not in skdeepcluster"
    with pytest.raises(ValueError, match=message):
        load_model(path)


def test_memory_shares_the_pretraining(fitted, deep_k_means, tmp_path):
    folder = str(tmp_path)

    def outcomes():
        return len(list(tmp_path.rglob("output.pkl")))

    model = deep_k_means(3, random_state=0, memory=folder, **SMALL).fit(X)
    assert_same(model, fitted)
    assert outcomes() == 1
    clone(model).set_params(compactness=0.5, alpha=100.0).fit(X)
    assert outcomes() == 1
    clone(model).set_params(pretrain_epochs=5).fit(X)
    assert outcomes() == 2


def test_checkpoint_resumes(fitted, deep_k_means, tmp_path, monkeypatch):
    from skdeepcluster._engine import checkpoint

    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    model = deep_k_means(3, random_state=0, checkpoint=tmp_path, **SMALL)
    forward, calls = base.Run.assign, []

    def killed(run):
        calls.append(run)
        if len(calls) == 4:  # after the third epoch of the last phase
            raise RuntimeError("killed")
        return forward(run)

    with monkeypatch.context() as patch:
        patch.setattr(base.Run, "assign", killed)
        with pytest.raises(RuntimeError, match="killed"):
            model.fit(X)
    assert len(list(tmp_path.iterdir())) == 1
    assert_same(model.fit(X), fitted)
    assert list(tmp_path.iterdir()) == []


# of a suggestion, there is no estimator yet
OF_ESTIMATORS = sorted({*inspection.__all__} - {"NClustersDisplay"})


@pytest.mark.parametrize("name", OF_ESTIMATORS)
def test_the_displays_take_it(fitted, name):
    display = getattr(inspection, name)
    arguments = () if name == "TrainingCurveDisplay" else (X,)
    assert display.from_estimator(fitted, *arguments).figure_ is not None


# ---------------------------------------------------------------- the pages


def test_the_api_reference_lists_what_an_author_imports():
    constraints = {"HasMethods", "Interval", "StrOptions"}  # scikit-learn's
    assert listed("skdeepcluster.base") == set(base.__all__) - constraints


def test_the_page_names_every_field_and_hook():
    for kind in (base.Phase, base.Step, base.Batch, base.Run, base.Plan, base.Data):
        for name in kind.__dataclass_fields__:
            assert re.search(rf"``[^`]*\b{name}\b[^`]*``", PAGE), f"{kind.__name__}.{name}"
    for name in sorted(name for name in vars(Method) if not name.startswith("_")):
        assert name in PAGE, name


def test_arrows_go_down_the_table_of_rooms():
    table = re.split(r"^=+ =+$", (DEVELOPERS / "architecture.rst").read_text(), flags=re.M)[1]
    rooms = re.findall(r"^``(\w+)``", table, re.M)
    assert set(rooms) == {room(file) for file in BY_FILE} - {"__init__", "_version"}
    floor = {name: rooms.index(name) for name in rooms}
    for file, path in BY_FILE.items():
        if room(file) in floor:
            targets = {room(one) for one in own(path)} & floor.keys() - {room(file)}
            assert [t for t in targets if floor[t] < floor[room(file)]] == [], file


def resolves(dotted):
    """Whether a dotted name below the package is a module or a name in one."""
    parts = dotted.split(".")
    for cut in range(len(parts), -1, -1):
        module = ".".join(["skdeepcluster", *parts[:cut]])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_the_code_that_the_walk_names_is_there():
    named = re.findall(r"``((?:\w+\.)+\w+)``", WALK)
    assert len(named) > 30
    assert [name for name in named if not resolves(name)] == []
    assert not resolves("base.BaseDeepClusterer.no_such_method")
    assert not resolves("_engine.no_such_file.Phase")


def test_the_tests_see_the_package():
    assert Path(skdeepcluster.__file__).parent.name == "skdeepcluster"
