"""Estimates over a finished (or growing) influence store; every function returns arrays, the commands print them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dataprune.cost import TOLD
from dataprune.data.examples import half_of
from dataprune.errors import ConfigError
from dataprune.influence.datamodels import extrapolate, ridge
from dataprune.influence.estimates import influence, influence_error, mean_influence, split_half
from dataprune.influence.store import OutcomeStore

OUTCOMES = ("p_true", "logit_gap", "correct")


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
    def targets(self) -> np.ndarray:
        """Ids of the target test examples that count, int64."""
        labels = self.store.labels
        return np.arange(len(labels)) if self.half == "all" else half_of(labels, self.half)

    @cached_property
    def labels(self) -> np.ndarray:
        """True classes of these targets."""
        return self.store.labels[self.targets]

    @cached_property
    def outputs(self) -> np.ndarray:
        """float32 (m, targets): the chosen outcome."""
        if self.outcome == "correct":
            return (self.predictions == self.labels).astype(np.float32)
        return self.store.outcomes(self.outcome, self.models, self.targets)

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
        return mean_influence(self.masks, self.outputs)

    def stability(self, points: int = 8) -> tuple[np.ndarray, np.ndarray]:
        """(numbers of models, split-half rank correlation with so many): do the first models agree with each other?"""
        counts = np.unique(np.geomspace(8, len(self.models), points).astype(int))
        counts = counts[counts <= len(self.models)]
        return counts, np.array([self._split_half(count) for count in counts])

    def _split_half(self, count: int) -> float:
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
