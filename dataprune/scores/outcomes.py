"""What a transferred model says on each target example: the scalars that influences are computed from.

Keys and dtypes are those of the influence store (Jain et al., CVPR 2023); test order = file order.
"""

import warnings

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, finite, first, one_of, shaped


def outcomes(logits: np.ndarray, labels: np.ndarray, *, dtype: type = np.float16) -> dict[str, np.ndarray]:
    """Scalars per example from logits (n, k), k >= 2, and labels (n,).

    raw_logits = logit of the label; raw_margins = that minus the largest other logit; softmax_logits = probability of
    the label (so named in the released code); softmax_margins = that minus the largest other probability: arrays
    (n,) of `dtype` (float16 as published, in which probabilities above 0.9998 are 1). is_corrects: bool (n,);
    predictions: int64 (n,), lowest class on equal logits.
    """
    logits = finite("logits", shaped("logits", logits, "n", "k"))
    if logits.dtype.kind != "f" or len(logits) == 0 or logits.shape[1] < 2:
        found = f"{logits.dtype} array of shape {logits.shape}"
        raise ConfigError("logits", Shown(found), "floats (n, k), at least one example and two classes")
    labels = class_labels("labels", labels, len(logits), logits.shape[1])
    predictions = logits.argmax(axis=1)
    logits = logits.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    own_logit, other_logit = _own_and_other(logits, labels)
    own, other = _own_and_other(probabilities, labels)
    reals = {
        "raw_logits": own_logit,
        "raw_margins": own_logit - other_logit,
        "softmax_logits": own,
        "softmax_margins": own - other,
    }
    beyond = np.flatnonzero(np.abs(np.stack(list(reals.values()))).max(axis=0) > np.finfo(dtype).max)
    if len(beyond):
        raise ConfigError("logits", Shown(f"logits at ids {first(beyond)} beyond {np.dtype(dtype)}"), "a wider dtype")
    stored = {key: value.astype(dtype) for key, value in reals.items()}
    return {**stored, "is_corrects": predictions == labels, "predictions": predictions}


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Top-1 in percent, from counts. (The released code rounds it to float16, steps of 0.06 near 80.)"""
    labels = class_labels("labels", labels)
    predictions = class_labels("predictions", predictions, len(labels))
    if len(labels) == 0:
        raise ConfigError("labels", Shown("empty array"), "at least one example")
    return 100 * int((predictions == labels).sum()) / len(labels)


def class_accuracy(
    predictions: np.ndarray, labels: np.ndarray, n_classes: int, *, absent: str = "exclude"
) -> np.ndarray:
    """Accuracy of every class in percent, float64 (n_classes,); np.nanmean of it is the mean per-class accuracy.

    predictions, labels: integers (n,) below n_classes. absent="exclude": a class without examples is NaN, with a
    warning, and so out of the mean; "zero": it counts as 0, as in the released code (parity only).
    """
    one_of("absent", absent, "exclude", "zero")
    labels = class_labels("labels", labels, n_classes=n_classes)
    predictions = class_labels("predictions", predictions, len(labels), n_classes)
    size = np.bincount(labels, minlength=n_classes)
    right = np.bincount(labels[predictions == labels], minlength=n_classes)
    missing = np.flatnonzero(size == 0)
    if len(missing) and absent == "exclude":
        warnings.warn(f"no example of classes {first(missing)}: excluded from the mean over classes", stacklevel=2)
    accuracies = 100 * right / np.maximum(size, 1)
    accuracies[missing] = np.nan if absent == "exclude" else 0
    return accuracies


def _own_and_other(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's value at its label, and the largest of the others."""
    rows = np.arange(len(values))
    others = values.copy()
    others[rows, labels] = -np.inf
    return values[rows, labels], others.max(axis=1)
