"""The codec of images: from encoded bytes or arrays to pixels, and from pixels to normalised batches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprune.data.codecs import Codec, Columns, Inputs
from dataprune.data.pictures import Box, Filter
from dataprune.data.pixels import View, decode, random_box, size_of
from dataprune.errors import ConfigError, Shown

if TYPE_CHECKING:
    import torch

    from dataprune.data.changes import Changes

DECODERS = ("pillow", "torchvision", "dali-cpu", "dali-gpu")
Item = np.ndarray | bytes | Path


@dataclass(frozen=True)
class Draw:
    """What is random about a training image, and how large it will be."""

    rng: np.random.Generator
    size: int | None = None  # side in pixels; None = as without a draw
    area: list[float] | None = None  # [smallest, largest] share of a random resized crop; None = the test view
    flip: bool = False  # mirror left-right half of the time
    changes: "Changes | None" = None  # of the result


class Images(Codec):
    """Images as squares of `size` pixels, normalised by mean and std.

    size: side in pixels, None = as they are. resize, crop: the part that clean passes see, see `pixels.View`: 256 and
    224 are torchvision's Resize(256), CenterCrop(224). A crop above 1 is in pixels and is the size, if none is given.
    channels: 1 = grey, 3 = RGB, None = as they are. mean, std: a number a channel, of pixel values divided by 255;
    None = measured on the train split. interpolation, antialias: of all resizing, see `pictures.Filter`. decoder: of
    encoded files, filled in by what a recipe says: pillow | torchvision (JPEGs) | dali-cpu | dali-gpu (whose loader
    reads them; a single image is then Pillow's).
    Columns: `image` uint8 (h, w, channels). Inputs: `image` float32 (b, channels, h, w).
    """

    kind = "image"

    def __init__(
        self,
        size: int | None = None,
        channels: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        resize: int | list[int] | None = None,
        crop: float | None = None,
        interpolation: str = "bilinear",
        antialias: bool = True,
        decoder: str = "pillow",
    ) -> None:
        self.channels, self.mean, self.std = channels, mean, std
        self.filter = Filter(interpolation, antialias)
        self.decoder = decoder
        if decoder not in DECODERS:
            raise ConfigError("decoder", decoder, f"one of {', '.join(DECODERS)}")
        if decoder.startswith("dali") and interpolation == "area":
            raise ConfigError("interpolation", "area", "bilinear or bicubic, or loader=workers: DALI has no area")
        self.view = checked_view(size, resize, crop)
        self.size = self.view.crop if size is None and isinstance(self.view.crop, int) else size
        if channels not in (None, 1, 3):
            raise ConfigError("channels", channels, "1 (grey), 3 (RGB) or null (as they are)")
        _check_normalising(channels, mean, std)

    def decode(self, item: Item, draw: Draw | None = None) -> Columns:
        """Return `image` uint8 (h, w, c) of one image; see `pixels.decode`.

        Raises OSError or ValueError for a file that cannot be read, ConfigError for an array without 1 or 3 channels.
        """
        if isinstance(item, np.ndarray) and item.shape[-1] not in (1, 3):
            raise ConfigError("channels", Shown(f"an array of {item.shape[-1]} channels"), "images of 1 or 3")
        if draw is None:
            return {"image": self._pixels(item, self.size, None)}
        box = None if draw.area is None else random_box(*size_of(item), draw.area, draw.rng)
        pixels = self._pixels(item, draw.size or self.size, box)
        if draw.flip and draw.rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if draw.changes is not None:
            pixels = draw.changes(pixels, draw.rng, self.mean or [], self.filter.interpolation)
        return {"image": pixels}

    def _pixels(self, item: Item, size: int | None, box: Box | None) -> np.ndarray:
        return decode(item, self.channels, size, box, self.view, self.filter, self.decoder)

    def leaves(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape (h, w, c) is decoded to itself."""
        height, width, channels = shape
        sized = self.size is None or (height, width) == (self.size, self.size)
        return sized and self.view == View() and channels in ((1, 3) if self.channels is None else (self.channels,))

    def stack(self, examples: Sequence[Columns]) -> Inputs:
        """Return `image` uint8 (b, h, w, c): a quarter of the bytes of its inputs."""
        import torch

        return {"image": torch.from_numpy(np.stack([columns["image"] for columns in examples]))}

    def finish(self, stacked: Inputs, device: "torch.device") -> Inputs:
        """Return `image` float32 (b, c, h, w), normalised."""
        import torch

        from dataprune.data.augment import Draws, batch, batch_on_device

        pixels = stacked["image"]
        every, unchanged = np.arange(len(pixels)), Draws.none(len(pixels))
        if device.type == "cpu":
            return {"image": batch(pixels.numpy(), every, unchanged, every, self.table)}
        ids, table = torch.arange(len(pixels), device=device), torch.from_numpy(self.table).to(device)
        return {"image": batch_on_device(pixels.to(device, non_blocking=True), ids, unchanged, every, table)}

    def collate(self, examples: Sequence[Columns]) -> Inputs:
        """Return `image` float32 (b, c, h, w), normalised."""
        import torch

        return self.finish(self.stack(examples), torch.device("cpu"))

    @property
    def table(self) -> np.ndarray:
        """float32 (channels, 256): the normalised form of every pixel value."""
        from dataprune.data.augment import normalising_table

        assert self.mean is not None
        assert self.std is not None
        return normalising_table(self.mean, self.std)

    def describe(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return kind, channels, height and width."""
        height, width, channels = header["shapes"]["image"]
        if self.mean is not None and len(self.mean) != channels:
            raise ConfigError("mean", self.mean, f"{channels} numbers: one a channel, as in std")
        return {"kind": "image", "channels": channels, "height": height, "width": width}

    def blank(self, input: Mapping[str, Any], n: int) -> Inputs:
        """Return `image` float32 (n, c, h, w) of zeros."""
        import torch

        return {"image": torch.zeros(n, input["channels"], input["height"], input["width"])}

    def show(self, item: Item) -> np.ndarray:
        """Return the pixels uint8 (h, w, c) that a clean pass sees."""
        return self.decode(item)["image"]

    def measure(self, examples: Iterable[Columns]) -> dict[str, Any]:
        """Return mean and std of each channel, of pixel / 255, over all pixels."""
        if self.mean is not None:
            return {}
        counts: np.ndarray | None = None
        # exact counts of the 256 values: the same result whatever the order and the machine
        for columns in examples:
            channels = columns["image"].shape[-1]
            counts = np.zeros((channels, 256), np.int64) if counts is None else counts
            for c, count in enumerate(counts):
                count += np.bincount(columns["image"][..., c].ravel(), minlength=256)
        assert counts is not None
        values = np.arange(256) / 255
        mean = [float((n * values).sum() / n.sum()) for n in counts]
        spread = [np.sqrt((n * (values - m) ** 2).sum() / n.sum()) for n, m in zip(counts, mean, strict=True)]
        return {"mean": mean, "std": [float(s) or 1.0 for s in spread]}


def _check_normalising(channels: int | None, mean: list[float] | None, std: list[float] | None) -> None:
    """Raise a ConfigError unless mean and std are both missing, or both have one number a channel, std above 0."""
    if (mean is None) != (std is None):
        raise ConfigError("std", std, "both mean and std, or neither")
    if mean is None or std is None:
        return
    if len({len(mean), len(std), channels or len(mean)}) > 1:
        raise ConfigError("mean", mean, "one number a channel, as in std")
    if not all(value > 0 for value in std):
        raise ConfigError("std", std, "numbers above 0: pixels are divided by them")


def checked_view(size: int | None, resize: int | list[int] | None, crop: float | None) -> View:
    """Return the view that these constants of `Images` mean; raises ConfigError for what cannot be one."""
    resized, cut = _resized(resize), _cropped(crop)
    if cut is None:
        if resize is not None and size is None and np.size(resize) == 1:
            raise ConfigError("crop", None, f"a side in pixels, or a size: resize={resize} leaves images of two sides")
    elif cut > 1:
        if resized is not None and cut > np.min(resized):
            raise ConfigError("crop", crop, f"at most resize={resize}")
    elif size is None:
        raise ConfigError("size", None, f"a side in pixels: crop={crop} is a share")
    return View(resized, cut)


def _resized(resize: int | list[int] | None) -> int | tuple[int, int] | None:
    """`View.resize` of this constant: a list is height and width."""
    if resize is None:
        return None
    sides = [resize] if isinstance(resize, int) else list(resize)
    if len(sides) not in (1, 2) or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ConfigError("resize", resize, "pixels of the short side, or [height, width]")
    return resize if isinstance(resize, int) else (sides[0], sides[-1])


def _cropped(crop: float | None) -> int | float | None:
    """`View.crop` of this constant: whole pixels as int, a share of the square as it is."""
    if crop is None:
        return None
    if 0 < crop <= 1:
        return float(crop)  # `crop: 1` in a codec is the whole square too, not a pixel
    if not crop > 1 or crop != int(crop):
        raise ConfigError("crop", crop, "whole pixels, or a share of the centred square (above 0 to 1)")
    return int(crop)
