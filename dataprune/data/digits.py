"""The 1,797 handwritten digits of the UCI set that ship inside scikit-learn: 8x8, values 0 to 16."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dataprune.data.examples import Dataset, Split


def read(shots: int = 5, seed: int = 0) -> Dataset:
    """Digits with `shots` training examples a class, drawn by `seed`; all others are the test split."""
    # the file itself: importing sklearn.datasets takes longer than everything else in a sweep that finds its results
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    images = table[:, :-1].reshape(-1, 8, 8, 1).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    rng = np.random.default_rng(seed)
    train = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:shots] for c in range(10)]))
    test = np.setdiff1d(np.arange(len(labels)), train)
    splits = {
        name: Split(images[ids], labels[ids], [f"digit {i}" for i in ids])
        for name, ids in (("train", train), ("test", test))
    }
    return Dataset([str(c) for c in range(10)], splits, maximum=16)
