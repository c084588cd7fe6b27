"""Stage select: which examples (or classes) of the source to keep.

Inputs: `examples` (index); `scores` (score) and `cut` (score) if the method has them; `heldout` (evaluate of the
surrogate on the validation split) for quotas by recall; those that hold the arrays which the selector's parameters
name. Files: ids.npy int64 sorted; weights.npy float32, one an id, if the method is weighted; classes.npy int64 sorted
if whole classes are kept; export/subset.npz for other programs.

`select` and `subset_of` are functions of arrays; `python -m dataprune.select` calls them on a user's own.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_method

from dataprune.callables import check_target
from dataprune.config import RunConfig, SelectConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.ratios import as_typed
from dataprune.selectors.budget import budget
from dataprune.selectors.classes import examples_of
from dataprune.selectors.ranked import drop_hardest, quotas, recall_weights
from dataprune.stages.arrays import load, wanted
from dataprune.streams import stream
from dataprune.subset import Subset

CONFIG = SelectConfig
# parameters that this stage fills itself: `frequency` and `k` are the names of scores and budget for classes
FILLED = frozenset({"scores", "frequency", "budget", "k", "rng", "n"})
KEY = "method.select"
log = logging.getLogger(__name__)

Picks = tuple[np.ndarray, np.ndarray | None]  # ids in pick order; a weight each, or None


def run(config: SelectConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Select and write; returns how much is kept."""
    examples = Examples(inputs["examples"], "train")
    n = len(examples.classes) if config.level == "class" else len(examples)
    arrays = load(wanted(config.function, config.arrays, KEY, FILLED), inputs, KEY)
    scores, cut = (np.load(inputs[of] / "scores.npy") if of in inputs else None for of in ("scores", "cut"))
    weights = None
    if "heldout" in inputs:
        outcomes = np.load(inputs["heldout"] / "outcomes.npz")
        heldout = Examples(inputs["examples"], "validation").labels[outcomes["ids"]]
        weights = recall_weights(outcomes["prediction"], heldout, len(examples.classes))
    picks = select(config, n, examples.labels, arrays, scores, cut, weights)
    subset = subset_of(config, picks, examples.labels, examples.fingerprint)
    np.save(work / "ids.npy", subset.ids)
    if subset.classes is not None:
        np.save(work / "classes.npy", np.sort(subset.classes))
    if subset.weights is not None:
        np.save(work / "weights.npy", subset.weights)
    (work / "export").mkdir(exist_ok=True)
    subset.save(work / "export" / "subset.npz")
    kept = len(subset.ids)
    facts = {"kept": kept, "of": len(examples), "prune_ratio_of_examples": as_typed(1 - kept / len(examples))}
    return facts if subset.classes is None else facts | {"classes_kept": len(subset.classes), "classes": n}


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


def select(
    config: SelectConfig,
    n: int,
    labels: np.ndarray,
    arrays: dict[str, Any],
    scores: np.ndarray | None = None,
    cut: np.ndarray | None = None,
    class_weights: np.ndarray | None = None,
) -> Picks:
    """Cut off the hardest, share the budget out over classes if the method wants that, and pick.

    n: examples, or classes where the method is about classes. arrays: the selector's, by parameter. scores: one of
    each of n; cut: what the cut goes by; class_weights: (classes,), what quota="drop" shares the budget out by. The
    budget counts from all n, so a cut does not make the subset smaller.
    """
    count = budget(config.prune_ratio, n)
    pick = _picker(config, n, arrays, scores)
    pool = np.arange(n)
    if config.cut_fraction:
        assert cut is not None
        pool = drop_hardest(cut, config.cut_fraction)
        if len(pool) < count:
            expected = f"a fraction that leaves the {count} examples to keep (prune_ratio={config.prune_ratio})"
            raise ConfigError("method.cut.fraction", config.cut_fraction, expected)
    if config.quota == "none":
        return pick(pool, count)
    sizes = np.bincount(labels[pool])
    weights = sizes if config.quota == "proportional" else np.ones(len(sizes))
    if config.quota == "drop":
        if class_weights is None:
            raise ConfigError("method.quota", "drop", "proportional or equal: no surrogate and held-out examples here")
        weights = class_weights[: len(sizes)]
    shares = quotas(sizes, count, weights)
    picks = [pick(pool[labels[pool] == c], int(share)) for c, share in enumerate(shares) if share]
    joined = None if picks[0][1] is None else np.concatenate([w for _, w in picks if w is not None])
    return np.concatenate([ids for ids, _ in picks]), joined


def _picker(
    config: SelectConfig, n: int, arrays: dict[str, Any], scores: np.ndarray | None
) -> Callable[[np.ndarray, int], Picks]:
    """pick(pool, count): `count` ids of the sorted ids in `pool`."""
    function = get_method(config.function["_target_"])
    constants = {k: v for k, v in config.function.items() if k != "_target_"}
    takes = check_target(config.function, KEY, FILLED | arrays.keys())
    given: dict[str, Any] = {"rng": stream(config.seed, "select")}
    if {"scores", "frequency"} & takes.required:
        given["scores"] = given["frequency"] = scores
        if scores is None or len(scores) != n:
            found = "nothing" if scores is None else f"{len(scores)} numbers"
            what = f"{n} numbers, one a {config.level} (method.level={config.level})"
            raise ConfigError("method.score", Shown(found), what)

    def pick(pool: np.ndarray, count: int) -> Picks:
        filled = given | {"budget": count, "k": count, "n": len(pool)}
        open_names = takes.required - arrays.keys() - constants.keys()
        everything = arrays | {name: value for name, value in filled.items() if name in open_names}
        if len(pool) < n:
            everything = {name: _rows(value, pool, n) for name, value in everything.items()}
        try:
            picked = function(**everything, **constants)
        except ConfigError as error:
            raise error.under(KEY) from None
        places, weights = picked if isinstance(picked, tuple) else (picked, None)
        if {"budget", "k"} & open_names and len(places) != count:
            # whole clusters cannot meet every budget; the row's `kept` says what it was
            words = "%s: %s keeps %d of %d, its budget was %d (prune_ratio=%g)"
            log.warning(words, KEY, config.function["_target_"], len(places), len(pool), count, config.prune_ratio)
        return pool[places], weights if config.weighted else None

    return pick


def _rows(value: Any, pool: np.ndarray, n: int) -> Any:
    """The part of an array that belongs to `pool`: along the axis that counts examples."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return value
    return value[:, pool] if value.ndim > 1 and value.shape[1] == n != value.shape[0] else value[pool]
