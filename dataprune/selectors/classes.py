"""Which source classes to keep, and the examples that come with them.

Ranked class selection (DP4TL: Zhang et al., NeurIPS 2023), random subsets and counterfactual removal (Jain et al.,
CVPR 2023). Class ids are int64; for an example-level experiment read "example" for "class" throughout.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, first, generator, one_of, shaped, whole_number
from dataprune.streams import stream


def top_classes(
    frequency: np.ndarray,
    budget: int | None = None,
    *,
    reverse: bool = False,
    ties: np.ndarray | None = None,
    k: int | None = None,
) -> np.ndarray:
    """The `budget` classes with the highest scores, in rank order; `reverse` gives the lowest (DP4TL's "bottom").

    frequency: (c,), counts or any class score, higher = kept first; -inf = no examples. ties: (c,), a second score
    that orders equal ones in the same direction (e.g. `mean_probability`); what is still equal goes to the lower id,
    also with `reverse`. k: another name of budget. Returns int64 (budget,); a smaller budget gives a prefix.

    A warning tells when the cut falls among classes of count 0, which nothing but their ids sets apart. The released
    code uses an unordered top-k, so its choice among equal counts is arbitrary.
    """
    frequency = _numbers("frequency", frequency)
    if k is not None and budget is not None:
        raise ConfigError("k", k, "None beside budget, of which it is another name")
    name: str = "budget" if k is None else "k"
    wanted: Any = k if budget is None else budget
    count = whole_number(name, wanted, 1, len(frequency), "the number of classes")
    ranked = [frequency] if ties is None else [_numbers("ties", ties, len(frequency)), frequency]
    order = np.lexsort([_ascending(score, reverse) for score in ranked])
    if ties is None and 0 < count < len(order) and frequency[order[count - 1]] == 0 == frequency[order[count]]:
        zeros = int((frequency == 0).sum())
        taken = int((frequency[order[:count]] == 0).sum())
        text = f"takes {taken} of the {zeros} classes with count 0, chosen by class id alone: give `ties`"
        warnings.warn(f"{name}={count} {text}", stacklevel=2)
    return order[:count]


def examples_of(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ids of the examples whose label is one of `classes`, ascending; int64.

    classes: integer ids in any order, at least one; labels: integers (n,). A class without examples adds nothing.
    With a label table of (label, sample id) rows, as DP4TL's: `table[examples_of(classes, table[:, 0]), 1]`.
    """
    classes = class_labels("classes", classes)
    if len(classes) == 0:
        raise ConfigError("classes", Shown("empty array"), "at least one class")
    labels = class_labels("labels", labels)
    kept = np.zeros(max(classes.max(), labels.max(initial=0)) + 1, np.bool_)
    kept[classes] = True
    return np.flatnonzero(kept[labels])


def whole_groups(scores: np.ndarray, budget: int) -> np.ndarray:
    """Examples in groups of equal score, kept or dropped whole, the highest first (clusters as pseudo classes, DP4TL).

    scores: (n,), the same for all members of a group. The budget counts examples, but what is kept is its share of the
    GROUPS, rounded half up and at least one: as many examples as these groups have. Returns int64 ids, group by group,
    ascending inside one.
    """
    scores = _numbers("scores", scores)
    budget = whole_number("budget", budget, 1, len(scores), "the number of examples")
    values, group = np.unique(-scores.astype(np.float64), return_inverse=True)  # the first group scores highest
    kept = max(1, (2 * budget * len(values) + len(scores)) // (2 * len(scores)))
    order = np.argsort(group, kind="stable")
    return order[group[order] < kept]


def handpicked(classes: np.ndarray, n_classes: int, *, exclude: bool = False, number: int = -1) -> np.ndarray:
    """Classes that a person listed, checked; with `exclude` all the others. int64, ascending.

    number: what the experiment expects to be left; -1 = whatever is left, otherwise it must agree. Ids outside
    0..n_classes-1, ids listed twice and an empty result raise ConfigError.
    """
    listed = class_labels("classes", classes, n_classes=n_classes)
    unique, counts = np.unique(listed, return_counts=True)
    if (counts > 1).any():
        raise ConfigError("classes", Shown(f"{first(unique[counts > 1])} twice"), "each class once")
    kept = np.setdiff1d(np.arange(n_classes), unique) if exclude else unique
    if len(kept) == 0:
        raise ConfigError("classes", Shown(f"{len(listed)} classes with exclude={exclude}"), "a list that keeps some")
    if number not in (-1, len(kept)):
        raise ConfigError("number", number, f"-1 or {len(kept)}, the number of classes that are left")
    return kept


def left_out(n: int, *, ids: Sequence[int]) -> np.ndarray:
    """All of 0 to n-1 but these: int64, ascending. n: classes or examples, as the method's level says.

    Ids outside 0..n-1 and lists that leave nothing raise ConfigError.
    """
    gone = class_labels("ids", np.asarray(ids, np.int64).reshape(-1), n_classes=n)
    kept = np.setdiff1d(np.arange(n), gone)
    if len(kept) == 0 or len(gone) == 0:
        raise ConfigError("ids", Shown(f"{len(gone)} of {n}"), "one or more, and some that stay")
    return kept


def marked(scores: np.ndarray, *, exclude: bool = False) -> np.ndarray:
    """Classes of score above 0, or with `exclude` all the others; int64, ascending.

    scores: (c,), as from a list of classes (`dataprune.formats.class_lists`). An empty result raises ConfigError.
    """
    kept = np.flatnonzero((_numbers("scores", scores) > 0) != exclude)
    if len(kept) == 0:
        raise ConfigError("scores", Shown(f"exclude={exclude} with all or no classes marked"), "some that stay")
    return kept


def random_halves(n: int, seed: int, model: int, *, keep: int | None = None) -> np.ndarray:
    """What model number `model` of an influence experiment trains on: `keep` (default n // 2) of n ids, uniform.

    A pure function of its arguments, so that a lost run can be repeated and workers need not talk; the paper's code
    draws from an unseeded global generator. Returns int64 (keep,), ascending.
    """
    keep = whole_number("keep", n // 2 if keep is None else keep, 1, n, "the number of ids")
    rng = stream(whole_number("seed", seed, 0), "halves of models", whole_number("model", model, 0))
    return np.sort(rng.permutation(n)[:keep])


def removal_order(influence: np.ndarray) -> np.ndarray:
    """Classes from most harmful to most helpful: ascending mean influence, equal ones by lower id; int64 (c,).

    influence: (t, c), or (c,) if averaged already; positive = the class helps. NaN (undefined) counts as 0, neutral.
    """
    influence = np.asarray(influence)
    if influence.ndim not in (1, 2) or influence.dtype.kind != "f" or 0 in influence.shape:
        found = f"{influence.dtype} array of shape {influence.shape}"
        raise ConfigError("influence", Shown(found), "float array of shape (t, c) or (c,)")
    if np.isinf(influence).any():
        raise ConfigError("influence", Shown("inf in it"), "finite numbers or NaN")
    mean = np.nan_to_num(influence, nan=0.0).reshape(-1, influence.shape[-1]).mean(axis=0, dtype=np.float64)
    return np.argsort(mean, kind="stable")


def counterfactual(order: np.ndarray, k: int, direction: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """The classes KEPT when k are removed, ascending; int64 (c - k,).

    order: each of 0..c-1 once, most harmful first (`removal_order`). direction: "bottom" removes its first k (harmful),
    "top" its last k (helpful), "random" k by a permutation that `rng` draws: generators of equal seed give nested
    removals for growing k. k = 0 keeps everything, k = c would keep nothing and raises ConfigError.
    """
    order = class_labels("order", order)
    if not np.array_equal(np.sort(order), np.arange(len(order))) or len(order) == 0:
        raise ConfigError("order", Shown(f"{len(order)} ids"), "each of 0 to c-1 once, as from removal_order")
    k = whole_number("k", k, 0, len(order) - 1, "classes to remove, one must stay")
    if one_of("direction", direction, "bottom", "top", "random") == "random":
        if rng is None:
            raise ConfigError("rng", None, "a numpy Generator with direction='random': numpy.random.default_rng(seed)")
        order = generator("rng", rng).permutation(len(order))
    return np.sort(order[: len(order) - k] if direction == "top" else order[k:])


def _numbers(name: str, values: np.ndarray, length: int | None = None) -> np.ndarray:
    """Return `values` (c,), or raise unless they are numbers without NaN; infinite ones have a place in a ranking."""
    values = shaped(name, values, "c" if length is None else length)
    if values.dtype.kind not in "fiu":
        raise ConfigError(name, Shown(f"array of {values.dtype}"), "a number for every class")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise ConfigError(name, Shown(f"NaN for classes {first(bad)}"), "a number for every class")
    return values


def _ascending(score: np.ndarray, reverse: bool) -> np.ndarray:
    """A key whose stable ascending order is the rank order; unsigned integers would wrap around when negated."""
    score = score.astype(np.int64) if score.dtype.kind in "iu" else score
    return score if reverse else -score
