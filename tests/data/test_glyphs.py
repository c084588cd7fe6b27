"""The embedded source data set."""

import numpy as np
import pytest

from dataprune.data.glyphs import CHARACTERS, FONTS, as_uci_digit, read


@pytest.fixture(scope="module")
def data():
    return read(per_class=3, test_per_class=1, seed=4)


def test_sixty_two_classes_with_as_many_images_each(data):
    assert data.classes == list(CHARACTERS)
    assert len(set(CHARACTERS)) == 62
    for split, each in (("train", 3), ("test", 1)):
        assert np.bincount(data.splits[split].labels).tolist() == [each] * 62
        assert data.splits[split].examples.shape == (62 * each, 8, 8, 1)
        assert len(data.splits[split].names) == 62 * each


def test_pixels_count_dark_dots_of_a_block(data):
    images = np.concatenate([s.examples for s in data.splits.values()])
    assert images.dtype == np.uint8
    assert data.maximum == images.max() == 16
    assert images.min() == 0
    assert images.any((1, 2, 3)).all(), "no empty picture"


def test_a_seed_draws_the_same_glyphs_and_another_seed_others(data):
    again, other = read(3, 1, seed=4), read(3, 1, seed=5)
    for split in ("train", "test"):
        np.testing.assert_array_equal(again.splits[split].examples, data.splits[split].examples)
    assert not np.array_equal(other.splits["train"].examples, data.splits["train"].examples)


def test_names_tell_character_and_font(data):
    for label, name in zip(data.splits["test"].labels, data.splits["test"].names, strict=True):
        character, font = name.split()
        assert character == CHARACTERS[label]
        assert font in FONTS


def test_train_and_test_are_drawn_apart(data):
    train = {image.tobytes() for image in data.splits["train"].examples}
    shared = sum(image.tobytes() in train for image in data.splits["test"].examples)
    assert shared <= 3, "a letter as plain as l may come out twice"


# as_uci_digit


def test_a_block_of_ink_fills_the_page():
    ink = np.zeros((50, 60), bool)
    ink[5:21, 30:46] = True
    np.testing.assert_array_equal(as_uci_digit(ink), np.full((8, 8), 16))


def test_a_hand_made_bitmap_is_counted_by_blocks():
    """A 32x32 corner that is already of the right size: rows 0 to 3, columns 0 to 1, and the opposite dot."""
    ink = np.zeros((40, 40), bool)
    ink[4:8, 4:6] = True
    ink[35, 35] = True
    expected = np.zeros((8, 8))
    expected[0, 0], expected[7, 7] = 8, 1
    np.testing.assert_array_equal(as_uci_digit(ink), expected)


@pytest.mark.parametrize("turned", [False, True])
def test_a_narrow_glyph_keeps_its_aspect_in_the_middle(turned):
    ink = np.zeros((64, 64), bool)
    ink[0:64, 20:36] = True  # four times as high as wide
    got = as_uci_digit(ink.T if turned else ink)
    expected = np.zeros((8, 8))
    expected[:, 3:5] = 16
    np.testing.assert_array_equal(got, expected.T if turned else expected)


def test_a_hair_line_does_not_vanish():
    ink = np.zeros((200, 3), bool)
    ink[:, 1] = True
    assert as_uci_digit(ink).sum() == 32


def test_no_ink_is_an_empty_page():
    assert not as_uci_digit(np.zeros((9, 9), bool)).any()
