"""The arrays that score functions and selectors can ask for by parameter name: what each holds, and who makes it.

This table is the only link between a method and the pipeline. What the recorder writes, what a signal computes, what a
check knows, how large an array is and what stands for it before it is there all follow from it: a new array is one
entry, and the function that makes it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError

Inputs = Mapping[str, Path]  # finished results by role

# axes: epochs; n = examples of the source; t = of the target; classes; d = features; budget = picks. An axis may also
# be a number. () = one number; None = no array (a list)
Axes = tuple[str | int, ...] | None


@dataclass(frozen=True)
class Array:
    """One entry of the table."""

    role: str  # the result that holds it
    axes: Axes
    dtype: str
    about: str
    # who makes it while a network runs: of the outputs of a step (role dynamics), or a signal (signals and gradients)
    function: str | None = None
    passes: str | None = None  # of a signal: what it takes of an example, "forward" | "gradient"; None = unknown
    load: Callable[..., Any] | None = None  # from the folders of `role` and `beside`; None = the file of its name
    beside: tuple[str, ...] = ()
    made_of: str | None = None  # the recorded quantity that it is computed from, where that is another one
    holds: str = (
        "real"  # kind of values: real | unit | softmax | label | flag | length | order | text | id | neighbor | rising
    )

    @property
    def shape(self) -> str:
        """Words for a person: `float32 (epochs, n)`."""
        return self.dtype if self.axes in ((), None) else f"{self.dtype} ({_listed(self.axes)})"


def _listed(axes: Axes) -> str:
    words = [str(axis) for axis in axes or ()]
    return f"{words[0]}," if len(words) == 1 else ", ".join(words)


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


def _doubt(folder: Path) -> np.ndarray:
    return 1 - _mean_p_true(folder)


def _softmax(folder: Path) -> np.ndarray:
    logits = np.load(folder / "logits.npy", mmap_mode="r")
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _predictions(folder: Path) -> np.ndarray:
    return np.load(folder / "logits.npy", mmap_mode="r").argmax(1)


def mean_probability(folder: Path) -> np.ndarray:
    """Return the mean softmax, float32 (classes,), of a signals result with logits."""
    return _softmax(folder).mean(0)


def _residuals(folder: Path) -> np.ndarray:
    residuals = _softmax(folder)
    residuals[np.arange(len(residuals)), np.load(folder / "labels.npy")] -= 1
    return residuals


def _order(folder: Path) -> np.ndarray:
    return np.load(folder / "order.npy")


def _labels(folder: Path, split: str = "train") -> np.ndarray:
    return np.load(folder / split / "labels.npy")


def _ids(folder: Path) -> np.ndarray:
    return np.arange(len(_labels(folder)))


def _names(folder: Path) -> list[str]:
    return json.loads((folder / "train" / "names.json").read_text())


def _class_names(folder: Path) -> list[str]:
    return json.loads((folder / "classes.json").read_text())


def _fingerprint(folder: Path) -> str:
    return json.loads((folder / "header.json").read_text())["fingerprints"]["train"]


def _count_classes(folder: Path) -> int:
    return len(_class_names(folder))


def _count_clusters(folder: Path) -> int:
    return int(np.load(folder / "count.npy"))


def _class_errors(heldout: Path, examples: Path) -> np.ndarray:
    from dataprune.selectors.ranked import recall_weights

    outcomes = np.load(heldout / "outcomes.npz")
    labels = _labels(examples, "validation")[outcomes["ids"]]
    return recall_weights(outcomes["prediction"], labels, _count_classes(examples))


_STEP, _SIGNAL = "dataprune.training.quantities.", "dataprune.signals."
_quantity = partial(Array, "dynamics", ("epochs", "n"), "float32")
_source_features = Array("signals", ("n", "d"), "float32", "another name of features", load=_mapped("features"))
ARRAYS = {
    "p_true": _quantity("p of the true class, NaN = not seen", _STEP + "p_true", holds="unit"),
    "margin": _quantity("p_true minus the largest other p", _STEP + "margin"),
    "error": _quantity("||p - onehot||_2, the EL2N norm", _STEP + "error", holds="unit"),
    "correct": Array(
        "dynamics", ("epochs", "n"), "bool", "whether the true class was predicted",
        _STEP + "correct", load=_correct, holds="flag",
    ),
    "logit_gap": _quantity("true logit minus the largest other", _STEP + "logit_gap"),
    "doubt": Array(
        "dynamics", ("n",), "float32", "1 - p_mean, to break ties: harder first",
        load=_doubt, made_of="p_true", holds="unit",
    ),
    "p_mean": Array(
        "dynamics", ("n",), "float32", "mean of p_true over epochs", load=_mean_p_true, made_of="p_true", holds="unit"
    ),
    "probabilities_by_epoch": Array(
        "dynamics", ("epochs", "n", "classes"), "float16", "if surrogate.record.probabilities",
        load=_mapped("probabilities"), made_of="probabilities", holds="softmax",
    ),
    "logits": Array(
        "signals", ("n", "classes"), "float32", "of the trained surrogate, eval mode", _SIGNAL + "logits", "forward"
    ),
    "probabilities": Array("signals", ("n", "classes"), "float32", "softmax of logits", load=_softmax, holds="softmax"),
    "residuals": Array("signals", ("n", "classes"), "float32", "probabilities minus onehot", load=_residuals),
    "features": Array(
        "signals", ("n", "d"), "float32", "what the surrogate's head sees", _SIGNAL + "features", "forward"
    ),
    "embeddings": _source_features,
    "source_features": _source_features,
    "grad_norm": Array(
        "gradients", ("n",), "float32", "length of each example's own gradient",
        _SIGNAL + "grad_norm", "gradient", holds="length",
    ),
    "labels": Array("examples", ("n",), "int64", "true classes of the source", load=_labels, holds="label"),
    "source_labels": Array("examples", ("n",), "int64", "another name of labels", load=_labels, holds="label"),
    "names": Array(
        "examples", None, "list of n texts", "file names of the source, or row numbers", load=_names, holds="text"
    ),
    "class_names": Array(
        "examples", None, "list of texts", "names of the source's classes, by id", load=_class_names, holds="text"
    ),
    "order": Array(
        "order", ("budget",), "int64", "picks of the same selector for a larger budget", load=_order, holds="order"
    ),
    "fingerprint": Array(
        "examples", None, "text", "hash of the source's train split", load=_fingerprint, holds="text"
    ),
    "n_classes": Array("examples", (), "int", "classes of the source", load=_count_classes),
    "clusters": Array(
        "clusters", ("n",), "int64", "pseudo class of each source example", load=_mapped("train"), holds="label"
    ),
    "n_clusters": Array("clusters", (), "int", "how many pseudo classes there are", load=_count_clusters),
    "ids": Array("examples", ("n",), "int64", "0 to n-1: the example of each row", load=_ids, holds="id"),
    "listed_neighbors": Array(
        "neighbors", ("n", 5), "int64", "neighbours from files: ids, -1 = none", load=_mapped("neighbors"),
        holds="neighbor",
    ),
    "listed_distances": Array(
        "neighbors", ("n", 5), "float32", "how far they are", load=_mapped("distances"), holds="rising"
    ),
    "class_errors": Array(
        "heldout", ("classes",), "float64", "1 - recall of each class on the validation split",
        load=_class_errors, beside=("examples",), holds="unit",
    ),
    "target_logits": Array(
        "target_signals", ("t", "classes"), "float32", "of the target's train split", load=_mapped("logits")
    ),
    "target_probabilities": Array(
        "target_signals", ("t", "classes"), "float32", "softmax of target_logits", load=_softmax, holds="softmax"
    ),
    "target_class_probability": Array(
        "target_signals", ("classes",), "float32", "mean of target_probabilities", load=mean_probability, holds="unit"
    ),
    "target_predictions": Array(
        "target_signals", ("t",), "int64", "argmax of target_logits", load=_predictions, holds="label"
    ),
    "target_features": Array(
        "target_signals", ("t", "d"), "float32", "of the target's train split", load=_mapped("features")
    ),
    "target_labels": Array(
        "target", ("t",), "int64", "true classes of the target's train split", load=_labels, holds="label"
    ),
}  # fmt: skip
# what a training writes down of each example and epoch, in the order of the Recorder's rows
RECORDED = {name: array for name, array in ARRAYS.items() if array.role == "dynamics" and array.function}
SIGNALS = {name: array for name, array in ARRAYS.items() if array.role != "dynamics" and array.function}
# what a signal may name among its parameters (dataprune.signals)
GIVEN = ("network", "inputs", "labels", "features", "logits")
OWN_SIGNAL = "signal."  # the role of a user's own signal is this and its name


def computed(role: str) -> list[str]:
    """Return the names of the signals that one pass gives, by the role of its result."""
    if role.startswith(OWN_SIGNAL):
        return [role.removeprefix(OWN_SIGNAL)]
    there = role.removeprefix("target_")
    return [name for name, array in SIGNALS.items() if array.role == there]


def own_signal(name: str, spec: Mapping[str, Any]) -> Array:
    """Return the entry of a signal that a method brings along: its _target_, and `shape` of one example's value (a
    list of numbers, `classes` or `d`; none for one number) and `dtype`."""
    shape, dtype = spec.get("shape", []), spec.get("dtype", "float32")
    axes = ("n", *(shape if isinstance(shape, list | tuple) else [shape]))
    return Array(OWN_SIGNAL + name, axes, dtype, f"signal of {spec['_target_']}", spec["_target_"], spec.get("passes"))


def entry(name: str) -> Array:
    """Return what is known of an array in a stage: its entry, or that of a user's own signal, whose rows are ids."""
    return ARRAYS.get(name) or Array(OWN_SIGNAL + name, ("n",), "", "a signal of the method's own")


def table() -> str:
    """Return the table as text, for error messages and help."""
    return "\n".join(f"  {name:26}{a.shape:32}{a.about}" for name, a in ARRAYS.items())


def load(arrays: Mapping[str, str], inputs: Inputs, key: str) -> dict[str, Any]:
    """Return the arrays themselves by parameter, from {parameter: array} and the results by role.

    Raises ConfigError where the result does not hold one.
    """
    loaded = {}
    for parameter, name in arrays.items():
        array = entry(name)
        folders = [inputs[role] for role in (array.role, *array.beside)]
        try:
            loaded[parameter] = (array.load or _mapped(name))(*folders)
        except FileNotFoundError as error:
            raise ConfigError(f"{key}.{parameter}", name, f"{array.about} ({error.filename} is not there)") from None
    return loaded
