"""Stage select: which examples (or classes) of the source to keep.

Inputs: `examples` (index); `scores` (score) if the method has them, `cut` (score) for each selector that ranks by a
score of its own; those that hold the arrays which the selectors' parameters name. Files: ids.npy int64 sorted;
weights.npy float32, one an id, if the method is weighted; classes.npy int64 sorted if whole classes are kept;
order.npy int64, the ids as they were picked, if smaller subsets are cut from it; export/subset.npz for other programs.

With a subset file of the split that history follows: <split>.npy, the ids that it keeps of it.

`select` and `subset_of` are functions of arrays; `python -m dataprune.select` calls them on a user's own.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.arrays import ARRAYS, load
from dataprune.callables import function_at
from dataprune.config import RunConfig
from dataprune.data.examples import Examples, heldout_of
from dataprune.errors import ConfigError, Shown
from dataprune.formats.coresets import read_subset
from dataprune.plan import SCORES
from dataprune.ratios import as_typed
from dataprune.selectors.bound import Bound, Selector
from dataprune.selectors.budget import budget
from dataprune.selectors.classes import examples_of
from dataprune.stage_configs import SelectConfig, StepConfig
from dataprune.streams import stream
from dataprune.subset import Subset

CONFIG = SelectConfig
log = logging.getLogger(__name__)

Picks = tuple[np.ndarray, np.ndarray | None]  # ids in pick order; a weight each, or None


def run(config: SelectConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Select and write; returns how much is kept."""
    examples = Examples(inputs["examples"], "train")
    n = len(examples.classes) if config.level == "class" else len(examples)
    arrays: dict[str, Any] = {}
    for step in config.steps:
        loaded = load(step.arrays, inputs, step.key)
        arrays |= {step.arrays[parameter]: value for parameter, value in loaded.items()}
    scores = {role: np.load(inputs[role] / "scores.npy") for role in {s.scores for s in config.steps} if role in inputs}
    picks = select(config, n, arrays, scores)
    subset = subset_of(config, picks, examples.labels, examples.fingerprint)
    _save(subset, work, ordered=config.ordered)
    if config.heldout is not None:
        split = Examples(inputs["examples"], heldout_of(examples.splits))
        np.save(work / f"{split.split}.npy", _followed(config.heldout, split))
    (work / "export").mkdir(exist_ok=True)
    subset.save(work / "export" / "subset.npz")
    kept = len(subset.ids)
    facts = {"kept": kept, "of": len(examples), "prune_ratio_of_examples": as_typed(1 - kept / len(examples))}
    return facts if subset.classes is None else facts | {"classes_kept": len(subset.classes), "classes": n}


def _save(subset: Subset, work: Path, *, ordered: bool) -> None:
    """Write the arrays that make the subset, those that it has."""
    np.save(work / "ids.npy", subset.ids)
    if ordered:
        assert subset.order is not None
        np.save(work / "order.npy", subset.order)
    if subset.classes is not None:
        np.save(work / "classes.npy", np.sort(subset.classes))
    if subset.weights is not None:
        np.save(work / "weights.npy", subset.weights)


def _followed(path: str, split: Examples) -> np.ndarray:
    """The ids that a subset file keeps of the split that history follows."""
    try:
        return read_subset(path, split.names, split.labels, split.fingerprint).ids
    except ConfigError as error:
        raise ConfigError("method.val_path", error.value, error.expected) from None


def subset_of(config: SelectConfig, picks: Picks, labels: np.ndarray, fingerprint: str) -> Subset:
    """What `select` picked, as a subset of the examples with these labels (n,)."""
    order, weights = picks
    classes = order if config.level == "class" else None
    return Subset(
        np.sort(order) if classes is None else examples_of(classes, labels),
        len(labels),
        fingerprint,
        order=order if classes is None else None,
        weights=None if weights is None else weights[np.argsort(order)].astype(np.float32),
        classes=classes,
        header={"method": config.method, "prune_ratio": config.prune_ratio, "seed": config.seed},
    )


def select(config: SelectConfig, n: int, arrays: Mapping[str, Any], scores: Mapping[str, np.ndarray]) -> Picks:
    """Pick by the chain of selectors in `config`.

    n: examples, or classes where the method is about classes. arrays: those that the steps name; scores: one of each of
    n, by the role that a step names. The budget counts from all n.
    """
    count, rng = budget(config.prune_ratio, n), stream(config.seed, "select")
    selector = None
    for step in reversed(config.steps):
        selector = _selector(step, config.level, n, arrays, scores, rng, selector)
    assert selector is not None
    picked = Bound(selector, np.arange(n))(np.arange(n), count)
    ids, weights = picked if isinstance(picked, tuple) else (picked, None)
    innermost = config.steps[-1]
    if "budget" in innermost.filled and len(ids) != count:
        # whole clusters cannot meet every budget; the row's `kept` says what it was
        words = "%s: %s keeps %d of %d, its budget was %d (prune_ratio=%g)"
        log.warning(words, innermost.key, innermost.function["_target_"], len(ids), n, count, config.prune_ratio)
    return ids, weights if config.weighted else None


def _selector(
    step: StepConfig,
    level: str,
    n: int,
    arrays: Mapping[str, Any],
    scores: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    inner: Selector | None,
) -> Selector:
    """The selector of one step around `inner`."""
    constants = {name: value for name, value in step.function.items() if name != "_target_"}
    constants |= {"rng": rng} if "rng" in step.filled else {}
    rows: dict[str, tuple[np.ndarray, int]] = {}
    for parameter, name in step.arrays.items():
        axis = _axis(name, arrays[name], level, n)
        if axis is None:
            constants[parameter] = arrays[name]
        else:
            rows[parameter] = arrays[name], axis
    for parameter in SCORES & set(step.filled):
        values = scores.get(step.scores)
        if values is None and inner is not None and step.scores == "scores":
            constants[parameter] = None  # a wrapper may do without
        else:
            rows[parameter] = _checked(values, n, level, step), 0
    filled = frozenset(step.filled) & {"budget", "n", "select"}
    return Selector(function_at(step.function["_target_"]), constants, rows, n, filled, step.key, inner)


def _axis(name: str, value: Any, level: str, n: int) -> int | None:
    """Along which axis an array has one row of each of n; None = it has none."""
    unit = "n" if level == "example" else "classes"
    if name in ARRAYS:
        axes = ARRAYS[name].axes or ()
        return axes.index(unit) if unit in axes else None
    return next((i for i, length in enumerate(np.shape(value)) if length == n), None)  # a user's own


def _checked(scores: np.ndarray | None, n: int, level: str, step: StepConfig) -> np.ndarray:
    """The scores, or a ConfigError if there is not one of each of n."""
    if scores is None or len(scores) != n:
        found = "nothing" if scores is None else f"{len(scores)} numbers"
        key = "method.score" if step.scores == "scores" else f"{step.key}.score"
        raise ConfigError(key, Shown(found), f"{n} numbers, one a {level} (method.level={level})")
    return scores
