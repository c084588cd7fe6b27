"""Files of the programs that dataprune follows: DP4TL's index lists and data-transfer's result files.

Both keep them with torch.save. A file of tensors, arrays, lists and dictionaries is read by `formats.pickles`, which
runs nothing. One that holds other Python objects (argument name spaces) could run anything while it is loaded: it is
refused unless `allow_pickle=True` says that its origin is trusted.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, shaped
from dataprune.formats.pickles import load
from dataprune.store import whole_file


def read_indices(path: str | Path, *, allow_pickle: bool = False) -> np.ndarray:
    """Sample ids or class ids, int64 (n,), in file order: `*.indices`, `*_data_index.pth`, `*_class_index.pth`."""
    return class_labels(str(path), _array(_load(path, allow_pickle)))


def write_indices(path: str | Path, ids: np.ndarray) -> None:
    """Write ids (n,) as an int64 tensor, the form that DP4TL's trainer reads."""
    _save(path, _tensor(class_labels("ids", ids)))


def read_label_table(path: str | Path, *, allow_pickle: bool = False) -> np.ndarray:
    """`imagenet_{train,val}.label`: int64 (n, 2), rows of label and sample id, in any order."""
    table = shaped(str(path), _array(_load(path, allow_pickle)), "n", 2)
    class_labels(str(path), table.reshape(-1))
    return table.astype(np.int64, copy=False)


def write_label_table(path: str | Path, labels: np.ndarray, ids: np.ndarray | None = None) -> None:
    """Write labels (n,) and their sample ids (by default 0 to n-1) as DP4TL's table (n, 2)."""
    labels = class_labels("labels", labels)
    ids = np.arange(len(labels)) if ids is None else class_labels("ids", ids, len(labels))
    _save(path, _tensor(np.column_stack([labels, ids])))


def read_frequency(path: str | Path, *, allow_pickle: bool = False) -> np.ndarray:
    """`{target}_lm.frequency`, `{target}_ALL_Vote.pth`: counts of a mapping, int32 (c,)."""
    return class_labels(str(path), _array(_load(path, allow_pickle))).astype(np.int32)


def write_frequency(path: str | Path, frequency: np.ndarray) -> None:
    """Write counts (c,) as an int32 tensor."""
    _save(path, _tensor(class_labels("frequency", frequency).astype(np.int32)))


def read_groups(path: str | Path, *, allow_pickle: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """`*_class_data_id` and cluster assignments, {class or cluster: list of sample ids}: labels and ids, int64 (n,)."""
    groups = _groups(path, _load(path, allow_pickle))
    ids = [class_labels(str(path), np.asarray(_array(members), np.int64)) for members in groups.values()]
    return _repeated(list(groups), ids), np.concatenate(ids)


def read_assignment(path: str | Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    """A cluster assignment of DP4TL, {cluster: list of sample ids}: clusters and ids, int64 (n,).

    Read by `formats.pickles`, which runs nothing; raises ConfigError under `key` for any other file.
    """
    found = load(path, key)
    if not isinstance(found, Mapping) or not found or not all(str(name).isdecimal() for name in found):
        raise ConfigError(key, str(path), "a dictionary {cluster: list of sample ids}, clusters numbered from 0")
    ids = [class_labels(key, np.asarray(_array(members), np.int64).ravel()) for members in found.values()]
    return _repeated([int(name) for name in found], ids), np.concatenate(ids)


def read_features(path: str | Path, *, allow_pickle: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    """`*_class_fx` ({class: list of vectors}) or `*_all_fx` (list of vectors): float32 (n, d) and labels int64 (n,).

    A file in loader order has no labels: None.
    """
    loaded = _load(path, allow_pickle)
    if not isinstance(loaded, Mapping):
        return shaped(str(path), _array(loaded), "n", "d").astype(np.float32), None
    groups = {c: _array(vectors) for c, vectors in _groups(path, loaded).items() if len(vectors)}
    rows = [shaped(f"{path}[{c}]", vectors, "n", "d") for c, vectors in groups.items()]
    return np.concatenate(rows).astype(np.float32), _repeated(list(groups), rows)


def read_summaries(
    paths: Sequence[str | Path], key: str, *, results: str = "transfer_results", allow_pickle: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Masks bool (m, c) and outputs (m, t) for `influence` from data-transfer's summary files `<TARGET>.pt`.

    paths: summaries of one target, joined along the models in this order. key: `softmax_logits`, `raw_margins`, ... ;
    results: "transfer_results" (fixed features) or "transfer_results_full" (full network).
    """
    masks, outputs = [], []
    for path in paths:
        summary = _load(path, allow_pickle)
        masks.append(_array(_entry(path, summary, "class_binary_mask")).astype(np.bool_))
        outputs.append(shaped(f"{path}[{key}]", _array(_entry(path, summary, results, key)), len(masks[-1]), "t"))
    return _joined("paths", masks), _joined("paths", outputs)


def read_results(
    paths: Sequence[str | Path],
    target: str,
    key: str,
    n_classes: int,
    *,
    results: str = "transfer_results",
    allow_pickle: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks bool (m, n_classes) and outputs (m, t) from data-transfer's files of single models, in this order."""
    masks = np.zeros((len(paths), n_classes), np.bool_)
    outputs = []
    for row, path in zip(masks, paths, strict=True):
        result = _load(path, allow_pickle)
        kept = _array(_entry(path, result, "classes_to_keep"))
        row[class_labels(f"{path}[classes_to_keep]", kept, n_classes=n_classes)] = True
        outputs.append(_array(_entry(path, result, "transfer_datasets", target, results, key))[None])
    return masks, _joined("paths", outputs)


def _load(path: str | Path, allow_pickle: bool) -> Any:
    """What torch.save (or pickle) wrote to `path`, tensors as arrays; other Python objects only with `allow_pickle`."""
    try:
        return load(path, str(path))
    except ConfigError as error:
        if not allow_pickle:
            found = Shown(f"False for {path}, which is damaged or holds Python objects that can run code when loaded")
            raise ConfigError("allow_pickle", found, "True, if you trust where the file comes from") from error
    import torch  # seconds, and a selection without foreign files does not want it

    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (pickle.UnpicklingError, RuntimeError, EOFError):  # not torch's container: a plain pickle, or damaged
        with open(path, "rb") as file:
            return pickle.load(file)


def _save(path: str | Path, content: Any) -> None:
    """torch.save, complete or not at all."""
    import torch

    with whole_file(path) as file:
        torch.save(content, file)


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))


def _array(values: Any) -> np.ndarray:
    """A tensor, or a list of tensors, arrays or numbers, as one array."""
    if isinstance(values, list | tuple):
        return np.stack([np.asarray(value) for value in values]) if len(values) else np.empty(0)
    return np.asarray(values)


def _groups(path: str | Path, loaded: Any) -> dict[int, Any]:
    """The {class: members} of a file, classes ascending."""
    if not isinstance(loaded, Mapping) or not loaded:
        raise ConfigError(str(path), Shown(type(loaded).__name__), "a dictionary from class to a list")
    return {int(c): loaded[c] for c in sorted(loaded, key=int)}


def _repeated(classes: list[int], members: list[np.ndarray]) -> np.ndarray:
    return np.repeat(np.array(classes, np.int64), [len(found) for found in members])


def _entry(path: str | Path, found: Any, *keys: str) -> Any:
    """found[key][key]..., or a ConfigError that says what there is instead."""
    for depth, key in enumerate(keys):
        if not isinstance(found, Mapping) or key not in found:
            there = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            expected = f"one of {there}" if there else "a file with results"
            raise ConfigError(f"{path}: {'.'.join(keys[: depth + 1])}", Shown("missing"), expected)
        found = found[key]
    return found


def _joined(name: str, parts: list[np.ndarray]) -> np.ndarray:
    """Parts one after the other along the models; they must agree in width."""
    if len({part.shape[1:] for part in parts}) != 1:
        found = Shown(f"rows of shapes {sorted({part.shape[1:] for part in parts})}")
        raise ConfigError(name, found, "at least one file, all of the same target and number of classes")
    return np.concatenate(parts)
