"""The suggested number of clusters: right where the answer is plain, and it leaves no trace."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from _instances import digits
from scipy.sparse import csr_array
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs, make_circles
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.inspection import NClustersDisplay
from skdeepcluster.model_selection import NClustersSuggestion, _separations, suggest_n_clusters

mpl.use("Agg")
import matplotlib.pyplot as plt

BLOBS, _ = make_blobs(300, centers=4, n_features=8, random_state=0)
EACH = pytest.mark.parametrize("estimator", [DCEC, DMAE, DualAESpectral, DCCS])


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@EACH
def test_four_blobs(estimator):
    found = suggest_n_clusters(estimator(random_state=0), BLOBS)
    assert found.n_clusters == 4
    assert found.n_clusters_range.tolist() == list(range(2, 26))
    assert found.scores[2] == found.scores.max() > 0.7
    assert found.separations[2] > 0.99
    assert found.separations[3] < 0.3


def test_clusters_need_not_be_round_or_even():
    circles, _ = make_circles(500, factor=0.4, noise=0.03, random_state=0)
    assert suggest_n_clusters(DCEC(random_state=0), circles).n_clusters == 2
    uneven, _ = make_blobs([970, 30], centers=np.eye(2, 8) * 8, random_state=0)
    assert suggest_n_clusters(DCEC(random_state=0), uneven).n_clusters == 2


def test_columns_are_scaled_as_by_the_estimator():
    X = BLOBS * np.where(np.arange(8) == 0, 1e-4, 1.0)
    X[:, 7] = np.random.RandomState(0).normal(0, 1e5, 300)  # would hide all other columns
    assert suggest_n_clusters(DCEC(scaling="standard", random_state=0), X).n_clusters == 4
    assert suggest_n_clusters(DCEC(scaling="none", random_state=0), X).scores.max() < 0.5


def test_only_candidates_are_suggested():
    found = suggest_n_clusters(DCEC(random_state=0), BLOBS, np.array([2, 3, 7]))
    assert found.n_clusters_range.tolist() == [2, 3, 7]
    assert found.n_clusters in (2, 3, 7)
    everything = suggest_n_clusters(DCEC(random_state=0), BLOBS)
    np.testing.assert_array_equal(found.scores, everything.scores[[0, 1, 5]])


def test_separations_are_prominences_of_the_density():
    """By the definition of a prominence, from the best path between each two samples."""
    X, _ = make_blobs(200, centers=5, cluster_std=0.8, random_state=4)
    distances = squareform(pdist(X))
    near = np.sort(distances, axis=1)[:, 1:11]
    radius = near[:, -1]
    saddle = np.maximum(distances, np.maximum.outer(radius, radius))
    for k in range(200):  # the smallest of all largest steps
        saddle = np.minimum(saddle, np.maximum.outer(saddle[:, k], saddle[k]))
    denser = np.where(radius < radius[:, None], saddle, np.inf).min(axis=1)
    prominent = np.sort(denser / radius)[::-1][1:6]  # without the densest sample of all
    dimension = 1 / np.mean([np.log(row[-1] / distance) for row in near for distance in row[:-1]])
    found = _separations(X, 5)
    np.testing.assert_allclose(found, 1 - prominent**-dimension, rtol=1e-10, atol=1e-12)
    assert (found > 0.01).sum() >= 3


def test_images_are_compared_in_one_pretrained_embedding():
    X, _ = digits()
    model = DualAESpectral(image_shape=(8, 8), pretrain_epochs=2, random_state=0)
    short = suggest_n_clusters(model, X, range(2, 6))
    other = suggest_n_clusters(model.set_params(pretrain_epochs=3), X, range(2, 6))
    assert not np.array_equal(short.separations, other.separations)
    images = np.asarray(X).reshape(-1, 1, 8, 8)
    again = suggest_n_clusters(clone(model).set_params(image_shape=None), images, range(2, 6))
    np.testing.assert_array_equal(again.separations, other.separations)


@pytest.mark.filterwarnings("ignore:Clusters collapsed in phase")  # a tiny budget
def test_pretraining_ignores_n_clusters_and_is_not_repeated(tmp_path):
    X, _ = digits()
    model = DCEC(9, image_shape=(8, 8), pretrain_epochs=2, memory=tmp_path, random_state=0)
    first = suggest_n_clusters(model, X, range(2, 6))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pkl")}
    second = suggest_n_clusters(model.set_params(n_clusters=3), X, range(2, 6))
    np.testing.assert_array_equal(first.separations, second.separations)
    # the suggestion looks at an autoencoder alone; the same fit takes its network from there
    model.set_params(max_epochs=1, n_init=1, init="k-means").fit(X)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pkl")}


@pytest.mark.parametrize("image_shape", [None, (8, 8)])
def test_it_repeats_with_a_seed_and_leaves_no_trace(image_shape):
    X = digits()[0] if image_shape else BLOBS
    model = DualAESpectral(image_shape=image_shape, pretrain_epochs=2, random_state=3)
    before, kept = vars(model).copy(), np.array(X)
    state = torch.random.get_rng_state()
    first, second = (suggest_n_clusters(model, X, range(2, 9)) for _ in range(2))
    np.testing.assert_array_equal(first.separations, second.separations)
    assert vars(model) == before
    np.testing.assert_array_equal(X, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_generator_of_the_user_is_not_used_up():
    generator = np.random.RandomState(0)
    suggest_n_clusters(DCEC(random_state=generator), BLOBS)
    assert generator.randint(1000) == np.random.RandomState(0).randint(1000)


def test_of_many_samples_some_are_drawn_with_the_seed():
    X, _ = make_blobs(4000, centers=5, n_features=4, random_state=1)
    one, other = (suggest_n_clusters(DCEC(random_state=seed), X) for seed in (0, 1))
    assert one.n_clusters == other.n_clusters == 5
    assert not np.array_equal(one.separations, other.separations)


def test_it_is_silent(capfd):
    X, _ = digits()
    suggest_n_clusters(DCEC(image_shape=(8, 8), pretrain_epochs=1, random_state=0), X)
    assert capfd.readouterr() == ("", "")


def test_pipelines_and_kinds_of_input():
    model = DCEC(scaling="none", random_state=0)
    plain = suggest_n_clusters(model, StandardScaler().fit_transform(BLOBS))
    pipeline = make_pipeline(StandardScaler(), model)
    piped = suggest_n_clusters(pipeline, pd.DataFrame(BLOBS).add_prefix("x"))
    np.testing.assert_array_equal(plain.separations, piped.separations)
    assert not hasattr(pipeline[0], "mean_")
    assert suggest_n_clusters(DCEC(random_state=0), csr_array(BLOBS)).n_clusters == 4
    words = ["apple pear plum", "goal team ball", "rain sun wind", "key door lock"]
    texts = [f"{words[i % 4]} {word}" for i in range(60) for word in words[i % 4].split()]
    model = DCEC(pretrain_epochs=1, random_state=0)
    found = suggest_n_clusters(make_pipeline(TfidfVectorizer(), model), texts, range(2, 9))
    assert 2 <= found.n_clusters <= 8


@pytest.mark.parametrize("X", [np.zeros((40, 3)), np.repeat(np.eye(3), 20, axis=0)])
def test_duplicated_samples(X):
    found = suggest_n_clusters(DCEC(random_state=0), X, range(2, 6))
    assert np.isfinite(found.separations).all()
    assert found.n_clusters == (3 if X.any() else 2)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (5, TypeError, "must hold ints"),
        ([2.0, 3.0], TypeError, "must hold ints"),
        ([True, 3], TypeError, "must hold ints"),
        ("23", TypeError, "must hold ints"),
        ([], ValueError, "ascending order"),
        (range(1, 5), ValueError, "at least 2"),
        ([3, 2], ValueError, "ascending order"),
        ([3, 3], ValueError, "ascending order"),
        (range(2, 301), ValueError, "n_samples=300"),
    ],
)
def test_invalid_candidates(given, error, words):
    with pytest.raises(error, match=words):
        suggest_n_clusters(DCEC(), BLOBS, given)


def test_invalid_estimators_and_samples():
    for estimator in (KMeans(4), make_pipeline(DCEC(), KMeans(4)), DCEC, None):
        with pytest.raises(TypeError, match="is not a deep clustering estimator"):
            suggest_n_clusters(estimator, BLOBS)
    with pytest.raises(ValueError, match="DCCS pretrains for one n_clusters"):
        suggest_n_clusters(DCCS(image_shape=(8, 8)), digits()[0])
    with pytest.raises(ValueError, match="'batch_size' parameter"):
        suggest_n_clusters(DCEC(batch_size=0), BLOBS)
    with pytest.raises(ValueError, match="NaN"):
        suggest_n_clusters(DCEC(), BLOBS * np.nan)


def test_it_prints_as_a_table():
    numbers, separations = np.array([2, 3, 10]), np.array([0.9, 0.8, 0.1])
    found = NClustersSuggestion(3, numbers, separations, np.array([0.1, 0.7, 0.0]))
    assert str(found).splitlines() == [
        "n_clusters  separation   score",
        "         2        0.90    0.10",
        "         3        0.80    0.70  <-",
        "        10        0.10    0.00",
    ]


def test_the_display_draws_it():
    found = suggest_n_clusters(DCEC(random_state=0), BLOBS, range(2, 9))
    display = NClustersDisplay.from_suggestion(found)
    (line,) = display.ax_.lines
    np.testing.assert_array_equal(line.get_xydata().T, [range(2, 9), found.separations])
    heights = [bar.get_height() for bar in display.ax_.patches]
    np.testing.assert_array_equal(heights, found.scores)
    colors = [bar.get_facecolor() for bar in display.ax_.patches]
    assert colors.count(colors[2]) == 1  # the suggestion
    assert display.ax_.get_title() == "suggestion: 4 clusters"
    _, ax = plt.subplots()
    assert NClustersDisplay(found).plot(ax=ax).ax_ is ax
    display.figure_.canvas.draw()
    with pytest.raises(TypeError, match="not an NClustersSuggestion"):
        NClustersDisplay.from_suggestion(4)


def test_the_table_says_if_the_answer_is_not_clear():
    separations = np.array([0.9, 0.8, 0.6])
    candidates = np.array([2, 3, 4])
    clear = NClustersSuggestion(2, candidates, separations, np.array([0.31, 0.2, 0.1]))
    assert len(str(clear).splitlines()) == 4
    unclear = NClustersSuggestion(3, candidates, separations, np.array([0.1, 0.29, 0.1]))
    assert str(unclear).endswith("is not clear: also try 2, 4, 5.")
    last = NClustersSuggestion(4, candidates, separations, np.array([0.1, 0.2, 0.5]))
    assert str(last).endswith("The last candidate is the best: ask again with a wider range.")
