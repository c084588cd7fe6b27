"""The losses that a policy has observed, kept so that the epoch in which they come does not change under way."""

import numpy as np

from dataprune.dynamic.arrays import array, checked_ids
from dataprune.errors import ConfigError, Shown, first


class Observations:
    """Losses by id; NaN = not observed.

    last: float32 (n,), the last known loss before the current epoch, stale where an example was left out since. row:
    float32 (n,), of the current epoch so far. history: float32 (depth, n), of the last `depth` epochs, the newest
    below; an epoch that observed nothing is none.
    """

    def __init__(self, n: int, depth: int = 0) -> None:
        self.last, self.row = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
        self.history = np.full((depth, n), np.nan, np.float32)
        self.any = False  # whether `row` holds something

    def add(self, ids: np.ndarray, losses: np.ndarray) -> None:
        """Take in losses of the current epoch, ids int (b,), losses float (b,), or raise a ConfigError and take none.

        Of an example that comes twice in an epoch the first value counts: later ones fill a batch up.
        """
        ids, values = checked_ids(ids, len(self.row)), array(losses).astype(np.float32)
        if values.shape != ids.shape:
            raise ConfigError("losses", Shown(f"shape {values.shape}"), f"shape {ids.shape}: one loss an id")
        broken = ~np.isfinite(values)
        if broken.any():
            raise ConfigError("losses", Shown(f"NaN or inf at ids {first(ids[broken])}"), "finite numbers")
        fresh = np.isnan(self.row[ids])
        self.row[ids[fresh][::-1]] = values[fresh][::-1]  # backwards: the first of equal ids is written last
        self.any |= len(ids) > 0

    def close(self) -> None:
        """End the current epoch: its losses become the last known ones."""
        if not self.any:
            return
        self.last = np.where(np.isnan(self.row), self.last, self.row)
        if len(self.history):
            self.history = np.concatenate([self.history[1:], self.row[None]])
        self.row, self.any = np.full_like(self.row, np.nan), False

    def arrays(self) -> dict[str, np.ndarray]:
        """Return a copy of what later epochs follow from, by name."""
        return {name: getattr(self, name).copy() for name in ("last", "row", "history")}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Become what `arrays` returned."""
        for name, values in arrays.items():
            setattr(self, name, values.copy())
        self.any = not np.isnan(self.row).all()
