"""Load a folder of pictures, cut out their objects, and make data to compare dissimilarities on.

The generators follow the code of Lara and Gonzalez 2020, "Dissimilarity Mixture Autoencoder for
Deep Clustering" (arXiv 2006.08177); the defaults are the settings of the paper. Its two other sets
are ``make_moons(1000, noise=0.1)`` and ``make_circles(1000, noise=0.1, factor=0.1)`` of
scikit-learn.
"""

import math
import os
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import make_blobs
from sklearn.utils import check_array, check_random_state
from sklearn.utils import shuffle as shuffle_rows

from ._data.objects import box_of
from ._sklearn import Interval, validate_params

_TORUS_CENTERS = [[1, 0], [-1, 1], [0, -1], [0, 0]]
_SIMPLEX_CENTERS = [[0, 0.2, 0.8], [0.33, 0.33, 0.33], [1, 0, 0], [0, 0.9, 0.1]]
_COUNT = [Interval(Integral, 1, None, closed="left")]
_DEVIATION = [Interval(Real, 0, None, closed="left")]
_PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


@validate_params(
    {"folder": [str, os.PathLike], "size": _COUNT, "color": ["boolean"]},
    prefer_skip_nested_validation=True,
)
def load_images(
    folder: str | os.PathLike[str], *, size: int = 32, color: bool = True
) -> tuple[np.ndarray, list[Path]]:
    """Read the pictures of a folder into an array that the estimators take.

    Use it for photographs or scans in files, also of different sizes. Each picture is resized so
    that its shorter side has `size` pixels, and cut to a square around its centre. It needs
    Pillow, which the extra ``images`` installs.

    Parameters
    ----------
    folder : str or path-like
        Folder of the pictures. Files that end in .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff or
        .webp are read, in the order of their names. Other files, hidden files and subfolders
        are left out.
    size : int, default=32
        Height and width of the result, in pixels. The estimators average larger images down to
        ``max_pixels``, 32 x 32 by default; pretrained networks need larger ones, often 224.
    color : bool, default=True
        Whether to return three channels, red, green and blue. False returns one, the brightness.

    Returns
    -------
    images : ndarray of shape (n_images, n_channels, size, size), dtype uint8
        The pixels, from 0 to 255. Pictures are rotated as their camera recorded, only the first
        frame of an animation is used, and transparent pixels become white.
    files : list of pathlib.Path
        The file of each image.

    Raises
    ------
    FileNotFoundError
        If `folder` does not exist.
    NotADirectoryError
        If `folder` is a file.
    ValueError
        If `folder` holds no picture, or a file cannot be read or has more than 8 bits per
        channel. The message names it.
    ImportError
        If Pillow is missing.

    Examples
    --------
    Write three pictures of different sizes, and read them:

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from skdeepcluster.datasets import load_images
    >>> with TemporaryDirectory() as folder:
    ...     for color, width in [("red", 40), ("green", 60), ("blue", 80)]:
    ...         Image.new("RGB", (width, 50), color).save(Path(folder, f"{color}.png"))
    ...     X, files = load_images(folder, size=16)
    >>> X.shape, X.dtype
    ((3, 3, 16, 16), dtype('uint8'))
    >>> [file.name for file in files]
    ['blue.png', 'green.png', 'red.png']
    >>> X[:, :, 0, 0].tolist()  # one pixel of each
    [[0, 0, 255], [0, 128, 0], [255, 0, 0]]
    """
    folder = Path(folder)
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in _PICTURES and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise ValueError(
            f"The folder '{folder}' holds no picture: no file that ends in "
            f"{', '.join(sorted(_PICTURES))}. Subfolders are not read; pass one of them."
        )
    images = np.empty((len(files), 3 if color else 1, size, size), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        pixels = _read_picture(file, size, "RGB" if color else "L")
        image[:] = pixels.reshape(size, size, -1).transpose(2, 0, 1)
    return images, files


def _read_picture(file: Path, size: int, mode: str) -> np.ndarray:
    """The centre of a picture: (size, size, 3), or (size, size) in mode "L"."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError(
            'load_images needs Pillow: pip install pillow, or pip install "skdeepcluster[images]".'
        ) from error
    try:
        with Image.open(file) as opened:
            opened.draft(mode, (2 * size, 2 * size))  # a large JPEG decodes faster at this size
            picture = ImageOps.exif_transpose(opened)
            picture.load()
    except Exception as error:  # each format has errors of its own
        raise ValueError(
            f"'{file}' cannot be read as a picture ({error}). Repair the file or move it away."
        ) from error
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"'{file}' has more than 8 bits per channel (Pillow's mode {picture.mode}). Scale its "
            "pixels to 0 to 255 and save it with 8 bits, or load such files with numpy."
        )
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return np.asarray(ImageOps.fit(picture.convert(mode), (size, size)))


@validate_params(
    {
        "images": ["array-like"],
        "size": _COUNT,
        "margin": [Interval(Real, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def crop_to_objects(images: Any, *, size: int = 32, margin: float = 0.1) -> np.ndarray:
    """Cut a square around the object in each image, and bring all squares to one size.

    Use it if the images show one object each, at different places or in different sizes, before a
    plain background. Without it, the clusters follow the places. The background is the median
    colour of the border. A pixel belongs to the object if its difference from that colour is more
    than a fifth of the largest difference in the image. Images are independent of each other, so
    new ones need nothing from a fit.

    Parameters
    ----------
    images : array-like of shape (n_images, channels, height, width)
        Finite pixels in any range.
    size : int, default=32
        Height and width of the result, in pixels.
    margin : float, default=0.1
        Background that is kept around the object, as a share of its longer side. Where the square
        ends outside of the image, it is filled with the background.

    Returns
    -------
    squares : ndarray of shape (n_images, channels, size, size), dtype float32
        In the range of the input. An image of one colour is resized as a whole.

    Raises
    ------
    ValueError
        If `images` has another shape, or holds NaN or infinity.

    Examples
    --------
    A white rectangle of 4 x 2 pixels somewhere on a black image:

    >>> import numpy as np
    >>> from skdeepcluster.datasets import crop_to_objects
    >>> images = np.zeros((1, 1, 12, 12))
    >>> images[0, 0, 7:11, 3:5] = 1.0
    >>> crop_to_objects(images, size=4, margin=0.0)[0, 0]
    array([[0., 1., 1., 0.],
           [0., 1., 1., 0.],
           [0., 1., 1., 0.],
           [0., 1., 1., 0.]], dtype=float32)
    """
    images = check_array(images, dtype=np.float32, allow_nd=True, ensure_min_features=0)
    if images.ndim != 4:
        gray = "images[:, None] for images without channels"
        flat = "images.reshape(-1, channels, height, width) for flat rows"
        raise ValueError(
            f"images has shape {images.shape}, but must have shape (n_images, channels, height, "
            f"width): pass {gray if images.ndim == 3 else flat}."
        )
    squares = np.empty((*images.shape[:2], size, size), dtype=np.float32)
    for square, image in zip(squares, images, strict=True):
        cut = torch.from_numpy(_square_around_object(image, margin))
        square[:] = torch.nn.functional.interpolate(
            cut[None], (size, size), mode="bilinear", antialias=True, align_corners=False
        )[0]
    return squares


def _square_around_object(image: np.ndarray, margin: float) -> np.ndarray:
    box = box_of(image)
    side = math.ceil(max(box.bottom - box.top, box.right - box.left) * (1 + 2 * margin))
    top, left = (box.top + box.bottom - side) // 2, (box.left + box.right - side) // 2
    square = np.empty((len(image), side, side), dtype=np.float32)
    square[:] = box.background[:, None, None]
    _, height, width = image.shape
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    here = square[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    here[:] = image[:, rows, columns]
    return square


@validate_params(
    {
        "n_samples": _COUNT,
        "n_clusters": _COUNT,
        "radial_std": _DEVIATION,
        "tangential_std": _DEVIATION,
        "rate": [Interval(Real, None, None, closed="neither")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_painwheel(
    n_samples: int = 1000,
    *,
    n_clusters: int = 5,
    radial_std: float = 0.3,
    tangential_std: float = 0.05,
    rate: float = 0.25,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Use this to test clusters that are long and bent: the arms of a wheel, in the plane.

    The Euclidean distance finds round clusters; these clusters need a covariance each.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    n_clusters : int, default=5
        Number of arms.
    radial_std : float, default=0.3
        Standard deviation along an arm, around a distance of 1 from the hub.
    tangential_std : float, default=0.05
        Standard deviation across an arm.
    rate : float, default=0.25
        How far the arms bend; 0 is straight.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Points.
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_painwheel
    >>> X, y = make_painwheel(100, random_state=0)
    >>> X.shape, y.shape
    ((100, 2), (100,))
    """
    rng = check_random_state(random_state)
    y = np.arange(n_samples) * n_clusters // n_samples
    along, across = rng.normal([1, 0], [radial_std, tangential_std], size=(n_samples, 2)).T
    angle = 2 * np.pi * y / n_clusters + rate * np.exp(along)
    cos, sin = np.cos(angle), np.sin(angle)
    X = np.column_stack([along * cos + across * sin, across * cos - along * sin])
    return shuffle_rows(X, y, random_state=rng) if shuffle else (X, y)


@validate_params(
    {
        "n_samples": _COUNT,
        "cluster_std": _DEVIATION,
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_toroidal(
    n_samples: int = 1000,
    *,
    cluster_std: float = 0.05,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Use this to test periodic columns: four round clusters on a torus of period 2.

    The border cuts three of the clusters.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    cluster_std : float, default=0.05
        Standard deviation of the clusters in each direction.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 2)
        Points, in [-1, 1).
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_toroidal
    >>> X, y = make_toroidal(100, random_state=0)
    >>> X.shape, y.shape
    ((100, 2), (100,))
    """
    X, y = make_blobs(
        n_samples,
        centers=_TORUS_CENTERS,
        cluster_std=cluster_std,
        shuffle=shuffle,
        random_state=random_state,
    )
    return X - 2 * np.floor((X + 1) / 2), y


@validate_params(
    {
        "n_samples": _COUNT,
        "cluster_std": _DEVIATION,
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_simplex(
    n_samples: int = 1000,
    *,
    cluster_std: float = 0.03,
    shuffle: bool = True,
    random_state: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Use this to test rows of shares: four clusters of compositions of three parts.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of points, shared equally among the clusters.
    cluster_std : float, default=0.03
        Standard deviation of the parts, before they are made to sum to one.
    shuffle : bool, default=True
        Whether to shuffle the samples, which are sorted by cluster otherwise.
    random_state : int, RandomState instance or None, default=None
        Source of randomness; pass an int for the same data each time.

    Returns
    -------
    X : ndarray of shape (n_samples, 3)
        Points; rows are not negative and sum to one.
    y : ndarray of shape (n_samples,)
        Their clusters.

    Examples
    --------
    >>> from skdeepcluster.datasets import make_simplex
    >>> X, y = make_simplex(100, random_state=0)
    >>> X.sum(axis=1).round(6).min(), y.shape
    (np.float64(1.0), (100,))
    """
    X, y = make_blobs(
        n_samples,
        centers=_SIMPLEX_CENTERS,
        cluster_std=cluster_std,
        shuffle=shuffle,
        random_state=random_state,
    )
    X = np.abs(X)
    return X / X.sum(axis=1, keepdims=True), y
