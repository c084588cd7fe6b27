"""Random changes of one decoded training image: policies, colour jitter, erasing, by timm's and torchvision's classes.

These draw from the global generators of Python, numpy and torch: each image's draws come from its own stream, and the
generators are put back.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image as Pillow

from dataprune.augmentation import AugmentConfig

FILL = 128  # what a rotation or a shift leaves empty: AutoAugment's grey
TRANSLATE = 0.45  # largest shift of RandAugment, of the side: timm's training transforms


@contextmanager
def drawn_from(rng: np.random.Generator) -> Iterator[None]:
    """Let what draws from the global generators of Python, numpy and torch (on the CPU) draw from `rng`'s stream."""
    import torch

    seed = int(rng.integers(2**32))
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - libraries draw from it
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


@dataclass(frozen=True)
class Changes:
    """What `AugmentConfig` says of an image after its crop and its mirror.

    policy: imagenet (AutoAugment's, Cubuk et al. 2019, 25 pairs of operations) or timm's grammar of a RandAugment.
    jitter: brightness, contrast, saturation, hue, as torchvision's ColorJitter. erasing: probability of a rectangle
    (timm's RandomErasing: 2 to 33 % of the area) of the data set's mean colour, which is 0 where images are normalised.
    """

    policy: str | None = None
    jitter: tuple[float, ...] | None = None
    erasing: float = 0.0

    @classmethod
    def of(cls, augment: AugmentConfig) -> "Changes | None":
        """What a recipe asks for; None = nothing."""
        jitter = None if augment.color_jitter is None else tuple(augment.color_jitter)
        changes = cls(augment.auto_augment, jitter, augment.random_erasing)
        return None if changes == cls() else changes

    def __call__(
        self, pixels: np.ndarray, rng: np.random.Generator, mean: Sequence[float], interpolation: str
    ) -> np.ndarray:
        """Return the changed image, uint8 (h, w, c), from one of c = 3 (1 with erasing alone).

        mean: of pixel / 255, a number a channel. interpolation: of rotations and shears, as `pictures.Filter`.
        """
        with drawn_from(rng):
            if self.policy is not None or self.jitter is not None:
                picture = Pillow.fromarray(pixels)
                for change in _transforms(self.policy, self.jitter, min(picture.size), interpolation):
                    picture = change(picture)
                pixels = np.asarray(picture, np.uint8)
            return _erased(pixels, self.erasing, mean) if self.erasing else pixels


@cache
def _transforms(
    policy: str | None, jitter: tuple[float, ...] | None, side: int, interpolation: str
) -> list[Callable[[Pillow.Image], Pillow.Image]]:
    """Changes of a Pillow image of this side, in order (timm's: policy, then jitter)."""
    found = []
    if policy is not None:
        from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

        resampling = Pillow.Resampling.BICUBIC if interpolation == "bicubic" else Pillow.Resampling.BILINEAR
        filled = {"translate_const": int(side * TRANSLATE), "img_mean": (FILL,) * 3, "interpolation": resampling}
        make = auto_augment_transform if policy == "imagenet" else rand_augment_transform
        found.append(make("original" if policy == "imagenet" else policy, filled))
    if jitter is not None:
        from torchvision.transforms.v2 import ColorJitter

        found.append(ColorJitter(*jitter))
    return found


def _erased(pixels: np.ndarray, probability: float, mean: Sequence[float]) -> np.ndarray:
    """The image with a rectangle of the mean colour, or without."""
    import torch
    from timm.data.random_erasing import RandomErasing

    height, width, _ = pixels.shape
    left = RandomErasing(probability, mode="const", device="cpu")(torch.ones(1, height, width, dtype=torch.uint8))
    colour = np.rint(255 * np.asarray(mean)).astype(np.uint8)
    return np.where(left[0, :, :, None].numpy() > 0, pixels, colour)
