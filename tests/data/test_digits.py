"""The embedded target data set."""

import numpy as np
from sklearn.datasets import load_digits

from dataprune.data.digits import read


def test_every_digit_is_in_one_split():
    data = read(shots=5)
    assert data.classes == list("0123456789")
    train, test = data.splits["train"], data.splits["test"]
    assert np.bincount(train.labels).tolist() == [5] * 10
    rows = [int(name.removeprefix("digit ")) for split in (train, test) for name in split.names]
    assert sorted(rows) == list(range(1797))
    bunch = load_digits()
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), bunch.target[rows])
    np.testing.assert_array_equal(np.concatenate([train.examples, test.examples])[..., 0], bunch.images[rows])


def test_pixels_are_counts_up_to_sixteen():
    data = read()
    images = data.splits["test"].examples
    assert images.dtype == np.uint8
    assert images.shape[1:] == (8, 8, 1)
    assert data.maximum == images.max() == 16


def test_the_seed_draws_the_shots_and_more_shots_keep_the_fewer():
    few, more, other = read(shots=2), read(shots=7), read(shots=2, seed=1)
    assert few.splits["train"].names == read(shots=2).splits["train"].names
    assert few.splits["train"].names != other.splits["train"].names
    assert len(few.splits["train"].labels) == 20
    assert len(more.splits["train"].labels) == 70
    assert set(few.splits["train"].names) < set(more.splits["train"].names)
