"""Call one of our own scores or selectors on made-up arrays, so that a constant out of range is told before a training.

Only functions of this package are called, and only what they say of the constants they are given counts: what suits a
user's own function is not known here, and made-up arrays may lack what another one wants of them.
"""

import json
import warnings
from functools import cache
from typing import Any

import numpy as np

from dataprune.arrays import ARRAYS, entry
from dataprune.callables import function_at
from dataprune.errors import ConfigError
from dataprune.plan import Call
from dataprune.selectors.bound import Bound, Selector
from dataprune.selectors.budget import budget

OURS = ("dataprune.scores.", "dataprune.selectors.")
LEAST, MOST = 240, 20_000  # made-up examples: enough for the constants that ask for many; above it costs seconds
CLASSES, WIDTH = 8, 4
NO_SIZE = ("seed", "model")  # constants that are large without asking for many examples


def rehearse(call: Call, *, level: str, epochs: int | None, prune_ratio: float) -> None:
    """Raise a ConfigError below the call's key if its function refuses one of its constants.

    epochs: of the dynamics; None = not known yet, and a function of them is not called.
    """
    by_epoch = any("epochs" in (entry(array).axes or ()) for array in call.arrays.values())
    made_up = call.array_roles <= {array.role for array in ARRAYS.values()}
    ours = call.function["_target_"].startswith(OURS) and "path" not in call.filled
    if ours and made_up and (epochs is not None or not by_epoch):
        plain = json.dumps([call.function, call.arrays, list(call.filled)], sort_keys=True)
        _call(plain, call.key, level, epochs or 1, prune_ratio)


@cache  # a sweep asks again in each of its jobs
def _call(plain: str, key: str, level: str, epochs: int, prune_ratio: float) -> None:
    function, arrays, wanted = json.loads(plain)
    constants = {name: value for name, value in function.items() if name != "_target_"}
    n, classes = _sizes(constants, level)
    if n > MOST:
        return
    made_up = made_up_arrays(n, classes, epochs)
    filled = _filled(classes if level == "class" else n, prune_ratio)
    given = {name: filled[name] for name in wanted} | {name: made_up[array] for name, array in arrays.items()}
    _ask(function["_target_"], given, constants, key)


def _ask(target: str, given: dict[str, Any], constants: dict[str, Any], key: str) -> None:
    """Call a function; raise a ConfigError below `key` if it refuses one of its constants."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ties and the like among made-up numbers
            function_at(target)(**given, **constants)
    except ConfigError as error:
        if error.key.partition(".")[0] in constants:
            raise error.under(key) from None
    except TypeError as error:  # a text where a number belongs
        texts = [name for name, value in constants.items() if isinstance(value, str)]
        if texts:
            name = texts[0]
            raise ConfigError(f"{key}.{name}", constants[name], f"a value that the function takes ({error})") from None


def _sizes(constants: dict[str, Any], level: str) -> tuple[int, int]:
    """How many examples, of how many classes, are enough for these constants."""
    largest = max([0, *_whole_numbers({k: v for k, v in constants.items() if k not in NO_SIZE})])
    if level == "class":
        classes = max(CLASSES, largest + 1)
        return max(LEAST, 2 * classes), classes
    return max(LEAST, 20 * largest), CLASSES


def _filled(units: int, prune_ratio: float) -> dict[str, Any]:
    """What a caller fills, made up for so many examples or classes, by the parameter's name."""
    rng = np.random.default_rng(0)
    filled: dict[str, Any] = {"scores": rng.random(units), "budget": budget(prune_ratio, units), "rng": rng, "n": units}
    filled["frequency"] = filled["scores"]
    first = Selector(lambda budget: np.arange(budget), {}, {}, units, frozenset({"budget"}))
    return filled | {"select": Bound(first, np.arange(units))}  # as a wrapper gets it


def made_up_arrays(n: int, classes: int, epochs: int, width: int = WIDTH) -> dict[str, Any]:
    """Return an array for each entry of the table, of its shape, with values such as it holds.

    Of n examples of `classes` classes, features of `width` numbers, dynamics of `epochs` epochs.
    """
    sizes = {"n": n, "t": n, "epochs": epochs, "classes": classes, "d": width, "budget": n}
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    for name, array in ARRAYS.items():
        if array.holds == "text":
            made[name] = [str(i) for i in range(classes if name == "class_names" else n)]
        elif array.axes == ():
            made[name] = classes
        else:
            shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in array.axes or ())
            made[name] = _values(array.holds, shape, classes, rng).astype(array.dtype)
    return made


def _values(holds: str, shape: tuple[int, ...], classes: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of this kind."""
    if holds == "softmax":
        return rng.dirichlet(np.ones(classes), shape[:-1])
    if holds == "label":
        return np.arange(shape[0]) % classes
    if holds == "order":
        return rng.permutation(shape[0])
    if holds == "id":
        return np.arange(shape[0])
    if holds == "neighbor":
        return (np.arange(shape[0])[:, None] + 1 + np.arange(shape[1])) % shape[0]
    if holds == "rising":
        return np.sort(rng.random(shape), axis=1)
    if holds == "flag":
        return rng.random(shape) > 0.5
    return rng.random(shape) if holds in ("unit", "length") else rng.normal(size=shape)


def _whole_numbers(value: Any) -> list[int]:
    if isinstance(value, dict | list):
        return [n for inner in (value.values() if isinstance(value, dict) else value) for n in _whole_numbers(inner)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []
