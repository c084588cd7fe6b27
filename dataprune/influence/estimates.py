"""How much each source class (or example) helps or harms each target output, from models trained on random subsets.

Jain et al., "A data-based perspective on transfer learning" (CVPR 2023). Model i of m was trained on the columns that
row i of `masks` (m, c) marks; `outputs` (m, t) holds what its transferred copy says on every target example. Leave out
models that did not finish: `masks[done], outputs[done]`.

Everything here rests on one product, masks' x outputs, taken over blocks of models with the outputs shifted near
zero, so memory stays near the result's own and constant outputs give exactly 0.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, first, shaped, whole_number

FEW_MODELS = 30  # below this many models on a side an influence is mostly noise


def influence(masks: np.ndarray, outputs: np.ndarray, *, dtype: type | None = None) -> np.ndarray:
    """Mean output of the models that had a column minus mean output of those that had not.

    masks: bool or 0/1 integers (m, c); outputs: real or bool (m, t), float16 welcome. Returns float64 (t, c), in the
    outputs' unit; positive = the column's presence raises the output (helps). NaN = undefined: no model, or every
    model, had the column. Fewer than 30 models on a side of a column give a warning.

    dtype: of the matrix product. None takes float64 for small problems and float64 outputs, float32 for large ones
    (error near 1e-7 of the outputs' spread; sums across blocks are float64 either way).
    NaN or inf in the outputs raises ConfigError with the models' numbers.
    """
    masks, outputs = runs(masks, outputs)
    _warn(_few(masks.sum(axis=0), len(masks)), masks.shape[1])
    return _influence(masks, outputs, dtype)


def influence_error(masks: np.ndarray, outputs: np.ndarray, *, dtype: type | None = None) -> np.ndarray:
    """Standard error of `influence`: sqrt(v1 / m1 + v0 / m0), sample variances in the two groups of models.

    Shapes as `influence`; influence / influence_error is a t-value. NaN where a group has fewer than two models. Not
    in the paper.
    """
    masks, outputs = runs(masks, outputs)
    m, shift = len(masks), near_mean(outputs)
    inside, total = sums(bool_columns(masks), outputs, masks.shape[1], shift=shift, dtype=dtype)
    squares, total_square = sums(bool_columns(masks), outputs, masks.shape[1], shift=shift, power=2, dtype=dtype)
    return _spread((inside, total), (squares, total_square), masks.sum(axis=0), m)


def influence_columns(
    packed: np.ndarray, outputs: np.ndarray, n: int, *, columns: int | None = None, first: int = 0
) -> Iterator[tuple[int, int, np.ndarray]]:
    """`influence` for columns by the million (example level), some at a time, from bit-packed masks.

    packed: uint8 (m, ceil(n / 8)), rows of np.packbits, n columns in all; outputs (m, t). Yields (start, stop,
    influence[:, start:stop]) in order, from column `first` on (one that a part begins with). Memory beyond the inputs:
    two arrays of t x `columns` float64, by default of at most 128 MiB each, and blocks of models of about as much. To
    keep it all on disk: `influence.columns.write`.
    """
    outputs, few = _outputs(outputs, len(packed)), 0
    for start, stop, unpacked, with_it in _parts(packed, n, outputs.shape[1], columns):
        few += _few(with_it, len(packed))
        if start >= first:
            inside, total = sums(unpacked, outputs, stop - start)
            yield start, stop, _difference(inside, total, with_it, len(packed))
    _warn(few, n)


def mean_columns(
    packed: np.ndarray, outputs: np.ndarray, n: int, *, columns: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`mean_influence` from bit-packed masks, for columns by the million; arguments as `influence_columns`."""
    outputs = _outputs(outputs, len(packed))
    mean_output = outputs.mean(axis=1, dtype=np.float64, keepdims=True)
    shift, mean, error = near_mean(mean_output), np.empty(n), np.empty(n)
    for start, stop, unpacked, with_it in _parts(packed, n, 1, columns):
        plain = sums(unpacked, mean_output, stop - start, shift=shift)
        squares = sums(unpacked, mean_output, stop - start, shift=shift, power=2)
        error[start:stop] = _spread(plain, squares, with_it, len(packed))[0]
        mean[start:stop] = _difference(*plain, with_it, len(packed))[0]
    return mean, error


def part_of(targets: int, columns: int | None = None) -> int:
    """Return how many columns a part of `influence_columns` has, of so many targets."""
    return max(8, (columns or min(2**16, 2**24 // targets)) // 8 * 8)  # whole bytes


Part = tuple[int, int, Callable[[slice, type], np.ndarray], np.ndarray]  # start, stop, reader of masks, models with it


def _parts(packed: np.ndarray, n: int, targets: int, columns: int | None) -> Iterator[Part]:
    """The columns of bit-packed masks, some at a time."""
    n = whole_number("n", n, 1)
    packed = shaped("packed", packed, "m", -(-n // 8))
    if packed.dtype != np.uint8:
        raise ConfigError("packed", Shown(f"array of {packed.dtype}"), "uint8 rows of np.packbits(mask)")
    step = part_of(targets, columns)
    for start in range(0, n, step):
        stop = min(n, start + step)
        part = packed[:, start // 8 : -(-stop // 8)]

        def unpacked(rows: slice, dtype: type, part: np.ndarray = part, count: int = stop - start) -> np.ndarray:
            return np.unpackbits(part[rows], axis=1, count=count).astype(dtype, copy=False)

        with_it = np.zeros(stop - start, np.int64)
        for rows in _blocks(len(part), stop - start):
            with_it += unpacked(rows, np.uint8).sum(axis=0, dtype=np.int64)
        yield start, stop, unpacked, with_it


def mean_influence(masks: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influence of each column on the mean output of a model over all targets, and its standard error; float64 (c,).

    Equal to `influence(...).mean(axis=0)`. The error is over models: the targets of one model are not independent,
    so averaging the errors of single targets would be wrong.
    """
    masks, outputs = runs(masks, outputs)
    mean_output = outputs.mean(axis=1, dtype=np.float64, keepdims=True)
    return _influence(masks, mean_output)[0], influence_error(masks, mean_output)[0]


def split_half(masks: np.ndarray, outputs: np.ndarray) -> float:
    """Spearman correlation of the mean influences from the even-numbered and from the odd-numbered models.

    1 = the two halves order the columns alike, 0 = noise. Aim at 0.5 or more before spending on counterfactuals.
    Columns undefined in a half do not count; fewer than 3 others raise ConfigError. NaN if a half finds no
    difference at all.
    """
    masks, outputs = runs(masks, outputs)
    mean_output = outputs.mean(axis=1, dtype=np.float64, keepdims=True)
    finite_models(mean_output)  # here, because a half would count its models from 0
    if len(masks) < 4:
        raise ConfigError("masks", Shown(f"{len(masks)} models"), "4 or more, two for each half")
    even, odd = (_influence(masks[start::2], mean_output[start::2])[0] for start in (0, 1))
    if (defined := (~np.isnan(even) & ~np.isnan(odd)).sum()) < 3:
        found = Shown(f"{int(defined)} columns with models on both sides in both halves")
        raise ConfigError("masks", found, "3 or more, so that two orders can be compared")
    return rank_correlation(even, odd)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman correlation of two rankings of the same columns (c,); NaN ones are left out. NaN if fewer than 3 are
    left, or if one of them tells nothing apart."""
    from scipy.stats import spearmanr  # 0.5 s

    defined = ~np.isnan(one) & ~np.isnan(other)
    return float(spearmanr(one[defined], other[defined]).statistic) if defined.sum() >= 3 else float("nan")


def class_view(influence: np.ndarray, target_labels: np.ndarray, n_target_classes: int) -> np.ndarray:
    """Class-to-class influence: the mean over each target class's examples.

    influence: (t, c); target_labels: integers (t,). Returns float64 (n_target_classes, c), a row of NaN for a target
    class without examples.
    """
    influence = shaped("influence", influence, "t", "c")
    labels = class_labels("target_labels", target_labels, len(influence), n_target_classes)
    view = np.full((n_target_classes, influence.shape[1]), np.nan)
    for c in np.unique(labels):
        view[c] = influence[labels == c].mean(axis=0)
    return view


def runs(masks: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return masks bool (m, c) and outputs (m, t), or raise ConfigError: other values than 0 and 1, m that differ."""
    masks = shaped("masks", masks, "m", "c")
    if masks.dtype != np.bool_:
        if masks.dtype.kind not in "iu" or masks.min(initial=0) < 0 or masks.max(initial=0) > 1:
            raise ConfigError("masks", Shown(f"array of {masks.dtype}"), "bool, or integers 0 and 1")
        masks = masks.astype(np.bool_)
    if 0 in masks.shape:
        raise ConfigError("masks", Shown(f"array of shape {masks.shape}"), "at least one model and one column")
    return masks, _outputs(outputs, len(masks))


def sums(
    columns: Callable[[slice, type], np.ndarray],
    outputs: np.ndarray,
    c: int,
    *,
    shift: np.ndarray | None = None,
    power: int = 1,
    dtype: type | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over models of (output - shift) ** power: with each column (t, c), and over all models (t,); float64.

    columns(rows, dtype) returns the masks of a block of models. shift: (t,), by default `near_mean(outputs)`.
    """
    (m, t), shift = outputs.shape, near_mean(outputs) if shift is None else shift
    if dtype is None:  # below 2**33 products float64 takes about a second
        dtype = np.float64 if m * t * c < 2**33 or outputs.dtype == np.float64 else np.float32
    shift = shift.astype(dtype)
    inside, total = np.zeros((t, c)), np.zeros(t)
    product: np.ndarray = np.empty((t, c), dtype)
    for rows in _blocks(m, max(t, c)):
        y: np.ndarray = outputs[rows].astype(dtype)
        y -= shift
        if power == 2:
            np.square(y, out=y)
        total += y.sum(axis=0)
        inside += np.matmul(y.T, columns(rows, dtype), out=product)
    if not np.isfinite(total).all():
        finite_models(outputs)
        raise ConfigError("outputs", Shown(f"sums too large for {np.dtype(dtype)}"), "smaller numbers or a wider dtype")
    return inside, total


def finite_models(outputs: np.ndarray) -> None:
    """Raise ConfigError with the numbers of the models whose outputs (m, t) hold NaN or inf."""
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(bad):
        found = Shown(f"NaN or inf in models {first(bad)}")
        raise ConfigError(
            "outputs", found, "finite outputs: leave unfinished models out, masks[done] and outputs[done]"
        )


def near_mean(outputs: np.ndarray) -> np.ndarray:
    """A value near the mean of each target's outputs, (t,): any would do, a near one keeps the sums small."""
    return outputs[next(_blocks(*outputs.shape))].mean(axis=0, dtype=np.float64)


def bool_columns(masks: np.ndarray) -> Callable[[slice, type], np.ndarray]:
    """Reader of masks (m, c) for `sums`."""
    return lambda rows, dtype: masks[rows].astype(dtype)


def _influence(masks: np.ndarray, outputs: np.ndarray, dtype: type | None = None) -> np.ndarray:
    inside, total = sums(bool_columns(masks), outputs, masks.shape[1], dtype=dtype)
    return _difference(inside, total, masks.sum(axis=0), len(masks))


def _difference(inside: np.ndarray, total: np.ndarray, with_it: np.ndarray, m: int) -> np.ndarray:
    """Mean with minus mean without, from sums (t, c) and (t,), written into `inside`."""
    without = m - with_it
    undefined = (with_it == 0) | (without == 0)
    with_it, without = np.maximum(with_it, 1), np.maximum(without, 1)
    inside *= m / (with_it * without)  # a / p - (s - a) / q = a (p + q) / (p q) - s / q
    for row, whole in zip(inside, total, strict=True):
        row -= whole / without
    inside[:, undefined] = np.nan
    return inside


def _spread(
    plain: tuple[np.ndarray, np.ndarray], squares: tuple[np.ndarray, np.ndarray], with_it: np.ndarray, m: int
) -> np.ndarray:
    """Standard errors (t, c) from the sums (t, c) and (t,) of outputs and of their squares; written into the latter."""
    (inside, total), (error, total_square) = plain, squares
    with_it = with_it.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        for t in range(len(error)):
            spread_in = error[t] - inside[t] ** 2 / with_it
            spread_out = total_square[t] - error[t] - (total[t] - inside[t]) ** 2 / (m - with_it)
            variance = np.maximum(spread_in, 0) / (with_it - 1) / with_it
            variance += np.maximum(spread_out, 0) / (m - with_it - 1) / (m - with_it)
            error[t] = np.sqrt(variance)
    error[:, (with_it < 2) | (m - with_it < 2)] = np.nan
    return error


def _outputs(outputs: np.ndarray, m: int) -> np.ndarray:
    outputs = shaped("outputs", outputs, "m", "t")
    if len(outputs) != m:
        raise ConfigError("outputs", Shown(f"{len(outputs)} models"), f"a row for each of the {m} models of the masks")
    if outputs.dtype.kind not in "fiub" or outputs.shape[1] == 0:
        found = f"{outputs.dtype} array of shape {outputs.shape}"
        raise ConfigError("outputs", Shown(found), "real numbers or bools, at least one target")
    return outputs


def _blocks(m: int, width: int) -> Iterator[slice]:
    """Slices of models so that a block of `width` numbers a model stays near 64 MB in float64."""
    step = int(np.clip(2**23 // max(width, 1), 16, 4096))
    return (slice(start, start + step) for start in range(0, m, step))


def _few(with_it: np.ndarray, m: int) -> int:
    """How many columns have fewer than `FEW_MODELS` of m models on a side."""
    return int((np.minimum(with_it, m - with_it) < FEW_MODELS).sum())


def _warn(few: int, columns: int) -> None:
    if few:
        text = f"{few} of {columns} columns have fewer than {FEW_MODELS} models on a side, see influence_error"
        warnings.warn(text, stacklevel=3)
