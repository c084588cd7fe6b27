"""Call one of our own scores or selectors on made-up arrays, so that a constant out of range is told before a training.

Only functions of this package are called, and only what they say of the constants they are given counts: what suits a
user's own function is not known here, and made-up arrays may lack what another one wants of them.
"""

import json
import warnings
from functools import cache
from typing import Any

import numpy as np
from hydra.utils import get_method

from dataprune.callables import parameters
from dataprune.errors import ConfigError
from dataprune.selectors.budget import budget

OURS = ("dataprune.scores.", "dataprune.selectors.")
LEAST, MOST = 240, 20_000  # made-up examples: enough for the constants that ask for many; above it costs seconds
CLASSES, WIDTH = 8, 4
BY_EPOCH = {"p_true", "margin", "error", "correct", "probabilities_by_epoch"}  # arrays with an axis of epochs
NO_SIZE = ("seed", "model")  # constants that are large without asking for many examples


def rehearse(
    function: dict[str, Any], arrays: dict[str, str], key: str, *, level: str, epochs: int | None, prune_ratio: float
) -> None:
    """Raise a ConfigError below `key` if the function refuses one of its constants.

    arrays: parameter -> name of the array that will fill it. epochs: of the dynamics; None = not known yet, and a
    function of them is not called.
    """
    target = function["_target_"]
    ours = target.startswith(OURS) and "path" not in parameters(target).names
    if ours and (epochs is not None or not BY_EPOCH & set(arrays.values())):
        plain = json.dumps([function, arrays], sort_keys=True)
        _call(plain, key, level, epochs or 1, prune_ratio)


@cache  # a sweep asks again in each of its jobs
def _call(plain: str, key: str, level: str, epochs: int, prune_ratio: float) -> None:
    function, arrays = json.loads(plain)
    constants = {name: value for name, value in function.items() if name != "_target_"}
    largest = max([0, *_whole_numbers({k: v for k, v in constants.items() if k not in NO_SIZE})])
    classes = max(CLASSES, largest + 1) if level == "class" else CLASSES
    n = max(LEAST, 2 * classes if level == "class" else 20 * largest)
    if n > MOST:
        return
    made_up = made_up_arrays(n, classes, epochs)
    units = classes if level == "class" else n
    count = budget(prune_ratio, units)
    rng = np.random.default_rng(0)
    filled = {"scores": rng.random(units), "budget": count, "k": count, "rng": rng, "n": units}
    filled["frequency"] = filled["scores"]
    takes = parameters(function["_target_"])
    open_names = takes.required - arrays.keys() - constants.keys()
    given = {name: filled[name] for name in open_names & filled.keys()}
    given |= {parameter: made_up[array] for parameter, array in arrays.items() if array in made_up}
    if open_names | arrays.keys() > given.keys():
        return  # an array that is not made up here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ties and the like among made-up numbers
            get_method(function["_target_"])(**given, **constants)
    except ConfigError as error:
        if error.key.partition(".")[0] in constants:
            raise error.under(key) from None
    except TypeError as error:  # a text where a number belongs
        texts = [name for name, value in constants.items() if isinstance(value, str)]
        if texts:
            name = texts[0]
            raise ConfigError(f"{key}.{name}", constants[name], f"a value that the function takes ({error})") from None


def made_up_arrays(n: int, classes: int, epochs: int, width: int = WIDTH) -> dict[str, Any]:
    """Return an array for each name that a method may ask for, with what such an array may hold.

    Of n examples of `classes` classes, features of `width` numbers, dynamics of `epochs` epochs.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    probabilities = rng.dirichlet(np.ones(classes), n).astype(np.float32)
    features = rng.normal(size=(n, width)).astype(np.float32)
    by_epoch = rng.dirichlet(np.ones(classes), (epochs, n)).astype(np.float32)
    p_true = np.take_along_axis(by_epoch, np.broadcast_to(labels[None, :, None], (epochs, n, 1)), 2)[..., 0]
    ones = rng.random(n).astype(np.float32)
    arrays: dict[str, Any] = {"p_true": p_true, "margin": 2 * p_true - 1, "error": 1 - p_true, "correct": p_true > 0.5}
    arrays |= {"doubt": ones, "p_mean": ones, "grad_norm": ones, "probabilities_by_epoch": by_epoch}
    arrays |= {"residuals": probabilities - np.eye(classes, dtype=np.float32)[labels], "n_classes": classes}
    arrays |= {"target_class_probability": probabilities.mean(0), "names": [str(i) for i in range(n)]}
    arrays |= {"class_names": [str(c) for c in range(classes)], "order": rng.permutation(n)}
    both = {"labels": labels, "probabilities": probabilities, "logits": np.log(probabilities + 1e-6)}
    both |= {"features": features, "predictions": probabilities.argmax(1)}
    arrays |= both | {f"target_{name}": array for name, array in both.items()}
    return arrays | {"embeddings": features, "source_features": features, "source_labels": labels}


def _whole_numbers(value: Any) -> list[int]:
    if isinstance(value, dict | list):
        return [n for inner in (value.values() if isinstance(value, dict) else value) for n in _whole_numbers(inner)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []
