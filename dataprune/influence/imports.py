"""Influence stores out of what others have: data-transfer's published files, and models that are ready."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from dataprune import pipeline
from dataprune.checks.config import typed
from dataprune.commands.conf import CONF
from dataprune.config import Config
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.formats.dynamics import digest
from dataprune.formats.legacy import read_results, read_summaries
from dataprune.formats.pickles import load
from dataprune.influence.collect import SCHEMA
from dataprune.influence.store import OutcomeStore
from dataprune.selectors.classes import examples_of
from dataprune.stage_calls import Stages, Stamps
from dataprune.store import Store
from dataprune.subset import Subset

THEIRS = {"p_true": "softmax_logits", "logit_gap": "raw_margins", "prediction": "predictions"}
RESULTS = {"fixed": "transfer_results", "full": "transfer_results_full"}
Read = Callable[[str], tuple[np.ndarray, np.ndarray]]  # masks of the models, and what they have under a name of THEIRS
UNKNOWN = "unknown"  # the class of targets that no model has got right, where no labels are given


def files_of(paths: Sequence[str], target: str) -> list[Path]:
    """Return the files that hold results of a target: those named, in folders `<target>.pt` or else every .pt file."""
    found: list[Path] = []
    for path in map(Path, paths):
        there = sorted(path.glob("*.pt")) if path.is_dir() else [path]
        named = [file for file in there if file.stem.lower() == target.lower()]
        found += named or there
    if not found or not all(file.is_file() for file in found):
        raise ConfigError(
            "files", Shown(", ".join(paths)), "summaries <TARGET>.pt, results of models, or their folders"
        )
    return found


def published(
    out: Path,
    files: Sequence[Path],
    target: str,
    *,
    way: str = "fixed",
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
    allow_pickle: bool = False,
) -> OutcomeStore:
    """Write data-transfer's summaries, or results of single models, as a store, and return it.

    way: "fixed" or "full", of the transfer. labels: the targets' true classes (t,); without them they follow from the
    models that were right. classes: names of the source classes; without them numbers, 1,000 of results of single
    models. What the models took nobody knows. Files are read by `formats.pickles`; allow_pickle: those that hold other
    objects too, which may run code.
    """
    summary = "class_binary_mask" in _first(files[0], allow_pickle)
    names = [str(i) for i in range(1000)] if classes is None else list(classes)

    def read(key: str) -> tuple[np.ndarray, np.ndarray]:
        if summary:
            return read_summaries(files, key, results=RESULTS[way], allow_pickle=allow_pickle)
        return read_results(files, target, key, len(names), results=RESULTS[way], allow_pickle=allow_pickle)

    masks, said = _said(read)
    units = names if len(names) == masks.shape[1] else [str(i) for i in range(masks.shape[1])]
    truth, target_names = _truth(said["prediction"], labels, read)
    about = {"imported": digest(files), "target": target, "transfer": way}
    shape: dict[str, Any] = {"models": len(masks), "units": units, "labels": truth, "targets": target_names}
    schema = {key: SCHEMA[key] for key in said}
    store = OutcomeStore.create(out, **shape, schema=schema, experiment=about)
    for model, mask in enumerate(masks):
        store.write(model, mask, {key: values[model] for key, values in said.items()}, {})
    return store


def _first(path: Path, allow_pickle: bool) -> Any:
    """The content of a file, to see what kind it is."""
    try:
        found = load(path, "files")
    except ConfigError:
        if not allow_pickle:
            raise
        import torch

        found = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(found, dict):
        raise ConfigError("files", str(path), "a dictionary: a summary of a target, or the result of a model")
    return found


def _said(read: Read) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The masks of the models, and what they said of the targets, by our names: all of it that is there."""
    said: dict[str, np.ndarray] = {}
    for ours, theirs in THEIRS.items():
        try:
            masks, said[ours] = read(theirs)
        except ConfigError as error:
            if "missing" not in str(error.value) or ours == "prediction":  # without it no class is known
                raise
    return masks, said


def _truth(predictions: np.ndarray, labels: np.ndarray | None, read: Read) -> tuple[np.ndarray, list[str]]:
    """True classes (t,) of the targets, and the classes' names."""
    if labels is not None:
        if labels.shape != predictions.shape[1:]:
            raise ConfigError("--labels", Shown(f"array of shape {labels.shape}"), f"shape {predictions.shape[1:]}")
        return labels, [str(i) for i in range(int(max(labels.max(), predictions.max())) + 1)]
    right = read("is_corrects")[1].astype(bool)
    names = [str(i) for i in range(int(predictions.max()) + 1)]
    truth = np.where(right.any(0), np.where(right, predictions, -1).max(0), len(names))
    return truth.astype(np.int64), names if right.any(0).all() else [*names, UNKNOWN]


def ready(out: Path, checkpoints: Sequence[str], masks: str, words: Sequence[str]) -> OutcomeStore:
    """Transfer and measure models that somebody trained, and write them as a store, which is returned.

    checkpoints: a file a model; masks: .npy (models, classes), or (models, examples) with method.level=example; words:
    overrides of the job (source, target, model, transfer). Their rows say `claimed`, and that the cost is unknown.
    """
    kept = np.load(masks, mmap_mode="r", allow_pickle=False)
    if kept.ndim != 2 or len(kept) != len(checkpoints):
        found = Shown(f"{masks!r} of shape {kept.shape}")
        raise ConfigError("--masks", found, f"a row for each of the {len(checkpoints)} checkpoints")
    common = [*words, "method=registered", f"method.path={masks}", "baselines=none", "run.report=false"]
    stamps: Stamps = {}
    with tempfile.TemporaryDirectory() as folder:
        for model, checkpoint in enumerate(checkpoints):
            own = [f"method.score.model={model}", f"pretrain.checkpoint={checkpoint}"]
            claim = Path(folder) / f"{model}.npz"
            if model == 0:
                examples = _source(composed([*common, *own]), stamps)
            by_class = kept.shape[1] == len(examples.classes)
            ids = np.flatnonzero(kept[model])
            ids = examples_of(ids, examples.labels) if by_class else ids
            Subset(ids, len(examples), examples.fingerprint).save(claim)
            filed = [f"run.influence.store={out}", f"run.influence.models={len(checkpoints)}"]
            pipeline.job(composed([*common, *own, f"pretrain.subset={claim}", *filed]), None, stamps)
            claim.unlink()
    return OutcomeStore.open(out)


def composed(words: Sequence[str]) -> Config:
    """Return the job of these overrides, checked."""
    os.environ.setdefault("DATAPRUNE_ROOT", str(CONF.parent))  # as the command line has it
    ConfigStore.instance().store(name="base_config", node=Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("config", list(words)))


def _source(cfg: Config, stamps: Stamps) -> Examples:
    """The source's train split, indexed."""
    source, _, _ = pipeline.indexed(cfg, Stages(Store(cfg.run.store, cfg.run.verify), cfg, None, stamps=stamps))
    return Examples(source.table.path, "train")
