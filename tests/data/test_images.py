"""The codec of images, and what a data set's values become for a codec."""

import numpy as np
import pytest
import torch

from dataprune.config import DataConfig
from dataprune.data.codecs import Codec, codec_of, decoding, disagreement
from dataprune.data.images import Draw, Images
from dataprune.errors import ConfigError

IMAGES = "dataprune.data.images.Images"
RNG = np.random.default_rng(0)


def data(**values):
    return DataConfig("d", {"_target_": "r"}, **values)


class Plain(Codec):
    """A user's codec, which takes one constant."""

    def __init__(self, size=1):
        raise AssertionError("a check builds no codec of a user's")


def test_a_batch_is_the_normalised_form_of_its_pixels():
    codec = Images(mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
    pixels = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    inputs = codec.collate([codec.decode(image) for image in pixels])
    assert inputs.keys() == {"image"}
    assert (inputs["image"].shape, inputs["image"].dtype) == ((4, 3, 5, 6), torch.float32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (codec.mean, codec.std))
    expected = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(inputs["image"], expected, rtol=1e-5, atol=1e-6)


def test_it_says_what_a_network_must_know_and_makes_such_examples_up():
    codec = Images()
    told = codec.describe({"shapes": {"image": [5, 6, 3]}})
    assert told == {"kind": "image", "channels": 3, "height": 5, "width": 6}
    assert codec.blank(told, 2)["image"].shape == (2, 3, 5, 6)


def test_it_shows_the_pixels_of_a_clean_pass():
    picture = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    np.testing.assert_array_equal(Images(size=4).show(picture), Images(size=4).decode(picture)["image"])


def test_mean_and_deviation_are_those_of_all_pixels_however_they_come():
    pixels = RNG.integers(0, 256, (7, 5, 5, 3), dtype=np.uint8)
    at_once = Images().measure([{"image": pixels}])
    assert Images().measure([{"image": image} for image in pixels]) == at_once
    np.testing.assert_allclose(at_once["mean"], (pixels / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(at_once["std"], (pixels / 255).std((0, 1, 2)))


def test_what_is_given_is_not_measured():
    assert Images(mean=[0.5], std=[0.5]).measure(None) == {}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"channels": 2}, r"^source\.channels=2: expected 1 \(grey\), 3 \(RGB\) or null"),
        ({"mean": [0.5]}, r"^source\.std=None: expected both mean and std, or neither"),
        ({"mean": [0.5], "std": [0.1, 0.2]}, r"^source\.mean=\[0\.5\]: expected one number a channel"),
        ({"mean": [0.5], "std": [0.1], "channels": 3}, r"^source\.mean=\[0\.5\]: expected one number a channel"),
        ({"mean": [0.5], "std": [0.0]}, r"^source\.std=\[0\.0\]: expected numbers above 0"),
        ({"resize": [4, 4, 4]}, r"^source\.resize=\[4, 4, 4\]: expected pixels of the short side, or"),
        ({"resize": 4}, r"^source\.crop=None: expected a side in pixels, or a size"),
        ({"resize": 4, "crop": 5}, r"^source\.crop=5: expected at most resize=4"),
        ({"crop": 2.5}, r"^source\.crop=2\.5: expected whole pixels, or a share"),
        ({"crop": 0.5}, r"^source\.size=None: expected a side in pixels: crop=0\.5 is a share"),
        ({"size": 8, "codec": {"_target_": IMAGES, "size": 4}}, r"^source\.size=8: expected null: source\.codec\.size"),
        ({"codec": {"_target_": IMAGES, "side": 4}}, r"^source\.codec\.side=4: expected one of the constants"),
        ({"mean": [1.0], "std": [1.0], "codec": {"_target_": f"{__name__}.Plain"}}, r"^source\.mean=.*takes no mean"),
    ],
)
def test_values_that_the_codec_does_not_take_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        decoding(data(**values), "source")


def test_a_crop_in_pixels_is_the_size():
    codec = codec_of(decoding(data(resize=6, crop=4.0), "source").codec)
    picture = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    assert codec.decode(picture)["image"].shape == (4, 4, 3)
    assert codec.size == 4


def test_a_random_crop_looks_at_the_whole_picture_whatever_the_test_view():
    picture = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    seen = [
        Images(size=8, crop=crop).decode(picture, Draw(np.random.default_rng(3), None, [0.2, 1.0], True))["image"]
        for crop in (None, 0.5)
    ]
    np.testing.assert_array_equal(*seen)


def test_arrays_are_kept_as_they_are_only_where_decoding_changes_nothing():
    assert Images().leaves((8, 8, 3))
    assert Images(size=8, channels=3).leaves((8, 8, 3))
    for codec in (Images(size=4), Images(channels=1), Images(size=8, crop=0.5), Images(resize=8, crop=8)):
        assert not codec.leaves((8, 8, 3))


def test_arrays_of_other_channels_are_refused():
    with pytest.raises(ConfigError, match=r"^channels=an array of 2 channels: expected images of 1 or 3"):
        Images().decode(np.zeros((8, 8, 2), np.uint8))


def test_values_of_a_data_set_are_constants_of_its_codec():
    config = decoding(data(size=8, channels=1), "source")
    assert config.codec == {"_target_": IMAGES, "size": 8, "channels": 1}
    assert codec_of(config.codec).size == 8
    assert decoding(data(size=8, codec={"_target_": f"{__name__}.Plain"}), "source").codec["size"] == 8


def test_sizes_may_differ_for_one_network_and_nothing_else():
    one = {"kind": "image", "channels": 3, "height": 8, "width": 8}
    assert disagreement(one, one | {"height": 9}) is None
    assert disagreement(one, one | {"channels": 1}) == "channels"
    assert disagreement(one, {"kind": "tokens", "vocabulary": 9}) == "kind"


def test_a_crop_of_one_is_the_whole_square_whether_it_is_written_with_a_point_or_not():
    picture = np.random.default_rng(0).integers(0, 256, (6, 4, 1), dtype=np.uint8)
    whole = Images(size=4, crop=1.0).decode(picture)["image"]
    np.testing.assert_array_equal(Images(size=4, crop=1).decode(picture)["image"], whole)
    assert whole.shape == (4, 4, 1)
