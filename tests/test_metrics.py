"""Clustering accuracy against brute force."""

import itertools

import numpy as np
import pytest

from skdeepcluster.metrics import clustering_accuracy


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
