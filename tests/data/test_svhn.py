"""SVHN's .mat files."""

import numpy as np
import pytest
from scipy.io import savemat

from dataprune.data.svhn import read
from dataprune.errors import ConfigError


def test_digits_are_read_as_published_and_class_10_is_the_digit_0(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    for split in ("train", "test"):
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.array([[10], [1], [9]], np.uint8)}
        savemat(tmp_path / f"{split}_32x32.mat", content)
    data = read(str(tmp_path))
    assert data.splits["train"].labels.tolist() == [0, 1, 9]
    assert data.classes[0] == "0"
    assert np.array_equal(np.stack(list(data.splits["test"].examples)), images)


def test_what_is_no_such_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a folder with train_32x32\.mat"):
        read(str(tmp_path))
    (tmp_path / "train_32x32.mat").write_bytes(b"no mat at all" * 99)
    with pytest.raises(ConfigError, match=r"train_32x32\.mat': expected a \.mat file with X and y"):
        read(str(tmp_path))
