"""Augmentation: the map it samples, in pixels."""

import collections
import itertools
import math

import numpy as np
import pytest
import torch

from skdeepcluster.augment import (
    random_affine,
    random_crop,
    random_masking,
    random_photo,
    random_swap,
)

ZERO = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0}
# grid_sample's coordinates are float32: a pixel is known to 6e-8 of the side, with a few roundings
PIXEL = 1e-4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ramps(n, height, width):
    """Images whose two channels are the x and the y of each pixel: bilinear sampling is exact."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y]).float().expand(n, 2, height, width).contiguous()


def pixel_maps(n, height, width, **amounts):
    """The affine maps of n draws: where from, in pixels about the image center, by least squares.

    Returns matrices (n, 2, 2) and shifts (n, 2), as (x, y).
    """
    images = ramps(n, height, width)
    source = random_affine(images, seeded(), **amounts).double().numpy()
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    limits = np.array([width - 1, height - 1])
    target = images[0].double().numpy().reshape(2, -1).T  # (pixels, 2)
    matrices, shifts = [], []
    for image in source.reshape(n, 2, -1):
        points = image.T
        # what was sampled outside is clamped to the edge and says nothing
        inside = ((points > PIXEL) & (points < limits - PIXEL)).all(axis=1)
        design = np.c_[target[inside] - center, np.ones(inside.sum())]
        solution, *_ = np.linalg.lstsq(design, points[inside] - center, rcond=None)
        np.testing.assert_allclose(design @ solution, points[inside] - center, atol=PIXEL)
        matrices.append(solution[:2].T)
        shifts.append(solution[2])
    return np.array(matrices), np.array(shifts)


SIZES = pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 40), (40, 12), (9, 9)])


@SIZES
@pytest.mark.parametrize("off", [{"strength": 0.0}, ZERO])
def test_nothing_happens_at_zero_amounts(height, width, off):
    x = torch.rand(5, 3, height, width, generator=seeded(1))
    # interpolation at coordinates that are off by a rounding: 1e-4 of a pixel
    np.testing.assert_allclose(random_affine(x, seeded(), **off), x, atol=PIXEL)


@SIZES
def test_shift_is_a_share_of_each_side(height, width):
    matrices, shifts = pixel_maps(50, height, width, **{**ZERO, "shift": 0.1})
    np.testing.assert_allclose(matrices, np.broadcast_to(np.eye(2), matrices.shape), atol=PIXEL)
    largest = 0.1 * np.array([width, height])
    assert (np.abs(shifts) <= largest + PIXEL).all()
    # uniform draws: the largest of 50 exceeds 0.8 of the limit but for 1.4e-5; seeded anyway
    assert (np.abs(shifts).max(axis=0) >= 0.8 * largest).all()
    # both directions, and each axis on its own
    assert (shifts.min(axis=0) < 0).all()
    assert (shifts.max(axis=0) > 0).all()
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.5


def test_a_shift_by_whole_pixels_moves_the_image():
    x = torch.rand(1, 1, 20, 20, generator=seeded(2))
    _, (by,) = pixel_maps(1, 20, 20, **{**ZERO, "shift": 0.1})
    one = 0.1 / abs(by[0])  # so that the first draw moves by exactly one column
    moved = random_affine(x, seeded(), **{**ZERO, "shift": one})
    _, (by,) = pixel_maps(1, 20, 20, **{**ZERO, "shift": one})
    assert abs(by[0]) == pytest.approx(1.0, abs=PIXEL)
    columns = slice(2, 18)
    source = slice(2 + round(by[0]), 18 + round(by[0]))
    # rows move by a fraction: interpolate by hand
    low = math.floor(by[1])
    part = by[1] - low
    rows = torch.arange(4, 16)
    expected = (1 - part) * x[0, 0, rows + low, source] + part * x[0, 0, rows + low + 1, source]
    np.testing.assert_allclose(moved[0, 0, rows, columns], expected, atol=10 * PIXEL)


@SIZES
def test_rotation_keeps_angles_and_lengths_in_pixels(height, width):
    matrices, shifts = pixel_maps(50, height, width, **{**ZERO, "rotation": 10.0})
    np.testing.assert_allclose(shifts, 0.0, atol=PIXEL)
    gram = np.einsum("nij,nik->njk", matrices, matrices)
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(2), gram.shape), atol=10 * PIXEL)
    np.testing.assert_allclose(np.linalg.det(matrices), 1.0, atol=10 * PIXEL)
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 10.0 + 0.01
    assert np.abs(angles).max() >= 8.0
    assert angles.min() < 0 < angles.max()


@SIZES
def test_scale_changes_each_side_on_its_own(height, width):
    matrices, shifts = pixel_maps(50, height, width, **{**ZERO, "scale": 0.2})
    np.testing.assert_allclose(shifts, 0.0, atol=PIXEL)
    np.testing.assert_allclose(matrices[:, [0, 1], [1, 0]], 0.0, atol=PIXEL)
    factors = matrices[:, [0, 1], [0, 1]]
    assert (np.abs(factors - 1) <= 0.2 + PIXEL).all()
    assert (np.abs(factors - 1).max(axis=0) >= 0.16).all()
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.5


@SIZES
def test_shear_is_the_tangent_in_pixels(height, width):
    matrices, shifts = pixel_maps(50, height, width, **{**ZERO, "shear": 0.2})
    np.testing.assert_allclose(shifts, 0.0, atol=PIXEL)
    np.testing.assert_allclose(matrices[:, [0, 1], [0, 1]], 1.0, atol=PIXEL)
    np.testing.assert_allclose(matrices[:, 1, 0], 0.0, atol=PIXEL)
    slants = matrices[:, 0, 1]
    assert np.abs(slants).max() <= 0.2 + PIXEL
    assert np.abs(slants).max() >= 0.16


@pytest.mark.parametrize("amount", ["rotation", "shift", "scale", "shear"])
@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_strength_is_a_factor_on_every_amount(amount, strength):
    x = torch.rand(6, 1, 12, 18, generator=seeded(1))
    default = {"rotation": 10.0, "shift": 0.1, "scale": 0.2, "shear": 0.2}[amount]
    by_strength = random_affine(x, seeded(), strength=strength, **{**ZERO, amount: default})
    by_amount = random_affine(x, seeded(), **{**ZERO, amount: strength * default})
    np.testing.assert_allclose(by_strength, by_amount, atol=PIXEL)
    # and it is not the default that came out
    plain = random_affine(x, seeded(), **{**ZERO, amount: default})
    assert (by_strength - plain).abs().max() > 0.01


def test_the_amounts_have_the_defaults_that_are_documented():
    x = torch.rand(4, 1, 12, 12, generator=seeded(1))
    documented = {"strength": 1.0, "rotation": 10.0, "shift": 0.1, "scale": 0.2, "shear": 0.2}
    assert torch.equal(random_affine(x, seeded()), random_affine(x, seeded(), **documented))


def test_a_generator_decides():
    x = torch.rand(8, 1, 10, 10, generator=seeded(1))
    assert torch.equal(random_affine(x, seeded(5)), random_affine(x, seeded(5)))
    assert not torch.equal(random_affine(x, seeded(5)), random_affine(x, seeded(6)))
    generator = seeded(5)
    assert not torch.equal(random_affine(x, generator), random_affine(x, generator))


def test_each_image_has_its_own_amounts():
    x = torch.rand(1, 1, 10, 10, generator=seeded(1)).expand(6, 1, 10, 10)
    out = random_affine(x, seeded())
    assert len(torch.unique(out.flatten(1), dim=0)) == 6


def test_the_channels_of_an_image_move_together():
    x = torch.rand(3, 1, 9, 13, generator=seeded(1)).repeat(1, 4, 1, 1)
    out = random_affine(x, seeded())
    assert torch.equal(out, out[:, :1].expand_as(out))


def test_the_global_generators_are_untouched():
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    random_affine(torch.rand(4, 1, 8, 8, generator=seeded(1)), seeded())
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_without_a_generator_the_global_one_decides():
    x = torch.rand(4, 1, 8, 8, generator=seeded(1))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first = random_affine(x)
        torch.manual_seed(0)
        assert torch.equal(random_affine(x), first)
        assert not torch.equal(random_affine(x), first)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 3, 5, 9), (3, 2, 1, 1), (2, 1, 1, 7)])
def test_dtype_and_shape_are_kept(dtype, shape):
    x = torch.rand(shape, generator=seeded(1)).to(dtype)
    before = x.clone()
    out = random_affine(x, seeded())
    assert out.shape == x.shape
    assert out.dtype == dtype
    assert torch.equal(x, before)
    # interpolation and continued edges stay within the range of the image
    low, high = x.float().amin(dim=(2, 3)), x.float().amax(dim=(2, 3))
    slack = 2 * torch.finfo(dtype).eps
    assert (out.float().amin(dim=(2, 3)) >= low - slack).all()
    assert (out.float().amax(dim=(2, 3)) <= high + slack).all()


def test_edges_are_continued():
    # zeros from outside would darken a white image
    x = torch.ones(5, 1, 8, 8)
    np.testing.assert_allclose(random_affine(x, seeded(), strength=3.0), 1.0, atol=1e-6)


# ---------------------------------------------------------------- masking


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_masking_sets_a_share_of_the_entries_to_zero(share):
    x = torch.rand(100, 200) + 1
    masked = random_masking(x, seeded(), share=share)
    kept = masked != 0
    torch.testing.assert_close(masked[kept], x[kept], rtol=0, atol=0)
    assert float(kept.float().mean()) == pytest.approx(1 - share, abs=0.02)
    # each sample loses entries of its own
    assert (kept.float().mean(dim=0) - (1 - share)).abs().max() < 0.25


def test_masking_half_is_the_default():
    kept = random_masking(torch.ones(100, 200), seeded())
    assert float(kept.mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_masking_keeps_dtype_shape_and_samples(dtype):
    x = torch.ones(5, 1, 4, 3, dtype=dtype)
    masked = random_masking(x, seeded())
    assert masked.dtype == dtype
    assert masked.shape == x.shape
    assert (x == 1).all()
    torch.testing.assert_close(random_masking(x, seeded()), masked)
    assert not torch.equal(random_masking(x, seeded(1)), masked)


# ---------------------------------------------------------------- crops

STILL = {"least_area": 1.0, "aspect": 1.0, "rotation": 0.0, "elastic": 0.0, "intensity": 0.0}


def crop(x, seed=0, **amounts):
    return random_crop(x, torch.Generator().manual_seed(seed), **{**STILL, **amounts})


def ramp(n=64, height=9, width=13):
    """Columns that count up from 0, in every image."""
    return torch.arange(width).float().expand(n, 1, height, width).contiguous()


def test_a_whole_crop_is_the_image():
    x = torch.rand(3, 2, 9, 13)
    torch.testing.assert_close(crop(x), x, atol=1e-5, rtol=0)


def test_crops_keep_their_share_of_the_image():
    inner = crop(ramp(512), least_area=0.25)[:, 0, 4]  # (n, width)
    shares = ((inner[:, 8] - inner[:, 4]) / 4).square()  # both sides shrink alike
    assert 0.25 - 1e-3 <= shares.min() < 0.3
    assert 0.95 < shares.max() <= 1 + 1e-3
    # and lie within it
    assert crop(ramp(512), least_area=0.25).min() >= -PIXEL
    assert crop(ramp(512), least_area=0.25).max() <= 12 + PIXEL
    centers = inner[:, 6]
    assert centers.min() < 4.5
    assert centers.max() > 7.5


def test_aspect_stretches_one_side_against_the_other():
    x = ramp(256)
    y = torch.arange(13).float()[:, None].expand(256, 1, 13, 13).contiguous()
    wide = crop(x, least_area=0.5, aspect=4 / 3)[:, 0, 4]
    tall = crop(y, least_area=0.5, aspect=4 / 3)[:, 0, :, 6]
    ratio = (wide[:, 8] - wide[:, 4]) / (tall[:, 8] - tall[:, 4])
    assert ratio.min() < 0.8
    assert ratio.max() > 1.25
    assert 0.7 < ratio.min() < ratio.max() < 1.4


@pytest.mark.parametrize(("height", "width"), [(21, 21), (21, 41)])
def test_crops_turn_in_pixels(height, width):
    columns = torch.arange(width).float().expand(64, 1, height, width)
    rows = torch.arange(height).float()[:, None].expand(64, 1, height, width)
    turned = crop(torch.cat([columns, rows], dim=1), rotation=15.0)
    middle = height // 2, width // 2
    step = turned[:, :, middle[0], middle[1] + 1] - turned[:, :, middle[0], middle[1]]
    torch.testing.assert_close(step.norm(dim=1), torch.ones(64), atol=1e-3, rtol=0)
    angles = torch.atan2(step[:, 1], step[:, 0]).rad2deg()
    assert 10 < angles.abs().max() <= 15.01


def test_elastic_displacement_is_smooth_and_bounded():
    x = ramp(64, 21, 21)
    moved = (crop(x, elastic=0.1) - x)[:, 0]
    assert 1.0 < moved.abs().max() < 0.15 * 21
    assert moved.diff(dim=1).abs().max() < 1.0


def test_brightness_and_contrast():
    x = torch.rand(256, 1, 6, 6) + 1
    changed = crop(x, intensity=0.4)
    brightness = changed.mean(dim=(1, 2, 3)) / x.mean(dim=(1, 2, 3))
    contrast = changed.std(dim=(1, 2, 3)) / x.std(dim=(1, 2, 3)) / brightness
    for factor in (brightness, contrast):
        assert 0.59 < factor.min() < 0.65
        assert 1.35 < factor.max() < 1.41
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.2


def jitter_by_hand(image, brightness, contrast):
    """The jitter of the authors for one image in [0, 1]: brightness, then contrast, clipped."""
    image = np.clip(image * brightness, 0, 1)
    return np.clip(contrast * image + (1 - contrast) * image.mean(), 0, 1)


@pytest.mark.parametrize("pixel_range", [(-1.0, 1.0), (0.0, 255.0), (2.0, 2.5)])
@pytest.mark.parametrize("augment", [random_crop, random_photo])
def test_light_changes_within_the_range_of_pixels(augment, pixel_range):
    x = torch.rand(64, 1, 6, 6, generator=seeded(1))
    plain = augment(x, seeded(), intensity=0.0).double().numpy()
    relit = augment(x, seeded(), intensity=0.4).double().numpy()
    brightness = relit.mean(axis=(1, 2, 3)) / plain.mean(axis=(1, 2, 3))
    contrast = relit.std(axis=(1, 2, 3)) / plain.std(axis=(1, 2, 3)) / brightness
    by_hand = np.array(
        [jitter_by_hand(*drawn) for drawn in zip(plain, brightness, contrast, strict=True)]
    )
    assert np.abs(by_hand - relit).max() > 0.1  # it is clipped
    low, high = pixel_range
    found = augment(low + (high - low) * x, seeded(), pixel_range=pixel_range, intensity=0.4)
    np.testing.assert_allclose((found.double() - low) / (high - low), by_hand, atol=1e-4)
    # nothing leaves the range
    assert found.min() >= low
    assert found.max() <= high


@pytest.mark.parametrize("augment", [random_crop, random_photo])
def test_a_black_background_stays_black(augment):
    """Of images in [-1, 1], as DCCS.PAPER has them; without a range black becomes -1.4 to -.6."""
    black = torch.full((64, 1, 4, 4), -1.0)
    found = augment(black, seeded(), pixel_range=(-1.0, 1.0))
    torch.testing.assert_close(found, black, rtol=0, atol=1e-6)
    assert augment(black, seeded()).max() > -0.7


@pytest.mark.parametrize("pixel_range", [(1.0, -1.0), (0.0, 0.0)])
def test_a_range_without_pixels_is_refused(pixel_range):
    with pytest.raises(ValueError, match=r"pixel_range=\(.*must be \(black, white\)"):
        random_crop(torch.zeros(1, 1, 4, 4), pixel_range=pixel_range)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_crops_keep_dtype_and_shape_and_draw_from_their_generator(dtype):
    x = torch.rand(5, 3, 7, 4).to(dtype)
    before = torch.get_rng_state()
    one, same = (random_crop(x, torch.Generator().manual_seed(1)) for _ in range(2))
    other = random_crop(x, torch.Generator().manual_seed(2))
    assert torch.equal(before, torch.get_rng_state())
    assert one.shape == x.shape
    assert one.dtype == dtype
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


# ---------------------------------------------------------------- photographs and swaps


@pytest.mark.parametrize("augment", [random_photo, random_swap])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 3, 7, 4), (3, 1, 1, 1), (2, 4, 3, 9)])
def test_photo_and_swap_keep_dtype_shape_and_samples(augment, dtype, shape):
    x = torch.rand(shape, generator=seeded(1)).to(dtype)
    before, state = x.clone(), torch.random.get_rng_state()
    changed = augment(x, seeded())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(x, before)
    assert changed.shape == x.shape
    assert changed.dtype == dtype
    assert torch.isfinite(changed).all()


@pytest.mark.parametrize("augment", [random_photo, random_swap])
def test_photo_and_swap_draw_from_their_generator(augment):
    x = torch.rand(8, 3, 6, 6, generator=seeded(1))
    assert torch.equal(augment(x, seeded(5)), augment(x, seeded(5)))
    assert not torch.equal(augment(x, seeded(5)), augment(x, seeded(6)))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        first = augment(x)
        torch.manual_seed(0)
        assert torch.equal(augment(x), first)
        assert not torch.equal(augment(x), first)


def test_a_photo_is_mirrored_and_its_colours_are_put_in_any_order():
    n = 600
    # a ramp in each channel, that is 100 higher than the one before
    x = ramp(n, 5, 8) + 100 * torch.arange(3.0)[:, None, None]
    found = random_photo(x, seeded(), least_area=1.0, intensity=0.0)
    order = (found.mean(dim=(2, 3)) / 100).floor().int()
    mirrored = found[:, 0, 0, 0] > found[:, 0, 0, -1]
    # and nothing else is done to a channel than to crop it
    ramps = found - 100 * order[:, :, None, None]
    assert ramps.min() > -PIXEL
    assert ramps.max() < 7 + PIXEL
    torch.testing.assert_close(ramps, ramps[:, :1].expand_as(ramps), atol=PIXEL, rtol=0)
    steps = ramps.diff(dim=3)[..., 1:-1]
    assert (steps.sign() == torch.where(mirrored, -1, 1)[:, None, None, None]).all()
    counts = collections.Counter(zip(map(tuple, order.tolist()), mirrored.tolist(), strict=True))
    assert {order for order, _ in counts} == set(itertools.permutations(range(3)))
    # twelve views of one probability; 5 standard deviations
    assert len(counts) == 12
    deviations = [count / n - 1 / 12 for count in counts.values()]
    assert np.abs(deviations).max() < 5 * (11 / 144 / n) ** 0.5


def test_a_photo_is_cropped_and_its_light_changes():
    x = ramp(512)
    plain = random_photo(x, seeded(), intensity=0.0)
    widths = (plain.amax(dim=(1, 2, 3)) - plain.amin(dim=(1, 2, 3))) / 12
    assert widths.min() < 0.75
    assert widths.max() > 0.95
    # neither turned nor bent: all rows of a ramp stay alike
    torch.testing.assert_close(plain, plain[:, :, :1].expand_as(plain), atol=PIXEL, rtol=0)
    white = random_photo(torch.ones(512, 3, 4, 4), seeded()).amax(dim=(1, 2, 3))
    assert 0.59 < white.min() < 0.65
    assert 1.35 < white.max() < 1.41


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_swap_replaces_a_share_by_values_of_the_same_feature(share):
    n, m = 500, 40
    x = torch.arange(n * m).float().view(n, m)  # a value says where it comes from
    swapped = random_swap(x, seeded(), share=share)
    assert torch.equal(swapped % m, x % m)
    changed = swapped != x
    # one in n values is drawn from its own sample
    expected = share * (1 - 1 / n)
    deviation = (expected * (1 - expected) / (n * m)) ** 0.5
    assert float(changed.float().mean()) == pytest.approx(expected, abs=5 * deviation)
    if share:
        sources = (swapped[changed] / m).floor()
        # from all samples alike: mean and spread of a uniform distribution
        assert float(sources.mean()) == pytest.approx((n - 1) / 2, rel=0.05)
        assert float(sources.std()) == pytest.approx(n / 12**0.5, rel=0.05)
        # each feature on its own: not whole samples
        assert len(sources[:m].unique()) > m // 2


def test_a_tenth_is_swapped_by_default():
    x = torch.arange(20_000).float().view(200, 100)
    assert torch.equal(random_swap(x, seeded()), random_swap(x, seeded(), share=0.1))


def test_swap_of_one_sample_is_that_sample():
    x = torch.rand(1, 4)
    assert torch.equal(random_swap(x, share=1.0), x)


# ---------------------------------------------------------------- dtypes

AUGMENTATIONS = pytest.mark.parametrize(
    "augment", [random_affine, random_crop, random_photo, random_masking, random_swap]
)


@AUGMENTATIONS
def test_augmentations_are_the_same_under_autocast(augment):
    x = torch.rand(4, 3, 32, 32, generator=seeded(1))
    outside = augment(x, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        inside = augment(x, seeded())
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@AUGMENTATIONS
def test_augmentations_are_the_same_whatever_the_default_dtype(augment, float64_by_default):
    x = torch.rand(4, 3, 8, 8, generator=seeded(1), dtype=torch.float32)
    found = augment(x, seeded())
    assert found.dtype == torch.float32
    torch.set_default_dtype(torch.float32)
    assert torch.equal(found, augment(x, seeded()))
