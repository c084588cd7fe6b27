"""ImageFolder trees."""

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig
from dataprune.data.folder import read
from dataprune.errors import ConfigError


@pytest.fixture
def tree(tmp_path):
    """Make images: tree("train/cat/1.png", ...) returns the root as text. A name that ends in / is an empty folder."""

    def make(*names):
        for i, name in enumerate(names):
            path = tmp_path / "root" / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2), i).save(path, "PNG")
        return str(tmp_path / "root")

    return make


def test_classes_and_files_are_sorted(tree):
    data = read(tree("train/dog/b.png", "train/dog/a.PNG", "train/cat/z.jpeg", "test/dog/1.png"))
    assert data.classes == ["cat", "dog"]
    assert data.splits["train"].names == ["train/cat/z.jpeg", "train/dog/a.PNG", "train/dog/b.png"]
    assert data.splits["train"].labels.tolist() == [0, 1, 1]
    assert data.splits["train"].labels.dtype == np.int64
    assert [p.name for p in data.splits["train"].examples] == ["z.jpeg", "a.PNG", "b.png"]
    assert data.splits["test"].labels.tolist() == [1], "a split has the classes of train"
    assert data.maximum == 255


def test_other_files_are_no_images(tree, tmp_path):
    path = tree("train/cat/1.png", "val/cat/1.png")
    for name in ("train/cat/Thumbs.db", "train/cat/1.txt", "train/README.md"):
        (tmp_path / "root" / name).write_text("x")
    assert read(path).splits["train"].names == ["train/cat/1.png"]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_is_the_test_split_where_there_is_no_test(tree, name):
    alone = read(tree("train/cat/1.png", f"{name}/cat/2.png"))
    assert {split: s.names for split, s in alone.splits.items()} == {
        "train": ["train/cat/1.png"],
        "test": [f"{name}/cat/2.png"],
    }


def test_validation_stays_one_beside_a_test(tree):
    both = read(tree("train/cat/1.png", "val/cat/2.png", "test/cat/3.png"))
    assert both.splits["validation"].names == ["val/cat/2.png"]
    assert both.splits["test"].names == ["test/cat/3.png"]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["cat/1.png", "dog/1.png"], r"a folder with train/<class>/ inside; it has cat, dog$"),
        (["train/cat/1.png", "other/"], r"a folder test/, val/ or valid/ beside train/; it has other, train$"),
        (["train/", "test/cat/1.png"], r"class folders below train/$"),
        (["train/cat/1.png", "test/bird/1.png", "test/ant/1.png"], r"only classes that train/ has; not ant, bird$"),
    ],
)
def test_a_tree_of_another_shape_is_refused_with_what_it_has(tree, names, text):
    with pytest.raises(ConfigError, match=rf"^path='.*root.*': expected {text}"):
        read(tree(*names))


def test_a_class_without_images_is_an_error(tree, tmp_path, dataset):
    path = tree("train/cat/1.png", "train/dog/", "test/cat/1.png")
    config = DataConfig("folder", {"_target_": "dataprune.data.folder.read"}, path)
    with pytest.raises(
        ConfigError, match=r"^source\.path=.* without train examples of dog: expected some of every class"
    ):
        dataset(config, tmp_path / "work")


@pytest.mark.parametrize("kept", [True, False])
def test_an_indexed_tree_gives_its_pictures_back(tree, tmp_path, dataset, kept):
    path = tree("train/cat/1.png", "train/dog/2.png", "test/cat/3.png")
    config = DataConfig("folder", {"_target_": "dataprune.data.folder.read"}, path, size=2)
    data = dataset(config, tmp_path / "work", kept=kept)
    examples = data["train"]
    counts = {"classes": 2, "train": 2, "test": 1, "fingerprints": examples.header["fingerprints"]}
    assert data.facts == counts | {"input": {"kind": "image", "channels": 1, "height": 2, "width": 2}}
    if kept:
        assert examples.column("image")[:, 0, 0, 0].tolist() == [0, 1]
    else:
        assert examples.items[1] == (tmp_path / "root" / "train" / "dog" / "2.png").read_bytes()
        assert not list((tmp_path / "work").glob("**/encoded.bin")), "the images stay where they are"
