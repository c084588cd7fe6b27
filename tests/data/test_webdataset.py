"""WebDataset tars: examples, labels, order; indexed once and read by offset; what is refused."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig
from dataprune.data.webdataset import read
from dataprune.errors import ConfigError


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def shard(path, files):
    """Write a tar of (name, bytes)."""
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def example(name, value, label):
    return [(f"{name}.png", png(value)), (f"{name}.cls", b"%d" % label), (f"{name}.json", b'{"number": 5}')]


@pytest.fixture
def root(tmp_path):
    """Two tars of train with two examples each, the second with a long name, and one of validation."""
    folder = tmp_path / "tars"
    folder.mkdir()
    long = f"a.b/{'x' * 120}"
    shard(folder / "imagenet-train-000000.tar", [*example("n01/1", 10, 0), *example("n02/1", 20, 1)])
    shard(folder / "imagenet-train-000001.tar", [*example(long, 30, 0), *example("9", 40, 1)])
    shard(folder / "imagenet-val-000000.tar", [*example("v", 50, 1)])
    return folder


def test_examples_are_in_the_order_of_tars_and_of_what_lies_in_them(root):
    data = read(str(root))
    train = data.splits["train"]
    assert [piece.read_bytes() for piece in train.examples] == [png(v) for v in (10, 20, 30, 40)]
    assert train.labels.tolist() == [0, 1, 0, 1]
    assert train.names[:2] == ["imagenet-train-000000.tar/n01/1.png", "imagenet-train-000000.tar/n02/1.png"]
    assert data.splits.keys() == {"train", "test"}, "validation is the test split where there is no test"
    assert data.classes == ["0", "1"]


def test_the_index_knows_where_each_image_lies_and_holds_no_copy(root, tmp_path, dataset, monkeypatch):
    reader = {"_target_": "dataprune.data.webdataset.read"}
    data = dataset(DataConfig("tars", reader, str(root), size=4), tmp_path / "work", kept=False)
    assert not list((tmp_path / "work").glob("**/encoded.bin"))
    assert data["train"].items.files(np.arange(4)) is None, "a reader of whole files must not open the tars"
    monkeypatch.setattr(tarfile, "open", None)  # no scan from here on
    assert [data["train"].items[i] for i in (3, 0, 2)] == [png(40), png(10), png(30)]


def test_the_content_is_that_of_the_same_images_in_a_folder(root, tmp_path, dataset):
    for split, rows in {"train": [(10, 0), (20, 1), (30, 0), (40, 1)], "test": [(50, 1)]}.items():
        for i, (value, label) in enumerate(rows):
            path = tmp_path / "tree" / split / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(value))
    tars = dataset(DataConfig("t", {"_target_": "dataprune.data.webdataset.read"}, str(root), size=4), tmp_path / "1")
    tree = {"_target_": "dataprune.data.folder.read"}
    (tmp_path / "tree" / "test" / "0").mkdir()
    folder = dataset(DataConfig("f", tree, str(tmp_path / "tree"), size=4), tmp_path / "2")
    assert folder["test"].fingerprint == tars["test"].fingerprint


def test_a_range_of_tars_must_be_complete(root):
    pattern = {"train": "imagenet-train-{000000..000007}.tar", "test": "imagenet-val-*.tar"}
    message = r"6 are not there: imagenet-train-000002\.tar, .*000006\.tar: expected"
    with pytest.raises(ConfigError, match=message):
        read(str(root), pattern)
    assert len(read(str(root), pattern | {"train": "imagenet-train-{000000..000001}.tar"}).splits["train"].labels) == 4


def test_the_class_may_stand_in_the_json(root):
    assert read(str(root), label="json.number").splits["train"].labels.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.cls", b"1")], r"with 'a' of cls: expected one image in each example"),
        ([("a.png", b"x"), ("a.jpg", b"x"), ("a.cls", b"1")], r"'a' of png, jpg, cls: expected one image"),
        ([("a.png", b"x"), ("b.png", b"x"), ("b.cls", b"1")], r"label=.*'a' of png: expected a class number in cls"),
        ([("a.png", b"x"), ("a.cls", b"cat")], r"'a' of png, cls: expected a class number in cls"),
    ],
)
def test_examples_that_lack_something_are_named(root, files, message):
    shard(root / "imagenet-train-000000.tar", files)
    with pytest.raises(ConfigError, match=message):
        read(str(root))


def test_a_tar_that_breaks_off_is_refused(root):
    victim = root / "imagenet-train-000001.tar"
    victim.write_bytes(victim.read_bytes()[: len(png(40)) + 700])
    with pytest.raises(ConfigError, match=r"000001\.tar'?: expected a whole tar that is not compressed"):
        read(str(root))


def test_json_numbers_are_read_as_numbers(root):
    shard(root / "imagenet-train-000000.tar", [("a.png", png(1)), ("a.json", json.dumps({"y": "3"}).encode())])
    with pytest.raises(ConfigError, match=r"expected a class number in json\.y"):
        read(str(root), label="json.y")
