"""From an encoded image to pixels."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from dataprune.data.pixels import TooDeep, View, centre, check_readable, decode, eight_bit, random_box, size_of


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


# the test view


@pytest.mark.parametrize(("width", "height"), [(9, 7), (7, 9), (8, 8), (31, 12)])
def test_a_short_side_and_a_crop_are_torchvision_s(width, height):
    """CCS and D2: Resize(256), CenterCrop(224); here a twentieth of it."""
    there = picture(width, height)
    twin = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(5)])
    got = decode(encoded(there), None, 5, view=View(6, 5))
    np.testing.assert_array_equal(got, np.asarray(twin(there)))


@pytest.mark.parametrize(("width", "height"), [(9, 7), (20, 30)])
def test_a_short_side_and_a_crop_of_the_same_are_dyn_unc_s(width, height):
    there = picture(width, height)
    twin = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(6)])
    np.testing.assert_array_equal(decode(encoded(there), None, 6, view=View(6, 6)), np.asarray(twin(there)))


@pytest.mark.parametrize(("width", "height", "size"), [(40, 30, 32), (33, 47, 28), (16, 16, 16)])
def test_a_share_is_the_middle_of_the_largest_square(width, height, size):
    """DP4TL and data-transfer: 0.875 of the shorter side, rounded down, then resized."""
    there = picture(width, height)
    side = int(0.875 * min(width, height))
    left, upper = (width - side) // 2, (height - side) // 2
    twin = there.crop((left, upper, left + side, upper + side)).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(encoded(there), None, size, view=View(None, 0.875)), np.asarray(twin))


def test_both_sides_may_be_given():
    there = picture(9, 7)
    twin = transforms.Compose([transforms.Resize((6, 8)), transforms.CenterCrop(4)])
    np.testing.assert_array_equal(decode(encoded(there), None, 4, view=View((6, 8), 4)), np.asarray(twin(there)))


def test_a_border_that_the_view_leaves_out_is_not_seen():
    there = np.zeros((32, 32), np.uint8)
    there[[0, -1], :] = there[:, [0, -1]] = 255
    assert decode(there, None, 28)[0, 0, 0] > 0
    assert not decode(there, None, 28, view=View(32, 28)).any()


def test_a_picture_smaller_than_its_crop_is_refused():
    with pytest.raises(ValueError, match="6 x 4 pixels are less than a crop of 5"):
        decode(encoded(picture(6, 4)), None, 5, view=View(None, 5))


# more than 8 bits


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_sixteen_bits_are_scaled_to_eight(kind, channels):
    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    values[-1, -1] = 65535
    pixels = decode(encoded(Image.fromarray(values), kind), channels, None)
    assert pixels.shape == (8, 8, channels or 1)
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))
    assert len(np.unique(pixels)) == 64, "no two of 64 levels become one"


def test_the_order_of_their_bytes_does_not_matter():
    values = np.array([[0, 1000], [30000, 65535]], np.uint16)
    for order in ("<u2", ">u2"):
        np.testing.assert_array_equal(
            np.asarray(eight_bit(Image.fromarray(values.astype(order)))), [[0, 4], [117, 255]]
        )


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(dtype):
    there = encoded(Image.fromarray(np.full((4, 4), 70000, dtype)), "TIFF")
    for look in (check_readable, lambda image: decode(image, None, None)):
        with pytest.raises(TooDeep, match="32 bits a value"):
            look(there)
