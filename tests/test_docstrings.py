"""The estimators document what they share in one order and in the same words."""

import ast
import inspect
import re
from itertools import combinations
from pathlib import Path

import pytest
from numpydoc.docscrape import ClassDoc

import skdeepcluster
from skdeepcluster.base import BaseDeepClusterer

PAGE = Path(__file__).parents[1] / "doc" / "parameters.rst"
PUBLIC = [getattr(skdeepcluster, name) for name in skdeepcluster.__all__]
ESTIMATORS = [c for c in PUBLIC if inspect.isclass(c) and issubclass(c, BaseDeepClusterer)]
DOCS = {estimator: ClassDoc(estimator) for estimator in ESTIMATORS}
MAX_LINES = 3

# shared entries that need words of their own after the first sentence, and why
OWN_WORDS = {
    "mutual_information": "each paper has its own two estimates",
    "reconstruction_weight": "each method reconstructs from something else",
    "balance_weight": "the two terms are different formulas",
    "cluster_prior": "DCCS can also estimate the sizes, or take the user's",
    "n_neighbors": "the two methods use neighbours for different things",
    "augmentation": "'auto' depends on the method, and DCCS has more choices",
    "n_components": "'auto' depends on the method",
    "architecture": "the networks are those of the papers, and DMAE allows None",
    "n_init": "'auto' depends on the method",
    "init": "'auto' depends on the method, and so do the choices",
    "pretrain_epochs": "each method has its own budget",
    "max_epochs": "each method has its own budget",
    "learning_rate": "the later phases use different shares of it",
    "history_": "DCCS measures a distance too",
}


def entries(section):
    """Documented names and entries of each estimator."""
    return {
        estimator: {entry.name: entry for entry in doc[section]} for estimator, doc in DOCS.items()
    }


PARAMETERS, ATTRIBUTES = entries("Parameters"), entries("Attributes")


def shared(documented):
    """Names that two estimators or more have."""
    names = [name for parameters in documented.values() for name in parameters]
    return sorted({name for name in names if names.count(name) > 1})


def words(entry):
    """Text of an entry, and its type without the default."""
    kind = re.sub(r",\s+default=.*", "", entry.type)
    return " ".join(entry.desc), kind


def first_sentence(text):
    return re.match(r".*?\.(?= |$)", text).group()


def page_terms():
    return re.findall(r"^``(\w+)``$", PAGE.read_text(), re.M)


each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda c: c.__name__)


@each_estimator
def test_each_parameter_is_documented_once(estimator):
    documented = [entry.name for entry in DOCS[estimator]["Parameters"]]
    assert sorted(documented) == sorted(inspect.signature(estimator).parameters)


@each_estimator
def test_documented_defaults_are_those_of_the_constructor(estimator):
    signature = inspect.signature(estimator).parameters
    stated = {
        name: ast.literal_eval(entry.type.split("default=")[1])
        for name, entry in PARAMETERS[estimator].items()
    }
    assert stated == {name: parameter.default for name, parameter in signature.items()}


@pytest.mark.parametrize("documented", [PARAMETERS, ATTRIBUTES], ids=["parameters", "attributes"])
def test_shared_entries_have_one_order(documented):
    for one, other in combinations(documented.values(), 2):
        assert [name for name in one if name in other] == [name for name in other if name in one]


@pytest.mark.parametrize(
    ("documented", "name"),
    [(documented, n) for documented in (PARAMETERS, ATTRIBUTES) for n in shared(documented)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shared_entries_have_the_same_words(documented, name):
    found = {words(entries[name]) for entries in documented.values() if name in entries}
    if name in OWN_WORDS:
        assert len({first_sentence(text) for text, _ in found}) == 1
        assert len(found) > 1, f"{name} needs no exception"
    else:
        assert len(found) == 1


def test_exceptions_are_shared_entries():
    assert set(OWN_WORDS) <= {*shared(PARAMETERS), *shared(ATTRIBUTES)}


@each_estimator
def test_shared_parameters_are_short(estimator):
    for name in shared(PARAMETERS):
        if name in PARAMETERS[estimator]:
            assert 1 <= len(PARAMETERS[estimator][name].desc) <= MAX_LINES, name


def test_the_page_explains_each_shared_parameter_once():
    assert sorted(page_terms()) == shared(PARAMETERS)


@each_estimator
def test_the_page_has_the_order_of_the_docstring(estimator):
    documented = PARAMETERS[estimator]
    on_page = page_terms()
    assert [name for name in on_page if name in documented] == [
        name for name in documented if name in on_page
    ]


@each_estimator
def test_the_docstring_refers_to_the_page_once(estimator):
    assert estimator.__doc__.count(":doc:`/parameters`") == 1


def test_notes_end_with_what_all_fits_do():
    last = {"\n".join(doc["Notes"]).split("\n\n")[-1].strip() for doc in DOCS.values()}
    assert len(last) == 1
    assert "ConvergenceWarning" in last.pop()
