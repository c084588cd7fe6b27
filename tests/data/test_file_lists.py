"""Dyn-Unc's file lists as data sets."""

import pytest
from PIL import Image

from dataprune.config import DataConfig
from dataprune.data.file_lists import read
from dataprune.errors import ConfigError

TRAIN = ["n01/a b.JPEG", "n01/1.JPEG", "n04/z.JPEG"]


@pytest.fixture
def root(tmp_path):
    """train/ with classes n01, n02 (empty) and n04, a folder that is none, and val/ with n04 alone."""
    for name in [*(f"train/{n}" for n in TRAIN), "train/lists/x.JPEG", "val/n04/1.JPEG"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "train" / "n02").mkdir()
    (tmp_path / "train" / "file_list.txt").write_text("/n01/1.JPEG 0\n/n01/a b.JPEG 0\n/n04/z.JPEG 2\n\n")
    (tmp_path / "val" / "file_list.txt").write_text("/n04/1.JPEG 0\n")
    return tmp_path


def test_ids_are_lines_and_an_empty_class_keeps_its_label(root, dataset, tmp_path):
    data = read(str(root))
    assert data.classes == ["n01", "n02", "n04"]
    assert data.splits["train"].names == ["train/n01/1.JPEG", "train/n01/a b.JPEG", "train/n04/z.JPEG"]
    assert data.splits["train"].labels.tolist() == [0, 0, 2]
    assert data.splits["test"].labels.tolist() == [2], "a rank among val's own folders; the folder tells the class"
    config = DataConfig("list", {"_target_": "dataprune.data.file_lists.read"}, str(root), size=4)
    assert dataset(config, tmp_path / "work").facts["classes"] == 3


def test_a_coresets_list_takes_its_images_from_where_they_are(root):
    (root / "coresets").mkdir()
    (root / "coresets" / "75.txt").write_text("/n04/z.JPEG 2\n")
    data = read(str(root), train="coresets/75.txt", images={"train": "train"})
    assert data.splits["train"].names == ["train/n04/z.JPEG"]
    assert data.splits["train"].labels.tolist() == [2]
    assert data.classes == ["n01", "n02", "n04"], "labels and the number of classes stay"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "/n01/1.JPEG 0\n/n04/z.JPEG 1\n",
            r"1 labels that are not their folders': n04/z\.JPEG 1: expected ranks .* 3 f",
        ),
        ("/lists/x.JPEG 0\n", r"lists/x\.JPEG 0: expected ranks among"),
        (
            "".join(f"/n01/gone{i}.JPEG 0\n" for i in range(6)),
            r"6 of 6 files that are not there: train/n01/gone0.JPEG, .*gone4\.JPEG: expected",
        ),
        ("/n01/1.JPEG\n", "expected /<class folder>/<file> <label>"),
        ("/n01/1.JPEG 0\n/n01/1.JPEG 0\n", "more than once"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(root, lines, message):
    (root / "train" / "file_list.txt").write_text(lines)
    with pytest.raises(ConfigError, match=message):
        read(str(root))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"test": "gone.txt"}, r"test='gone\.txt': expected an existing file list below"),
        ({"images": {"train": "gone"}}, "images='gone': expected an existing folder"),
        ({"images": {"trian": "train"}}, "images='trian': expected train | test"),
    ],
)
def test_what_is_not_there_is_told_by_its_key(root, words, message):
    with pytest.raises(ConfigError, match=message):
        read(str(root), **words)
