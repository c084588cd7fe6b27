"""Features as the neighbour searches want them: read in blocks, centred, multiplied in float32 or bfloat16."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, finite, shaped

BLOCK = 2048  # rows of a block; a tile of products is then 16 MB

Product = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


@dataclass(frozen=True)
class Points:
    """The features and what the products need: centred, because |x|^2 + |y|^2 - 2xy loses digits far from 0."""

    rows: np.ndarray  # (n, d) as given
    center: np.ndarray  # float32 (d,)
    squares: np.ndarray  # float32 (n,), squared lengths of the (rounded) centred rows
    precision: str

    def raw(self, rows: slice | np.ndarray) -> np.ndarray:
        """These rows as float32, for exact distances."""
        return np.ascontiguousarray(self.rows[rows], np.float32)

    def centred(self, rows: slice | np.ndarray) -> np.ndarray:
        """These rows for products: less the centre, and rounded if the products are taken in bfloat16."""
        block = np.subtract(self.rows[rows], self.center, dtype=np.float32)
        return _as_bfloat16(block) if self.precision == "bfloat16" else block


def centred_points(features: np.ndarray, precision: str) -> Points:
    """Check features (n, d) and find their centre and lengths in two passes over blocks."""
    rows = shaped("features", features, "n", "d")
    if rows.dtype.kind not in "fiu" or rows.size == 0:
        raise ConfigError("features", Shown(f"{rows.dtype} of shape {rows.shape}"), "a non-empty array of numbers")
    if precision not in ("float32", "bfloat16"):
        raise ConfigError("precision", precision, '"float32" (exact) or "bfloat16" (faster)')
    finite("features", rows)
    center = (sum(rows[block].sum(0, dtype=np.float64) for block in blocks(len(rows))) / len(rows)).astype(np.float32)
    points = Points(rows, center, np.empty(len(rows), np.float32), precision)
    with np.errstate(over="ignore"):  # seen below
        for block in blocks(len(rows)):
            points.squares[block] = np.square(points.centred(block), dtype=np.float64).sum(1)
    if not np.isfinite(points.squares).all():
        raise ConfigError("features", Shown("values whose squares overflow float32"), "features scaled below 1e18")
    return points


def blocks(n: int, size: int | None = None) -> Iterator[slice]:
    """The rows 0..n in slices of `size` (BLOCK)."""
    return spans(n, 0, size or BLOCK)


def _as_bfloat16(block: np.ndarray) -> np.ndarray:
    """The float32 block rounded to what bfloat16 can hold."""
    import torch

    return torch.from_numpy(block).bfloat16().float().numpy()


@contextmanager
def products(precision: str) -> Iterator[Product]:
    """A function (a, b, out) that writes -2 a b^T to `out`, all float32."""
    if precision == "float32":
        yield lambda a, b, out: np.matmul(np.float32(-2) * a, b.T, out=out)
        return
    import torch

    # oneDNN may then multiply in bfloat16 and adds in float32; the operands are already rounded, so a processor
    # without such instructions gives the same products, only slower
    backend: Any = torch.backends.mkldnn
    with matmul_setting(backend.matmul, "bf16"):
        yield lambda a, b, out: torch.mm(torch.from_numpy(-2 * a), torch.from_numpy(b).T, out=torch.from_numpy(out))


@contextmanager
def matmul_setting(backend: Any, value: str) -> Iterator[None]:
    """One of torch's process-wide precision settings, put back at the end."""
    before, backend.fp32_precision = backend.fp32_precision, value
    try:
        yield
    finally:
        backend.fp32_precision = before
