"""One memory-mapped store for the outcomes of many models: what each was trained on, what it said on every target.

    spec.json       number of models, units (classes or examples), schema, and what the experiment is of
    names.json      names of the units and of the target classes; labels.npy int64 (t,): the targets' true classes
    masks.npy       bool as bits (models, ceil(units / 8)): 1 = the model was trained on this unit
    <key>.npy       (models, targets) for every key of the schema
    checksums.npy   SHA-256 of each model's mask and rows
    completed.npy   bool (models,), set last

Any number of processes write their own rows; the mask is on disk before the outcomes, the flag after both. A row counts
only when it is flagged and its checksum fits: a half-written or shifted store would give wrong influences in silence.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from dataprune.errors import ConfigError, Shown, first
from dataprune.store.disk import create_array
from dataprune.store.results import write_json

Schema = dict[str, str]  # key -> numpy dtype name


@dataclass(frozen=True)
class OutcomeStore:
    """Opened by `create` (writers) or `open` (readers)."""

    root: Path
    spec: dict[str, Any]

    @classmethod
    def create(
        cls,
        root: Path | str,
        *,
        models: int,
        units: list[str],
        labels: np.ndarray,
        targets: list[str],
        schema: Schema,
        experiment: dict[str, Any],
    ) -> "OutcomeStore":
        """Make the store, or join it if it is of the same experiment; a ConfigError names the first difference.

        units: names of what models are trained on (classes or examples); labels: int (t,), the targets' true classes;
        targets: names of these classes. experiment: plain values that tell experiments apart (data sets, recipes,
        seeds).
        """
        root = Path(root)
        counts = {"models": models, "units": len(units), "targets": len(labels)}
        spec = counts | {"schema": schema, "experiment": experiment}
        spec = json.loads(json.dumps(spec))
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "create.lock"):
            if (root / "spec.json").exists():
                there = json.loads((root / "spec.json").read_text())
                for key in spec:
                    if there[key] != spec[key]:
                        expected = (
                            f"{there[key]!r} as in {root}: the store is of another experiment, take another folder"
                        )
                        raise ConfigError(f"influence.{key}", spec[key], expected)
                return cls(root, there)
            arrays: dict[str, tuple[Any, tuple[int, ...]]] = {
                "masks": (np.uint8, (models, -(-len(units) // 8))),
                "checksums": (np.uint8, (models, 32)),
            }
            arrays |= {key: (np.dtype(kind), (models, len(labels))) for key, kind in schema.items()}
            arrays |= {"completed": (np.bool_, (models,))}
            for name, (kind, shape) in arrays.items():
                create_array(root / f"{name}.npy", kind, shape).flush()
            np.save(root / "labels.npy", np.asarray(labels, np.int64))
            write_json(root / "names.json", {"units": units, "targets": targets})
            write_json(root / "spec.json", spec)  # last: without it the next process makes everything anew
        return cls(root, spec)

    @classmethod
    def open(cls, root: Path | str) -> "OutcomeStore":
        """Open an existing store."""
        path = Path(root) / "spec.json"
        if not path.exists():
            raise ConfigError("store", str(root), "the folder of an influence experiment (run.influence.store)")
        return cls(Path(root), json.loads(path.read_text()))

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (t,): true classes of the targets."""
        return np.load(self.root / "labels.npy")

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of the `units` and of the `targets`' classes."""
        return json.loads((self.root / "names.json").read_text())

    def array(self, name: str, mode: Any = "r") -> np.ndarray:
        """One of the arrays, memory-mapped."""
        return np.lib.format.open_memmap(self.root / f"{name}.npy", mode)

    def write(self, model: int, mask: np.ndarray, outcomes: dict[str, np.ndarray]) -> None:
        """Write row `model`: mask bool (units,), outcomes key -> (targets,).

        A finished row with another mask is refused.
        """
        if not 0 <= model < self.spec["models"]:
            raise ConfigError("model", model, f"0 to {self.spec['models'] - 1}, as {self.root} was made")
        if mask.shape != (self.spec["units"],) or mask.dtype != bool:
            raise ConfigError("mask", Shown(f"{mask.dtype} {mask.shape}"), f"bool ({self.spec['units']},)")
        packed, masks = np.packbits(mask), self.array("masks", "r+")
        if self.array("completed")[model] and not np.array_equal(masks[model], packed):
            raise ConfigError("mask", Shown(f"another subset for model {model}"), f"the one in {self.root}")
        masks[model] = packed
        masks.flush()  # type: ignore[attr-defined]
        rows = {}
        for key, kind in self.spec["schema"].items():
            rows[key] = np.asarray(outcomes[key], kind)
            if rows[key].shape != (self.spec["targets"],):
                raise ConfigError(key, Shown(f"array of shape {rows[key].shape}"), f"shape ({self.spec['targets']},)")
            array = self.array(key, "r+")
            array[model] = rows[key]
            array.flush()  # type: ignore[attr-defined]
        for name, value in (("checksums", self._checksum(packed, rows)), ("completed", True)):
            array = self.array(name, "r+")
            array[model] = value
            array.flush()  # type: ignore[attr-defined]

    def _checksum(self, packed: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
        digest = hashlib.sha256(packed.tobytes())
        for key in self.spec["schema"]:
            digest.update(np.ascontiguousarray(rows[key]).tobytes())
        return np.frombuffer(digest.digest(), np.uint8)

    def models(self) -> np.ndarray:
        """Numbers of the finished models, int64; a ConfigError names rows whose checksum does not fit."""
        finished = np.flatnonzero(self.array("completed"))
        masks, checksums = self.array("masks"), self.array("checksums")
        rows = {key: self.array(key) for key in self.spec["schema"]}
        broken = [
            int(m)
            for m in finished
            if not np.array_equal(checksums[m], self._checksum(masks[m], {k: a[m] for k, a in rows.items()}))
        ]
        if broken:
            expected = f"rows as they were written; in {self.root} set completed.npy to False there and run these again"
            raise ConfigError("store", Shown(f"models {first(broken)} with a wrong checksum"), expected)
        return finished

    def masks(self, models: np.ndarray) -> np.ndarray:
        """bool (models, units)."""
        return np.unpackbits(self.array("masks")[models], axis=1, count=self.spec["units"]).astype(bool)
