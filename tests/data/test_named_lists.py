"""Sets that lists of images share out, and sets whose first images of a class are for training."""

import pytest
from PIL import Image

from dataprune.data.named_lists import read, read_first
from dataprune.errors import ConfigError


@pytest.fixture
def images(tmp_path):
    """images(...) makes small pictures and returns the folder as text."""

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (2, 2)).save(path)
        return str(tmp_path)

    return make


def lists(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)


def test_a_line_is_an_image_and_its_class_which_may_have_spaces(images, tmp_path):
    path = images("data/1.jpg", "data/2.jpg", "data/3.jpg")
    lists(tmp_path, train="2 Model B200\n1 707-320\n", test="3 707-320\n")
    data = read(path, "data", ["train.txt"], ["test.txt"], suffix=".jpg")
    assert data.classes == ["707-320", "Model B200"]
    assert data.splits["train"].labels.tolist() == [1, 0]
    assert data.splits["train"].names == ["data/2.jpg", "data/1.jpg"]
    assert data.splits["test"].labels.tolist() == [0]


def test_without_a_class_the_folder_is_it_and_a_split_may_have_several_lists(images, tmp_path):
    path = images(*(f"images/{c}/{c}_{i}.jpg" for c in ("dotted", "banded") for i in range(4)))
    lists(
        tmp_path,
        a="dotted/dotted_0.jpg\n",
        b="banded/banded_0.jpg\n",
        c="dotted/dotted_1.jpg\n",
        d="banded/banded_1.jpg",
    )
    data = read(path, "images", ["a.txt", "b.txt"], ["c.txt"], ["d.txt"])
    assert data.classes == ["banded", "dotted"]
    assert {name: split.labels.tolist() for name, split in data.splits.items()} == {
        "train": [1, 0], "test": [1], "validation": [0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("2 c\n", "classes c: expected classes that train has too"),
        ("1 a\n", r"each image in one split; images/1\.jpg is in train and test"),
        ("9 a\n8 a\n", r"2 of 2 images are not there: 9\.jpg, 8\.jpg"),
        ("2\n", "expected `image class`, or `class/image`, a line"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(images, tmp_path, test, message):
    path = images("images/1.jpg", "images/2.jpg")
    lists(tmp_path, train="1 a\n", test=test)
    with pytest.raises(ConfigError, match=message):
        read(path, "images", ["train.txt"], ["test.txt"], suffix=".jpg")


def test_the_first_images_of_each_class_train(images):
    names = [f"all/{c}/image_{i:04}.jpg" for c in ("ant", "bee") for i in (3, 1, 2)]
    path = images(*names, "all/BACKGROUND/image_0001.jpg")
    data = read_first(path, "all", 2, ["BACKGROUND"])
    assert data.classes == ["ant", "bee"]
    assert [name.rpartition("/")[2] for name in data.splits["train"].names] == ["image_0001.jpg", "image_0002.jpg"] * 2
    assert data.splits["test"].names == ["all/ant/image_0003.jpg", "all/bee/image_0003.jpg"]
    assert data.splits["train"].labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(ConfigError, match="first=3: expected fewer than the images of each class; of ant, bee none"):
        read_first(path, "all", 3, ["BACKGROUND"])
