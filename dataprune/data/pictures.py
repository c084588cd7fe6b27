"""A decoded picture that is resized and cut, by Pillow or as a tensor, with the filter that the data set asks for."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image as Pillow

from dataprune.errors import ConfigError

Box = tuple[float, float, float, float]  # left, upper, right, lower
Size = tuple[int, int]  # width, height
RESAMPLING = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}
JPEG = b"\xff\xd8\xff"  # the first bytes of each


@dataclass(frozen=True)
class Filter:
    """How pictures are resized.

    interpolation: bilinear | bicubic | area (the mean over what a pixel covers, with shares: OpenCV's INTER_AREA, used
    by FFCV). antialias: the kernel grows with the scale, so that a smaller picture averages (Pillow's only way); False
    = it looks at the nearest pixels alone (OpenCV, DALI's `antialias=False`).
    """

    interpolation: str = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        if self.interpolation not in (*RESAMPLING, "area"):
            raise ConfigError("interpolation", self.interpolation, "one of bilinear, bicubic, area")
        if self.interpolation == "area" and not self.antialias:
            raise ConfigError("antialias", False, "true: area averages, or it would not be area")


class Picture(Protocol):
    """A picture of 8 bits a value; what changes it gives a new one."""

    @property
    def size(self) -> Size:
        """Width and height."""

    def resized(self, size: Size, box: Box | None = None) -> "Picture":
        """Return it, or this part of it, at another size."""

    def cropped(self, box: tuple[int, int, int, int]) -> "Picture":
        """Return a part of it."""

    def pixels(self) -> np.ndarray:
        """Return uint8 (h, w, c)."""


@dataclass(frozen=True)
class PillowPicture:
    """A picture of Pillow's, of mode L or RGB."""

    image: Pillow.Image
    filter: Filter

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.image.size

    def resized(self, size: Size, box: Box | None = None) -> Picture:
        """Return it, or this part of it, at another size."""
        if self.filter.antialias and self.filter.interpolation in RESAMPLING:
            resampling = RESAMPLING[self.filter.interpolation]
            return PillowPicture(self.image.resize(size, resampling, box), self.filter)
        pixels = resampled(self.pixels(), size, box, self.filter)
        return PillowPicture(Pillow.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), self.filter)

    def cropped(self, box: tuple[int, int, int, int]) -> Picture:
        """Return a part of it."""
        return PillowPicture(self.image.crop(box), self.filter)

    def pixels(self) -> np.ndarray:
        """Return uint8 (h, w, c)."""
        pixels = np.asarray(self.image, dtype=np.uint8)
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


@dataclass(frozen=True)
class ArrayPicture:
    """A picture that lies in an array uint8 (h, w, c), as torchvision decodes it."""

    array: np.ndarray
    filter: Filter

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.array.shape[1], self.array.shape[0]

    def resized(self, size: Size, box: Box | None = None) -> Picture:
        """Return it, or this part of it, at another size."""
        return ArrayPicture(resampled(self.array, size, box, self.filter), self.filter)

    def cropped(self, box: tuple[int, int, int, int]) -> Picture:
        """Return a part of it."""
        left, upper, right, lower = box
        return ArrayPicture(self.array[upper:lower, left:right], self.filter)

    def pixels(self) -> np.ndarray:
        """Return uint8 (h, w, c)."""
        return self.array


def resampled(pixels: np.ndarray, size: Size, box: Box | None, filter: Filter) -> np.ndarray:
    """Return the box of an image at another size, uint8 (height, width, c), by torchvision or (area) as a mean.

    pixels: uint8 (h, w, c). torchvision's boxes are whole pixels: one between them is rounded.
    """
    left, upper, right, lower = (0, 0, pixels.shape[1], pixels.shape[0]) if box is None else box
    width, height = size
    if filter.interpolation == "area":
        rows = averaged(pixels.astype(np.float64), 0, height, (upper, lower))
        return np.rint(averaged(rows, 1, width, (left, right))).astype(np.uint8)
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize_image

    part = pixels[round(upper) : round(lower), round(left) : round(right)].copy()  # Pillow's may not be written to
    how = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}[filter.interpolation]
    tensor = torch.from_numpy(part).permute(2, 0, 1)
    return resize_image(tensor, [height, width], how, antialias=filter.antialias).permute(1, 2, 0).numpy()


def averaged(values: np.ndarray, axis: int, n: int, span: tuple[float, float]) -> np.ndarray:
    """Return n means along an axis, each of an n-th of the span: what is covered in part counts in part.

    values: float (h, w, c). span: where it begins and ends, in pixels.
    """
    first = np.zeros_like(values.take([0], axis))
    sums = np.concatenate([first, values.cumsum(axis)], axis)  # of all before a place, at whole places
    edges = np.linspace(*span, n + 1)
    at = np.minimum(edges.astype(np.int64), values.shape[axis] - 1)
    share = (edges - at).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.diff(sums.take(at, axis) + share * values.take(at, axis), axis=axis) / ((span[1] - span[0]) / n)


def torchvision_pixels(encoded: bytes, channels: int | None) -> np.ndarray | None:
    """Return what torchvision's JPEG decoder gives, uint8 (h, w, c), None for what is no JPEG of 1 or 3 channels.

    channels: 1, 3, or None = as stored. Rotation tags are ignored. Raises OSError for a broken file.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    if not encoded.startswith(JPEG):
        return None
    mode = {None: ImageReadMode.UNCHANGED, 1: ImageReadMode.GRAY, 3: ImageReadMode.RGB}[channels]
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(encoded), dtype=torch.uint8), mode)
    except RuntimeError as error:
        raise OSError(str(error).partition("\n")[0]) from None
    return pixels.permute(1, 2, 0).numpy() if len(pixels) in (1, 3) else None
