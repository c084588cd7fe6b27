"""The arrays that score functions and selectors can ask for by parameter name, and where each comes from.

This table is the only link between a method and the pipeline: a function whose parameters stand here can be named in a
method's YAML without anything else being touched.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import check_exists, check_target
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError

Inputs = dict[str, Path]


@dataclass(frozen=True)
class Array:
    """One row of the table. `of`: the input (a finished result) that holds it."""

    of: str
    shape: str
    about: str
    load: Callable[[Path], Any]


def _mapped(name: str) -> Callable[[Path], np.ndarray]:
    return lambda folder: np.load(folder / f"{name}.npy", mmap_mode="r")


def _correct(folder: Path) -> np.ndarray:
    """bool (epochs, n); uint8 with 255 = not seen if there is any example that was not seen in some epoch."""
    correct = np.load(folder / "correct.npy", mmap_mode="r")
    if not any(json.loads((folder / "dynamics.json").read_text())["unseen"].values()):
        return correct
    seen = np.load(folder / "p_true.npy", mmap_mode="r")
    return np.where(np.isnan(seen), np.uint8(255), correct.astype(np.uint8))


def _mean_p_true(folder: Path) -> np.ndarray:
    from dataprune.scores.dynamics import p_mean  # brings numba; most jobs only look names up in this table

    return p_mean(np.load(folder / "p_true.npy", mmap_mode="r"))


def _softmax(folder: Path) -> np.ndarray:
    logits = np.load(folder / "logits.npy", mmap_mode="r")
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _predictions(folder: Path) -> np.ndarray:
    return np.load(folder / "logits.npy", mmap_mode="r").argmax(1)


def _mean_probability(folder: Path) -> np.ndarray:
    return _softmax(folder).mean(0)


def _residuals(folder: Path) -> np.ndarray:
    residuals = _softmax(folder)
    residuals[np.arange(len(residuals)), np.load(folder / "labels.npy")] -= 1
    return residuals


def _order(folder: Path) -> np.ndarray:
    return np.load(folder / "export" / "subset.npz")["order"]


def _labels(folder: Path) -> np.ndarray:
    return Examples(folder, "train").labels


def _names(folder: Path) -> list[str]:
    return Examples(folder, "train").names


def _class_names(folder: Path) -> list[str]:
    return Examples(folder, "train").classes


def _count_classes(folder: Path) -> int:
    return len(Examples(folder, "train").classes)


ARRAYS = {
    "p_true": Array("dynamics", "float32 (epochs, n)", "p of the true class, NaN = not seen", _mapped("p_true")),
    "margin": Array("dynamics", "float32 (epochs, n)", "p_true minus the largest other p", _mapped("margin")),
    "correct": Array("dynamics", "bool (epochs, n)", "whether the true class was predicted", _correct),
    "error": Array("dynamics", "float32 (epochs, n)", "||p - onehot||_2, the EL2N norm", _mapped("error")),
    "doubt": Array(
        "dynamics", "float32 (n,)", "1 - p_mean, to break ties: harder first", lambda f: 1 - _mean_p_true(f)
    ),
    "p_mean": Array("dynamics", "float32 (n,)", "mean of p_true over epochs", _mean_p_true),
    "probabilities_by_epoch": Array(
        "dynamics", "float16 (epochs, n, classes)", "if surrogate.record.probabilities", _mapped("probabilities")
    ),
    "logits": Array("signals", "float32 (n, classes)", "of the trained surrogate, eval mode", _mapped("logits")),
    "probabilities": Array("signals", "float32 (n, classes)", "softmax of logits", _softmax),
    "residuals": Array("signals", "float32 (n, classes)", "probabilities minus onehot", _residuals),
    "features": Array("signals", "float32 (n, d)", "what the surrogate's head sees", _mapped("features")),
    "embeddings": Array("signals", "float32 (n, d)", "another name of features", _mapped("features")),
    "source_features": Array("signals", "float32 (n, d)", "another name of features", _mapped("features")),
    "grad_norm": Array("gradients", "float32 (n,)", "length of each example's own gradient", _mapped("grad_norm")),
    "labels": Array("examples", "int64 (n,)", "true classes of the source", _labels),
    "source_labels": Array("examples", "int64 (n,)", "another name of labels", _labels),
    "names": Array("examples", "list of n texts", "file names of the source, or row numbers", _names),
    "class_names": Array("examples", "list of texts", "names of the source's classes, by id", _class_names),
    "order": Array("order", "int64 (budget,)", "picks of the same selector for a larger budget", _order),
    "n_classes": Array("examples", "int", "classes of the source", _count_classes),
    "target_logits": Array("target_signals", "float32 (t, classes)", "of the target's train split", _mapped("logits")),
    "target_probabilities": Array("target_signals", "float32 (t, classes)", "softmax of target_logits", _softmax),
    "target_class_probability": Array(
        "target_signals", "float32 (classes,)", "mean of target_probabilities", _mean_probability
    ),
    "target_predictions": Array("target_signals", "int64 (t,)", "argmax of target_logits", _predictions),
    "target_features": Array("target_signals", "float32 (t, d)", "of the target's train split", _mapped("features")),
    "target_labels": Array("target", "int64 (t,)", "true classes of the target's train split", _labels),
}


def table() -> str:
    """The table as text, for error messages and help."""
    return "\n".join(f"  {name:24}{a.shape:30}{a.about}" for name, a in ARRAYS.items())


def wanted(
    function: dict[str, Any], renamed: dict[str, str], key: str, filled: frozenset[str] = frozenset()
) -> dict[str, str]:
    """parameter -> array of the function that `function` names; its constants are checked too.

    Every required parameter that is no constant is an array, by its own name or by `renamed`; an optional parameter is
    filled only if `renamed` mentions it. filled: parameters that the stage fills itself (scores, budget, rng, n).
    Raises ConfigError for names that are in no table.
    """
    takes = check_target(function, key, check_exists(function, key).required)
    arrays = {}
    for name in takes.names:
        if name in function or (name in filled and name not in renamed):
            continue
        if name in renamed or name in takes.required:
            arrays[name] = renamed.get(name, name)
    for name, array in arrays.items():
        if array not in ARRAYS:
            raise ConfigError(f"{key}.{name}", array, f"a constant, or one of these arrays:\n{table()}")
    return arrays


def load(arrays: dict[str, str], inputs: Inputs, key: str) -> dict[str, Any]:
    """The arrays themselves, by parameter."""
    loaded = {}
    for parameter, name in arrays.items():
        array = ARRAYS[name]
        try:
            loaded[parameter] = array.load(inputs[array.of])
        except FileNotFoundError as error:
            raise ConfigError(f"{key}.{parameter}", name, f"{array.about} ({error.filename} is not there)") from None
    return loaded
