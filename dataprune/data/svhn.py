"""SVHN's cropped digits as they are published: train_32x32.mat and test_32x32.mat."""

from pathlib import Path

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.errors import ConfigError, first_line


def read(path: str) -> Dataset:
    """Read both files in `path`; the digit 0, which they call class 10, is class 0."""
    splits = {split: _split(Path(path) / f"{split}_32x32.mat") for split in ("train", "test")}
    return Dataset([str(digit) for digit in range(10)], splits, root=Path(path))


def _split(file: Path) -> Split:
    from scipy.io import loadmat  # a quarter of a second that other data sets do not need

    if not file.is_file():
        raise ConfigError("path", str(file.parent), f"a folder with {file.name}")
    try:
        content = loadmat(file)
        images, labels = content["X"], content["y"]
    except (
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        OSError,
    ) as error:  # what scipy raises for other files
        raise ConfigError("path", str(file), f"a .mat file with X and y ({first_line(error)})") from None
    return Split(np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.reshape(-1).astype(np.int64) % 10)
