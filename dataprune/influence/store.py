"""The store of an influence experiment: one file a model, of what it was trained on and what it said on every target.

    experiment.json       what is common to all: number of models, names of the units (classes or examples), true
                          classes of the targets and their names, schema, and what the experiment is of
    models/<number>.npz   bool as bits (ceil(units / 8),): 1 = the model was trained on this unit; (targets,) for every
                          key of the schema; what the model took, and a hash of experiment.json's content

    masks/<number>.npy    instead of the bits in each model's file, where several stores are about the same models and
                          other targets: beside the stores, told apart by its SHA-256 in each model's file

Any number of processes and machines write, and nobody locks: a file is complete or not there, so a kill leaves a model
that is finished or one that is to be run again. A file that was damaged, or is of another experiment, is told by name:
a mixed store would give wrong influences in silence.
"""

import io
import json
import lzma
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, first
from dataprune.store import fingerprint, whole_file, write_json

Schema = dict[str, str]  # key -> numpy dtype name

# what zipfile raises for a file whose bytes have changed
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, OSError, RuntimeError, ValueError)


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
        shared: str | None = None,
    ) -> "OutcomeStore":
        """Make the store, or join it if it is of the same experiment; a ConfigError names the first difference.

        units: names of what models are trained on (classes or examples); labels: int (t,), the targets' true classes;
        targets: names of these classes. experiment: plain values that tell experiments apart (data sets, recipes,
        seeds). shared: a folder, relative to the root, in which stores of other targets keep the same masks.
        """
        spec: dict[str, Any] = {"models": models, "units": list(units), "labels": np.asarray(labels).tolist()}
        spec = json.loads(json.dumps(spec | {"targets": list(targets), "schema": schema, "experiment": experiment}))
        spec |= {} if shared is None else {"masks": shared}
        (Path(root) / "models").mkdir(parents=True, exist_ok=True)
        file = Path(root) / "experiment.json"
        if not file.exists():
            write_json(file, spec)
        store = cls.open(root)  # not what we wrote: another job may have been there at the same moment
        for key, value in spec.items():
            if store.spec.get(key) != value:
                there = textwrap.shorten(repr(store.spec.get(key)), 300)
                expected = f"{there} as in {root}: the store is of another experiment, take another folder"
                raise ConfigError(f"influence.{key}", Shown(textwrap.shorten(repr(value), 300)), expected)
        return store

    @classmethod
    def open(cls, root: Path | str) -> "OutcomeStore":
        """Open an existing store."""
        path = Path(root) / "experiment.json"
        if not path.exists():
            raise ConfigError("store", str(root), "the folder of an influence experiment (run.influence.store)")
        return cls(Path(root), json.loads(path.read_text()))

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (t,): true classes of the targets."""
        return np.array(self.spec["labels"], np.int64)

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """Names of the `units` and of the `targets`' classes."""
        return {"units": self.spec["units"], "targets": self.spec["targets"]}

    @cached_property
    def of(self) -> str:
        """Hash of the experiment, which every model's file repeats."""
        return fingerprint(self.spec)

    def file(self, model: int) -> Path:
        """The file of a model, finished or not."""
        return self.root / "models" / f"{model:06d}.npz"

    def write(self, model: int, mask: np.ndarray, outcomes: dict[str, np.ndarray], cost: dict[str, Any]) -> None:
        """Write a model: mask bool (units,), outcomes key -> (targets,), and what it took in the words of cost.json.

        A finished one is replaced, but refused if it was of another mask.
        """
        if not 0 <= model < self.spec["models"]:
            raise ConfigError("model", model, f"0 to {self.spec['models'] - 1}, as {self.root} was made")
        units, targets = len(self.spec["units"]), len(self.spec["labels"])
        if mask.shape != (units,) or mask.dtype != bool:
            raise ConfigError("mask", Shown(f"{mask.dtype} {mask.shape}"), f"bool ({units},)")
        arrays = {key: np.asarray(outcomes[key], kind) for key, kind in self.spec["schema"].items()}
        for key, values in arrays.items():
            if values.shape != (targets,):
                raise ConfigError(key, Shown(f"array of shape {values.shape}"), f"shape ({targets},)")
        if self.file(model).exists() and not np.array_equal(self.masks(np.array([model]))[0], mask):
            raise ConfigError("mask", Shown(f"another subset for model {model}"), f"the one in {self.root}")
        bits, about = np.packbits(mask), {"of": self.of, "cost": cost}
        if "masks" in self.spec:
            about["mask"] = self._share(model, bits)
        else:
            arrays["mask"] = bits
        with whole_file(self.file(model)) as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]

    def models(self) -> np.ndarray:
        """Numbers of the finished models, int64, rising."""
        files = (self.root / "models").glob("[0-9]*.npz")
        return np.array(sorted(int(file.stem) for file in files), np.int64)

    def _share(self, model: int, bits: np.ndarray) -> str:
        """Write a mask beside the stores, unless one of them has; returns the hash of its bits."""
        path = self._shared(model)
        path.parent.mkdir(exist_ok=True)
        if path.exists() and not np.array_equal(np.load(path, allow_pickle=False), bits):
            raise ConfigError("mask", Shown(f"another subset for model {model}"), f"the one in {path}")
        if not path.exists():
            with whole_file(path) as file:
                np.save(file, bits)
        return _hash(bits)

    def _shared(self, model: int) -> Path:
        return self.root / self.spec["masks"] / f"{model:06d}.npy"

    def masks(self, models: np.ndarray) -> np.ndarray:
        """bool (m, units): what each of these models was trained on."""
        units = len(self.spec["units"])
        masks = np.empty((len(models), units), bool)
        self._each_mask(models, lambda row, bits: np.copyto(masks[row], np.unpackbits(bits, count=units) == 1))
        return masks

    def packed(self, models: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
        """uint8 (m, ceil(units / 8)), rows of np.packbits; into: an array to fill, a memory map say."""
        bits = into if into is not None else np.empty((len(models), self.row_bytes), np.uint8)
        self._each_mask(models, lambda row, mask: np.copyto(bits[row], mask))
        return bits

    @property
    def row_bytes(self) -> int:
        """Bytes of a model's packed mask."""
        return -(-len(self.spec["units"]) // 8)

    def _each_mask(self, models: np.ndarray, use: Callable[[int, np.ndarray], Any]) -> None:
        """Call `use` with the place and the packed mask of every model."""
        if "masks" not in self.spec:
            return self._each(models, "mask", use)

        def look(row: int, about: np.ndarray) -> None:
            bits = np.load(self._shared(int(models[row])), allow_pickle=False)
            if _hash(bits) != json.loads(str(about))["mask"]:
                raise ValueError("another mask")
            use(row, bits)

        self._each(models, "about", look)

    def outcomes(
        self,
        key: str,
        models: np.ndarray,
        targets: np.ndarray | slice = slice(None),
        into: np.ndarray | None = None,
    ) -> np.ndarray:
        """(m, targets) in the schema's dtype: what each of these models said on these targets (ids; by default all);
        into: an array to fill, a memory map say."""
        array = into
        if array is None:
            array = np.empty((len(models), len(self.labels[targets])), self.spec["schema"][key])
        self._each(models, key, lambda row, values: np.copyto(array[row], values[targets]))
        return array

    def costs(self, models: np.ndarray) -> list[dict[str, Any]]:
        """What each of these models took, as `write` was told."""
        costs: list[dict[str, Any]] = [{} for _ in models]
        self._each(models, "about", lambda row, about: costs[row].update(json.loads(str(about))["cost"]))
        return costs

    def _each(self, models: np.ndarray, name: str, use: Callable[[int, np.ndarray], Any]) -> None:
        """Call `use` with the place and the array `name` of every model; a ConfigError lists all that are broken."""
        damaged, strange = [], []
        for row, model in enumerate(models.tolist()):
            try:
                with zipfile.ZipFile(self.file(model)) as content:
                    if json.loads(str(_member(content, "about")))["of"] != self.of:
                        strange.append(model)
                    else:
                        use(row, _member(content, name))
            except DAMAGE:
                damaged.append(model)
        for broken, what in ((damaged, "damaged"), (strange, "of another experiment")):
            if broken:
                expected = f"files as they were written: remove these from {self.root / 'models'} and run them again"
                raise ConfigError("store", Shown(f"models {first(np.array(broken))}, whose files are {what}"), expected)


def _hash(bits: np.ndarray) -> str:
    return sha256(bits.tobytes()).hexdigest()


def _member(content: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an .npz file, read whole first: that compares its checksum before anything is made of it."""
    return np.lib.format.read_array(io.BytesIO(content.read(f"{name}.npy")), allow_pickle=False)
