"""The 1,797 handwritten digits of the UCI set that ship inside scikit-learn: 8x8, values 0 to 16."""

import numpy as np
from sklearn.datasets import load_digits

from dataprune.data.examples import Dataset, Split


def read(shots: int = 5, seed: int = 0) -> Dataset:
    """Digits with `shots` training examples a class, drawn by `seed`; all others are the test split."""
    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[..., None]  # (1797, 8, 8, 1)
    labels = bunch.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    train = np.sort(np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:shots] for c in range(10)]))
    test = np.setdiff1d(np.arange(len(labels)), train)
    splits = {
        name: Split(images[ids], labels[ids], [f"digit {i}" for i in ids])
        for name, ids in (("train", train), ("test", test))
    }
    return Dataset([str(c) for c in range(10)], splits, maximum=16)
