"""Estimate the noise of pixels from the differences between neighbours."""

import numpy as np
import torch

from .rows import as_seen
from .scaling import every_nth

_MOST = 100  # images that are looked at
# noise as a share of the standard deviation of the pixels. It is at most .01 on six sets of digits,
# clothes and objects, also with other contrasts or with a few black and white pixels; .03 on two
# photographs. Digits with a share of .57 or more were clustered much worse; less was not measured
_HIGH = 0.25
_TENTH = 0.1257  # the standard normal distribution has a tenth of its mass between -.1257 and .1257


def noisy(X: np.ndarray, image_shape: tuple[int, ...], network_shape: tuple[int, ...]) -> bool:
    """Whether much of the variance of the pixels is noise that each pixel draws for itself.

    In images without noise, a tenth of all neighbours or more are equal or nearly so.

    Parameters
    ----------
    X : ndarray of shape (n_images, n_features)
        At most 100 of them are looked at.
    image_shape, network_shape : tuple of 3 ints
        Channels, height and width of an image, and of an image as the network sees it: the noise of
        large images is averaged out.

    Returns
    -------
    bool
    """
    if min(network_shape[1:]) < 2:
        return False
    some = torch.from_numpy(every_nth(X, _MOST).astype(np.float64))
    images = as_seen(some, image_shape, network_shape).numpy()
    return bool(np.median([_noise(image) for image in images]) > _HIGH)


def _noise(image: np.ndarray) -> float:
    """Standard deviation of the noise, as a share of that of the pixels."""
    deviation = image.std()
    if deviation == 0:
        return 0.0
    slope = image[..., :-1] - image[..., 1:]
    across = slope[:, :-1] - slope[:, 1:]  # slopes of any direction cancel, the noise is doubled
    return float(np.quantile(np.abs(across), 0.1) / (2 * _TENTH * deviation))
