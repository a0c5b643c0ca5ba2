"""Pictures of a folder; the synthetic data: shapes, geometry, and how hard they are for k-means."""

import re
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from skdeepcluster import DCEC
from skdeepcluster.datasets import load_images, make_painwheel, make_simplex, make_toroidal
from skdeepcluster.metrics import clustering_accuracy

GENERATORS = {make_painwheel: (2, 5), make_toroidal: (2, 4), make_simplex: (3, 4)}
EACH = pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)


@EACH
@pytest.mark.parametrize("n_samples", [1, 7, 200])
def test_shapes_and_labels(make, n_samples):
    n_features, n_clusters = GENERATORS[make]
    X, y = make(n_samples, random_state=0)
    assert X.shape == (n_samples, n_features)
    assert X.dtype == np.float64
    assert y.shape == (n_samples,)
    assert np.issubdtype(y.dtype, np.integer)
    counts = np.bincount(y, minlength=n_clusters)
    assert len(counts) == n_clusters
    assert counts.max() - counts.min() <= 1


@EACH
def test_the_default_is_the_size_of_the_paper(make):
    assert len(make(random_state=0)[0]) == 1000


@EACH
def test_the_same_seed_gives_the_same_data(make):
    X, y = make(50, random_state=3)
    for random_state in (3, np.random.RandomState(3)):
        again, y_again = make(50, random_state=random_state)
        np.testing.assert_array_equal(again, X)
        np.testing.assert_array_equal(y_again, y)
    assert not np.isin(make(50, random_state=4)[0], X).all()


@EACH
def test_the_global_generator_is_left_alone(make):
    before = np.random.get_state()[1].copy(), np.random.get_state()[2]
    make(50, random_state=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert np.random.get_state()[2] == before[1]


@EACH
def test_samples_are_shuffled_with_their_labels(make):
    X, y = make(60, random_state=0, shuffle=False)
    assert (np.diff(y) >= 0).all()
    mixed, y_mixed = make(60, random_state=0)
    assert (np.diff(y_mixed) < 0).any()

    def rows(X, y):
        return sorted(map(tuple, np.column_stack([X, y])))

    assert rows(mixed, y_mixed) == rows(X, y)


def test_painwheel_without_noise_is_its_formula():
    X, y = make_painwheel(
        6, n_clusters=3, radial_std=0, tangential_std=0, rate=0.5, shuffle=False, random_state=0
    )
    np.testing.assert_array_equal(y, [0, 0, 1, 1, 2, 2])
    angle = 2 * np.pi * y / 3 + 0.5 * np.e
    np.testing.assert_allclose(X, np.column_stack([np.cos(angle), -np.sin(angle)]), atol=1e-15)


def test_painwheel_is_long_along_its_arms_and_thin_across():
    X, y = make_painwheel(20_000, rate=0.0, shuffle=False, random_state=0)
    for arm in range(5):
        angle = 2 * np.pi * arm / 5
        along = X[y == arm] @ [np.cos(angle), -np.sin(angle)]
        across = X[y == arm] @ [np.sin(angle), np.cos(angle)]
        # of 4000 draws, whose standard deviation is known to 1.1 %
        np.testing.assert_allclose([along.std(), across.std()], [0.3, 0.05], rtol=0.05)
        np.testing.assert_allclose([along.mean(), across.mean()], [1, 0], atol=0.02)


def test_painwheel_arms_bend_with_the_distance_from_the_hub():
    X, _ = make_painwheel(500, n_clusters=1, tangential_std=0, radial_std=0.1, random_state=0)
    radius, angle = np.linalg.norm(X, axis=1), np.arctan2(-X[:, 1], X[:, 0])
    np.testing.assert_allclose(angle, 0.25 * np.exp(radius), rtol=1e-12)


def test_toroidal_is_blobs_brought_into_one_period():
    centers = [[1, 0], [-1, 1], [0, -1], [0, 0]]
    blobs, y_blobs = make_blobs(1000, centers=centers, cluster_std=0.05, random_state=0)
    X, y = make_toroidal(random_state=0)
    np.testing.assert_array_equal(y, y_blobs)
    assert (X >= -1).all()
    assert (X < 1).all()
    turns = (X - blobs) / 2
    np.testing.assert_allclose(turns, turns.round(), atol=1e-15)
    # the borders cut the first three clusters into 2, 4 and 2 pieces
    pieces = [len(np.unique(np.sign(X[y == j]) * (np.abs(X[y == j]) > 0.5), axis=0))
              for j in range(4)]  # fmt: skip
    assert pieces == [2, 4, 2, 1]


def test_toroidal_holds_the_lower_border_and_not_the_upper():
    X, _ = make_toroidal(4, cluster_std=0, shuffle=False, random_state=0)
    np.testing.assert_array_equal(X, [[-1, 0], [-1, -1], [0, -1], [0, 0]])


def test_simplex_rows_are_compositions():
    X, y = make_simplex(random_state=0)
    assert (X >= 0).all()
    np.testing.assert_allclose(X.sum(axis=1), 1.0, rtol=1e-14)
    means = np.stack([X[y == j].mean(axis=0) for j in range(4)])
    # taking absolute values pushes the parts at 0 inwards by .8 standard deviations
    centers = [[0, 0.2, 0.8], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0, 0.9, 0.1]]
    np.testing.assert_allclose(means, centers, atol=0.05)


def test_simplex_without_noise_is_its_centers():
    X, _ = make_simplex(4, cluster_std=0, shuffle=False, random_state=0)
    centers = [[0, 0.2, 0.8], [1 / 3, 1 / 3, 1 / 3], [1, 0, 0], [0, 0.9, 0.1]]
    np.testing.assert_allclose(X, centers, rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "accuracy", "within"),
    [(make_painwheel, 0.986, 0.01), (make_toroidal, 0.60, 0.03)],
    ids=["painwheel", "toroidal"],
)
def test_k_means_scores_as_in_the_paper(make, accuracy, within):
    scores = []
    for seed in range(5):
        X, y = make(random_state=seed)
        labels = KMeans(GENERATORS[make][1], n_init=10, random_state=seed).fit_predict(X)
        scores.append(clustering_accuracy(y, labels))
    assert abs(np.mean(scores) - accuracy) <= within


@EACH
@pytest.mark.parametrize(
    "bad",
    [{"n_samples": 0}, {"n_samples": 2.5}, {"shuffle": "yes"}, {"random_state": "seed"}],
    ids=lambda bad: next(iter(bad)),
)
def test_bad_parameters_are_refused(make, bad):
    with pytest.raises(ValueError, match=f"The '{next(iter(bad))}' parameter of {make.__name__}"):
        make(**bad)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (make_painwheel, {"n_clusters": 0}),
        (make_painwheel, {"radial_std": -0.1}),
        (make_painwheel, {"tangential_std": -0.1}),
        (make_painwheel, {"rate": np.inf}),
        (make_toroidal, {"cluster_std": -0.1}),
        (make_simplex, {"cluster_std": "0.1"}),
    ],
)
def test_bad_parameters_of_one_generator_are_refused(make, bad):
    with pytest.raises(ValueError, match=f"The '{next(iter(bad))}' parameter of {make.__name__}"):
        make(**bad)


@EACH
def test_only_the_number_of_samples_is_positional(make):
    with pytest.raises(TypeError):
        make(10, 5)


@pytest.fixture
def photos(tmp_path):
    """A folder with a wide, a tall and a grey picture, and what is no picture of it."""
    Image.new("RGB", (60, 40), (10, 20, 30)).save(tmp_path / "b.PNG")
    Image.new("RGB", (30, 90), (200, 100, 0)).save(tmp_path / "a.jpg", quality=100)
    Image.new("L", (8, 8), 77).save(tmp_path / "c.bmp")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._b.png").write_text("written by an operating system")
    (tmp_path / "more.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("as_type", [str, lambda path: path], ids=["str", "Path"])
def test_pictures_of_any_size_become_one_array(photos, as_type):
    X, files = load_images(as_type(photos), size=16)
    assert X.shape == (3, 3, 16, 16)
    assert X.dtype == np.uint8
    assert files == [photos / "a.jpg", photos / "b.PNG", photos / "c.bmp"]
    colors = np.array([[200, 100, 0], [10, 20, 30], [77, 77, 77]])
    np.testing.assert_allclose(X, np.broadcast_to(colors[:, :, None, None], X.shape), atol=3)


def test_grey_pictures_have_one_channel(photos):
    X, _ = load_images(photos, size=9, color=False)
    assert X.shape == (3, 1, 9, 9)
    brightness = np.array([200, 100, 0]) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(X[0], brightness, atol=3)


def save_halves(path, width, height, **options):
    """A picture that is black on the left, white on the right."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, width // 2 :] = 255
    Image.fromarray(pixels).save(path, **options)


def test_height_comes_before_width_and_the_centre_is_kept(tmp_path):
    save_halves(tmp_path / "wide.png", 400, 100)
    (x,), _ = load_images(tmp_path, size=10, color=False)
    assert (x[0, :, :4] == 0).all()
    assert (x[0, :, 6:] == 255).all()


def test_pictures_are_turned_as_the_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    save_halves(tmp_path / "turned.jpg", 64, 48, exif=exif)
    (x,), _ = load_images(tmp_path, size=10, color=False)
    assert (x[0, :3] < 20).all()
    assert (x[0, 7:] > 235).all()


def test_large_jpeg_files_are_read_like_others(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (6, 8, 3)), np.ones((100, 100, 1))).astype(np.uint8)
    for folder, name in [("jpeg", "x.jpg"), ("png", "x.png")]:
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / name)
    jpeg, png = (load_images(tmp_path / folder, size=24)[0] for folder in ("jpeg", "png"))
    assert abs(jpeg.astype(int) - png).mean() < 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_become_white(mode, tmp_path):
    picture = Image.new("RGBA", (20, 20), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 20, 10))
    picture.convert(mode).save(tmp_path / "logo.png")
    (x,), _ = load_images(tmp_path, size=20)
    assert (x[:, :8] == 255).all()
    assert (x[1:, 12:] < 100).all()


def test_estimators_take_the_pictures(photos):
    X, _ = load_images(photos)
    model = DCEC(2, pretrain_epochs=1, max_epochs=1, n_init=1, random_state=0)
    labels = model.fit_predict(X)
    assert labels.shape == (3,)
    assert model.image_shape_ == (3, 32, 32)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_images(tmp_path / "nowhere")


def test_a_file_is_no_folder(photos):
    with pytest.raises(NotADirectoryError, match=r"a\.jpg"):
        load_images(photos / "a.jpg")


def test_a_folder_without_pictures(photos):
    with pytest.raises(ValueError, match=r"more\.png' holds no picture.*\.jpg.*Subfolders"):
        load_images(photos / "more.png")


@pytest.mark.parametrize("name", ["d.gif", "d.png", "d.jpg", "d.tif"])
def test_an_unreadable_file_is_named(photos, name):
    Image.effect_noise((50, 50), 50).save(photos / name)
    whole = (photos / name).read_bytes()
    for broken in (b"not a picture", whole[: len(whole) // 2], b""):
        (photos / name).write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{re.escape(name)}' cannot be read as a picture"):
            load_images(photos)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_are_refused(dtype, tmp_path):
    Image.fromarray(np.full((8, 8), 1000, dtype)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x\.tif' has more than 8 bits.*Scale"):
        load_images(tmp_path)


def test_without_pillow_there_is_a_clear_error(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="pip install pillow"):
        load_images(photos)


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": (8, 8)}, {"color": "grey"}, {"folder": 3}])
def test_bad_parameters_of_load_images_are_refused(bad, photos):
    with pytest.raises(ValueError, match=f"The '{next(iter(bad))}' parameter of load_images"):
        load_images(**{"folder": photos, **bad})
