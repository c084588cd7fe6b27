"""CoOp split files and Waterbirds' lines: read as written, refused where they cannot be right."""

import json

import pytest
from PIL import Image

from dataprune.data.coop import read, read_lines
from dataprune.errors import ConfigError

SPLIT = {
    "train": [["b/1.jpg", 1, "beagle"], ["a/1.jpg", 0, "abyssinian"]],
    "val": [["a/2.jpg", 0, "abyssinian"]],
    "test": [["b/2.jpg", 1, "beagle"], ["a/3.jpg", 0, "abyssinian"]],
}


@pytest.fixture
def pets(tmp_path):
    """A folder with the images of SPLIT, and a function that writes a split file and reads it."""
    for entry in [e for rows in SPLIT.values() for e in rows]:
        file = tmp_path / "images" / entry[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)

    def reading(split):
        (tmp_path / "split.json").write_text(split if isinstance(split, str) else json.dumps(split))
        return read(str(tmp_path), "split.json", "images")

    return reading


def test_splits_labels_and_names_are_those_of_the_file(pets):
    data = pets(SPLIT)
    assert data.classes == ["abyssinian", "beagle"]
    assert {name: split.labels.tolist() for name, split in data.splits.items()} == {
        "train": [1, 0], "validation": [0], "test": [1, 0],
    }  # fmt: skip
    assert data.splits["test"].names == ["images/b/2.jpg", "images/a/3.jpg"]


def test_a_file_without_a_validation_split_has_none(pets):
    assert set(pets({k: v for k, v in SPLIT.items() if k != "val"}).splits) == {"train", "test"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": [["b/1.jpg", 3, "boxer"]]}, "labels 0 to 2"),
        ({"train": [["b/1.jpg", 1, "boxer"]]}, "one name for label 1"),
        ({"val": [["a/1.jpg", 0, "abyssinian"]]}, "each image in one split; images/a/1.jpg"),
        ({"val": [["a/9.jpg", 0, "abyssinian"]]}, "1 of 1 images are not there: a/9.jpg"),
        (
            {"val": [["../../x.jpg", 0, "abyssinian"]]},
            r"1 of 1 images lie elsewhere: \.\./\.\./x\.jpg",
        ),
        ({"val": [["/etc/hostname", 0, "abyssinian"]]}, "1 of 1 images lie elsewhere: /etc/hostname"),
        ({"val": [["a/2.jpg", "0", "abyssinian"]]}, r"entries \[image, label, class name\]"),
    ],
)
def test_what_cannot_be_right_is_refused(pets, change, message):
    with pytest.raises(ConfigError, match=message):
        pets(SPLIT | change)


def test_an_image_outside_the_folder_is_refused_though_it_is_there(pets, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path.parent / "secret.jpg")
    with pytest.raises(ConfigError, match="lie elsewhere"):
        pets(SPLIT | {"val": [["../../secret.jpg", 0, "abyssinian"]]})
    (tmp_path / "images" / "a" / "2.jpg").unlink()
    (tmp_path / "images" / "a" / "2.jpg").symlink_to(tmp_path.parent / "secret.jpg")
    assert pets(SPLIT).splits["validation"].names == ["images/a/2.jpg"], "a link below the folder is the user's own"


@pytest.mark.parametrize("text", ["{", "[]", '{"train": []}'])
def test_a_file_that_is_no_split_is_refused(pets, text):
    with pytest.raises(ConfigError, match=r"split\.json"):
        pets(text)


def test_waterbirds_lines_are_read(tmp_path):
    for i in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{i}.jpg")
    (tmp_path / "train.json").write_text('{"x": "0.jpg", "y": 1}\n{"x": "1.jpg", "y": 0}\n')
    (tmp_path / "test.json").write_text('{"x": "2.jpg", "y": 1}\n')
    data = read_lines(str(tmp_path))
    assert data.classes == ["0", "1"]
    assert data.splits["train"].labels.tolist() == [1, 0]
    (tmp_path / "test.json").write_text('{"image": "2.jpg"}\n')
    with pytest.raises(ConfigError, match="test="):
        read_lines(str(tmp_path))
