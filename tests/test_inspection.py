"""The Displays: what they compute, what they draw, and what they refuse."""

import sys
import types

import matplotlib as mpl
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from _instances import ESTIMATORS, digits, small
from matplotlib.offsetbox import AnnotationBbox
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import validate_data

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral
from skdeepcluster.base import BaseDeepClusterer
from skdeepcluster.inspection import (
    ClusterGalleryDisplay,
    EmbeddingDisplay,
    ReconstructionDisplay,
    TrainingCurveDisplay,
)

mpl.use("Agg")
import matplotlib.pyplot as plt

DISPLAYS = [
    TrainingCurveDisplay,
    EmbeddingDisplay,
    ClusterGalleryDisplay,
    ReconstructionDisplay,
]
OF_SAMPLES = DISPLAYS[1:]
EACH_ESTIMATOR = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.__name__)
EACH_DISPLAY = pytest.mark.parametrize("display", DISPLAYS, ids=lambda d: d.__name__)
WORDS = ["apple", "pear", "plum", "goal", "team", "ball"]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def images():
    """Each estimator, fitted on flat rows of 64 pixels."""
    X, _ = digits()
    return {e: small(e, image_shape=(8, 8), random_state=0).fit(X) for e in ESTIMATORS}


@pytest.fixture(scope="module")
def iris():
    """A frame, and a mixture without a network on it."""
    X = load_iris(as_frame=True).data
    return X, small(DMAE, n_clusters=3, architecture=None, random_state=0).fit(X)


@pytest.fixture(scope="module")
def texts():
    """Two topics of three words, most of the vocabulary unused, in a pipeline."""
    rng = np.random.default_rng(0)
    topics = [WORDS[:3]] * 30 + [WORDS[3:]] * 30
    documents = [" ".join([*topic, rng.choice(topic)]) for topic in topics]
    unused = [f"unused{i}" for i in range(100)]
    words = TfidfVectorizer(vocabulary=WORDS + unused)
    model = small(DCEC, n_clusters=2, init="k-means", random_state=0)
    return documents, make_pipeline(words, model).fit(documents)


def draw(display, estimator, X, **parameters):
    if display is TrainingCurveDisplay:
        return display.from_estimator(estimator, **parameters)
    return display.from_estimator(estimator, X, **parameters)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


# ---------------------------------------------------------------- all of them


@EACH_DISPLAY
@EACH_ESTIMATOR
def test_a_display_is_drawn_where_it_is_told(images, display, estimator):
    model, (X, _) = images[estimator], digits()
    own = draw(display, model, X)
    assert own.ax_.figure is own.figure_
    assert plt.fignum_exists(own.figure_.number)

    figure, axes = plt.subplots(1, 2)
    given = draw(display, model, X, ax=axes[1])
    assert given.ax_ is axes[1]
    assert given.figure_ is figure
    assert axes[0].axison
    assert not axes[0].has_data()
    left = axes[1].get_position().x0
    panels = getattr(given, "axes_", [given.ax_])
    assert all(panel.has_data() and panel.get_position().x0 >= left - 1e-9 for panel in panels)

    # drawn again, also where axes belong to no grid
    free = plt.figure().add_axes((0.5, 0.5, 0.4, 0.4))
    assert given.plot(ax=free) is given
    assert given.ax_ is free
    for panel in getattr(given, "axes_", [given.ax_]):
        low, high = panel.get_position().get_points()
        assert (low >= 0.5 - 1e-9).all()
        assert (high <= 0.9 + 1e-9).all()


@EACH_DISPLAY
def test_what_is_no_axes_is_refused(images, display):
    model, (X, _) = images[DCEC], digits()
    with pytest.raises(TypeError, match=r"ax must be one matplotlib Axes.*got ndarray"):
        draw(display, model, X, ax=plt.subplots(2)[1])
    with pytest.raises(TypeError, match="got str"):
        draw(display, model, X, ax="left")


@pytest.mark.parametrize(
    "display",
    [TrainingCurveDisplay, ClusterGalleryDisplay, ReconstructionDisplay],
    ids=lambda d: d.__name__,
)
def test_panels_are_not_drawn_over_panels(images, display):
    drawn = draw(display, images[DCEC], digits()[0])
    with pytest.raises(ValueError, match="already is the frame"):
        drawn.plot(ax=drawn.ax_)


@EACH_DISPLAY
def test_what_is_no_fitted_deep_clusterer_is_refused(display):
    X, _ = digits()
    with pytest.raises(NotFittedError, match="DCEC instance is not fitted"):
        draw(display, DCEC(), X)
    with pytest.raises(NotFittedError, match="DCEC instance is not fitted"):
        draw(display, make_pipeline(StandardScaler(), DCEC()), X)
    search = GridSearchCV(DCEC(), {"gamma": [0.1]})
    for other in (KMeans(2).fit(X), make_pipeline(KMeans(2)).fit(X), DCEC, search):
        with pytest.raises(TypeError, match=r"(?s)not a deep clustering .*best_estimator_"):
            draw(display, other, X)


@EACH_DISPLAY
def test_without_matplotlib_there_is_a_clear_error(images, display, monkeypatch):
    model, (X, _) = images[DCEC], digits()
    drawn = draw(display, model, X)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=f"{display.__name__}.from_estimator requires matplotlib"):
        draw(display, model, X)
    with pytest.raises(ImportError, match=f"{display.__name__}.plot requires matplotlib"):
        drawn.plot()


@pytest.mark.parametrize("display", OF_SAMPLES, ids=lambda d: d.__name__)
def test_samples_are_checked_and_not_written_to(images, display):
    model, (X, _) = images[DCEC], digits()
    with pytest.raises(ValueError, match="X has 3 features"):
        draw(display, model, X[:, :3])
    X.setflags(write=False)
    state = np.random.get_state()[1].copy()
    before = X.copy()
    draw(display, model, X)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize(
    ("display", "parameters"),
    [
        (EmbeddingDisplay, {"method": "lda"}),
        (EmbeddingDisplay, {"max_samples": 0}),
        (EmbeddingDisplay, {"n_thumbnails": -1}),
        (EmbeddingDisplay, {"random_state": "x"}),
        (ClusterGalleryDisplay, {"kind": "pictures"}),
        (ClusterGalleryDisplay, {"n_samples": 0}),
        (ReconstructionDisplay, {"n_samples": 1.5}),
    ],
)
def test_parameters_are_validated(images, display, parameters):
    (name,) = parameters
    match = f"The '{name}' parameter of {display.__name__}.from_estimator must be"
    with pytest.raises(ValueError, match=match):
        display.from_estimator(images[DCEC], digits()[0], **parameters)


@pytest.mark.parametrize("display", OF_SAMPLES, ids=lambda d: d.__name__)
def test_every_form_of_the_samples_draws_the_same(images, display):
    """Flat rows, images, CSR, tensors and lists of the same numbers."""
    X, _ = digits()
    model = images[DCEC]
    X = X.astype(np.float32)
    forms = {
        "rows": X,
        "images": X.reshape(-1, 1, 8, 8),
        "sparse": sp.csr_array(X),
        "tensor": torch.from_numpy(X.copy()),
        "list": X.tolist(),
    }
    values = {}
    for name, form in forms.items():
        parameters = {} if display is ClusterGalleryDisplay else {"random_state": 0}
        drawn = display.from_estimator(model, form, **parameters)
        if display is EmbeddingDisplay:
            values[name] = drawn.points
        elif display is ClusterGalleryDisplay:
            assert drawn.kind == "images"
            values[name] = np.concatenate([*drawn.most_typical, *drawn.least_typical])
        else:
            values[name] = np.concatenate([drawn.samples, drawn.reconstructions])
    for name in forms:
        np.testing.assert_allclose(values[name], values["rows"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("display", OF_SAMPLES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("frame", ["pandas", "polars"])
def test_frames(iris, display, frame):
    X, model = iris
    seen = X if frame == "pandas" else pl.DataFrame(X.to_dict("list"))
    drawn = display.from_estimator(model, seen)
    if display is not EmbeddingDisplay:
        assert list(drawn.feature_names) == list(X.columns)
    else:
        assert len(drawn.points) == len(X)


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_displays_draw_the_same_where_the_user_wants_frames(images, frames, method):
    model, (X, _) = images[DCEC], digits()
    drawn = [_drawn_values(model, X, method)]
    with config_context(transform_output=frames):
        drawn.append(_drawn_values(model, X, method))
    for expected, values in zip(*drawn, strict=True):
        assert isinstance(values, np.ndarray)
        np.testing.assert_array_equal(values, expected)


def _drawn_values(model, X, method):
    embedding = EmbeddingDisplay.from_estimator(model, X, method=method, random_state=0)
    gallery = ClusterGalleryDisplay.from_estimator(model, X)
    decoded = ReconstructionDisplay.from_estimator(model, X, random_state=0)
    return [
        embedding.points,
        embedding.labels,
        gallery.profiles,
        np.concatenate(gallery.most_typical_index),
        decoded.reconstructions,
        decoded.prototypes,
    ]


@pytest.mark.parametrize("frames", ["pandas", "polars"])
@pytest.mark.parametrize("display", OF_SAMPLES, ids=lambda d: d.__name__)
def test_a_pipeline_whose_steps_return_frames(iris, frames, display):
    X, _ = iris
    with config_context(transform_output=frames):
        model = small(DMAE, n_clusters=3, architecture=None, random_state=0)
        drawn = display.from_estimator(make_pipeline(StandardScaler(), model).fit(X), X)
    if display is not EmbeddingDisplay:
        assert list(drawn.feature_names) == list(X.columns)
    else:
        np.testing.assert_array_equal(drawn.labels, model.labels_)


def test_a_pipeline_is_its_last_step_on_what_the_others_give(texts):
    documents, pipeline = texts
    X = pipeline[:-1].transform(documents)
    whole = EmbeddingDisplay.from_estimator(pipeline, documents)
    last = EmbeddingDisplay.from_estimator(pipeline[-1], X)
    np.testing.assert_array_equal(whole.points, last.points)
    assert TrainingCurveDisplay.from_estimator(pipeline).history == pipeline[-1].history_
    # a pipeline of one step has no others
    alone = EmbeddingDisplay.from_estimator(make_pipeline(pipeline[-1]), X)
    np.testing.assert_array_equal(alone.points, last.points)


class Outside(BaseDeepClusterer):
    """A method of another package, which has only what is public: no network, no training."""

    module_, image_shape_ = torch.nn.Identity(), None  # properties of the base class

    def fit(self, X, y=None):
        X = validate_data(self, X)
        k_means = KMeans(2, n_init=1, random_state=0).fit(X)
        self.cluster_centers_, self.labels_ = k_means.cluster_centers_, k_means.labels_
        self.history_ = [{"phase": "k-means", "epoch": 1, "inertia": k_means.inertia_}]
        return self

    def transform(self, X):
        return validate_data(self, X, reset=False)

    def predict_proba(self, X):
        X = validate_data(self, X, reset=False)
        distances = np.linalg.norm(X[:, None] - self.cluster_centers_, axis=2)
        return distances[:, ::-1] / distances.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)

    def inverse_transform(self, X):
        return X


Outside.__abstractmethods__ = frozenset()  # they say how to train, which it does not


class Encoder(Outside):
    """Not even a decoder."""

    def inverse_transform(self, X):
        raise NotImplementedError("there is no decoder")


@pytest.fixture(scope="module")
def outside():
    """A method from outside of the package, fitted to a frame."""
    X = load_iris(as_frame=True).data[:100]  # two species
    return X, Outside().fit(X)


def test_methods_of_other_packages_are_drawn(outside):
    X, model = outside
    display = EmbeddingDisplay.from_estimator(model, X)
    np.testing.assert_array_equal(display.labels, model.labels_)
    assert display.points.shape == (100, 2)

    display = TrainingCurveDisplay.from_estimator(model)
    assert [panel.get_ylabel() for panel in display.axes_] == ["loss"]
    assert legend(display.axes_[0]) == ["inertia"]

    display = ClusterGalleryDisplay.from_estimator(model, X, n_samples=3)
    sure = model.predict_proba(X).max(axis=1).round(2)
    far = np.linalg.norm(X.to_numpy() - model.cluster_centers_[model.labels_], axis=1)
    for cluster in range(2):
        members = np.flatnonzero(model.labels_ == cluster)
        ranked = members[np.lexsort((far[members], -sure[members]))]
        np.testing.assert_array_equal(display.most_typical_index[cluster], ranked[:3])
    assert list(display.feature_names) == list(X.columns)

    display = ReconstructionDisplay.from_estimator(model, X, n_samples=3)
    np.testing.assert_array_equal(display.reconstructions, display.samples)
    np.testing.assert_array_equal(display.prototypes, model.cluster_centers_)


def test_what_a_method_does_not_offer_is_named(outside):
    X, _ = outside
    model = Encoder().fit(X)
    with pytest.raises(TypeError, match=r"Encoder cannot decode its embedding.*no decoder"):
        ReconstructionDisplay.from_estimator(model, X)
    del model.history_
    with pytest.raises(ValueError, match="history_ is empty or missing"):
        TrainingCurveDisplay.from_estimator(model)


# ---------------------------------------------------------------- training


@EACH_ESTIMATOR
def test_training_curves_are_those_of_the_history(images, estimator):
    history = images[estimator].history_
    display = TrainingCurveDisplay.from_estimator(images[estimator])
    panels = {panel.get_ylabel(): panel for panel in display.axes_}
    measures = {"measure"} if estimator is DCCS else set()
    assert set(panels) == {"loss", "label change", "cluster size"} | measures
    assert display.axes_[-1].get_xlabel() == "epoch"

    table = pd.DataFrame(history)
    # in a row the losses stand between the epoch and the label change
    losses = {name for row in history for name in list(row)[2 : list(row).index("label_change")]}
    assert len(losses) > 1
    assert sorted(legend(panels["loss"])) == sorted(losses)
    if measures:
        assert legend(panels["measure"]) == ["wasserstein", "wasserstein_change"]
    for name in losses:
        (named,) = [line for line in panels["loss"].lines if line.get_label() == name]
        lines = [li for li in panels["loss"].lines if li.get_color() == named.get_color()]
        x, y = np.concatenate([line.get_xydata() for line in lines]).T
        known = np.flatnonzero(table[name].notna())
        np.testing.assert_array_equal(x, known + 1)
        np.testing.assert_array_equal(y, table[name][known])

    known = [i for i, row in enumerate(history) if row["cluster_sizes"]]
    drawn = [li.get_xydata() for li in panels["cluster size"].lines if li.get_marker() == "."]
    assert len(drawn) == 4 * len({history[i]["phase"] for i in known})
    sizes = [history[i]["cluster_sizes"] for i in known]
    np.testing.assert_array_equal(
        sorted(tuple(line[-1]) for line in drawn[-4:]),
        sorted((known[-1] + 1, size) for size in sizes[-1]),
    )
    texts = [text.get_text() for text in panels["cluster size"].texts]
    assert texts == [
        f"even: {sum(sizes[-1]) / 4:.0f}",
        f"largest: {max(sizes[-1])}",
        f"smallest: {min(sizes[-1])}",
    ]


@EACH_ESTIMATOR
def test_phases_are_marked(images, estimator):
    history = images[estimator].history_
    display = TrainingCurveDisplay.from_estimator(images[estimator])
    phases = [row["phase"] for row in history]
    names = list(dict.fromkeys(phases))
    assert len(names) > 1
    marks = display.axes_[0].texts
    assert [mark.get_text() for mark in marks] == names
    begins = [phases.index(name) + 0.5 for name in names]
    assert [mark.get_position()[0] for mark in marks] == begins
    for panel in display.axes_:
        borders = [line.get_xdata()[0] for line in panel.lines if line.get_color() == "0.7"]
        assert borders == begins[1:]
    # and no curve goes on across a border
    for line in display.axes_[0].lines:
        if line.get_marker() == ".":
            assert len({phases[int(epoch) - 1] for epoch in line.get_xdata()}) == 1


def test_panels_without_anything_are_left_out():
    X, _ = digits()
    history = small(DCEC, max_epochs=0, random_state=0).fit(X).history_
    display = TrainingCurveDisplay(history).plot()
    assert [panel.get_ylabel() for panel in display.axes_] == ["loss"]
    with pytest.raises(ValueError, match="no epoch to draw"):
        TrainingCurveDisplay([]).plot()


def test_a_collapse_is_marked():
    row = {"phase": "cluster", "epoch": 1, "clustering": 2.0, "label_change": 0.5}
    rows = [row | {"cluster_sizes": (5, 5)}]
    rows.append(row | {"epoch": 2, "cluster_sizes": (10, 0), "collapsed": True})
    display = TrainingCurveDisplay(rows).plot()
    for panel in display.axes_:
        assert [li.get_xdata()[0] for li in panel.lines if li.get_color() == "red"] == [2]
    assert legend(display.axes_[0]) == ["collapse", "clustering"]
    assert "smallest: 0" in [text.get_text() for text in display.axes_[2].texts]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [((100.0, 1.0), "log"), ((2.0, 1.0), "linear"), ((100.0, -1.0), "linear")],
)
def test_the_axis_of_losses_is_logarithmic_where_that_helps(losses, scale):
    rows = [
        {"phase": "pretrain", "epoch": i, "loss": loss, "label_change": np.nan}
        | {"cluster_sizes": None}
        for i, loss in enumerate(losses, 1)
    ]
    assert TrainingCurveDisplay(rows).plot().axes_[0].get_yscale() == scale


def test_losses_below_zero_are_not_lost_beside_large_ones():
    rows = [
        {"phase": "pretrain", "epoch": 1, "loss": 50.0, "label_change": np.nan},
        {"phase": "cluster", "epoch": 1, "critic": -0.5, "label_change": np.nan},
    ]
    display = TrainingCurveDisplay([row | {"cluster_sizes": None} for row in rows]).plot()
    assert display.axes_[0].get_yscale() == "symlog"


# ---------------------------------------------------------------- embedding


@EACH_ESTIMATOR
def test_points_of_pca_are_colored_by_predict(images, estimator):
    model, (X, _) = images[estimator], digits()
    display = EmbeddingDisplay.from_estimator(model, X, random_state=0)
    Z = model.transform(X)
    centered = Z - Z.mean(axis=0)
    scales = np.linalg.svd(centered, compute_uv=False)
    # an orthogonal projection, in which as much of the variance is left as can be
    projection = np.linalg.lstsq(centered, display.points)[0]
    np.testing.assert_allclose(projection.T @ projection, np.eye(2), atol=1e-6)
    np.testing.assert_allclose(centered @ projection, display.points, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(display.points, axis=0), scales[:2], rtol=1e-6)
    share = scales[0] ** 2 / (scales**2).sum()
    assert display.ax_.get_xlabel() == f"component 1 ({share:.0%} of the variance)"

    labels = model.predict(X)
    np.testing.assert_array_equal(display.labels, labels)
    names = np.unique(labels)
    assert legend(display.ax_) == [str(name) for name in names]
    assert display.ax_.get_legend().get_title().get_text() == "cluster"
    clouds = display.ax_.collections
    for name, cloud in zip(names, clouds, strict=True):
        np.testing.assert_array_equal(cloud.get_offsets(), display.points[labels == name])
    assert len({tuple(cloud.get_facecolor()[0]) for cloud in clouds}) == len(names)


def test_labels_of_any_type_are_drawn_and_samples_with_them(images):
    X, y = digits()
    names = np.array(["zero", "one", "two", "three"])[y]
    display = EmbeddingDisplay.from_estimator(
        images[DCEC], X, labels=names, max_samples=30, random_state=0
    )
    assert display.points.shape == (30, 2)
    assert set(legend(display.ax_)) <= set(names)
    assert display.ax_.get_legend().get_title().get_text() == "label"
    # the label of a row went with the row
    everything = EmbeddingDisplay.from_estimator(images[DCEC], X, labels=np.arange(len(X)))
    some = EmbeddingDisplay.from_estimator(
        images[DCEC], X, labels=np.arange(len(X)), max_samples=30, random_state=0
    )
    np.testing.assert_array_equal(names[some.labels], display.labels)
    distances = np.linalg.norm(some.points[0] - some.points[1:], axis=1)
    where = everything.points[some.labels]
    assert np.corrcoef(distances, np.linalg.norm(where[0] - where[1:], axis=1))[0, 1] > 0.9
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EmbeddingDisplay.from_estimator(images[DCEC], X, labels=names[:-1])


def test_many_clusters_are_told_apart():
    rng = np.random.default_rng(0)
    display = EmbeddingDisplay(rng.normal(size=(200, 2)), np.arange(200) % 25).plot()
    clouds = display.ax_.collections
    looks = {
        (tuple(cloud.get_facecolor()[0]), cloud.get_paths()[0].vertices.tobytes())
        for cloud in clouds
    }
    assert len(clouds) == len(looks) == 25
    assert len(legend(display.ax_)) == 25


def test_scatter_takes_what_it_is_passed(images):
    display = EmbeddingDisplay.from_estimator(images[DCEC], digits()[0], s=77, alpha=0.25)
    for cloud in display.ax_.collections:
        assert cloud.get_sizes() == [77]
        assert cloud.get_alpha() == 0.25


@pytest.mark.parametrize("n_samples", [3, 8, 40])
def test_tsne_of_few_samples(images, n_samples):
    """scikit-learn refuses a perplexity that is not below the number of samples."""
    display = EmbeddingDisplay.from_estimator(
        images[DCEC], digits()[0][:n_samples], method="tsne", random_state=0
    )
    assert display.points.shape == (n_samples, 2)
    assert np.isfinite(display.points).all()
    assert display.ax_.get_xlabel() == "t-SNE 1"


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_two_samples_are_too_few(images, method):
    with pytest.raises(ValueError, match="3 samples or more, got 2"):
        EmbeddingDisplay.from_estimator(images[DCEC], digits()[0][:2], method=method)


def test_a_projection_repeats_with_its_random_state(images):
    X, _ = digits()
    first, second, other = (
        EmbeddingDisplay.from_estimator(
            images[DCEC], X, method="tsne", max_samples=30, random_state=seed
        ).points
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_umap_is_used_where_it_is_installed(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        EmbeddingDisplay.from_estimator(images[DCEC], digits()[0], method="umap")

    passed = {}

    class UMAP:
        def __init__(self, **parameters):
            passed.update(parameters)

        def fit_transform(self, Z):
            return Z[:, :2] + 1.0

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    X = digits()[0][:7]
    display = EmbeddingDisplay.from_estimator(images[DCEC], X, method="umap", random_state=0)
    np.testing.assert_allclose(display.points, images[DCEC].transform(X)[:, :2] + 1.0, rtol=1e-5)
    assert passed["n_neighbors"] == 6
    assert display.ax_.get_ylabel() == "UMAP 2"


def test_an_embedding_of_one_column_or_without_variance_is_drawn():
    X, _ = digits()
    model = small(DCEC, n_components=1, random_state=0).fit(X)
    for method in ("pca", "tsne"):
        display = EmbeddingDisplay.from_estimator(model, X, method=method, random_state=0)
        assert np.isfinite(display.points).all()
        assert np.ptp(display.points[:, 0]) > 0
    display = EmbeddingDisplay.from_estimator(model, np.repeat(X[:1], 5, axis=0))
    np.testing.assert_allclose(display.points, 0.0, atol=1e-5)
    assert display.ax_.get_xlabel() == "component 1 (0% of the variance)"


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_thumbnails_are_the_samples_at_their_points(channels):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (40, channels, 6, 5)).astype(np.uint8)
    model = small(DCEC, n_clusters=2, init="k-means", random_state=0).fit(X)
    display = EmbeddingDisplay.from_estimator(model, X, n_thumbnails=10, random_state=0)
    boxes = [a for a in display.ax_.artists if isinstance(a, AnnotationBbox)]
    assert 2 <= len(boxes) == len(display.thumbnails) <= 10
    for box, (i, picture) in zip(boxes, display.thumbnails.items(), strict=True):
        np.testing.assert_array_equal(box.xy, display.points[i])
        expected = np.moveaxis(X[i], 0, -1) if channels == 3 else X[i].mean(axis=0)
        np.testing.assert_array_equal(picture, expected)
        drawn = np.asarray(box.offsetbox.get_data())
        assert drawn.shape == picture.shape
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        cloud = display.ax_.collections[display.labels[i]]
        np.testing.assert_allclose(
            box.patch.get_edgecolor()[:3], cloud.get_facecolor()[0][:3], atol=1e-9
        )
    # none covers another
    places = np.array([box.xy for box in boxes]) / np.ptp(display.points, axis=0)
    gaps = np.abs(places[:, None] - places).max(axis=2)[np.triu_indices(len(places), 1)]
    assert gaps.min() > 0.08
    assert not len(EmbeddingDisplay.from_estimator(model, X).ax_.artists)


def test_thumbnails_of_vectors_are_refused(iris):
    X, model = iris
    with pytest.raises(ValueError, match="n_thumbnails=5 needs images, but DMAE was fitted on vec"):
        EmbeddingDisplay.from_estimator(model, X, n_thumbnails=5)


# ---------------------------------------------------------------- gallery


@EACH_ESTIMATOR
def test_typical_samples_are_sure_and_near(images, estimator):
    model, (X, _) = images[estimator], digits()
    display = ClusterGalleryDisplay.from_estimator(model, X, n_samples=4)
    labels, sure = model.predict(X), model.predict_proba(X).max(axis=1).round(2)
    if estimator is DMAE:
        z = torch.from_numpy(model.transform(X)).float()
        far = model.module_.assign.distances(z).detach().numpy()[np.arange(len(X)), labels]
    else:
        far = np.linalg.norm(model.transform(X) - model.cluster_centers_[labels], axis=1)
    np.testing.assert_array_equal(display.cluster_sizes, np.bincount(labels, minlength=4))
    for cluster in range(4):
        members = np.flatnonzero(labels == cluster).tolist()
        ranked = sorted(members, key=lambda i: (-sure[i], far[i]))
        most, least = ranked[:4], ranked[4:][::-1][:4]
        np.testing.assert_array_equal(display.most_typical_index[cluster], most)
        np.testing.assert_array_equal(display.least_typical_index[cluster], least)
        np.testing.assert_array_equal(display.most_typical[cluster], X[most])
        np.testing.assert_array_equal(display.least_typical[cluster], X[least])
        if members:
            np.testing.assert_allclose(display.profiles[cluster], X[members].mean(axis=0))


def test_the_distance_of_dmae_is_its_own():
    """Around the clock 23.9 is nearer to 0 than 1 is."""
    hours = np.array([[23.9], [0.0], [0.1], [1.0], [23.0], [12.0], [12.1], [11.9], [13.0], [11.0]])
    model = DMAE(2, dissimilarity="toroidal", dissimilarity_params={"period": 24}, random_state=0)
    model.set_params(architecture=None, max_epochs=0).fit(hours)
    display = ClusterGalleryDisplay.from_estimator(model, hours, n_samples=3)
    night = model.predict([[0.0]])[0]
    assert set(display.most_typical_index[night]) == {0, 1, 2}
    assert set(display.least_typical_index[night]) == {3, 4}


def test_the_distances_of_dmae_are_in_the_order_of_the_clusters():
    """Empty clusters are numbered last, which renumbers the others."""
    corners = np.repeat([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]], 20, axis=0)
    model = small(DMAE, n_clusters=5, architecture=None, dissimilarity="manhattan", random_state=0)
    model.set_params(init="k-means", max_epochs=0)
    with pytest.warns(ConvergenceWarning, match="Only 3 of n_clusters=5"):
        model.fit(corners)
    X = corners + np.random.default_rng(0).normal(size=corners.shape)
    display = ClusterGalleryDisplay.from_estimator(model, X)
    labels, sure = model.predict(X), model.predict_proba(X).max(axis=1).round(2)
    far = np.abs(model.transform(X) - model.cluster_centers_[labels]).sum(axis=1)
    for cluster in range(5):
        members = np.flatnonzero(labels == cluster)
        ranked = members[np.lexsort((far[members], -sure[members]))]
        np.testing.assert_array_equal(display.most_typical_index[cluster], ranked[:5])
    assert set(display.cluster_sizes) >= {20, 0}


def test_pictures_of_the_gallery(images):
    model, (X, _) = images[DCEC], digits()
    display = ClusterGalleryDisplay.from_estimator(model, X, n_samples=3)
    assert display.kind == "images"
    titles = [panel.get_title() for panel in display.axes_]
    assert titles == ["cluster mean", "most typical", "least typical"]
    assert ticks(display.axes_[0].yaxis) == [
        f"{i} ({size})" for i, size in enumerate(display.cluster_sizes)
    ]
    assert display.axes_[0].get_ylabel() == "cluster (samples)"
    (canvas,) = display.axes_[1].images
    pixels = np.asarray(canvas.get_array())
    assert pixels.shape == (4 * 9 - 1, 3 * 9 - 1)
    low, high = 0.0, 16.0
    for i in range(4):
        for j in range(len(display.most_typical_index[i])):
            tile = pixels[9 * i : 9 * i + 8, 9 * j : 9 * j + 8]
            expected = (display.most_typical[i][j].reshape(8, 8) - low) / (high - low)
            np.testing.assert_allclose(tile, expected)
    assert (pixels[8] == 1.0).all()  # between two rows


def test_pictures_in_color_and_small_clusters():
    """A cluster of less samples than asked for shows each once, and an empty one nothing."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (20, 3, 4, 4)).astype(np.uint8)
    X[:3, 0] += 150
    model = small(DCEC, n_clusters=2, init="k-means", max_epochs=0, random_state=0).fit(X)
    labels = model.predict(X)
    one = X[labels == 0][:3]
    display = ClusterGalleryDisplay.from_estimator(model, one, n_samples=2)
    assert [len(index) for index in display.most_typical_index] == [2, 0]
    assert [len(index) for index in display.least_typical_index] == [1, 0]
    assert np.isnan(display.profiles[1]).all()
    assert ticks(display.axes_[0].yaxis) == ["0 (3)", "1 (0)"]
    pixels = np.asarray(display.axes_[1].images[0].get_array())
    assert pixels.shape == (9, 9, 3)
    assert (pixels[5:] == 1.0).all()
    shown = np.concatenate(display.most_typical + display.least_typical)
    first = display.most_typical[0][0].reshape(3, 4, 4).transpose(1, 2, 0)
    expected = (first - shown.min()) / (shown.max() - shown.min())
    np.testing.assert_allclose(pixels[:4, :4], expected)
    # all are among the most typical ones
    display = ClusterGalleryDisplay.from_estimator(model, one, n_samples=3)
    assert (np.asarray(display.axes_[2].images[0].get_array()) == 1.0).all()


def test_terms_of_texts(texts):
    documents, pipeline = texts
    display = ClusterGalleryDisplay.from_estimator(pipeline, documents, n_samples=4)
    assert display.kind == "text"
    X = pipeline[:-1].transform(documents).toarray()
    labels = pipeline.predict(documents)
    fruit = labels[0]
    assert labels.tolist() == [fruit] * 30 + [1 - fruit] * 30
    difference = X[:30].mean(axis=0) - X[30:].mean(axis=0)
    np.testing.assert_allclose(display.profiles[fruit], difference, atol=1e-12)

    assert display.axes_[0].get_title() == "cluster terms"
    cells = [[text.get_text() for text in panel.texts] for panel in display.axes_]
    assert [len(column) for column in cells] == [2, 2, 2]
    ordered = [WORDS[j] for j in np.argsort(-difference)[:3]]
    assert cells[0][fruit] == ", ".join(ordered)
    lines = cells[1][fruit].split("\n")
    assert len(lines) == 4
    for i, line in zip(display.most_typical_index[fruit], lines, strict=True):
        terms = line.split(", ")
        assert set(terms) == set(documents[i].split())
        weights = X[i][[WORDS.index(term) for term in terms]]
        assert (np.diff(weights) <= 0).all()
        assert weights[0] > weights[1]  # the word that is there twice
    # without the pipeline names are to be given
    last, X = pipeline[-1], pipeline[:-1].transform(documents)
    plain = ClusterGalleryDisplay.from_estimator(last, X)
    assert plain.axes_[0].texts[fruit].get_text().startswith("feature ")
    names = pipeline[:-1].get_feature_names_out().tolist()
    named = ClusterGalleryDisplay.from_estimator(last, X, feature_names=names)
    assert named.axes_[0].texts[fruit].get_text() == cells[0][fruit]
    with pytest.raises(ValueError, match=r"feature_names has shape \(2,\), but X has 106"):
        ClusterGalleryDisplay.from_estimator(last, X, feature_names=["a", "b"])


def test_texts_without_words_and_with_long_ones():
    names = np.array(["a" * 60, "b" * 30, "c" * 30])
    rows = np.array([[0.0, 0.0, 0.0], [3.0, 2.0, 1.0], [0.0, 2.0, 1.0]])
    display = ClusterGalleryDisplay(
        "text",
        np.array([[1.0, 0.5, -1.0], [np.nan] * 3]),
        [rows, rows[:0]],
        [rows[:0], rows[:0]],
        most_typical_index=[np.arange(3), np.arange(0)],
        least_typical_index=[np.arange(0), np.arange(0)],
        cluster_sizes=np.array([3, 0]),
        feature_names=names,
    ).plot()
    columns = [[text.get_text() for text in panel.texts] for panel in display.axes_]
    assert columns[1][0].split("\n") == ["(no terms)", "a" * 46, "b" * 30]
    assert columns[0][1] == "(no terms)"
    assert max(len(line) for line in columns[0][0].split("\n")) <= 46


def test_terms_that_do_not_fit_are_left_out():
    """Two samples leave two lines; the comma of the second goes with what would follow it."""
    display = ClusterGalleryDisplay(
        "text",
        np.array([[3.0, 2.0, 1.0]]),
        [np.eye(3)[:2]],
        [np.eye(3)[:0]],
        most_typical_index=[np.arange(2)],
        least_typical_index=[np.arange(0)],
        cluster_sizes=np.array([2]),
        feature_names=np.array(["a" * 45, "b" * 45, "c" * 45]),
    ).plot()
    assert display.axes_[0].texts[0].get_text() == f"{'a' * 45},\n{'b' * 45}"


def test_profiles_of_tables(iris):
    X, model = iris
    display = ClusterGalleryDisplay.from_estimator(model, X, n_samples=2)
    assert display.kind == "table"
    standard = (X - X.mean()) / X.std(ddof=0)
    labels = model.predict(X)
    means = standard.groupby(labels).mean().to_numpy()
    np.testing.assert_allclose(display.profiles, means, atol=1e-9)
    heat = [np.asarray(panel.images[0].get_array()) for panel in display.axes_[:3]]
    np.testing.assert_allclose(heat[0], means, atol=1e-9)
    rows = standard.to_numpy()[np.concatenate(display.most_typical_index)]
    np.testing.assert_allclose(heat[1], rows, atol=1e-9)
    for panel in display.axes_:
        assert ticks(panel.xaxis) == list(X.columns)
        assert panel.images[0].get_clim() == (-2.0, 2.0)
        assert panel.get_ylim() == (2.5, -0.5)
    assert ticks(display.axes_[0].yaxis) == [
        f"{i} ({n})" for i, n in enumerate(display.cluster_sizes)
    ]
    labels = [ax.get_ylabel() for ax in display.figure_.axes]
    assert "standard deviations" in labels


def test_a_wide_table_shows_the_features_that_differ_most(images):
    model, (X, _) = images[DCEC], digits()
    names = [f"{'p' * 30}{j}" for j in range(64)]
    display = ClusterGalleryDisplay.from_estimator(model, X, kind="table", feature_names=names)
    spread = np.ptp(display.profiles, axis=0)
    kept = np.sort(np.argsort(-spread)[:30])
    assert spread[kept].min() >= np.delete(spread, kept).max()
    heat = np.asarray(display.axes_[0].images[0].get_array())
    np.testing.assert_array_equal(heat, display.profiles[:, kept])
    assert ticks(display.axes_[0].xaxis)[0] == "p" * 23 + "…"


def test_the_kind_can_be_said(images, iris, texts):
    documents, pipeline = texts
    table = ClusterGalleryDisplay.from_estimator(pipeline, documents, kind="table")
    assert table.axes_[0].get_title() == "cluster mean"
    X, model = iris
    text = ClusterGalleryDisplay.from_estimator(model, X, kind="text")
    assert text.axes_[0].get_title() == "cluster terms"
    sparse = ClusterGalleryDisplay.from_estimator(images[DCEC], sp.csr_array(digits()[0]))
    assert sparse.kind == "images"
    with pytest.raises(ValueError, match="kind='images' but DMAE was fitted on vectors"):
        ClusterGalleryDisplay.from_estimator(model, X, kind="images")


def test_vectors_of_few_words_are_text():
    """Also dense ones."""
    X = np.zeros((40, 100))
    X[:20, :2], X[20:, 2:4] = 1.0, 1.0
    model = small(DCEC, n_clusters=2, init="k-means", random_state=0).fit(X)
    assert ClusterGalleryDisplay.from_estimator(model, X).kind == "text"
    assert ClusterGalleryDisplay.from_estimator(model, X + 1.0).kind == "table"


def test_names_where_the_steps_before_give_none():
    X, _ = digits()
    pipeline = make_pipeline(FunctionTransformer(np.sqrt), small(DCEC, random_state=0)).fit(X)
    display = ClusterGalleryDisplay.from_estimator(pipeline, X)
    assert display.feature_names[63] == "feature 63"
    scaled = make_pipeline(StandardScaler(), small(DCEC, random_state=0)).fit(X)
    assert ClusterGalleryDisplay.from_estimator(scaled, X).feature_names[63] == "x63"


# ---------------------------------------------------------------- reconstruction


@EACH_ESTIMATOR
def test_reconstructions_are_decoded_embeddings(images, estimator):
    model, (X, _) = images[estimator], digits()
    display = ReconstructionDisplay.from_estimator(model, X, n_samples=5, random_state=0)
    rows = [int(np.flatnonzero((sample == X).all(axis=1))[0]) for sample in display.samples]
    assert len(set(rows)) == 5
    decoded = model.inverse_transform(model.transform(X[rows])).reshape(5, 64)
    np.testing.assert_allclose(display.reconstructions, decoded, rtol=1e-4, atol=1e-4)
    prototypes = model.inverse_transform(model.cluster_centers_).reshape(4, 64)
    np.testing.assert_array_equal(display.prototypes, prototypes)

    told = "nearest prototype" if estimator is DualAESpectral else "reconstruction"
    top, bottom = display.axes_
    assert top.get_title() == f"samples and {told}s"
    assert ticks(top.yaxis) == ["sample", told]
    assert ticks(bottom.xaxis) == ["0", "1", "2", "3"]
    assert bottom.get_xlabel() == "cluster"
    pixels = np.asarray(top.images[0].get_array())
    assert pixels.shape == (17, 5 * 9 - 1)
    low, high = display.samples.min(), display.samples.max()
    expected = np.clip((display.reconstructions[2].reshape(8, 8) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(pixels[9:, 18:26], expected)
    expected = np.clip((prototypes[3].reshape(8, 8) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(np.asarray(bottom.images[0].get_array())[:, 27:35], expected)


@pytest.mark.parametrize("parameters", [{"embedding": "latent"}, {"max_epochs": 0}])
def test_latents_of_the_dual_autoencoder_are_reconstructed(parameters):
    X, _ = digits()
    model = small(DualAESpectral, image_shape=(8, 8), random_state=0, **parameters).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X)
    assert display.axes_[0].get_title() == "samples and reconstructions"


def test_prototypes_go_on_in_a_second_row():
    rng = np.random.default_rng(0)
    rows = [rng.random((n, 6)) for n in (2, 2, 23)]
    display = ReconstructionDisplay(*rows, image_shape=(1, 2, 3)).plot()
    pixels = np.asarray(display.axes_[1].images[0].get_array())
    assert pixels.shape == (5, 20 * 4 - 1)
    assert ticks(display.axes_[1].yaxis) == ["", "20 +"]
    assert (pixels[3:, 3 * 4 :] == 1.0).all()


def test_vectors_are_lines(iris):
    X, model = iris
    display = ReconstructionDisplay.from_estimator(model, X, n_samples=4, random_state=0)
    assert len(display.axes_) == 4 + 3
    for i, panel in enumerate(display.axes_[:4]):
        sample, decoded = panel.lines
        np.testing.assert_array_equal(sample.get_ydata(), display.samples[i])
        np.testing.assert_array_equal(decoded.get_ydata(), display.reconstructions[i])
        # without a network the embedding is the sample
        np.testing.assert_allclose(sample.get_ydata(), decoded.get_ydata(), atol=1e-5)
    for i, panel in enumerate(display.axes_[4:]):
        assert panel.get_title(loc="left") == f"prototype of cluster {i}"
        np.testing.assert_array_equal(panel.lines[0].get_ydata(), display.prototypes[i])
    assert legend(display.axes_[0]) == ["sample", "reconstruction"]
    for lowest in (display.axes_[3], display.axes_[6]):
        assert ticks(lowest.xaxis) == list(X.columns)
    assert (X.to_numpy() == display.samples[0]).all(axis=1).any()
    assert display.axes_[2].get_ylabel() == "value"


def test_columns_of_unlike_units_are_drawn_standardised(iris):
    X, _ = iris
    X = X * [1.0, 1000.0, 1.0, 0.001]
    model = small(DCEC, n_clusters=3, random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X, n_samples=3)
    assert display.ylabel == "standardised value"
    standard = ((X - X.mean()) / X.std(ddof=0)).to_numpy()
    gaps = np.abs(standard[:, None] - display.samples).max(axis=2)
    assert gaps.min(axis=0).max() < 1e-5
    centers = model.inverse_transform(model.cluster_centers_)
    expected = (centers - X.mean().to_numpy()) / X.std(ddof=0).to_numpy()
    np.testing.assert_allclose(display.prototypes, expected, atol=1e-4)


def test_features_beyond_thirty_are_numbered(texts):
    documents, pipeline = texts
    display = ReconstructionDisplay.from_estimator(pipeline, documents, n_samples=2)
    assert display.axes_[1].get_xlabel() == display.axes_[-1].get_xlabel() == "feature"
    assert display.samples.shape == (2, 106)
