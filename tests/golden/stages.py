"""The golden runs: each dear stage on a tiny input, and what of its result is pinned.

Ids, orders, masks, labels, names, hashes and the pixels of PNGs are exact. Floating-point results are near: another
torch, BLAS or processor sums in another order. Without oneDNN, without AVX or with two threads the numbers here move by
3e-6 of the largest magnitude at most; the tolerance of 1e-4 leaves room for more, and every change of behaviour that
test_golden.py tries moves them a hundred tolerances and further. Resized PNGs are exact: Pillow resizes in whole
numbers, the same on all platforms (a fork of it may round differently; a failing test says which libraries are others
than when the values were pinned). JPEGs are near, by a level of 255 in the mean: their decoders differ.

Not pinned: the characters of the glyphs reader, which are drawn by whatever FreeType there is, and what several
processes do (tests/test_ddp.py).
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dataprune.config import (
    AdoptConfig,
    DataConfig,
    DynamicsConfig,
    EvaluateConfig,
    LimitConfig,
    SignalsConfig,
    TrainConfig,
)
from dataprune.data.examples import Examples
from dataprune.stages import adopt, dynamics, evaluate, index, signals, train
from dataprune.training.classifier import Classifier
from tests.golden.inputs import CNN, HERE, RUN, images, indexed, model, pictures, pixels, png, subset
from tests.golden.pinned import Found, Near
from tests.golden.trainings import CHANGES, TRAININGS

FLOATS = 1e-4  # of the largest magnitude
LEVEL = 1 / 255


def of_index(folder: Path) -> Found:
    """Files with limits of two splits, arrays, and encoded bytes: which examples are kept, and their hashes."""
    exact: dict[str, Any] = {}
    folder_reader, per_split = {"_target_": "dataprune.data.folder.read"}, LimitConfig(train=7, test=4)
    root = pictures(folder / "pictures", 6, 5)
    sets = {
        "folder": DataConfig("a", folder_reader, str(root), limit=per_split, seed=3),
        "digits": DataConfig("b", {"_target_": "dataprune.data.digits.read", "shots": 2}, limit=LimitConfig(test=12)),
        "parquet": DataConfig("c", {"_target_": "dataprune.data.parquet.read"}, str(_parquet(folder / "parquet"))),
    }
    for name, data in sets.items():
        work = folder / "index" / name
        work.mkdir(parents=True)
        facts = index.run(data.table, {}, work, RUN, "source")
        header = json.loads((work / "header.json").read_text())
        exact |= {f"{name}.{key}": header[key] for key in ("maximum", "fingerprints", "splits")}
        exact |= {f"{name}.classes": json.loads((work / "classes.json").read_text())}
        exact |= {f"{name}.facts": {key: facts[key] for key in ("classes", "train", "test")}}
        for split in header["splits"]:
            content = np.load(work / split / "content.npy")
            exact[f"{name}.{split}.labels"] = np.load(work / split / "labels.npy")
            exact[f"{name}.{split}.names"] = json.loads((work / split / "names.json").read_text())
            exact[f"{name}.{split}.content"] = [bytes(row).hex()[:16] for row in content]
    return Found(exact, {})


def _parquet(folder: Path) -> Path:
    folder.mkdir()
    for split, numbers in (("train", (4, 9, 2)), ("test", (1, 7))):
        table = {"image": [png(pixels(i, 5, 1)) for i in numbers], "label": [i % 2 for i in numbers]}
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
    return folder


def of_decode(folder: Path) -> Found:
    """PNGs as they are, grey and resized; arrays; a JPEG; test views; means of what is kept and of what is not."""
    folder_reader, exact, near = {"_target_": "dataprune.data.folder.read"}, {}, {}
    png_root, jpg_root = pictures(folder / "pictures", 6, 2), folder / "jpegs"
    for split in ("train", "test"):
        (jpg_root / split / "one").mkdir(parents=True)
        (jpg_root / split / "one" / "picture.jpg").write_bytes((HERE / "picture.jpg").read_bytes())
    sets = {
        "as_is": DataConfig("a", folder_reader, str(png_root)),
        "grey": DataConfig("a", folder_reader, str(png_root), channels=1),
        "resized": DataConfig("a", folder_reader, str(png_root), size=4),
        "left": DataConfig("a", folder_reader, str(png_root), size=4),
        "viewed": DataConfig("a", folder_reader, str(png_root), resize=5, crop=4),
        "share": DataConfig("a", folder_reader, str(png_root), size=4, crop=0.875),
        "jpeg": DataConfig("a", folder_reader, str(jpg_root), size=8),
        "arrays": DataConfig("b", {"_target_": "tests.golden.inputs.arrays"}),
    }
    for name, data in sets.items():
        inputs = indexed(folder / name, data, kept=name != "left")
        header = json.loads((inputs["pixels"] / "header.json").read_text())
        exact |= {f"{name}.{key}": header[key] for key in ("kept", "input", "columns")}
        measured = 3 * LEVEL if name == "jpeg" else 1e-7  # exact counts of levels, eight digits pinned
        near |= {f"{name}.{key}": Near(np.array(header["codec"][key]), measured) for key in ("mean", "std")}
        if not header["kept"]:
            continue
        for split in Examples.of(inputs, "train").splits:
            found = np.array(Examples.of(inputs, split).column("image"))
            if name == "jpeg":
                near[f"{name}.{split}"] = Near(found / 255, LEVEL, mean=True)
            else:
                exact |= {f"{name}.{split}": _hash(found), f"{name}.{split}.first": found[0]}
    return Found(exact, near)


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()[:16]


def of_adopt(folder: Path) -> Found:
    """A foreign checkpoint: wrapped, with a classifier of another name."""
    inputs = images(folder)
    ours = torch.load(model(folder / "model") / "model.pt")
    theirs = {f"module.{name.removeprefix('backbone.').replace('head.', 'fc.')}": t for name, t in ours.items()}
    torch.save({"epoch": 3, "state_dict": theirs}, folder / "theirs.pt")
    work = folder / "adopted"
    work.mkdir()
    facts = adopt.run(AdoptConfig(str(folder / "theirs.pt"), CNN), inputs, work, RUN, "surrogate")
    exact = {f"model.{name}": t.numpy() for name, t in torch.load(work / "model.pt").items()}
    exact |= {"network": json.loads((work / "network.json").read_text()), "parameters": facts["parameters"]}
    return Found(_as_text(exact), {})


def _as_text(exact: dict[str, Any]) -> dict[str, Any]:
    """Arrays of float32 that must be equal to the bit, as hexadecimal words."""
    words = {n: v.astype(">f4").tobytes().hex(" ", 4) for n, v in exact.items() if isinstance(v, np.ndarray)}
    return exact | words


def of_dynamics(folder: Path, change: str = "") -> Found:
    """Logits of three epochs, with the softmax; and a text of p_true with an example that one epoch has not seen."""
    inputs, n = images(folder, per_class=2), 6
    epoch, i, c = np.ogrid[:3, :n, :3]
    logits = np.sin(1.0 + 2 * epoch + 3 * i * (c + 1)).astype(np.float32) * (3 - c)
    np.save(folder / "logits.npy", np.roll(logits, 1, axis=1) if change == "other examples" else logits)
    (folder / "texts").mkdir()
    for e in range(3):
        values = [0.0 if (e, i) == (1, 4) else (1 + 3 * i + e) / 32 for i in range(n)]
        (folder / "texts" / f"prob_{e}.txt").write_text("".join(f"{value}\n" for value in values))
    exact: dict[str, Any] = {}
    near: dict[str, Near] = {}
    for name, path, full in (("logits", "logits.npy", True), ("texts", "texts", False)):
        work = folder / f"work_{name}"
        work.mkdir()
        facts = dynamics.run(DynamicsConfig(str(folder / path), full), inputs, work, RUN, "dynamics")
        exact[f"{name}.facts"] = {key: facts[key] for key in ("layout", "epochs", "n", "quantities", "unseen")}
        exact[f"{name}.unseen"] = json.loads((work / "dynamics.json").read_text())["unseen"]
        _recorded(name, work, exact, near)
    return Found(exact, near)


def _recorded(name: str, work: Path, exact: dict[str, Any], near: dict[str, Near]) -> None:
    """What a recorder has left."""
    for file in ("p_true", "margin", "error", "correct", "probabilities"):
        if (path := work / f"{file}.npy").exists():
            values = np.load(path)
            if file == "correct":
                exact[f"{name}.{file}"] = values.astype(int)
            else:  # half a unit in the last place of float16 is 5e-4
                near[f"{name}.{file}"] = Near(values, 1e-3 if values.dtype == np.float16 else FLOATS)


def of_train(folder: Path, change: str = "") -> Found:
    """All of TRAININGS; with a `change`, only the one that it is about."""
    there = {"weighted": images(folder / "memory"), "files": images(folder / "files", per_class=4, kept=False)}
    ids = [0, 1, 2, 4, 5, 7, 8, 9, 11, 13, 14, 15, 16, 18, 19, 20, 22, 23]
    extra = {
        "weighted": {"subset": subset(folder / "subset", ids, [1 + i % 3 for i in ids])},
        "probe": {"init": model(folder / "init")},
    }
    exact: dict[str, Any] = {}
    near: dict[str, Near] = {}
    for name, config in TRAININGS.items():
        if change and CHANGES[change][0] != name:
            continue
        inputs = there.get(name, there["weighted"]) | extra.get(name, {})
        config = dataclasses.replace(config, **CHANGES[change][1](config)) if change else config
        _trained(name, config, inputs, folder / name, exact, near)
    return Found(exact, near)


def _trained(
    name: str, config: TrainConfig, inputs: dict[str, Path], work: Path, exact: dict[str, Any], near: dict[str, Near]
) -> None:
    (work / "scratch").mkdir(parents=True, exist_ok=True)
    examples = Examples.of(inputs, "train")
    with _batches() as seen:
        facts = train.run(config, inputs, work, RUN, "surrogate")
    exact[f"{name}.facts"] = {key: facts[key] for key in ("epochs", "steps", "examples", "parameters")}
    exact[f"{name}.network"] = json.loads((work / "network.json").read_text())
    exact[f"{name}.ids"] = [batch["id"].tolist() for batch in seen]
    if name != "probe":
        # crops and flips: the levels that the network saw, before normalisation
        exact[f"{name}.pixels"] = [_levels(batch["inputs"]["image"], examples.header["codec"]) for batch in seen]
    near[f"{name}.scale"] = Near(np.array([batch["scale"] for batch in seen]), FLOATS)
    if seen[0]["weight"] is not None:
        near[f"{name}.weight"] = Near(torch.cat([batch["weight"] for batch in seen]).numpy(), FLOATS)
    history = [json.loads(line) for line in (work / "history.jsonl").read_text().splitlines()]
    for key in ("lr", "train_loss", "train_top1", "validation_top1"):
        if key in history[0]:
            near[f"{name}.{key}"] = Near(np.array([line[key] for line in history]), FLOATS)
    for key, tensor in torch.load(work / "model.pt").items():
        if key.endswith("num_batches_tracked"):
            exact[f"{name}.model.{key}"] = int(tensor)
        else:
            near[f"{name}.model.{key}"] = Near(tensor.numpy(), FLOATS)
    _recorded(name, work, exact, near)


def _levels(x: torch.Tensor, codec: dict[str, Any]) -> str:
    """A hash of the levels 0 to 255 in normalised images (b, c, h, w)."""
    mean, std = (np.array(codec[key])[:, None, None] for key in ("mean", "std"))
    return _hash(np.rint((x.numpy().astype(np.float64) * std + mean) * 255).astype(np.uint8))


@contextmanager
def _batches() -> Iterator[list[dict[str, Any]]]:
    """All batches that trainings inside see, in order."""
    seen: list[dict[str, Any]] = []
    step = Classifier.training_step

    def watched(self: Classifier, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        seen.append(dict(batch))
        return step(self, batch, batch_idx)

    with patch.object(Classifier, "training_step", watched):
        yield seen


def of_signals(folder: Path, change: str = "") -> Found:
    """Logits, features and gradient lengths of a model with batch norm."""
    inputs = images(folder, per_class=3, start=1 if change == "other images" else 0)
    inputs["model"] = model(folder / "model", start=1 if change == "other weights" else 0)
    exact: dict[str, Any] = {}
    near: dict[str, Near] = {}
    for name, config in {
        "outputs": SignalsConfig(batch_size=4),
        "validation": SignalsConfig(["features"], split="validation"),
        "gradients": SignalsConfig(["grad_norm"], batch_size=4),
    }.items():
        work = folder / name
        work.mkdir()
        signals.run(config, inputs, work, RUN, "signals")
        exact[f"{name}.files"] = sorted(file.name for file in work.iterdir())
        for file in sorted(work.glob("*.npy")):
            values = np.load(file)
            if file.stem == "labels":
                exact[f"{name}.labels"] = values
            else:
                near[f"{name}.{file.stem}"] = Near(values, FLOATS)
    return Found(exact, near)


def of_evaluate(folder: Path, change: str = "") -> Found:
    """A whole split, one half of another, and kept classes only."""
    inputs = images(folder, per_class=6, start=1 if change == "other images" else 0)
    inputs["model"] = model(folder / "model", start=1 if change == "other weights" else 0)
    kept = subset(folder / "subset", [0], classes=[0, 2])
    exact: dict[str, Any] = {}
    near: dict[str, Near] = {}
    for name, config, extra in (
        ("test", EvaluateConfig(batch_size=4), {}),
        ("half", EvaluateConfig("train", "first"), {}),
        ("classes", EvaluateConfig("train"), {"subset": kept}),
    ):
        work = folder / name
        work.mkdir()
        metrics = evaluate.run(config, inputs | extra, work, RUN, "source_result")
        exact[f"{name}.n"] = metrics["n"]
        near[f"{name}.metrics"] = Near(np.array([metrics[key] for key in METRICS]), FLOATS)
        with np.load(work / "outcomes.npz") as outcomes:
            exact |= {f"{name}.{key}": outcomes[key] for key in ("ids", "prediction")}
            near |= {f"{name}.{key}": Near(outcomes[key], FLOATS) for key in ("p_true", "logit_gap")}
    return Found(exact, near)


METRICS = ("top1", "top5", "mean_class_top1", "worst_class_top1", "loss")
RUNS: dict[str, Callable[..., Found]] = {
    "index": of_index,
    "decode": of_decode,
    "adopt": of_adopt,
    "dynamics": of_dynamics,
    "train": of_train,
    "signals": of_signals,
    "evaluate": of_evaluate,
}
