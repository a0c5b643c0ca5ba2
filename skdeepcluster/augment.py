"""Augmentations: random changes of a batch of samples, on the device of the batch."""

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


def _uniform(generator: torch.Generator | None, x: Tensor, *shape: int) -> Tensor:
    """Draws from [0, 1) on the device of `x`, in float32 for any default dtype of torch."""
    return torch.rand(shape, generator=generator, device=x.device, dtype=torch.float32)


def random_affine(
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    strength: float = 1.0,
    rotation: float = 10.0,
    shift: float = 0.1,
    scale: float = 0.2,
    shear: float = 0.2,
) -> Tensor:
    """Rotate, shift, scale and shear each image at random.

    Rotation and shift are those of DEC-DA (Guo et al. 2018, section 4.2), which has no scaling and
    no shear. Interpolation is bilinear; outside the image its border pixels are repeated.

    Parameters
    ----------
    x : float tensor of shape (n, channels, height, width)
        Images.
    generator : torch.Generator, default=None
        Source of randomness, on the device of `x`; torch's global one by default.
    strength : float, default=1.0
        Factor for all amounts below.
    rotation : float, default=10.0
        Largest angle in degrees, at least 0.
    shift : float, default=0.1
        Largest shift, as a share of the side.
    scale : float, default=0.2
        Largest relative change of height and of width. The two are drawn independently.
    shear : float, default=0.2
        Largest shear, as the tangent of the angle, at least 0.

    Returns
    -------
    tensor of the shape, dtype and device of `x`

    Examples
    --------
    >>> import torch
    >>> random_affine(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 1, 8, 8])
    """
    n, _, height, width = x.shape
    draw = _uniform(generator, x, n, 6) * 2 - 1
    draw *= strength  # (n, 6)
    angle, shear_by, scale_x, scale_y, shift_x, shift_y = draw.unbind(dim=1)
    angle = angle * math.radians(rotation)
    cos, sin = angle.cos(), angle.sin()
    shear_by, scale_x, scale_y = shear_by * shear, 1 + scale_x * scale, 1 + scale_y * scale
    aspect = width / height  # needed for angles: the grid's unit is half a side
    # grid coordinates span [-1, 1], so a shift by a share of the side counts twice
    theta = torch.stack(
        [
            torch.stack([cos * scale_x, (shear_by - sin) * scale_x / aspect, 2 * shift * shift_x]),
            torch.stack([sin * scale_y * aspect, cos * scale_y, 2 * shift * shift_y]),
        ]
    ).permute(2, 0, 1)  # (n, 2, 3)
    grid = _grid(theta, x)  # (n, height, width, 2)
    turned = grid_sample(x.float(), grid, padding_mode="border", align_corners=False)
    return turned.to(x.dtype)


def _grid(theta: Tensor, x: Tensor) -> Tensor:
    """Source coordinates of each pixel under the maps `theta`, in float32 also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return affine_grid(theta, list(x.shape), align_corners=False)


def random_crop(
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    least_area: float = 0.5,
    aspect: float = 4 / 3,
    rotation: float = 15.0,
    elastic: float = 0.1,
    intensity: float = 0.4,
    pixel_range: tuple[float, float] | None = None,
) -> Tensor:
    """Crop, rotate and bend each image at random, and change its brightness and contrast.

    The crop is scaled back to the size of the image, as in Chen et al. 2020, appendix A. Images are
    bent by a smooth elastic displacement (after Simard et al. 2003). Interpolation is bilinear;
    outside the image its border pixels are repeated.

    Parameters
    ----------
    x : float tensor of shape (n, channels, height, width)
        Images.
    generator : torch.Generator, default=None
        Source of randomness, on the device of `x`; torch's global one by default.
    least_area : float, default=0.5
        Smallest share of the image that a crop keeps, in (0, 1].
    aspect : float, default=4/3
        Largest change of the ratio of width to height, at least 1.
    rotation : float, default=15.0
        Largest angle in degrees, at least 0.
    elastic : float, default=0.1
        Largest displacement of the points of a 4 x 4 grid, as a share of the side, at least 0.
    intensity : float, default=0.4
        Largest relative change of brightness, and of contrast, in [0, 1].
    pixel_range : tuple of 2 floats, default=None
        Pixel values of black and of white. Brightness and contrast then change pixels that are
        mapped to [0, 1] and clipped to it, so that black stays black when brightness changes. By
        default pixels are multiplied as they are, and not clipped.

    Returns
    -------
    tensor of the shape, dtype and device of `x`

    Examples
    --------
    >>> import torch
    >>> random_crop(torch.rand(4, 1, 8, 8)).shape
    torch.Size([4, 1, 8, 8])
    """
    n, _, height, width = x.shape

    def draw(*shape: int) -> Tensor:
        return _uniform(generator, x, n, *shape) * 2 - 1

    area = least_area + (1 - least_area) * (draw() + 1) / 2
    stretch = aspect ** draw()
    part_x, part_y = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
    angle = draw() * math.radians(rotation)
    cos, sin = angle.cos(), angle.sin()
    ratio = width / height  # needed for angles: the grid's unit is half a side
    theta = torch.stack(
        [
            torch.stack([cos * part_x, -sin * part_y / ratio, (1 - part_x) * draw()]),
            torch.stack([sin * part_x * ratio, cos * part_y, (1 - part_y) * draw()]),
        ]
    ).permute(2, 0, 1)  # (n, 2, 3)
    grid = _grid(theta, x)  # (n, height, width, 2)
    knots = 2 * elastic * draw(2, 4, 4)
    bend = interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
    grid = grid + bend.permute(0, 2, 3, 1)  # (n, height, width, 2)
    view = grid_sample(x.float(), grid, padding_mode="border", align_corners=False)
    brightness, contrast = (1 + intensity * draw(1, 1, 1) for _ in range(2))
    return _relight(view, brightness, contrast, pixel_range).to(x.dtype)


def _relight(
    x: Tensor, brightness: Tensor, contrast: Tensor, pixel_range: tuple[float, float] | None
) -> Tensor:
    """Images with their brightness multiplied, then their contrast about the mean."""
    low, high, least, most = 0.0, 1.0, -math.inf, math.inf
    if pixel_range is not None:
        (low, high), least, most = pixel_range, 0.0, 1.0
        if not low < high:
            raise ValueError(
                f"pixel_range={pixel_range} must be (black, white) with black < white, for "
                "instance (-1.0, 1.0)."
            )
    x = ((x - low) / (high - low) * brightness).clamp(least, most)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (mean + (x - mean) * contrast).clamp(least, most)
    return low + (high - low) * x


def random_masking(
    x: Tensor, generator: torch.Generator | None = None, *, share: float = 0.5
) -> Tensor:
    """Set a random share of the entries of each sample to zero.

    Use it where zero means "nothing here", as in bags of words. It is the corruption of a denoising
    autoencoder (Vincent et al. 2008, section 2.3).

    Parameters
    ----------
    x : float tensor of shape (n, ...)
        Samples.
    generator : torch.Generator, default=None
        Source of randomness, on the device of `x`; torch's global one by default.
    share : float, default=0.5
        Probability that an entry is set to zero.

    Returns
    -------
    tensor of the shape, dtype and device of `x`

    Examples
    --------
    >>> import torch
    >>> x = random_masking(torch.ones(1000), torch.Generator().manual_seed(0))
    >>> x.unique(), bool(450 < x.sum() < 550)
    (tensor([0., 1.]), True)
    """
    kept = _uniform(generator, x, *x.shape) >= share
    return x * kept


def random_photo(
    x: Tensor,
    generator: torch.Generator | None = None,
    *,
    least_area: float = 0.4,
    intensity: float = 0.4,
    pixel_range: tuple[float, float] | None = None,
) -> Tensor:
    """Crop and mirror each photograph at random, and change its brightness, contrast and colours.

    Zhao et al. 2020, section 4.1, and their code: mirror image, random order of the channels, crop,
    brightness and contrast.

    Parameters
    ----------
    x : float tensor of shape (n, channels, height, width)
        Images.
    generator : torch.Generator, default=None
        Source of randomness, on the device of `x`; torch's global one by default.
    least_area : float, default=0.4
        Smallest share of the image that a crop keeps, in (0, 1].
    intensity : float, default=0.4
        Largest relative change of brightness, and of contrast, in [0, 1].
    pixel_range : tuple of 2 floats, default=None
        Pixel values of black and of white. Brightness and contrast then change pixels that are
        mapped to [0, 1] and clipped to it, so that black stays black when brightness changes. By
        default pixels are multiplied as they are, and not clipped.

    Returns
    -------
    tensor of the shape, dtype and device of `x`

    Examples
    --------
    >>> import torch
    >>> random_photo(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 3, 8, 8])
    """
    n, channels = x.shape[:2]
    mirrored = _uniform(generator, x, n, 1, 1, 1) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    order = _uniform(generator, x, n, channels).argsort(dim=1)
    x = x.gather(1, order[:, :, None, None].expand_as(x))
    return random_crop(
        x,
        generator,
        least_area=least_area,
        rotation=0.0,
        elastic=0.0,
        intensity=intensity,
        pixel_range=pixel_range,
    )


def random_swap(
    x: Tensor, generator: torch.Generator | None = None, *, share: float = 0.1
) -> Tensor:
    """Replace a random share of each sample's features by those of samples from the batch.

    Use it for tables: every feature keeps its distribution. It is the corruption of Yoon et al.
    2020, section 4.1.

    Parameters
    ----------
    x : tensor of shape (n, ...)
        Samples.
    generator : torch.Generator, default=None
        Source of randomness, on the device of `x`; torch's global one by default.
    share : float, default=0.1
        Probability that a feature is replaced, in [0, 1].

    Returns
    -------
    tensor of the shape, dtype and device of `x`

    Examples
    --------
    >>> import torch
    >>> x = torch.arange(6.0).reshape(3, 2)
    >>> bool((random_swap(x, share=1.0).sort(dim=0).values >= x.min(dim=0).values).all())
    True
    """
    other = torch.randint(len(x), x.shape, generator=generator, device=x.device)
    swapped = _uniform(generator, x, *x.shape) < share
    return torch.where(swapped, x.gather(0, other), x)
