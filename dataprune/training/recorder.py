"""Record training dynamics from any PyTorch loop: five numbers an example and epoch, memory-mapped on disk.

    with Recorder("dynamics", n=len(train_set), epochs=30) as recorder:
        for epoch in range(30):
            for ids, images, labels in loader:
                logits = network(images)
                ...
                recorder.update(epoch, ids, logits, labels)

leaves `dynamics/p_true.npy`, `margin.npy`, `error.npy`, `logit_gap.npy` (float32 (epochs, n), NaN = not seen),
`correct.npy` (bool (epochs, n), False where not seen) and `dynamics.json` (epochs done, examples not seen in each). The
score functions in `dataprune.scores.dynamics` take these arrays as they are.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from dataprune.arrays import RECORDED
from dataprune.callables import function_at
from dataprune.errors import ConfigError, Shown, first
from dataprune.store import create_array, write_json
from dataprune.training.quantities import Outputs

ROWS = {name: np.dtype(array.dtype) for name, array in RECORDED.items()}
FUNCTIONS = [function_at(str(array.function)) for array in RECORDED.values()]
SEEN = list(ROWS).index("correct")  # the row that is a number wherever an example was seen


class Recorder:
    """Writes one row an epoch of every quantity; a row is on disk before `dynamics.json` says that its epoch is done.

    path: folder; if it holds the dynamics of the same n, epochs and fingerprint, recording goes on there (an epoch that
    is recorded again replaces its row). n: examples of the whole data set, epochs: rows to hold. n_classes: also
    record the full softmax, float16 (epochs, n, n_classes) in `probabilities.npy`. fingerprint: of the data set; a
    folder with another one is refused.

    Under torch.distributed every process calls `update` with its share and all reach the end of the epoch together;
    process 0 writes. An example that appears twice in an epoch (padding) keeps its first value, of the lowest rank.
    """

    def __init__(
        self, path: Path | str, n: int, epochs: int, *, n_classes: int | None = None, fingerprint: str | None = None
    ) -> None:
        for name, value in (("n", n), ("epochs", epochs)):
            if value < 1:
                raise ConfigError(name, value, "1 or more")
        self.path, self.n, self.epochs, self.n_classes = Path(path), n, epochs, n_classes
        self.epoch: int | None = None
        self.rows: torch.Tensor | None = None  # float32 (q, n) on the device of the logits, NaN = not seen yet
        self.full: torch.Tensor | None = None  # float16 (n, classes)
        self.firsts = torch.empty(0)  # int64 (n,), how many of this epoch had been taken in before an example came
        self.taken = 0  # of this epoch
        header = {"n": n, "epochs": epochs, "n_classes": n_classes, "fingerprint": fingerprint}
        if self._is_writer:
            self._open(header)

    @property
    def _is_writer(self) -> bool:
        return not dist.is_initialized() or dist.get_rank() == 0

    def _open(self, header: dict[str, Any]) -> None:
        """Create the arrays, or check that those in the folder are of the same data."""
        sidecar = self.path / "dynamics.json"
        if sidecar.exists():
            there = json.loads(sidecar.read_text())
            for key, value in header.items():
                if there[key] != value:
                    raise ConfigError(key, value, f"{key}={there[key]!r} as in {self.path}, or another folder")
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for name, kind in ROWS.items():
            array = create_array(self.path / f"{name}.npy", kind, (self.epochs, self.n))
            if kind == np.float32:
                array[:] = np.nan
        if self.n_classes:
            shape = (self.epochs, self.n, self.n_classes)
            create_array(self.path / "probabilities.npy", np.float16, shape)[:] = np.nan
        write_json(sidecar, header | {"unseen": {}})

    def update(
        self,
        epoch: int,
        ids: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        real: torch.Tensor | None = None,
    ) -> None:
        """Take in one batch: ids int (b,), logits float (b, classes), labels int (b,).

        real: bool (b,), False for repeats that only fill a batch up. No host synchronisation, nothing kept from the
        graph. When `epoch` is another one than before, the earlier one's row is written first.
        """
        if epoch != self.epoch:
            self.flush()
            self._begin(epoch, ids, logits, labels)
        assert self.rows is not None
        device = logits.device
        ids, labels = ids.to(device, torch.int64), labels.to(device, torch.int64)  # uint8 ids would be a mask
        if real is not None:
            real = real.to(device)
            ids, logits, labels = ids[real], logits[real], labels[real]
        with torch.no_grad():
            values, p = quantities(logits.detach(), labels)
            # the place in this batch where each example came first, negative = in an earlier batch: repeats then write
            # the same value, in whatever order a device writes them
            places = torch.arange(self.taken, self.taken + len(ids), device=device)
            place = self.firsts.scatter_reduce_(0, ids, places, "amin")[ids] - self.taken
            seen, place = place < 0, place.clamp_min(0)
            self.rows[:, ids] = torch.where(seen, self.rows[:, ids], values[:, place])
            if self.full is not None:
                self.full[ids] = torch.where(seen[:, None], self.full[ids], p.half()[place])
        self.taken += len(ids)

    def _begin(self, epoch: int, ids: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Check an epoch's first batch and clear the buffers. Later batches are not checked: it would cost a sync."""
        if not 0 <= epoch < self.epochs:
            raise ConfigError(
                "epoch", epoch, f"0 to {self.epochs - 1} (this recorder was made for {self.epochs} epochs)"
            )
        if logits.ndim != 2 or ids.shape != labels.shape or ids.shape != logits.shape[:1]:
            shapes = f"{tuple(ids.shape)}, {tuple(logits.shape)}, {tuple(labels.shape)}"
            raise ConfigError("ids, logits, labels", Shown(shapes), "shapes (b,), (b, classes), (b,)")
        for name, values, end in (("ids", ids, self.n), ("labels", labels, logits.shape[1])):
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= end:
                raise ConfigError(name, Shown(f"{low} to {high}"), f"0 to {end - 1}")
        self.epoch = epoch
        self.rows = torch.full((len(ROWS), self.n), torch.nan, device=logits.device)
        self.firsts = torch.full((self.n,), torch.iinfo(torch.int64).max, device=logits.device)
        self.taken = 0
        if self.n_classes:
            self.full = torch.full((self.n, self.n_classes), torch.nan, dtype=torch.float16, device=logits.device)

    def flush(self) -> None:
        """Write the current epoch's row. Raises ConfigError, with the first ids, if logits were NaN or inf."""
        if self.rows is None or self.epoch is None:
            return
        rows, full, epoch = _combined(self.rows, self.rows[SEEN]), self.full, self.epoch
        self.rows = self.full = None
        self.epoch = None
        if full is not None:
            full = _combined(full.T, full[:, -1]).T
        if not self._is_writer:
            return
        values = rows.cpu().numpy()
        seen = ~np.isnan(values[SEEN])
        broken = np.flatnonzero(seen & np.isnan(values).any(0))
        if len(broken):
            where = Shown(f"NaN or inf at ids {first(broken)}")
            raise ConfigError("logits", where, f"finite numbers; epoch {epoch} was not recorded")
        for name, row in zip(ROWS, values, strict=True):
            self._write(name, epoch, np.where(seen, row, 0).astype(bool) if ROWS[name] == np.bool_ else row)
        if full is not None:
            self._write("probabilities", epoch, full.cpu().numpy())
        sidecar = self.path / "dynamics.json"
        header = json.loads(sidecar.read_text())
        header["unseen"][str(epoch)] = int((~seen).sum())
        write_json(sidecar, header)

    def _write(self, name: str, epoch: int, row: np.ndarray) -> None:
        array = np.lib.format.open_memmap(self.path / f"{name}.npy", "r+")
        array[epoch] = row
        array.flush()

    def close(self) -> None:
        """Write what is left."""
        self.flush()

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:  # an epoch cut short by an error is not an epoch
            self.close()


def quantities(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float32 (q, b), the recorded quantities in the order of ROWS, and the softmax, float32 (b, classes).

    logits: float (b, classes); labels: int64 (b,). What they are: dataprune.training.quantities.
    """
    outputs = Outputs(logits, labels)
    return torch.stack([function(outputs) for function in FUNCTIONS]), outputs.p


def _combined(rows: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """The union of all processes' rows (q, n), where `row` (n,) is NaN for what a process has not seen; where several
    have a value, the lowest rank's."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    seen = ~row.isnan()
    owner = torch.where(seen, dist.get_rank(), dist.get_world_size())
    dist.all_reduce(owner, dist.ReduceOp.MIN)
    mine = torch.where(owner == dist.get_rank(), rows, 0)
    dist.all_reduce(mine)
    return torch.where(owner < dist.get_world_size(), mine, torch.nan)
