"""Estimates over a finished (or growing) influence store; every function returns arrays, the commands print them."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dataprune.cost import TOLD
from dataprune.data.examples import half_of
from dataprune.errors import ConfigError
from dataprune.influence.datamodels import extrapolate, ridge
from dataprune.influence.estimates import (
    influence,
    influence_columns,
    influence_error,
    mean_columns,
    mean_influence,
    rank_correlation,
    split_half,
)
from dataprune.influence.store import OutcomeStore

OUTCOMES = ("p_true", "logit_gap", "correct")
WIDE = 2**14  # units; above, (targets, units) and (models, units) are not held in memory
IN_MEMORY = 2**28  # bytes of an array that is


@dataclass(frozen=True)
class Experiment:
    """The finished models of a store: masks, outcomes on the chosen half of the targets, names."""

    store: OutcomeStore
    outcome: str = "p_true"
    half: str = "first"  # "first" leaves the other half for an honest counterfactual; "all"

    @classmethod
    def open(cls, root: Path | str, outcome: str = "p_true", half: str = "first") -> "Experiment":
        """Open a store; at least four finished models, two for each half of the stability estimate."""
        store = OutcomeStore.open(root)
        experiment = cls(store, outcome, half)
        if len(experiment.models) < 4:
            raise ConfigError("store", str(root), f"4 finished models or more; there are {len(experiment.models)}")
        return experiment

    @cached_property
    def models(self) -> np.ndarray:
        """Numbers of the finished models."""
        return self.store.models()

    @cached_property
    def masks(self) -> np.ndarray:
        """bool (m, units)."""
        return self.store.masks(self.models)

    @cached_property
    def packed(self) -> np.ndarray:
        """uint8 (m, ceil(units / 8)), rows of np.packbits; on disk where they are many (11 GB of 71,753 models)."""
        return self.store.packed(self.models, self._array((len(self.models), self.store.row_bytes), "uint8"))

    @property
    def n(self) -> int:
        """Number of units."""
        return len(self.store.names["units"])

    @property
    def wide(self) -> bool:
        """Whether the units are so many (examples) that influences are taken some columns at a time."""
        return self.n > WIDE

    def _array(self, shape: tuple[int, ...], kind: str) -> np.ndarray:
        """Zeros: in memory, or in a file of the store's disk that goes with the process."""
        if math.prod(shape) * np.dtype(kind).itemsize <= IN_MEMORY:
            return np.zeros(shape, kind)
        return np.memmap(tempfile.TemporaryFile(dir=self.store.root), kind, "w+", shape=shape)

    @cached_property
    def targets(self) -> np.ndarray:
        """Ids of the target test examples that count, int64."""
        labels = self.store.labels
        return np.arange(len(labels)) if self.half == "all" else half_of(labels, self.half)

    def place_of(self, target: int) -> int:
        """Where a target example stands among `targets`; raises ConfigError if it is not in this half."""
        at = np.flatnonzero(self.targets == target)
        if len(at) == 0:
            last = len(self.store.labels) - 1
            raise ConfigError("id", target, f"an id of 0 to {last} in this half of the targets (--half all)")
        return int(at[0])

    @cached_property
    def labels(self) -> np.ndarray:
        """True classes of these targets."""
        return self.store.labels[self.targets]

    @cached_property
    def outputs(self) -> np.ndarray:
        """float32 (m, targets): the chosen outcome."""
        if self.outcome == "correct":
            return (self.predictions == self.labels).astype(np.float32)
        shape, kind = (len(self.models), len(self.targets)), self.store.spec["schema"].get(self.outcome)
        if kind is None:
            raise ConfigError("--outcome", self.outcome, f"one of {', '.join(self.store.spec['schema'])}")
        return self.store.outcomes(self.outcome, self.models, self.targets, self._array(shape, kind))

    @cached_property
    def predictions(self) -> np.ndarray:
        """int32 (m, targets)."""
        return self.store.outcomes("prediction", self.models, self.targets)

    @cached_property
    def cost(self) -> dict[str, float]:
        """What these models took, in the words of cost.json: the figures that are known of every model."""
        there = self.store.costs(self.models)
        told = [name for name in TOLD if all(line.get(name) is not None for line in there)]
        return {name: sum(line[name] for line in there) for name in told}

    @cached_property
    def influence(self) -> np.ndarray:
        """float64 (targets, units): how much the unit's presence raises the outcome."""
        return influence(self.masks, self.outputs)

    @cached_property
    def error(self) -> np.ndarray:
        """Its standard error, same shape."""
        return influence_error(self.masks, self.outputs)

    @cached_property
    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Influence on the mean outcome and its standard error, float64 (units,)."""
        return self.mean_over(slice(None))

    def mean_over(self, places: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The same over some of the targets, by their places among `targets`."""
        if self.wide:
            return mean_columns(self.packed, self.outputs[:, places], self.n)
        return mean_influence(self.masks, self.outputs[:, places])

    def parts(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """(start, stop, influences float64 (targets, stop - start)) of all units, some at a time."""
        if not self.wide:
            yield 0, self.n, self.influence
        else:
            yield from influence_columns(self.packed, self.outputs, self.n)

    def of_unit(self, unit: int) -> tuple[np.ndarray, np.ndarray]:
        """Influence of one unit on every target, and its standard error, float64 (targets,)."""
        if not self.wide:
            return self.influence[:, unit], self.error[:, unit]
        mask = (self.packed[:, unit // 8] >> (7 - unit % 8) & 1).astype(bool)[:, None]
        return influence(mask, self.outputs)[:, 0], influence_error(mask, self.outputs)[:, 0]

    def pairs(self, most: int) -> list[tuple[int, int, float, float]]:
        """The `most` highest and the `most` lowest (unit, place of the target, influence, standard error), strongest
        first on each side."""
        kept: list[tuple[float, int, int]] = []
        for start, stop, part in self.parts():
            flat = np.nan_to_num(part).ravel()
            ends = {place for side in (flat, -flat) for place in np.argpartition(side, min(most, len(side)) - 1)[:most]}
            found = [(float(flat[place]), start + place % (stop - start), place // (stop - start)) for place in ends]
            kept = sorted({*kept, *((value, int(unit), int(target)) for value, unit, target in found)})
            kept = kept if len(kept) <= 2 * most else kept[:most] + kept[-most:]
        chosen = [*kept[::-1][:most], *kept[:most]]
        return [(unit, target, value, self.of_unit(unit)[1][target]) for value, unit, target in chosen]

    def stability(self, points: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """(numbers of models, split-half rank correlation with so many): do the first models agree with each other?"""
        counts = np.unique(np.geomspace(8, len(self.models), points).astype(int))
        counts = counts[counts <= len(self.models)]
        return counts, np.array([self._split_half(count) for count in counts])

    def _split_half(self, count: int) -> float:
        if self.wide:
            halves = [mean_columns(self.packed[i:count:2], self.outputs[i:count:2], self.n)[0] for i in (0, 1)]
            return rank_correlation(*halves)
        masks = self.masks[:count]
        both = (masks[::2].any(0) & ~masks[::2].all(0) & masks[1::2].any(0) & ~masks[1::2].all(0)).sum()
        return split_half(masks, self.outputs[:count]) if both >= 3 else float("nan")

    def extrapolation(self, alpha: float, held_out: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
        """(predicted, measured) mean outcome of the last models, by a ridge datamodel fitted on the others."""
        first = len(self.models) - max(2, round(held_out * len(self.models)))
        mean = self.outputs.mean(1, keepdims=True)
        coef, intercept = ridge(self.masks[:first], mean[:first], alpha)
        return extrapolate(coef, intercept, self.masks[first:])[:, 0], mean[first:, 0]


def strongest(values: np.ndarray, errors: np.ndarray, most: int) -> list[tuple[int, float, float]]:
    """The `most` highest and the `most` lowest as (position, value, error), highest first; NaN left out."""
    order = np.argsort(-values, kind="stable")
    order = order[~np.isnan(values[order])]
    chosen = order if len(order) <= 2 * most else np.concatenate([order[:most], order[-most:]])
    return [(int(i), float(values[i]), float(errors[i])) for i in chosen]
