"""A coreset from outside, in every form: what it keeps, and what is refused."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.coresets import is_bare, marks
from dataprune.formats.subsets import write_ids
from dataprune.subset import Subset

HERE = "ab" * 32
NAMES = ["train/n01/1.JPEG", "train/n01/b c.JPEG", "train/n02/1.JPEG", "train/n02/deep/z.JPEG"]
LABELS = np.array([0, 0, 1, 1])
KEPT = Subset(np.array([1, 2]), 4, HERE)


def marked(path):
    return marks(path, NAMES, LABELS, HERE).tolist()


@pytest.mark.parametrize("name", ["kept.npy", "kept.txt", "kept.indices"])
def test_bare_ids_mark_their_rows(tmp_path, name):
    write_ids(KEPT, tmp_path / name)
    assert marked(tmp_path / name) == [-1, 1, 1, -1]
    assert is_bare(tmp_path / name)


@pytest.mark.parametrize("below", ["", "train/"])
def test_a_file_list_marks_its_files_whatever_folder_its_paths_start_from(tmp_path, below):
    lines = [f"/{below}n02/1.JPEG 1", f"/{below}n01/b c.JPEG 0", f"/{below}n02/deep/z.JPEG 1"]
    (tmp_path / "coreset.txt").write_text("\n".join(lines) + "\n\n")
    assert marked(tmp_path / "coreset.txt") == [-1, 1, 1, 1]
    assert not is_bare(tmp_path / "coreset.txt")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("/n01/1.JPEG 1\n", "label 1 for /n01/1.JPEG: expected 0"),
        ("/n01/1.JPEG 0\n/n01/1.JPEG 0\n", "/n01/1.JPEG more than once"),
        (
            "/n02/1.JPEG 1\n" + "".join(f"/n03/{i}.JPEG 2\n" for i in range(6)),
            r"6 unknown files: /n03/0\.JPEG, /n03/1\.JPEG, /n03/2\.JPEG, /n03/3\.JPEG, /n03/4\.JPEG: expected",
        ),
    ],
)
def test_a_file_list_of_another_data_set_is_refused_with_its_first_files(tmp_path, lines, message):
    (tmp_path / "coreset.txt").write_text(lines)
    with pytest.raises(ConfigError, match=message):
        marked(tmp_path / "coreset.txt")


def test_a_subset_file_keeps_its_weights_and_must_be_of_this_data_set(tmp_path):
    Subset(np.array([0, 3]), 4, HERE, weights=np.array([2, 0.5], np.float32)).save(tmp_path / "kept.npz")
    assert marked(tmp_path / "kept.npz") == [2, -1, -1, 0.5]
    assert not is_bare(tmp_path / "kept.npz")
    Subset(np.array([0, 3]), 4, "cd" * 32).save(tmp_path / "kept.npz")
    with pytest.raises(ConfigError, match="a subset of this data set"):
        marked(tmp_path / "kept.npz")
