"""The portable subset file: which examples to keep, in a form that any program can read.

`subset.npz` holds `ids` (int64, sorted), where there are any `order` (ids in pick order), `weights` (float32, one an
id) and `classes` (int64), and `header`, a JSON string: method, prune_ratio, n, fingerprint of the data set, seed,
version.
"""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataprune import __version__
from dataprune.errors import ConfigError, Shown, first, shaped

ARRAYS = ("order", "weights", "classes")


@dataclass(frozen=True)
class Subset:
    """A selection of examples of one data set."""

    ids: np.ndarray  # int64, sorted
    n: int  # examples of the whole data set
    fingerprint: str  # of the data set; a reader refuses another one
    order: np.ndarray | None = None  # int64, ids as they were picked
    weights: np.ndarray | None = None  # float32, one an id
    classes: np.ndarray | None = None  # int64, kept classes where whole classes were pruned
    header: dict[str, Any] = field(default_factory=dict)  # method, prune_ratio, seed, ...

    def __post_init__(self) -> None:
        if len(self.ids) == 0 or np.any(np.diff(self.ids) <= 0):
            raise ConfigError("ids", self.ids, "at least one id, sorted, none twice")
        if self.ids[0] < 0 or self.ids[-1] >= self.n:
            wrong = self.ids[(self.ids < 0) | (self.ids >= self.n)]
            raise ConfigError("ids", Shown(first(wrong)), f"ids of 0 to {self.n - 1}")
        for name in ("order", "weights"):
            if (array := getattr(self, name)) is not None:
                shaped(name, array, len(self.ids))
        if self.order is not None and not np.array_equal(np.sort(self.order), self.ids):
            raise ConfigError("order", Shown("array of other ids"), "the ids of the subset as they were picked")

    def save(self, path: Path | str) -> None:
        """Write subset.npz."""
        header = self.header | {"n": self.n, "fingerprint": self.fingerprint, "version": __version__}
        arrays = {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}
        np.savez(path, ids=self.ids, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: Path | str, fingerprint: str | None = None) -> "Subset":
        """Read subset.npz; with `fingerprint`, refuse a subset of another data set."""
        expected = "a file with ids and header, as Subset.save writes it"
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
                header = json.loads(str(content["header"]))
                arrays = {name: content[name] for name in ARRAYS if name in content}
                ids, n, made_for = content["ids"], header.pop("n"), header.pop("fingerprint")
        # an .npy or text file, a half copied one, another program's npz
        except (TypeError, AttributeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError("subset", str(path), expected) from error
        if fingerprint is not None and made_for != fingerprint:
            raise ConfigError(
                "subset", str(path), f"a subset of this data set ({fingerprint[:8]}), not of {made_for[:8]}"
            )
        return cls(ids, n, made_for, header=header, **arrays)
