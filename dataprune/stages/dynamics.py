"""Stage dynamics: what another program recorded while it trained, in the form in which our own training records it.

Inputs: `examples` (index) of the data that it trained on; the recording lies outside the store, the SHA-256 of its
files, and of their cost.json, is in the recipe. Files: those of p_true.npy, margin.npy, error.npy, logit_gap.npy
(float32 (epochs, n), NaN = not seen) and correct.npy (bool) that the recording has, and dynamics.json, as the Recorder
writes them.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown, first
from dataprune.formats.dynamics import Epoch, Found, check_recorder, epochs, in_unit, look, placed
from dataprune.progress import track
from dataprune.stage_configs import DynamicsConfig
from dataprune.store import create_array, write_json
from dataprune.training.recorder import ROWS, quantities

CONFIG = DynamicsConfig
BLOCK = 8192  # examples whose outputs are in memory at a time: 33 MB in float32 for 1000 classes

Row = dict[str, np.ndarray]  # quantity -> (n,), or (n, classes) of probabilities


def run(config: DynamicsConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Read, check and write epoch by epoch; returns the layout that was read and how much it holds."""
    examples = Examples(inputs["examples"], "train")
    try:
        return _taken_over(config, examples, work, label)
    except ConfigError as error:
        raise error.under("surrogate") from None


def _taken_over(config: DynamicsConfig, examples: Examples, work: Path, label: str) -> dict[str, Any]:
    found, n, n_classes = look(config.path), len(examples), len(examples.classes)
    names = [name for name in ROWS if name in found.quantities]
    full = config.probabilities and "probabilities" in found.quantities
    if found.layout == "recorder":
        check_recorder(found, n, examples.fingerprint)
        assert found.epochs is not None
        count, rows = found.epochs, _copied(found, names, full)
    else:
        count, recorded = epochs(found)
        rows = (_row(epoch, examples, names, full) for epoch in recorded)
    arrays = {name: _created(work, name, ROWS[name], count, n) for name in names}
    if full:
        arrays["probabilities"] = _created(work, "probabilities", np.float16, count, n, n_classes)
    never, unseen = _write(arrays, track(rows, label, count))
    if len(never):
        where = Shown(f"{str(found.path)!r} without ids {first(never)}")
        raise ConfigError("dynamics", where, "every example in some epoch; is it of another data set?")
    header = {"n": n, "epochs": count, "n_classes": n_classes if full else None, "fingerprint": examples.fingerprint}
    write_json(work / "dynamics.json", header | {"unseen": {str(e): missed for e, missed in enumerate(unseen)}})
    facts = {"layout": found.layout, "epochs": count, "n": n, "quantities": names, "unseen": sum(unseen)}
    return facts | {"elsewhere": told_of(config.path, "dynamics")}


def _created(work: Path, name: str, kind: Any, *shape: int) -> np.memmap:
    return create_array(work / f"{name}.npy", kind, shape)


def _write(arrays: dict[str, np.memmap], rows: Iterable[Row]) -> tuple[np.ndarray, list[int]]:
    """Write the rows, one an epoch; returns the ids that no epoch has seen, and how many each epoch has not."""
    ever, unseen = np.zeros(arrays["p_true"].shape[1], bool), []
    for epoch, row in enumerate(rows):
        for name, array in arrays.items():
            array[epoch] = row[name]
        seen = ~np.isnan(row["p_true"])
        ever |= seen
        unseen.append(int((~seen).sum()))
    for array in arrays.values():
        array.flush()
    return np.flatnonzero(~ever), unseen


def _copied(found: Found, names: list[str], full: bool) -> Iterator[Row]:
    """The rows of a Recorder's folder."""
    wanted = names + ["probabilities"] * full
    arrays = {name: np.load(found.path / f"{name}.npy", mmap_mode="r") for name in wanted}
    assert found.epochs is not None
    for epoch in range(found.epochs):
        row = {name: np.asarray(array[epoch]) for name, array in arrays.items()}
        seen = np.flatnonzero(~np.isnan(row["p_true"]))
        in_unit(found.path, row["p_true"][seen], seen)
        yield row


def _row(epoch: Epoch, examples: Examples, names: list[str], full: bool) -> Row:
    """The quantities of one epoch for all examples, NaN (False in `correct`) where it has not seen one."""
    n, n_classes = len(examples), len(examples.classes)
    ids, places = placed(epoch, n)
    row: Row = {name: np.zeros(n, bool) if ROWS[name] == np.bool_ else np.full(n, np.nan, np.float32) for name in names}
    wanted = (n,) if names == ["p_true"] else (len(epoch.values), n_classes)
    if epoch.values.shape != wanted:
        found = Shown(f"{str(epoch.file)!r} with an array of shape {epoch.values.shape}")
        raise ConfigError("dynamics", found, f"shape {wanted}: the source has {n} examples of {n_classes} classes")
    if epoch.kind == "p_true":
        row["p_true"][ids] = epoch.values[places]
        return row
    if full:
        row["probabilities"] = np.full((n, n_classes), np.nan, np.float16)
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        values = np.asarray(epoch.values[places[start : start + BLOCK]], np.float32)
        found_here, p = _quantities(epoch, values, examples.labels[block], block)
        for name in names:
            row[name][block] = found_here[name]
        if full:
            row["probabilities"][block] = p
    return row


def _quantities(epoch: Epoch, values: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> tuple[Row, np.ndarray]:
    """Quantities (b,) and probabilities (b, classes) of outputs float32 (b, classes)."""
    if epoch.kind == "probabilities":
        p = in_unit(epoch.file, values, ids)
    else:
        if len(wrong := np.flatnonzero(~np.isfinite(values).all(1))):
            found = Shown(f"{str(epoch.file)!r} with NaN or inf at ids {first(ids[wrong])}")
            raise ConfigError("dynamics", found, "finite outputs")
        if epoch.kind == "logits":
            four, softmax = quantities(torch.from_numpy(values), torch.from_numpy(labels))
            return dict(zip(ROWS, four.numpy(), strict=True)), softmax.numpy()
        p = np.minimum(np.exp(values), 1)
    # half precision moves a sum over 1000 classes by less than a thousandth
    if len(wrong := np.flatnonzero(np.abs(p.sum(1, dtype=np.float64) - 1) > 0.01)):
        found = Shown(f"{str(epoch.file)!r} without a softmax at ids {first(ids[wrong])}")
        raise ConfigError("dynamics", found, f"{epoch.kind} of all classes, whose probabilities sum to 1")
    at = np.arange(len(labels)), labels
    p_true, others = p[at], p.copy()
    others[at] = 0
    # CCS takes the difference from 1 by its definition; its half precision does not sum to 1 (see also the Recorder)
    rest = 1 - p_true if epoch.kind == "log_probabilities" else others.sum(1)
    error = np.sqrt(rest**2 + np.square(others).sum(1))
    gap, right = _gap(epoch, values, labels), values.argmax(1) == labels
    return {"p_true": p_true, "margin": p_true - others.max(1), "error": error, "correct": right, "logit_gap": gap}, p


def _gap(epoch: Epoch, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The true logit minus the largest other, (b,), of probabilities or their logarithms: softmax takes the same number
    from all logits. A probability of 0 counts as the smallest one that is told from it."""
    logs = values if epoch.kind == "log_probabilities" else np.log(np.maximum(values, np.finfo(np.float32).tiny))
    others = logs.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return logs[np.arange(len(labels)), labels] - others.max(1)
