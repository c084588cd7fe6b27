"""The compiled batch, its torch twin, and an obvious loop give the same pixels."""

import numpy as np
import pytest
import torch

from dataprune.data.augment import Draws, batch, batch_on_device, normalising_table

SHAPES = [(8, 8, 1), (5, 7, 3), (7, 4, 2), (1, 6, 1)]


def images_of(shape, n=6):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def table_of(channels):
    return normalising_table([0.1 + 0.2 * c for c in range(channels)], [0.5 + 0.1 * c for c in range(channels)])


def slow(images, ids, draws, places, table):
    """Pad by reflection, mirror, cut, look up."""
    made = []
    for i, place in zip(ids, places, strict=True):
        pad, (height, width, channels) = draws.padding, images[i].shape
        padded = np.pad(images[i], ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
        row, column = int(draws.rows[place]), int(draws.columns[place])
        window = padded[row : row + height, column : column + width]
        if draws.mirrored[place]:
            window = window[:, ::-1]
        made.append([[[table[c][pixel] for pixel in line] for line in window[..., c]] for c in range(channels)])
    return np.array(made, np.float32)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_three_ways_give_the_same_batch(shape, padding, flip):
    if padding >= min(shape[:2]):
        padding = min(shape[:2]) - 1
    images, table = images_of(shape), table_of(shape[2])
    draws = Draws.of_epoch(10, padding, flip, seed=1, epoch=2)
    ids, places = np.array([5, 0, 0, 3]), np.array([9, 1, 2, 4])
    expected = slow(images, ids, draws, places, table)
    got = batch(images, ids, draws, places, table)
    assert got.shape == (4, shape[2], *shape[:2])
    np.testing.assert_array_equal(got, expected)
    on_device = batch_on_device(*map(torch.from_numpy, (images, ids)), draws, places, torch.from_numpy(table))
    np.testing.assert_array_equal(on_device, expected)


def test_a_batch_is_channels_last_in_memory():
    got = batch(images_of((8, 8, 3)), np.arange(4), Draws.none(4), np.arange(4), table_of(3))
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert got.dtype == torch.float32


def test_no_draws_no_change():
    images, table = images_of((3, 4, 2)), table_of(2)
    got = batch(images, np.array([2]), Draws.none(1), np.array([0]), table)[0]
    for c in range(2):
        np.testing.assert_array_equal(got[c], table[c][images[2, ..., c]])


def test_the_table_normalises_every_value_of_every_channel():
    table = normalising_table([0.5, 0.0], [0.25, 1.0])
    assert table.shape == (2, 256)
    assert table.dtype == np.float32
    assert table[0, [0, 255]].tolist() == [-2, 2]
    np.testing.assert_allclose(table[1], np.arange(256) / 255, rtol=1e-7)


def test_draws_are_those_of_seed_and_epoch_in_their_range():
    a, b = (Draws.of_epoch(2000, 2, True, seed=3, epoch=4) for _ in range(2))
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.mirrored, b.mirrored)
    assert set(a.rows) == set(a.columns) == {0, 1, 2, 3, 4}
    assert not np.array_equal(a.rows, a.columns)
    assert 900 < a.mirrored.sum() < 1100
    assert not np.array_equal(a.rows, Draws.of_epoch(2000, 2, True, seed=3, epoch=5).rows)
    assert not Draws.of_epoch(2000, 2, False, seed=3, epoch=4).mirrored.any()


@pytest.mark.parametrize("size", [1, 3, 10])
def test_an_example_is_changed_alike_whatever_the_batch_size(size):
    images, table = images_of((6, 6, 1), 10), table_of(1)
    draws, ids = Draws.of_epoch(10, 2, True, seed=0, epoch=0), np.arange(10)[::-1].copy()
    whole = batch(images, ids, draws, np.arange(10), table)
    for start in range(0, 10, size):
        part = slice(start, start + size)
        np.testing.assert_array_equal(batch(images, ids[part], draws, np.arange(10)[part], table), whole[part])
