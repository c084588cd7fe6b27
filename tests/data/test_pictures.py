"""How pictures are resized: with which filter, of which part, whoever has decoded them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dataprune.data.images import Images
from dataprune.data.pictures import ArrayPicture, Filter, PillowPicture, averaged, resampled, torchvision_pixels
from dataprune.data.pixels import View, decode
from dataprune.errors import ConfigError

RNG = np.random.default_rng(0)


def smooth(height, width, channels=3):
    """A picture without hard edges, uint8."""
    coarse = Image.fromarray(np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return pixels[:, :, :channels]


def encoded(pixels, kind="JPEG", **words):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **words)
    return file.getvalue()


def test_area_is_the_mean_of_what_a_pixel_covers_with_shares():
    pixels = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    halved = resampled(pixels, (3, 2), None, Filter("area"))
    np.testing.assert_array_equal(halved, np.rint(pixels.reshape(2, 3, 3, 3, 3).mean((1, 3))).astype(np.uint8))
    line = np.array([[0.0], [30.0], [90.0]])[:, :, None]  # three pixels on two: each covers one and a half
    np.testing.assert_allclose(averaged(line, 0, 2, (0, 3))[:, 0, 0], [(0 + 15) / 1.5, (15 + 90) / 1.5])
    more = [0, 30 * 0.5 / 0.75, (30 * 0.5 + 90 * 0.25) / 0.75, 90]  # and on four
    np.testing.assert_allclose(averaged(line, 0, 4, (0, 3))[:, 0, 0], more)
    np.testing.assert_allclose(averaged(line, 0, 1, (0.5, 2.5))[0, 0, 0], (0 * 0.5 + 30 + 90 * 0.5) / 2)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_without_antialias_a_pixel_looks_at_its_nearest_alone(interpolation):
    pixels = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    seen = PillowPicture(Image.fromarray(pixels), Filter(interpolation, False)).resized((10, 7)).pixels()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    sampled = F.interpolate(tensor, (7, 10), mode=interpolation, align_corners=False)[0].clamp(0, 255)
    apart = abs(seen - sampled.permute(1, 2, 0).numpy())  # torch has two cubic kernels
    assert apart.max() <= (1 if interpolation == "bilinear" else 16)
    assert apart.mean() < 3
    averaging = PillowPicture(Image.fromarray(pixels), Filter(interpolation)).resized((10, 7)).pixels()
    assert abs(averaging.astype(int) - seen).max() > 20


@pytest.mark.parametrize("filter", [Filter("bilinear"), Filter("bicubic"), Filter("area"), Filter("bilinear", False)])
@pytest.mark.parametrize("box", [None, (3, 5, 43, 65)])
def test_an_array_and_a_picture_of_pillow_are_resized_alike(filter, box):
    pixels = smooth(80, 60)
    one = PillowPicture(Image.fromarray(pixels), filter).resized((24, 32), box).pixels()
    two = ArrayPicture(pixels, filter).resized((24, 32), box).pixels()
    assert one.shape == two.shape == (32, 24, 3)
    inner = slice(2, -2)  # Pillow looks beyond the box
    assert abs(one.astype(int) - two)[inner, inner].max() <= 2


def test_the_filter_of_a_data_set_is_that_of_its_views_and_of_its_random_crops():
    picture = encoded(RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8), "PNG")
    for size, view, box in ((16, View(), (0, 0, 64, 64)), (None, View(16, 16), None)):
        seen = [decode(picture, 3, size, box, view, Filter(*how)) for how in (("bilinear",), ("area",), ("bicubic",))]
        seen.append(decode(picture, 3, size, box, view, Filter("bilinear", False)))
        assert all((one != two).any() for i, one in enumerate(seen) for two in seen[:i])
    codec = Images(size=16, interpolation="area")
    np.testing.assert_array_equal(codec.decode(picture)["image"], decode(picture, None, 16, filter=Filter("area")))


@pytest.mark.parametrize("channels", [1, 3])
def test_torchvision_decodes_what_pillow_does(channels):
    pixels = smooth(90, 120)
    jpeg = encoded(pixels, quality=90)
    for view, size in ((View(), None), (View(40, 32), None), (View(None, 0.5), 20)):
        one = decode(jpeg, channels, size, view=view)
        two = decode(jpeg, channels, size, view=view, decoder="torchvision")
        assert one.shape == two.shape
        assert abs(one.astype(int) - two).max() <= 2
    grey = encoded(pixels[:, :, 0])
    assert torchvision_pixels(grey, None).shape == (90, 120, 1)
    assert torchvision_pixels(grey, 3).shape == (90, 120, 3)


def test_what_torchvision_does_not_decode_is_left_to_pillow_and_what_is_broken_is_an_error():
    pixels = smooth(30, 40)
    for other in (encoded(pixels, "PNG"), encoded(np.dstack([pixels, pixels[:, :, 0]]), "PNG")):
        np.testing.assert_array_equal(decode(other, 3, 8, decoder="torchvision"), decode(other, 3, 8))
    cmyk = io.BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "JPEG")
    assert decode(cmyk.getvalue(), None, 8, decoder="torchvision").shape == (8, 8, 3)
    with pytest.raises(OSError, match=r"(?i)jpeg|corrupt|premature"):
        decode(encoded(pixels)[:300], 3, 8, decoder="torchvision")


def test_a_filter_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"^interpolation='lanczos': expected one of bilinear, bicubic, area"):
        Images(interpolation="lanczos")
    with pytest.raises(ConfigError, match=r"^antialias=False: expected true: area averages"):
        Images(interpolation="area", antialias=False)
