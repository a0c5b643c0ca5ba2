"""Chunked arrays of dask, and its cluster as a backend of joblib."""

import dask.array as da
import joblib
import numpy as np
import pytest
from _instances import ESTIMATORS, digits, small
from dask.distributed import Client
from sklearn.model_selection import GridSearchCV

from skdeepcluster import DCEC


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_chunks_are_predicted_where_they_lie(estimator):
    X, _ = digits()
    model = small(estimator, n_clusters=4, random_state=0).fit(X)
    chunks = da.from_array(X, chunks=(30, 64))
    labels = chunks.map_blocks(model.predict, drop_axis=1, dtype=np.int32)
    np.testing.assert_array_equal(labels.compute(scheduler="threads"), model.labels_)
    width = len(model.get_feature_names_out())
    embedding = chunks.map_blocks(
        model.transform, chunks=(chunks.chunks[0], (width,)), dtype=np.float64
    )
    np.testing.assert_array_equal(embedding.compute(scheduler="threads"), model.transform(X))
    # and as an array, which is gathered first
    np.testing.assert_array_equal(model.predict(chunks), model.labels_)


def test_a_grid_search_on_a_cluster():
    X, y = digits()
    model = small(DCEC, n_clusters=4, random_state=0)
    grid = {"param_grid": {"gamma": [0.1, 10.0]}, "scoring": "adjusted_rand_score", "cv": 2}
    serial = GridSearchCV(model, **grid).fit(X, y)
    with (
        Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None),
        joblib.parallel_backend("dask"),
    ):
        search = GridSearchCV(model, **grid).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], serial.cv_results_["mean_test_score"]
    )
