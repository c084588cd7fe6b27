"""From an encoded image to pixels: which part of it, at which size, in how many channels."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from dataprune.data.pictures import ArrayPicture, Box, Filter, Picture, PillowPicture, torchvision_pixels

SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of 16 bits a value
DEEP = ("I", "F")  # of 32


@dataclass(frozen=True)
class View:
    """The part of a picture that a clean pass sees: resized, then cut out around the centre.

    resize: the short side in pixels (torchvision's Resize), or (height, width), None = not resized. crop: side in
    pixels of the centred square (torchvision's CenterCrop), or the share (above 0 to 1) of the largest centred square,
    rounded down (FFCV's decoder); None = all of the largest centred square.
    """

    resize: int | tuple[int, int] | None = None
    crop: int | float | None = None

    def of(self, picture: Picture) -> Picture:
        """Return that part."""
        if self.resize is not None:
            picture = picture.resized(self._resized(*picture.size))
        width, height = picture.size
        if isinstance(self.crop, int):
            if self.crop > min(width, height):
                raise ValueError(f"{width} x {height} pixels are less than a crop of {self.crop}")
            side, left, upper = self.crop, round((width - self.crop) / 2), round((height - self.crop) / 2)
        elif self.crop is not None:
            side = max(1, int(self.crop * min(width, height)))
            left, upper = (width - side) // 2, (height - side) // 2
        else:
            return picture
        return picture.cropped((left, upper, left + side, upper + side))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if isinstance(self.resize, tuple):
            return self.resize[1], self.resize[0]
        assert self.resize is not None
        short, long = min(width, height), max(width, height)
        longer = int(self.resize * long / short)
        return (self.resize, longer) if width < height else (longer, self.resize)


WHOLE = View()
USUAL = Filter()


def decode(
    image: np.ndarray | bytes | Path,
    channels: int | None,
    size: int | None,
    box: Box | None = None,
    view: View = WHOLE,
    filter: Filter = USUAL,
    decoder: str = "pillow",
) -> np.ndarray:
    """Pixels of one image, uint8 (h, w, c).

    channels: 1 = grey, 3 = RGB, None = as stored (a palette, CMYK and what has a transparency become RGB, without it).
    size: side in pixels of the square that `box` (default: the largest centred square of the view) is resized to,
    as `filter` says; None = the view as it is. decoder: pillow | torchvision (of JPEGs; Pillow reads what else comes).
    16 bits become 8: value / 257, rounded. Rotation tags are ignored, as ImageFolder and the published recipes do.
    Raises OSError for a broken file, ValueError for one of 32 bits a value or too small for the view.
    """
    if decoder == "torchvision" and isinstance(image, bytes):
        decoded = torchvision_pixels(image, channels)
        if decoded is not None:
            return _part(ArrayPicture(decoded, filter), size, box, view).pixels()
    picture = _open(image)
    grey = picture.mode in ("L", *SIXTEEN, *DEEP)
    mode = {None: "L" if grey else "RGB", 1: "L", 3: "RGB"}[channels]
    # JPEGs are decoded at the smallest of their scales that still covers the result
    if picture.format == "JPEG" and size is not None and box is None and view == WHOLE and filter == USUAL:
        picture.draft(mode, (size, size))
    return _part(PillowPicture(eight_bit(picture).convert(mode), filter), size, box, view).pixels()


def _part(picture: Picture, size: int | None, box: Box | None, view: View) -> Picture:
    """The box of a picture, or without one its view, at the wanted size."""
    if box is None:
        picture = view.of(picture)
    if size is None or (box is None and picture.size == (size, size)):
        return picture
    return picture.resized((size, size), box or centre(*picture.size))


class TooDeep(ValueError):
    """An image of more bits a value than can be read."""


def eight_bit(picture: Pillow.Image) -> Pillow.Image:
    """Return a picture of 16 bits a value as grey of 8, others as they are (Pillow itself would cut off above 255).

    Raises TooDeep for 32 bits a value, whose range nobody knows.
    """
    if picture.mode in DEEP and picture.format != "PNG":  # a PNG of this mode has 16 bits
        raise TooDeep(f"32 bits a value (mode {picture.mode}); 8 and 16 can be read")
    if picture.mode not in (*SIXTEEN, *DEEP):
        return picture
    values = np.asarray(picture).astype(np.uint32)
    return Pillow.fromarray(((values + 128) // 257).astype(np.uint8))


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
    """Read an image to its last bit, or raise what Pillow raises for a broken one (OSError, SyntaxError, ...), and
    TooDeep for one that cannot become pixels of 8 bits.

    Opening and `verify()` pass a JPEG that breaks off. JPEGs are put together at an eighth of their size: their whole
    text is read all the same, in a third of the time.
    """
    picture = Pillow.open(io.BytesIO(encoded))
    if picture.format == "JPEG":
        picture.draft("L", (1, 1))
    picture.load()
    if picture.mode in DEEP:
        eight_bit(picture)


def size_of(image: np.ndarray | bytes | Path) -> tuple[int, int]:
    """Width and height, from the file's header alone."""
    return _open(image).size


def _open(image: np.ndarray | bytes | Path) -> Pillow.Image:
    if isinstance(image, np.ndarray):
        return Pillow.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    return Pillow.open(io.BytesIO(image) if isinstance(image, bytes) else image)
