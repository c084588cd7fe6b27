"""From an encoded image to pixels: which part of it, at which size, in how many channels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

Box = tuple[float, float, float, float]  # left, upper, right, lower


def decode(
    image: np.ndarray | bytes | Path, channels: int | None, size: int | None, box: Box | None = None
) -> np.ndarray:
    """Pixels of one image, uint8 (h, w, c).

    channels: 1 = grey, 3 = RGB, None = as stored (a palette becomes RGB). size: side in pixels of the square that `box`
    (default: the largest centred square) is resized to, averaging over the pixels it covers; None = no cropping.
    Rotation tags are ignored, as ImageFolder and the published recipes do. Raises OSError for a broken file.
    """
    picture = _open(image)
    mode = {None: picture.mode if picture.mode in ("L", "RGB") else "RGB", 1: "L", 3: "RGB"}[channels]
    if size is not None:
        # JPEGs are decoded at the smallest of their scales that still covers the result
        if picture.format == "JPEG" and box is None:
            picture.draft(mode, (size, size))
        picture = picture.convert(mode)
        if picture.size != (size, size) or box is not None:
            picture = picture.resize((size, size), Pillow.Resampling.BILINEAR, box or centre(*picture.size))
    pixels = np.asarray(picture.convert(mode), dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def centre(width: int, height: int) -> Box:
    """The largest centred square."""
    side = min(width, height)
    left, upper = (width - side) / 2, (height - side) / 2
    return left, upper, left + side, upper + side


def random_box(width: int, height: int, area: list[float], rng: np.random.Generator) -> Box:
    """A random part of the picture: share of the area in `area`, aspect 3/4 to 4/3 (the usual random resized crop).

    Ten tries to fit one; else the largest centred square.
    """
    for _ in range(10):
        wanted = width * height * rng.uniform(area[0], area[1])
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(float(np.sqrt(wanted * aspect))), round(float(np.sqrt(wanted / aspect)))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, upper, left + w, upper + h
    return centre(width, height)


def check_readable(encoded: bytes) -> None:
    """Read an image to its last bit, or raise what Pillow raises for a broken one (OSError, SyntaxError, ...).

    Opening and `verify()` pass a JPEG that breaks off. JPEGs are put together at an eighth of their size: their whole
    text is read all the same, in a third of the time.
    """
    picture = Pillow.open(io.BytesIO(encoded))
    if picture.format == "JPEG":
        picture.draft("L", (1, 1))
    picture.load()


def size_of(image: np.ndarray | bytes | Path) -> tuple[int, int]:
    """Width and height, from the file's header alone."""
    return _open(image).size


def _open(image: np.ndarray | bytes | Path) -> Pillow.Image:
    if isinstance(image, np.ndarray):
        return Pillow.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return Pillow.open(io.BytesIO(image) if isinstance(image, bytes) else image)
