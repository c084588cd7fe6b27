"""From an encoded image to pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from dataprune.data.pixels import centre, decode, random_box, size_of


def encoded(picture, kind="PNG", **words):
    file = io.BytesIO()
    picture.save(file, kind, **words)
    return file.getvalue()


def picture(width=6, height=4, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        *[("RGB", None, 3), ("L", None, 1), ("P", None, 3), ("RGBA", None, 3), ("1", None, 3), ("LA", None, 3)],
        *[("RGB", 1, 1), ("L", 3, 3), ("P", 1, 1), ("CMYK", 3, 3)],
    ],
)
def test_channels(mode, channels, expected):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    there = picture(mode=mode)
    pixels = decode(encoded(there, kind), channels, None)
    assert pixels.shape == (4, 6, expected)
    assert pixels.dtype == np.uint8
    wanted = np.asarray(there.convert({1: "L", 3: "RGB"}[expected]))
    np.testing.assert_array_equal(pixels.squeeze(), wanted)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_form_of_an_image_is_taken(tmp_path, mode):
    there = picture(mode=mode)
    there.save(tmp_path / "x.png")
    pixels = np.asarray(there)
    forms = [encoded(there), tmp_path / "x.png", pixels] + ([pixels[..., None]] if mode == "L" else [])
    for image in forms:
        np.testing.assert_array_equal(decode(image, None, None).squeeze(), pixels)


def test_a_size_cuts_the_centred_square():
    there = picture(8, 4)
    np.testing.assert_array_equal(decode(encoded(there), None, 4), np.asarray(there)[:, 2:6])


@pytest.mark.parametrize("size", [2, 8])
def test_cutting_and_resizing_is_that_of_resize_and_centre_crop(size):
    there = picture(8, 4)
    whole = np.asarray(there.resize((2 * size, size), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(decode(encoded(there), None, size), whole[:, size // 2 : size // 2 + size])


def test_making_smaller_averages_over_the_pixels_it_covers():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    got = decode(encoded(Image.fromarray(stripes)), None, 8)
    assert np.abs(got.astype(int) - 127).max() < 8, "picking single pixels would give black or white"


def test_a_picture_of_the_right_size_is_not_touched():
    there = picture(5, 5)
    np.testing.assert_array_equal(decode(encoded(there), 3, 5), np.asarray(there))


def test_a_box_is_cut_out():
    there = picture(8, 8)
    np.testing.assert_array_equal(decode(encoded(there), 3, 4, (1, 2, 5, 6)), np.asarray(there)[2:6, 1:5])


def test_a_large_jpeg_decoded_at_a_smaller_scale_looks_the_same():
    """Waves of three pixels in the result: a scale too small would lose them."""
    waves = np.tile(127 + 100 * np.sin(np.arange(192) * 2 * np.pi / 16), (128, 1)).astype(np.uint8)
    jpeg, png = (encoded(Image.fromarray(waves), kind) for kind in ("JPEG", "PNG"))
    assert np.abs(decode(jpeg, 3, 24).astype(int) - decode(png, 3, 24)).max() <= 12


def test_a_rotation_tag_is_ignored():
    there = picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to view
    turned = encoded(there, exif=exif)
    assert Image.open(io.BytesIO(turned)).getexif()[0x0112] == 6
    np.testing.assert_array_equal(decode(turned, 3, None), np.asarray(there))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_broken_file_raises_oserror(tmp_path, kind):
    whole = encoded(picture(64, 64), kind)
    for broken in (whole[: len(whole) // 2], b"no image", b""):
        with pytest.raises(OSError, match=r".+"):
            decode(broken, 3, None)
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "no.png", 3, None)


def test_size_is_read_from_the_header_alone():
    whole = encoded(picture(64, 48))
    assert size_of(whole[:100]) == (64, 48)


def test_the_centred_square():
    assert centre(6, 4) == (1, 0, 5, 4)
    assert centre(4, 7) == (0, 1.5, 4, 5.5)


def test_a_random_box_keeps_area_and_aspect_in_their_ranges():
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(100, 80, [0.25, 0.5], rng) for _ in range(300)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= 100).all()
    assert (boxes[:, 3] <= 80).all()
    share, aspect = width * height / 8000, width / height
    assert 0.24 < share.min() < 0.27
    assert 0.48 < share.max() < 0.51
    assert 0.73 < aspect.min() < 0.80
    assert 1.25 < aspect.max() < 1.36
    assert len(np.unique(boxes[:, 0])) > 20


def test_where_no_box_fits_it_is_the_centred_square():
    assert random_box(1000, 10, [1, 1], np.random.default_rng(0)) == centre(1000, 10)
