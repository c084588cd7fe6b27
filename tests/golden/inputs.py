"""Inputs of the golden tests: made by formula, so that no library's version has a say in their bytes."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from dataprune.config import DataConfig, RunConfig
from dataprune.data.codecs import decoding
from dataprune.data.examples import Dataset, Split
from dataprune.models.networks import build, describe
from dataprune.stages import decode, index

HERE = Path(__file__).parent
RUN = RunConfig(accelerator="cpu", threads=1, workers=0, progress=False)
CLASSES = ["ant", "bee", "cow"]
CNN = {"_target_": "dataprune.models.networks.cnn", "width": 4, "depth": 2}


def pixels(i: int, side: int, channels: int) -> np.ndarray:
    """Return image number `i`, uint8 (side, side, channels): a slope and a spot, in a place and strength of its own."""
    y, x, c = np.ogrid[:side, :side, :channels]
    spot = (y - i % side) ** 2 + (x - 3 * i % side) ** 2 < side
    return ((37 * i + (5 + i % 3) * y + (9 - i % 4) * x + 61 * c + 90 * spot) % 256).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    """Return an image uint8 (h, w, 1 or 3) as a PNG whose bytes follow from its pixels alone: it is not compressed."""
    height, width, channels = image.shape
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    stored = struct.pack("<BHH", 1, len(raw), len(raw) ^ 0xFFFF) + raw  # one block of deflate, as it is
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))
    parts = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pictures(root: Path, side: int, per_class: int, channels: int = 3, start: int = 0) -> Path:
    """Write <root>/<split>/<class>/<number>.png of the splits train, val and test; returns the root."""
    number = start
    for split, count in (("train", per_class), ("val", 2), ("test", 3)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                (root / split / name / f"{i:02}.png").write_bytes(png(pixels(number, side, channels)))
                number += 1
    return root


def indexed(folder: Path, data: DataConfig, *, kept: bool = True) -> dict[str, Path]:
    """Index and decode a data set below `folder`; returns the inputs `examples` and `pixels` of the stages after."""
    inputs: dict[str, Path] = {}
    for role, stage, config in (
        ("examples", index, data.table),
        ("pixels", decode, decoding(data, "source", kept=kept)),
    ):
        work = folder / "work" / role
        work.mkdir(parents=True)
        stage.run(config, dict(inputs), work, RUN, "source")
        inputs[role] = work
    return inputs


def images(folder: Path, side: int = 8, per_class: int = 8, start: int = 0, *, kept: bool = True) -> dict[str, Path]:
    """Inputs `examples` and `pixels`: PNGs by formula, read by the folder reader."""
    root = pictures(folder / "pictures", side, per_class, start=start)
    config = DataConfig("golden", {"_target_": "dataprune.data.folder.read"}, str(root), size=side)
    return indexed(folder, config, kept=kept)


def arrays() -> Dataset:
    """A reader that gives arrays: three grey images of each split, of levels 0 to 16."""
    splits = {
        name: Split([pixels(i, 5, 1) % 17 for i in range(start, start + 3)], np.array([0, 1, 1]))
        for name, start in (("train", 0), ("test", 3))
    }
    return Dataset(CLASSES[:2], splits, maximum=16)


def weights(shapes: dict[str, torch.Size], start: int = 0) -> dict[str, torch.Tensor]:
    """Return tensors of these shapes by formula: small, of both signs; variances of batch norm positive."""
    made, at = {}, start
    for name, shape in shapes.items():
        count = int(np.prod(shape)) if shape else 1
        values = torch.from_numpy(((np.arange(at, at + count) * 7919 % 1000) / 1000 - 0.5).astype(np.float32))
        at += count
        made[name] = (values.abs() + 0.5 if name.endswith("running_var") else values).reshape(shape)
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(at)
    return made


def model(folder: Path, start: int = 0, channels: int = 3) -> Path:
    """A finished model by formula, as stage train leaves it."""
    folder.mkdir()
    input = {"kind": "image", "channels": channels, "height": 8, "width": 8}
    network = build(CNN, input, len(CLASSES))
    torch.save(weights({k: v.shape for k, v in network.state_dict().items()}, start), folder / "model.pt")
    (folder / "network.json").write_text(json.dumps(describe(CNN, input, len(CLASSES))))
    return folder


def subset(folder: Path, ids: list[int], weights: list[float] | None = None, classes: list[int] | None = None) -> Path:
    """A finished selection, as stage select leaves it."""
    folder.mkdir()
    np.save(folder / "ids.npy", np.array(ids))
    if weights is not None:
        np.save(folder / "weights.npy", np.array(weights, np.float32))
    if classes is not None:
        np.save(folder / "classes.npy", np.array(classes))
    return folder
