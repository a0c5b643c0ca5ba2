"""Images with more pixels than the network sees."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from _instances import digits, small
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral, load_model, save_model
from skdeepcluster._data.objects import backgrounds_differ
from skdeepcluster._data.rows import Rows
from skdeepcluster._data.scaling import IDENTITY
from skdeepcluster._engine.plan import shape_of_network
from skdeepcluster.datasets import crop_to_objects
from skdeepcluster.metrics import clustering_accuracy

SHORT = {"pretrain_epochs": 1, "max_epochs": 1, "n_init": 1, "random_state": 0}
ESTIMATORS = [DCEC, DMAE, DualAESpectral, DCCS]
rng = np.random.default_rng(0)
# a smooth brightness, brighter on the left or on the right
SLOPE = np.linspace(0.0, 1.0, 46)[None, None, None] * np.ones((60, 1, 56, 1))
X = np.where(np.arange(60)[:, None, None, None] % 2, SLOPE, 1.0 - SLOPE)
X = (X * rng.uniform(0.8, 1.0, size=(60, 1, 1, 1))).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "most", "expected"),
    [
        ((1, 112, 92), 1024, (1, 35, 29)),
        ((3, 224, 224), 1024, (3, 32, 32)),
        ((1, 32, 32), 1024, None),
        ((1, 65, 65), 1024, (1, 32, 32)),
        ((1, 2000, 1), 1024, (1, 1024, 1)),
        ((1, 1, 2000), 1024, (1, 1, 1024)),
        ((1, 5000, 2), 1024, (1, 1024, 1)),
        ((1, 224, 224), None, None),
        (None, 1024, None),
    ],
)
def test_the_network_sees_at_most_so_many_pixels(shape, most, expected):
    given = {"max_pixels": most, "architecture": "auto"}
    assert shape_of_network(shape, given) == expected


@pytest.mark.parametrize("most", [1, 7, 100, 1024])
def test_the_bound_holds_for_any_shape(most):
    for height in (1, 2, 5, 33, 65, 400, 3000):
        for width in (1, 3, 34, 92, 399, 4001):
            given = {"max_pixels": most, "architecture": "auto"}
            shape = shape_of_network((1, height, width), given)
            if height * width > most:
                _, h, w = shape
                assert 1 <= h * w <= most
                assert (h < w) <= (height < width)


@pytest.mark.parametrize("architecture", [None, (torch.nn.Identity(), torch.nn.Identity())])
def test_modules_of_the_user_see_the_whole_image(architecture):
    given = {"max_pixels": 4, "architecture": architecture}
    assert shape_of_network((1, 8, 8), given) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("resident", [True, False])
def test_pixels_are_averaged_over_areas(dtype, resident):
    image = np.arange(16, dtype=dtype).reshape(1, 16)
    rows = Rows(
        image, IDENTITY, (1, 4, 4), torch.device("cpu"), network_shape=(1, 2, 2), resident=resident
    )
    seen = rows.take(np.array([0]))
    assert seen.tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_large_images_are_fitted_and_answered_at_full_size(estimator, tmp_path):
    given = X.copy()
    model = estimator(2, **SHORT, max_pixels=100).fit(given)
    np.testing.assert_array_equal(given, X)
    assert model.settings_["network_shape"] == (1, 11, 9)
    assert model.settings_["image_shape"] == model.image_shape_ == (1, 56, 46)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    prototypes = model.inverse_transform(model.cluster_centers_)
    assert prototypes.shape == (2, 1, 56, 46)
    save_model(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    np.testing.assert_array_equal(again.inverse_transform(model.cluster_centers_), prototypes)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_images_of_more_pixels_than_columns_are_taken(estimator):
    """Flat rows of so many columns are refused, but the network sees 1024 pixels of an image."""
    large = np.repeat(np.repeat(X[:20], 4, axis=2), 5, axis=3)[..., :224]
    assert large[0].size > 50_000
    assert estimator(2, **SHORT).fit(large).settings_["network_shape"] == (1, 32, 32)
    with pytest.raises(ValueError, match=r"X has 50176 columns.*image_shape="):
        estimator(2, **SHORT).fit(large.reshape(20, -1))


def test_a_file_cannot_say_that_the_network_sees_another_shape(tmp_path):
    model = DCEC(2, **SHORT, max_pixels=100).fit(X)
    model._model = dataclasses.replace(
        model._model,
        plan=dataclasses.replace(
            model._model.plan,
            data=dataclasses.replace(model._model.plan.data, network_shape=(1, 9, 11)),
        ),
    )
    with pytest.raises(ValueError, match="network_shape"):  # saving tries to load
        save_model(model, tmp_path / "model")


def test_a_smooth_image_comes_back():
    model = DCEC(
        2, init="k-means", max_pixels=100, **SHORT | {"pretrain_epochs": 40, "max_epochs": 0}
    ).fit(X)
    back = model.inverse_transform(model.transform(X))
    assert np.abs(back - X).mean() < 0.1
    assert back[1, 0, 20, 3] < back[1, 0, 20, 40]  # dark on the left, as the image
    assert back[0, 0, 20, 3] > back[0, 0, 20, 40]


@pytest.mark.filterwarnings("ignore:Clusters collapsed in phase")  # a tiny budget
def test_no_bound_sees_all_pixels():
    model = DCEC(2, **SHORT, max_pixels=None, architecture="mlp").fit(X)
    assert model.settings_["network_shape"] is None
    assert next(model.module_.encoder.parameters()).shape[1] == 56 * 46


@pytest.mark.parametrize("value", [0, -3, 1.5, "auto"])
def test_other_bounds_are_refused(value):
    with pytest.raises(ValueError, match="max_pixels"):
        DCEC(2, max_pixels=value).fit(X)


def test_a_warm_start_cannot_change_the_bound():
    model = DCEC(2, **SHORT, max_pixels=100, warm_start=True).fit(X)
    with pytest.raises(ValueError, match="max_pixels"):
        model.set_params(max_pixels=200).fit(X)


# --------------------------------------------- objects at different places, other backgrounds


def scattered(n_samples=300, channels=1, side=40):
    """Digits of 8 x 8 at random places of larger images, with random contrast."""
    X, y = digits(n_samples, n_class=10)
    rng = np.random.default_rng(0)
    images = np.zeros((len(X), channels, side, side))
    for image, digit in zip(images, X.reshape(-1, 8, 8), strict=True):
        top, left = rng.integers(side - 8 + 1, size=2)
        image[:, top : top + 8, left : left + 8] = rng.uniform(0.3, 1) * digit
    return images, y


def test_objects_at_different_places_are_told_of():
    images, _ = scattered()
    model = small(DCEC, init="k-means", pretrain_epochs=1, max_epochs=0)
    with pytest.warns(UserWarning, match=r"at different places.*crop_to_objects\(X\)"):
        model.fit(images)
    rows = images.reshape(len(images), -1)
    with pytest.warns(UserWarning, match=r"crop_to_objects\(X\.reshape\(-1, \*\(1, 40, 40\)\)\)"):
        clone(model).set_params(image_shape=(40, 40)).fit(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(crop_to_objects(images, size=8))
        model.set_params(image_shape=(8, 8)).fit(digits(300, n_class=10)[0])


def framed(n=82, n_class=4, channels=1):
    """Digits with a border of two pixels, from 0 to 1."""
    images = digits(n, n_class)[0].reshape(-1, 1, 8, 8) / 16
    images = np.pad(images, [(0, 0), (0, 0), (2, 2), (2, 2)])
    return np.repeat(images, channels, axis=1)


def lit(images, most=0.5, seed=0):
    """The same, each image before a background of another brightness."""
    light = np.random.default_rng(seed).uniform(0, most, size=(len(images), images.shape[1], 1, 1))
    return images + light


def test_backgrounds_that_differ_are_found():
    photographs = rng.normal(size=(100, 3, 12, 12)).cumsum(axis=2).cumsum(axis=3)
    for images in (framed(), 1 - framed(), framed(channels=3), framed() * 200, photographs):
        assert not backgrounds_differ(images)
    one_colour = lit(np.zeros((82, 3, 8, 8)))
    for images in (one_colour, lit(framed(), most=10.0)):  # the background is what they show
        assert not backgrounds_differ(images)
    for images in (lit(framed()), 1 - lit(framed()), lit(framed(channels=3)), 200 * lit(framed())):
        assert backgrounds_differ(images)
        assert backgrounds_differ(np.tile(images, (20, 1, 1, 1)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("channels", "max_pixels"), [(1, 1024), (3, 64)])
def test_a_brighter_background_does_not_change_the_answer(
    estimator, channels, max_pixels, tmp_path
):
    images = lit(framed(channels=channels))
    model = small(estimator, max_pixels=max_pixels, random_state=0).fit(images)
    assert model.settings_["backgrounds_differ"]
    other = lit(images, seed=1)
    np.testing.assert_allclose(model.transform(other), model.transform(images), atol=1e-4)
    np.testing.assert_array_equal(model.predict(images), model.labels_)
    save_model(model, tmp_path / "model")
    restored = load_model(tmp_path / "model")
    np.testing.assert_array_equal(restored.transform(other), model.transform(other))
    # decoded images have one background, that of most images
    edge = model.inverse_transform(model.transform(images))[:, :, 0].mean()
    assert abs(edge - np.median(images[:, :, 0])) < 0.2


def test_images_that_the_user_scales_keep_their_backgrounds():
    images = lit(framed())
    for scaling in ("none", "standard"):
        model = small(DCEC, scaling=scaling, random_state=0).fit(images)
        assert np.abs(model.transform(images + 0.5) - model.transform(images)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [DCEC, DMAE])
def test_digits_in_different_light_are_clustered_as_well(estimator):
    """When the backgrounds stayed, the clusters followed them."""
    _, y = digits(600, n_class=10)
    labels = estimator(10, random_state=0).fit_predict(lit(framed(600, n_class=10), most=2.0))
    assert clustering_accuracy(y, labels) > 0.75


@pytest.mark.parametrize("background", [0.0, 5.0])
def test_cutting_out_undoes_the_places(background):
    images, _ = scattered(channels=2)
    expected = crop_to_objects(digits(300, n_class=10)[0].reshape(-1, 1, 8, 8), size=16, margin=0.0)
    found = crop_to_objects(background + images, size=16, margin=0.0) - background
    assert (found.shape, found.dtype) == ((len(images), 2, 16, 16), np.float32)
    found /= found.max(axis=(1, 2, 3), keepdims=True)
    expected /= expected.max(axis=(1, 2, 3), keepdims=True)
    near = np.abs(found - expected).mean(axis=(1, 2, 3))
    # a digit that touches the border of its 8 x 8 pixels has another background there
    assert np.median(near) < 0.01


def test_one_object_in_a_corner_and_none():
    images = np.full((2, 3, 10, 20), 7, dtype=np.uint8)
    images[0, :, :4, 18:] = 9
    squares = crop_to_objects(images, size=4, margin=0.0)
    assert squares[0, 0].tolist() == [[7, 9, 9, 7]] * 4  # the square reaches beyond the image
    np.testing.assert_allclose(squares[1], 7, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "remedy"), [((3, 64), r"reshape.* for flat rows"), ((3, 8, 8), r"images\[:, None\]")]
)
def test_cutting_out_needs_images(shape, remedy):
    with pytest.raises(ValueError, match=rf"must have shape \(n_images, channels.*{remedy}"):
        crop_to_objects(np.zeros(shape))


def test_cutting_out_works_in_a_pipeline():
    images, _ = scattered()
    model = small(DCEC, init="k-means", pretrain_epochs=1, max_epochs=0, random_state=0)
    pipeline = make_pipeline(FunctionTransformer(crop_to_objects), model).fit(images)
    np.testing.assert_array_equal(pipeline.predict(images[:5]), model.labels_[:5])
