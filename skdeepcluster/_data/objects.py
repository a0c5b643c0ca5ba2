"""Find the object in an image with a plain background: pixels that differ from the border."""

from dataclasses import dataclass

import numpy as np

from .scaling import border, every_nth

_SHARE = 0.2  # of the largest difference in the image, from which a pixel belongs to the object
_PLAIN = 0.9  # share of the border that shows the background only
_MOST = 1000  # images that are looked at
# standard deviation of the places of the objects, as a share of the side. It is at most .05 on
# six sets of centred digits, clothes and objects, and .18 for digits at random places
_MOVES = 0.1
_SMALL = 0.75  # side of an object that can move, as a share of the side of the image
# standard deviation of the backgrounds, as a share of the contrast of the objects. It is at most
# .01 on six sets of images; with .05, the ACC of DCEC on digits fell from .96 to .82
_DIFFERS = 0.02


@dataclass(frozen=True)
class Box:
    """The smallest box around an object, in pixels.

    Attributes
    ----------
    top, left, bottom, right : int
        Its first rows and columns, and the first ones after it.
    background : ndarray of shape (channels,)
        Median of the border of the image.
    deviation : float
        Median difference of a pixel of the border from the background.
    contrast : float
        Largest difference of a pixel from the background.
    plain : bool
        Whether nearly all of the border shows the background, so that the box is one of an object.
    """

    top: int
    left: int
    bottom: int
    right: int
    background: np.ndarray
    deviation: float
    contrast: float
    plain: bool


def box_of(image: np.ndarray) -> Box:
    """Box around the object in an image of shape (channels, height, width).

    An image of one colour has the box of the whole image.
    """
    around = border(image[None])[0]  # (channels, pixels)
    background = np.median(around, axis=1)
    unlike = np.abs(image - background[:, None, None]).max(axis=0)  # (height, width)
    inside = unlike > _SHARE * unlike.max()
    at_border = border(inside[None, None]).mean()
    if not inside.any():
        inside[:] = True
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return Box(
        int(rows[0]),
        int(columns[0]),
        int(rows[-1]) + 1,
        int(columns[-1]) + 1,
        background,
        float(np.median(np.abs(around - background[:, None]), axis=1).max()),
        float(unlike.max()),
        bool(at_border <= 1 - _PLAIN),
    )


def backgrounds_differ(images: np.ndarray) -> bool:
    """Whether the images have plain backgrounds that are brighter in some images than in others.

    They differ more than the pixels of one background, and less than the objects differ from them:
    else the background is what tells the images apart, as in pictures of one colour.

    Parameters
    ----------
    images : ndarray of shape (n_images, channels, height, width)
        At most 1000 of them are looked at.

    Returns
    -------
    bool
    """
    found = _plain_boxes(images, least=0.8)
    if not found:
        return False
    differences = np.std([box.background for box in found], axis=0).max()
    contrast = np.median([box.contrast for box in found])
    within = np.median([box.deviation for box in found])
    return bool(max(_DIFFERS * contrast, within) < differences < contrast)


def objects_move(images: np.ndarray) -> bool:
    """Whether the images show small objects at different places before a plain background.

    Parameters
    ----------
    images : ndarray of shape (n_images, channels, height, width)
        At most 1000 of them are looked at.

    Returns
    -------
    bool
    """
    height, width = images.shape[2:]
    found = _plain_boxes(images, least=0.5)
    if not found:
        return False
    tall = [(box.bottom - box.top) / height for box in found]
    wide = [(box.right - box.left) / width for box in found]
    if np.median(np.maximum(tall, wide)) > _SMALL:
        return False
    rows = [(box.top + box.bottom) / (2 * height) for box in found]
    columns = [(box.left + box.right) / (2 * width) for box in found]
    return bool(max(np.std(rows), np.std(columns)) > _MOVES)


def _plain_boxes(images: np.ndarray, least: float) -> list[Box]:
    """Boxes of the images with a plain background; none if these are less than a share of all."""
    boxes = [box_of(image) for image in every_nth(images, _MOST).astype(np.float32)]
    found = [box for box in boxes if box.plain]
    return found if len(found) >= least * len(boxes) else []
