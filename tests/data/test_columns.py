"""Columns on disk are read back as they were written, of one shape or of any length."""

import numpy as np
import pytest

from dataprune.data.columns import Keeping, Kept


def kept(folder, parts):
    with Keeping(folder / "train", sum(map(len, parts))) as keeping:
        for part in parts:
            keeping.add(part)
    return Kept(folder / "train", keeping.form)


def test_columns_come_back_by_id(tmp_path):
    rng = np.random.default_rng(0)
    lengths = [3, 0, 5, 1]
    there = [{"image": rng.integers(0, 9, (2, 2, 1), np.uint8), "ids": np.arange(n, dtype=np.int32)} for n in lengths]
    back = kept(tmp_path, [there[:3], there[3:]])
    for i, columns in enumerate(there):
        assert back[i].keys() == columns.keys()
        for name, column in columns.items():
            assert back[i][name].dtype == column.dtype
            np.testing.assert_array_equal(back[i][name], column)
    assert back.lengths("ids").tolist() == lengths


def test_nothing_but_empty_columns(tmp_path):
    back = kept(tmp_path, [[{"ids": np.empty(0, np.int32)}] * 2])
    assert back[1]["ids"].shape == (0,)


@pytest.mark.parametrize("other", [np.zeros((3, 2, 1), np.uint8), np.zeros((2, 2, 1), np.int32), np.zeros(4, np.uint8)])
def test_examples_of_another_form_are_refused(tmp_path, other):
    with pytest.raises(ValueError, match=r"image of .* after"):
        kept(tmp_path, [[{"image": np.zeros((2, 2, 1), np.uint8)}, {"image": other}]])
