"""Data sets that cannot be read, or not be learned from."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.faults.bad import Bad, Prepare, both, text

FOLDER = ["source=folder", "source.path=data", "source.size=8", "source.channels=1", "target=none"]
FILES = [*FOLDER, "pretrain.loader=workers"]
PARQUET = ["source=parquet", "source.path=data", "source.size=8", "source.channels=1", "target=none"]
OWN = ["source.reader={_target_:mine.read}", "target=none"]
READER = """
import numpy as np
from dataprune.data.examples import Dataset, Split

def split(n, **changes):
    images = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 1), np.uint8)
    return Split(**{"images": images, "labels": np.arange(n) % 2} | changes)

def read():
"""


def encoded(side: int = 8, mode: str = "L", kind: str = "PNG", seed: int = 0) -> bytes:
    """Return a picture of noise as the bytes of a file."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode).save(file, kind)
    return file.getvalue()


def tree(*, classes: tuple[str, ...] = ("cat", "dog"), mode: str = "L", at: str = "data") -> Prepare:
    """Write an image folder: train and test of these classes, four images each."""

    def prepare(folder: Path) -> None:
        for split in ("train", "test"):
            for name in classes:
                place = folder / at / split / name
                place.mkdir(parents=True)
                for i in range(4):
                    (place / f"{i}.png").write_bytes(encoded(mode=mode, seed=i))

    return prepare


def changed(change: Callable[[Path], object]) -> Prepare:
    """Write an image folder and change it: `change` gets its path."""
    return both(tree(), lambda folder: change(folder / "data"))


def last(content: bytes, suffix: str = ".png") -> Prepare:
    """Write an image folder whose last training image is this."""

    def change(data: Path) -> None:
        (data / "train" / "dog" / "3.png").unlink()
        (data / "train" / "dog" / f"3{suffix}").write_bytes(content)

    return changed(change)


def empty(where: str) -> Prepare:
    """Write an image folder and take the images away below `where`."""
    return changed(lambda data: [path.unlink() for path in (data / where).rglob("*.png")])


def without(where: str) -> Prepare:
    """Write an image folder without the folder `where`."""
    return changed(lambda data: (data / where).rename(data.parent / "elsewhere"))


def link(data: Path) -> None:
    """Make an image a link to nowhere."""
    (data / "train" / "dog" / "9.png").symlink_to("nowhere")


def rows(n: int = 8, **columns: pa.Array) -> Prepare:
    """Write Parquet files of n rows with other columns than they should be; None takes one away."""

    def prepare(folder: Path) -> None:
        (folder / "data").mkdir()
        right = {"image": pa.array([encoded(seed=i) for i in range(n)], pa.binary()), "label": pa.array([0, 1] * 4)[:n]}
        pq.write_table(pa.table(right), folder / "data" / "test.parquet")
        wrong = {name: column for name, column in (right | columns).items() if column is not None}
        pq.write_table(pa.table(wrong), folder / "data" / "train.parquet")

    return prepare


def cut(name: str, keep: Callable[[bytes], bytes]) -> Prepare:
    """Write Parquet files and keep a part of the bytes of one."""
    return both(rows(), lambda folder: (folder / name).write_bytes(keep((folder / name).read_bytes())))


def reader(body: str) -> Prepare:
    """Write a reader of one's own."""
    return text("mine.py", READER + f"    {body}\n")


def labelled(labels: list) -> Prepare:
    """Write Parquet files with these labels."""
    return rows(label=pa.array(labels))


JPEG = encoded(64, "RGB", "JPEG")
HALF_JPEG = JPEG[: len(JPEG) // 2]
FOLDERS = [
    Bad("no such folder", ["source=folder", "source.path=/nowhere/at/all", "target=none"], "source.path"),
    Bad("no path", ["source=folder", "target=none"], "source.path"),
    Bad("an empty folder", FOLDER, "source.path", lambda folder: (folder / "data").mkdir()),
    Bad("a file for a folder", FOLDER, "source.path", text("data", "cat")),
    Bad("no train", FOLDER, "source.path", without("train")),
    Bad("no test", FOLDER, "source.path", without("test")),
    Bad("no class folders", FOLDER, "source.path", both(without("train"), lambda f: (f / "data" / "train").mkdir())),
    Bad("a class without images", FOLDER, "source.path", empty("train/dog")),
    Bad("no test images", FOLDER, "source.path", empty("test")),
    Bad("a class that only the test has", FOLDER, "source.path", without("train/dog")),
    Bad("one class", FOLDER, "source", tree(classes=("cat",))),
    Bad("one class for a target", ["target=folder", "target.path=data", "target.size=8", "target.channels=1"],
        "target", tree(classes=("cat",))),
    Bad("a cut JPEG", FOLDER, "source.path", last(HALF_JPEG, ".jpg")),
    Bad("a cut JPEG, left in its file", FILES, "source.path", last(HALF_JPEG, ".jpg")),
    Bad("a PNG of text", FOLDER, "source.path", last(b"I am no picture")),
    Bad("a PNG of text, left in its file", FILES, "source.path", last(b"I am no picture")),
    Bad("a PNG of nothing", FOLDER, "source.path", last(b"")),
    Bad("a PNG without its end", FILES, "source.path", last(encoded(64)[:-600])),
    Bad("a link to nowhere", FOLDER, "source.path", changed(link)),
    Bad("a folder called like an image", FOLDER, "source.path", changed(lambda d: (d / "train/dog/9.png").mkdir())),
    Bad("images of two sizes", [*FOLDER, "source.size=null"], "source.size", last(encoded(9))),
    Bad("files without a size", [*FILES, "source.size=null"], "source.size", tree()),
    Bad("a target in colour for a grey source", ["target=folder", "target.path=data", "target.size=8"],
        "target.channels", tree(mode="RGB")),
]  # fmt: skip
VALUES = [
    Bad("two channels", ["source.channels=2"], "source.channels"),
    Bad("seven channels", ["source.channels=7"], "source.channels"),
    Bad("images of no size", ["source.size=0"], "source.size"),
    Bad("a mean without a deviation", ["source.mean=[0.5]"], "source.std"),
    Bad("three means for one channel", ["source.mean=[0,0,0]", "source.std=[1,1,1]"], "mean"),
    Bad("three means for one channel of a target", ["target.mean=[0,0,0]", "target.std=[1,1,1]"], "mean"),
    Bad("a deviation of 0", ["source.mean=[0.5]", "source.std=[0]"], "std"),
    Bad("a mean of text", ["source.mean=[grey]", "source.std=[1]"], "grey", hydra=True),
    Bad("fewer images than classes", ["source.limit.train=3"], "source.limit.train"),
    Bad("fewer images than classes of a target", ["target.limit.train=3"], "target.limit.train"),
    Bad("a storage, as it was written once", ["source.storage=files"], "source.storage"),
    Bad("an unknown loader", ["pretrain.loader=tape"], "pretrain.loader"),
    Bad("no reader", ["source.reader=null"], "source.reader", hydra=True),
    Bad("an unknown reader", ["source.reader={_target_:dataprune.data.glyphs.raed}"], "source.reader._target_"),
    Bad("a constant unknown to the reader", ["+source.reader.shots=3"], "source.reader.shots"),
    Bad("no glyphs", ["source.reader.per_class=0"], "source"),
    Bad("more digits than there are", ["target.reader.shots=100000"], "target"),
]  # fmt: skip
TABLES = [
    Bad("a row without an image", PARQUET, "source.path", rows(image=pa.array([encoded()] * 7 + [None], pa.binary()))),
    Bad("a row without a label", PARQUET, "source.path", labelled([0, 1, 0, 1, 0, 1, 0, None])),
    Bad("no column of images", PARQUET, "source.path", rows(image=None)),
    Bad("no column of labels", PARQUET, "source.path", rows(label=None)),
    Bad("labels in fractions", PARQUET, "source.path", labelled([0.5, 1, 0, 1, 0, 1, 0, 1])),
    Bad("labels of text", PARQUET, "source.path", labelled(["cat", "dog"] * 4)),
    Bad("negative labels", PARQUET, "source.path", labelled([-1, 1] * 4)),
    Bad("a label that nothing has", PARQUET, "source.path", labelled([0, 1, 3, 1, 0, 1, 0, 1])),
    Bad("images of text", PARQUET, "source.path", rows(image=pa.array(["a picture"] * 8))),
    Bad("bytes that are no image", PARQUET, "source.path", rows(image=pa.array([encoded()] * 7 + [b"?"], pa.binary()))),
    Bad("bytes that are no image, left encoded", [*PARQUET, "pretrain.loader=workers"], "source.path",
        rows(image=pa.array([encoded()] * 7 + [b"?"], pa.binary()))),
    Bad("no rows", PARQUET, "source.path",
        rows(image=pa.array([], pa.binary()), label=pa.array([], pa.int64()))),
    Bad("no Parquet", PARQUET, "source.path", cut("data/train.parquet", lambda content: b"cat,dog\n")),
    Bad("half of a Parquet", PARQUET, "source.path", cut("data/train.parquet", lambda content: content[:99])),
    Bad("a reader that fails", OWN, "source.reader", reader("raise RuntimeError('the disk is asleep')")),
    Bad("a reader of nothing", OWN, "source.reader", reader("return None")),
    Bad("a reader without a test", OWN, "source.reader", reader("return Dataset(['a', 'b'], {'train': split(8)})")),
    Bad("more labels than images", OWN, "source",
        reader("return Dataset(['a', 'b'], {'train': split(8, labels=np.arange(9) % 2), 'test': split(4)})")),
    Bad("fewer labels than images", OWN, "source",
        reader("return Dataset(['a', 'b'], {'train': split(8, labels=np.arange(7) % 2), 'test': split(4)})")),
    Bad("labels beyond the classes", OWN, "source",
        reader("return Dataset(['a', 'b'], {'train': split(8, labels=np.arange(8)), 'test': split(4)})")),
    Bad("fewer names than images", OWN, "source",
        reader("return Dataset(['a', 'b'], {'train': split(8, names=['x']), 'test': split(4)})")),
    Bad("two classes of one name", OWN, "source",
        reader("return Dataset(['a', 'a'], {'train': split(8), 'test': split(4)})")),
]  # fmt: skip
DATA = [*FOLDERS, *VALUES, *TABLES]
