"""Scaled samples on a device, taken in batches."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, linear
from torch.utils.data import Dataset

from .._warnings import ignoring
from .scaling import Scaler, edges, row_chunks

INFERENCE_BATCH = 256  # rows
# inputs and outputs of layers like ours, for `_smallest_batch`
_LAYERS = ((64, 32), (784, 512), (512, 256), (256, 10))


class Rows(Dataset):  # type: ignore[type-arg]
    """Scaled float32 samples on a device, taken by index.

    Besides `X`, at most one scaled float32 copy is in memory: if `resident` is true, and `X` is not
    sparse and either not contiguous float32, or seen with fewer pixels, or levelled. On a GPU the
    copy is there, if it needs less than half of the free memory.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        The samples.
    scaler : Scaler
        The scaling of the samples.
    image_shape : tuple of 3 ints or None
        Shape of one sample, None for vectors.
    device : torch.device
        The device of the batches.
    network_shape : tuple of 3 ints, optional
        Shape of one image as the network sees it, if it has fewer pixels: they are averaged over
        areas of the image.
    levelled : bool, default=False
        Whether each image is shifted so that its own background is 0.
    resident : bool, default=False
        True if the rows are read many times.
    """

    def __init__(
        self,
        X: Any,
        scaler: Scaler,
        image_shape: tuple[int, ...] | None,
        device: torch.device,
        *,
        network_shape: tuple[int, ...] | None = None,
        levelled: bool = False,
        resident: bool = False,
    ) -> None:
        self.X = X
        self.scaler = scaler
        self._full_shape: tuple[int, ...] = image_shape or (X.shape[1],)
        self.sample_shape = network_shape or self._full_shape
        self._averages = self.sample_shape != self._full_shape
        self._levelled = levelled
        self.device = device
        self._scaled: Tensor | None = None  # the copy
        self._view: Tensor | None = None  # X itself, to be scaled batch by batch
        if sp.issparse(X):
            return
        width = math.prod(self.sample_shape)
        on_device = device.type == "cuda" and (
            4 * X.shape[0] * width < torch.cuda.mem_get_info(device)[0] // 2
        )
        # a single row is contiguous even with negative strides, which torch refuses
        viewable = X.dtype == np.float32 and X.flags.c_contiguous and min(X.strides) >= 0
        if viewable and not (resident and (on_device or self._averages or levelled)):
            self._view = _as_tensor(X)
            self._shift = torch.from_numpy(scaler.shift.astype(np.float32))
            self._factor = torch.from_numpy(scaler.factor.astype(np.float32))
        elif resident:
            self._scaled = torch.empty(
                (len(X), width), dtype=torch.float32, device=device if on_device else "cpu"
            )
            for rows in row_chunks(*X.shape):
                self._scaled[rows] = self._as_seen(torch.from_numpy(scaler(X[rows]))).flatten(1)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, index: np.ndarray | slice) -> Tensor:
        """The samples at `index`, of shape ``(len(index), *sample_shape)``."""
        if self._scaled is not None:
            return _copy(self._scaled, index).to(self.device).view(-1, *self.sample_shape)
        if not self._averages:
            return self._as_seen(self._scale(index).to(self.device))
        # large images, in chunks of bounded size
        index = np.arange(len(self))[index] if isinstance(index, slice) else index
        parts = (self._scale(index[part]) for part in row_chunks(len(index), self.X.shape[1]))
        return torch.cat([self._as_seen(part) for part in parts]).to(self.device)

    def _scale(self, index: np.ndarray | slice) -> Tensor:
        """Scaled rows at full size."""
        if self._view is not None:
            return _copy(self._view, index).sub_(self._shift).mul_(self._factor)
        rows = self.X[index]
        return torch.from_numpy(self.scaler(rows.toarray() if sp.issparse(rows) else rows))

    def _as_seen(self, batch: Tensor) -> Tensor:
        return as_seen(batch, self._full_shape, self.sample_shape, levelled=self._levelled)

    def padded_batches(self) -> Iterator[tuple[slice, Tensor]]:
        """All samples in order, as (rows, batch); the last batch has rows of zeros at its end."""
        on_cpu = self.device.type == "cpu"
        smallest = _smallest_batch(torch.get_num_threads()) if on_cpu else INFERENCE_BATCH
        for start in range(0, len(self), INFERENCE_BATCH):
            rows = slice(start, min(start + INFERENCE_BATCH, len(self)))
            batch = self.take(rows)
            size = max(smallest, 1 << (len(batch) - 1).bit_length())  # a power of two
            if size > len(batch):
                padding = batch.new_zeros(size - len(batch), *self.sample_shape)
                batch = torch.cat([batch, padding])
            yield rows, batch


@functools.cache
def _smallest_batch(n_threads: int) -> int:
    """Rows of the smallest batch that gives a row the same bits as a full batch.

    The last bits of a float32 matrix product depend on its number of rows. From some power of two
    on they do not: from 4 on processors with AVX2, from 16 on those with AMX. It is measured here,
    in milliseconds. Batches are padded to this number of rows, so that the answer for a row does
    not depend on the others.
    """
    generator = torch.Generator().manual_seed(0)
    smallest = 4
    for n_in, n_out in _LAYERS:
        weight = torch.randn(n_out, n_in, generator=generator)
        rows = torch.randn(INFERENCE_BATCH, n_in, generator=generator)
        full, size = linear(rows, weight), INFERENCE_BATCH
        while size > smallest and torch.equal(linear(rows[: size // 2], weight), full[: size // 2]):
            size //= 2
        smallest = size
    return smallest


def as_seen(
    batch: Tensor,
    full_shape: tuple[int, ...],
    sample_shape: tuple[int, ...],
    *,
    levelled: bool = False,
) -> Tensor:
    """Scaled rows as the network sees them: large images with fewer pixels, on equal backgrounds.

    Parameters
    ----------
    batch : tensor of shape (n, n_features)
        Scaled rows at full size.
    full_shape, sample_shape : tuple of int
        Shape of one sample of X, and of one sample of the network.
    levelled : bool, default=False
        Whether the median of the border of each image becomes 0, in each channel.

    Returns
    -------
    tensor of shape (n, *sample_shape)
    """
    x = batch.view(-1, *full_shape)
    if sample_shape != full_shape:
        _, height, width = sample_shape
        x = adaptive_avg_pool2d(x, (height, width))
    if not levelled:
        return x
    pixels = torch.cat(edges(x), dim=2).sort(dim=2).values
    middle = pixels[:, :, pixels.shape[2] // 2]  # exports to ONNX, unlike a median
    return x - middle[:, :, None, None]


def _copy(rows: Tensor, index: np.ndarray | slice) -> Tensor:
    """Some of the rows, which a network or an augmentation may write to."""
    if isinstance(index, slice):
        return rows[index].clone()
    # on CPU, this takes half the time of brackets
    return rows.index_select(0, torch.from_numpy(index).to(rows.device))


def _as_tensor(X: np.ndarray) -> Tensor:
    """A view of an array, which may be read-only: it is never written to."""
    if X.flags.writeable:
        return torch.from_numpy(X)
    with ignoring(UserWarning, "The given NumPy array is not writable"):
        return torch.from_numpy(X)
