"""One fit by several processes."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import accelerate
import numpy as np
import pytest
from _instances import ESTIMATORS, digits, small

from skdeepcluster import DCEC, DMAE
from skdeepcluster._engine.processes import Processes


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What each of two processes stored."""
    folder = tmp_path_factory.mktemp("processes")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(Path(__file__).parent / "_processes.py")
    process = subprocess.run(
        [*launcher, script, str(folder)],
        env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        timeout=300,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    outcomes = []
    for rank in range(2):
        with np.load(folder / f"{rank}.npz") as stored:
            outcomes.append(dict(stored))
    return outcomes


@pytest.mark.parametrize("estimator", [DCEC, DMAE])
def test_the_fit_is_that_of_one_process(by_two, estimator):
    X, _ = digits(85)
    model = small(estimator, n_clusters=4, precision="32", random_state=0).fit(X)
    name = f"{estimator.__name__} exact"
    np.testing.assert_array_equal(by_two[0][f"{name} labels"], model.labels_)
    scale = np.abs(model.transform(X)).max()
    np.testing.assert_allclose(
        by_two[0][f"{name} embedding"], model.transform(X), atol=1e-4 * scale
    )
    losses = [row["reconstruction"] for row in model.history_]
    np.testing.assert_allclose(by_two[0][f"{name} reconstruction"], losses, rtol=1e-4)


def test_partial_fit_is_that_of_one_process(by_two):
    X, _ = digits(85)
    model = small(DMAE, n_clusters=4, precision="32", random_state=0)
    for part in (X, X[:40]):
        model.partial_fit(part)
    scale = np.abs(model.transform(X)).max()
    np.testing.assert_allclose(by_two[0]["online embedding"], model.transform(X), atol=1e-4 * scale)


def test_all_processes_end_with_the_same_network(by_two):
    first, second = by_two
    names = [name for name in first if name.endswith((" labels", " embedding", " epochs"))]
    assert len(names) == 3 * (2 + len(ESTIMATORS) + 2) + 1
    for name in names:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_a_callback_of_one_process_stops_all(by_two):
    # two phases, each for an epoch
    assert by_two[0]["stopped epochs"] == by_two[1]["stopped epochs"] == 2


@pytest.mark.parametrize("outcome", ["unlike X", "unlike gamma", "unlike estimator"])
def test_processes_with_other_work_are_refused(by_two, outcome):
    refusals = " ".join(str(found[outcome]) for found in by_two)
    assert re.search(f"2 processes that have different [a-z_, ]*{outcome.split()[1]}", refusals)


def test_a_checkpoint_of_several_processes_is_refused(by_two):
    for found in by_two:
        assert "set checkpoint=None" in str(found["checkpoint"])


def test_a_process_tells_that_it_waits_for_another(by_two):
    assert "waited 1 s for the others" in str(by_two[0]["waiting"])


def test_one_process_is_as_any_other_fit():
    X, _ = digits()
    fitted = [
        small(DCEC, n_clusters=4, device=device, random_state=0).fit(X)
        for device in ("accelerate", "auto")
    ]
    np.testing.assert_array_equal(fitted[0].transform(X), fitted[1].transform(X))


def test_processes_that_accelerate_does_not_join_are_refused(monkeypatch):
    X, _ = digits()
    accelerate.PartialState(cpu=True)  # as a program might that does not know of the others
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were launched, but accelerate joins 1"):
        small(DCEC, n_clusters=4, device="accelerate").fit(X)


def test_a_worker_of_a_process_that_was_launched_is_refused(monkeypatch):
    X, _ = digits()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
    with pytest.raises(ValueError, match="set n_jobs=1"):
        small(DCEC, n_clusters=4, device="accelerate").fit(X)


def test_accelerate_is_asked_for_where_it_is_not_installed(monkeypatch):
    X, _ = digits()
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match="pip install accelerate"):
        small(DCEC, n_clusters=4, device="accelerate").fit(X)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 5, 6, 16])
def test_the_shares_of_a_batch(count, size):
    values = np.random.default_rng(0).normal(size=size)
    shares = [Processes(index, count).share(np.arange(size)) for index in range(count)]
    assert all(len(own) >= 2 for own, _ in shares)
    mean = np.mean([values[own].mean() * weight for own, weight in shares])
    assert mean == pytest.approx(values.mean())
