"""A batch from uint8 pixels in memory: gather, crop, flip and normalise, in one pass.

On a CPU this is one compiled loop (a few microseconds per 32-pixel image; a worker process costs 150 and more). The
torch form does the same on any device and is the twin that tests compare with.
"""

from dataclasses import dataclass

import numba
import numpy as np
import torch

from dataprune.streams import stream


@dataclass(frozen=True)
class Draws:
    """The random numbers of one epoch, by place in its order. Offsets run from 0 to 2 * padding."""

    rows: np.ndarray  # int16 (n,)
    columns: np.ndarray  # int16 (n,)
    mirrored: np.ndarray  # bool (n,)
    padding: int

    @classmethod
    def of_epoch(cls, n: int, padding: int, flip: bool, seed: int, epoch: int) -> "Draws":
        """Draw for all n places of an epoch at once."""
        rng = stream(seed, "augment", epoch)
        rows, columns = rng.integers(0, 2 * padding + 1, (2, n), dtype=np.int16)
        return cls(rows, columns, rng.random(n) < 0.5 if flip else np.zeros(n, bool), padding)

    @classmethod
    def none(cls, n: int) -> "Draws":
        """No change at all: what a clean pass uses."""
        zero = np.zeros(n, np.int16)
        return cls(zero, zero, np.zeros(n, bool), 0)


def normalising_table(mean: list[float], std: list[float]) -> np.ndarray:
    """float32 (channels, 256): (value / 255 - mean) / std for every pixel value."""
    values = np.arange(256, dtype=np.float64)[None] / 255
    table = (values - np.array(mean, np.float64)[:, None]) / np.array(std, np.float64)[:, None]
    return table.astype(np.float32)


def batch(images: np.ndarray, ids: np.ndarray, draws: Draws, places: np.ndarray, table: np.ndarray) -> torch.Tensor:
    """Normalised images float32 (b, c, h, w) in channels-last memory, from uint8 (n, h, w, c) in RAM.

    The pixel at (y, x) comes from (y + row - padding, x' + column - padding), reflected at the border, where x' is x or
    its mirror.
    """
    out = np.empty((len(ids), *images.shape[1:]), np.float32)
    rows, columns, mirrored = draws.rows[places], draws.columns[places], draws.mirrored[places]
    _fill(images, ids, rows, columns, mirrored, draws.padding, table, out)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def batch_on_device(
    images: torch.Tensor, ids: torch.Tensor, draws: Draws, places: np.ndarray, table: torch.Tensor
) -> torch.Tensor:
    """The same as `batch` with torch operations, on whatever device `images` (uint8 (n, h, w, c)) lies."""
    _, height, width, channels = images.shape
    device = images.device

    def index(size: int, offset: np.ndarray) -> torch.Tensor:
        at = torch.arange(size)[None] + torch.from_numpy(offset.astype(np.int64))[:, None] - draws.padding
        at = at.abs()
        return torch.where(at >= size, 2 * (size - 1) - at, at).to(device)  # (b, size), reflected

    rows, columns = index(height, draws.rows[places]), index(width, draws.columns[places])
    mirrored = torch.from_numpy(draws.mirrored[places]).to(device)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    picked = images[ids[:, None, None], rows[:, :, None], columns[:, None, :]].long()  # (b, h, w, c)
    return torch.stack([table[c][picked[..., c]] for c in range(channels)], -1).permute(0, 3, 1, 2)


@numba.njit(cache=True, nogil=True)
def _fill(images, ids, rows, columns, mirrored, padding, table, out):  # noqa: ANN001, ANN202
    _, height, width, channels = images.shape
    from_column = np.empty(width, np.int64)
    for b in range(len(ids)):
        for x in range(width):
            at = abs((width - 1 - x if mirrored[b] else x) + columns[b] - padding)
            from_column[x] = 2 * (width - 1) - at if at >= width else at
        for y in range(height):
            at = abs(y + rows[b] - padding)
            row = images[ids[b], 2 * (height - 1) - at if at >= height else at]
            for x in range(width):
                for c in range(channels):
                    out[b, y, x, c] = table[c, row[from_column[x], c]]
