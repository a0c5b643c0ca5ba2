"""Clustering accuracy and prediction strength against brute force, scorers in grid searches."""

import itertools
import pickle

import numpy as np
import pytest
from _instances import digits, small
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import silhouette_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepcluster import DCEC
from skdeepcluster.metrics import SilhouetteScorer, StabilityScorer, clustering_accuracy


def brute_force(labels_true, labels_pred):
    """Best share of hits over all one-to-one maps of clusters to classes."""
    classes, clusters = sorted(set(labels_true)), sorted(set(labels_pred))
    # None: a cluster that no class is left for
    targets = classes + [None] * max(0, len(clusters) - len(classes))
    best = 0
    for image in itertools.permutations(targets, len(clusters)):
        to_class = dict(zip(clusters, image, strict=True))
        hits = sum(to_class[c] == t for t, c in zip(labels_true, labels_pred, strict=True))
        best = max(best, hits)
    return best / len(labels_true)


@pytest.mark.parametrize("n_classes", [1, 2, 4])
@pytest.mark.parametrize("n_clusters", [1, 3, 5])
def test_equals_brute_force(n_classes, n_clusters):
    rng = np.random.default_rng(10 * n_classes + n_clusters)
    for n in (1, 6, 25):
        labels_true = rng.integers(n_classes, size=n).tolist()
        labels_pred = rng.integers(n_clusters, size=n).tolist()
        found = clustering_accuracy(labels_true, labels_pred)
        assert isinstance(found, float)
        assert found == brute_force(labels_true, labels_pred)


def test_the_best_match_is_not_the_greedy_one():
    # cluster 0 is mostly class "a" (3 of 5), but giving "a" to cluster 1 wins in sum
    labels_true = ["a"] * 3 + ["b"] * 2 + ["a"] * 3
    labels_pred = [0] * 5 + [1] * 3
    assert clustering_accuracy(labels_true, labels_pred) == 5 / 8


@pytest.mark.parametrize(
    ("labels_true", "labels_pred"),
    [
        (["cat", "cat", "dog", "dog"], [1, 1, 0, 0]),
        ([-1, -1, 7, 7], [0, 0, -5, -5]),
        (np.array(["x", "x", "yy", "yy"], dtype=object), np.array([0, 0, 1, 1], dtype=np.int8)),
        ([True, True, False, False], ["1", "1", "0", "0"]),
        (np.array([0.0, 0.0, 1.0, 1.0]), np.array([[3], [3], [2], [2]]).ravel()),
        ((2, 2, 3, 3), [10**12, 10**12, 0, 0]),
    ],
)
def test_label_types(labels_true, labels_pred):
    assert clustering_accuracy(labels_true, labels_pred) == 1.0
    # one sample in the wrong cluster
    swapped = [*list(labels_pred)[:3], labels_pred[0]]
    assert clustering_accuracy(labels_true, swapped) == 0.75


def test_names_of_clusters_do_not_matter():
    rng = np.random.default_rng(0)
    labels_true, labels_pred = rng.integers(4, size=60), rng.integers(4, size=60)
    renamed = np.array([17, -2, 5, 0])[labels_pred]
    accuracy = clustering_accuracy(labels_true, labels_pred)
    assert clustering_accuracy(labels_true, renamed) == accuracy
    order = rng.permutation(60)
    assert clustering_accuracy(labels_true[order], labels_pred[order]) == accuracy


def test_surplus_clusters_and_classes_count_as_wrong():
    assert clustering_accuracy([0, 0, 0, 0], [0, 1, 2, 3]) == 0.25
    assert clustering_accuracy([0, 1, 2, 3], [0, 0, 0, 0]) == 0.25
    assert clustering_accuracy([0, 0, 0, 1, 1, 1], [0, 0, 2, 1, 1, 1]) == 5 / 6


@pytest.mark.parametrize(
    ("labels_true", "labels_pred", "message"),
    [
        ([0, 1, 1], [0, 1], r"inconsistent numbers of samples: \[3, 2\]"),
        ([], [], "at least one sample"),
        ([[0, 1], [1, 0]], [0, 1], r"shape \(2, 2\)"),
        ([0, 1], np.zeros((2, 1, 1)), "dim 3"),
    ],
)
def test_errors(labels_true, labels_pred, message):
    with pytest.raises(ValueError, match=message):
        clustering_accuracy(labels_true, labels_pred)


def test_inputs_are_left_alone():
    labels_true, labels_pred = np.array([3, 1, 3]), np.array([0, 2, 0])
    labels_true.setflags(write=False)
    labels_pred.setflags(write=False)
    assert clustering_accuracy(labels_true, labels_pred) == 1.0
    np.testing.assert_array_equal(labels_true, [3, 1, 3])
    np.testing.assert_array_equal(labels_pred, [0, 2, 0])


# ---------------------------------------------------------------- scorers without labels


class Given(ClusterMixin, BaseEstimator):
    """Predicts the first column; what it is fitted to does not matter, its seed does."""

    def __init__(self, n_clusters=3, shift=0, random_state=None):
        self.n_clusters = n_clusters
        self.shift = shift
        self.random_state = random_state

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        # a clone, which has another seed, predicts the second column
        return np.asarray(X)[:, 0 if self.random_state == 5 else 1].astype(int)


@pytest.fixture
def blobs():
    return make_blobs(300, centers=4, cluster_std=0.7, random_state=3)[0]


def test_silhouette_in_the_space_of_the_samples(blobs):
    model = KMeans(4, random_state=0).fit(blobs)
    expected = silhouette_score(blobs, model.labels_)
    scorer = SilhouetteScorer()
    assert scorer(model, blobs) == pytest.approx(expected, rel=1e-12)
    sparse = KMeans(4, random_state=0).fit(csr_array(blobs))
    assert scorer(sparse, csr_array(blobs)) == pytest.approx(expected, rel=1e-6)
    # and not in the space that the last step of a pipeline sees
    pipe = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(blobs)
    assert scorer(pipe, blobs) == pytest.approx(silhouette_score(blobs, pipe[-1].labels_))


def test_silhouette_in_a_fixed_space():
    X, _ = digits()
    model, space = KMeans(4, random_state=0).fit(X), PCA(3, random_state=0).fit(X)
    expected = silhouette_score(space.transform(X), model.labels_)
    assert SilhouetteScorer(space)(model, X) == pytest.approx(expected)
    assert SilhouetteScorer(space.transform)(model, X) == pytest.approx(expected)
    assert SilhouetteScorer()(model, X) != pytest.approx(expected, abs=0.01)


def test_silhouette_of_images():
    X, _ = digits()
    images = X.reshape(-1, 1, 8, 8)
    model = small(DCEC, n_clusters=4, random_state=0).fit(images)
    expected = silhouette_score(X, model.labels_)
    assert SilhouetteScorer()(model, images) == pytest.approx(expected, rel=1e-6)


def test_silhouette_of_some_of_many_samples(blobs):
    model = KMeans(4, random_state=0).fit(blobs)
    few = [SilhouetteScorer(max_samples=50, random_state=s)(model, blobs) for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    assert few == pytest.approx([SilhouetteScorer()(model, blobs)] * 3, abs=0.1)


@pytest.mark.parametrize("scorer", [SilhouetteScorer(), StabilityScorer()])
def test_a_collapse_is_never_the_best(scorer):
    labels = np.array([0, 0, 0, 1, 1, 1])
    worst = -1 if isinstance(scorer, SilhouetteScorer) else 0
    X = np.stack([labels, labels], axis=1)
    assert scorer(Given(2, random_state=5).fit(X), X) == 1
    assert scorer(Given(3, random_state=5).fit(X), X) == worst
    assert scorer(Given(1, random_state=5).fit(X), 0 * X) == (-1 if worst == -1 else 1)
    assert scorer(Given(2, random_state=5).fit(X), 0 * X) == worst


def strength(theirs, ours):
    """Of the pairs that are together in a cluster of theirs, the share together in ours."""
    shares = []
    for cluster in set(theirs):
        pairs = list(itertools.combinations(np.flatnonzero(theirs == cluster), 2))
        shares += [np.mean([ours[i] == ours[j] for i, j in pairs])] if pairs else []
    return min(shares, default=1)


def test_stability_is_prediction_strength():
    rng = np.random.default_rng(0)
    for _ in range(20):
        X = rng.integers(3, size=(12, 2))
        if len(set(X[:, 0])) == len(set(X[:, 1])) == 3:
            model = Given(3, random_state=5).fit(X)
            assert StabilityScorer()(model, X) == pytest.approx(strength(X[:, 1], X[:, 0]))


def test_the_clone_is_fitted_to_the_test_fold_with_another_seed(blobs):
    model = KMeans(4, random_state=0).fit(blobs[:150])
    seen = []

    class Spy(KMeans):
        def fit(self, X, y=None):
            seen.append((self.random_state, X))
            return super().fit(X)

    model.__class__ = Spy
    StabilityScorer()(model, blobs[150:])
    ((seed, X),) = seen
    assert seed != 0
    np.testing.assert_array_equal(X, blobs[150:])
    assert model.random_state == 0


def test_stability_finds_the_number_of_blobs(blobs):
    pipe = make_pipeline(StandardScaler(), KMeans(n_init=10, random_state=0))
    search = GridSearchCV(
        pipe,
        {"kmeans__n_clusters": [3, 4, 5, 6]},
        scoring=StabilityScorer(),
        cv=KFold(2, shuffle=True, random_state=0),
    ).fit(blobs)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] > 0.8 > scores[2:].max()


def test_scorers_refuse_what_has_no_number_of_clusters(blobs):
    for scorer in (SilhouetteScorer(), StabilityScorer()):
        with pytest.raises(TypeError, match="PCA has no parameter n_clusters"):
            scorer(PCA(2).fit(blobs), blobs)


def test_scorers_can_be_sent_to_other_processes():
    for scorer in (SilhouetteScorer(PCA(2), random_state=3), StabilityScorer(7)):
        assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)


def test_distances_of_texts_need_a_space():
    texts = ["red apple", "red pear", "blue sea", "blue sky"]
    pipe = make_pipeline(TfidfVectorizer(), KMeans(2, random_state=0)).fit(texts)
    with pytest.raises(
        ValueError,
        match=r"SilhouetteScorer measures distances, but X is no .*SilhouetteScorer\(space=",
    ):
        SilhouetteScorer()(pipe, texts)
    assert SilhouetteScorer(pipe[:-1])(pipe, texts) > 0
