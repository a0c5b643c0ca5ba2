"""The packages of the extra ``umap``, which compile for long."""

import numpy as np
import pytest
import torch
from _instances import digits, small
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors

from skdeepcluster import DCEC
from skdeepcluster._start import neighbors
from skdeepcluster.inspection import EmbeddingDisplay

# umap says that tensorflow is missing
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ImportWarning")]


def test_pynndescent_finds_the_nearest_of_many_rows(monkeypatch):
    monkeypatch.setattr(neighbors, "MANY_ROWS", 100)
    X = make_blobs(500, centers=4, n_features=6, random_state=0)[0].astype(np.float32)
    _, found = neighbors.nearest_neighbors(X, 5, np.random.RandomState(0))
    nearest = NearestNeighbors(n_neighbors=5).fit(X).kneighbors(return_distance=False)
    # 100 rows that stand for all would have a fifth of them
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, nearest, strict=True)]) > 0.95


def test_the_neighbors_do_not_depend_on_the_number_of_threads(monkeypatch):
    numba = pytest.importorskip("numba")
    threads, found = numba.get_num_threads(), []
    if threads == 1:
        pytest.skip("needs two cores")
    monkeypatch.setattr(neighbors, "MANY_ROWS", 100)
    X = np.random.default_rng(0).normal(size=(5000, 30)).astype(np.float32)
    for count in (1, threads):
        numba.set_num_threads(count)
        found.append(neighbors.nearest_neighbors(X, 5, np.random.RandomState(0))[1])
        assert numba.get_num_threads() == count
    np.testing.assert_array_equal(*found)


@pytest.fixture
def other_threads():
    """Threads of torch, which are not as many as numba starts with."""
    before = torch.get_num_threads()
    count = pytest.importorskip("numba").config.NUMBA_DEFAULT_NUM_THREADS + 1
    torch.set_num_threads(count)
    yield count
    torch.set_num_threads(before)


def test_numba_leaves_the_threads_of_torch(other_threads, monkeypatch):
    """After a search with pynndescent, torch trained with as many threads as there are cores."""
    monkeypatch.setattr(neighbors, "MANY_ROWS", 100)
    X = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    neighbors.nearest_neighbors(X, 5, np.random.RandomState(0))
    assert torch.get_num_threads() == other_threads


def test_umap_draws_an_embedding(other_threads):
    X, _ = digits()
    model = small(DCEC, random_state=0).fit(X)
    display = EmbeddingDisplay.from_estimator(model, X[:60], method="umap", random_state=0)
    assert display.points.shape == (60, 2)
    assert np.isfinite(display.points).all()
    assert torch.get_num_threads() == other_threads
