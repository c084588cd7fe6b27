"""The random changes of training images that a recipe may ask for: the config `augment` of a training."""

import re
from dataclasses import dataclass

from dataprune.fields import number as _number

RAND = re.compile(r"rand(-(m|n|mmax)\d+|-(p|mstd)\d+(\.\d+)?|-inc[01])*")  # timm's grammar of RandAugment
# of loaders that decode at every epoch
DECODING = ("random_resized_crop", "color_jitter", "auto_augment", "random_erasing")


def rand_words(policy: str) -> dict[str, float]:
    """Return the numbers of a RandAugment's words by name: m, n, p, mstd, mmax, inc; those that it has."""
    return {name: float(value) for name, value in re.findall(r"-([a-z]+)([\d.]+)", policy)}


@dataclass
class AugmentConfig:
    """Random changes of a training image, in this order: crop, mirror, policy, jitter, erasing; then of a batch."""

    crop_padding: int = _number(0, 0, unit="pixels")  # reflect-pad, crop back at a random place; loader=memory only
    flip: bool = False  # mirror left-right half of the time
    random_resized_crop: list[float] | None = None  # [smallest, largest] share of the area; loader=workers or dali
    color_jitter: list[float] | None = None  # [brightness, contrast, saturation, hue]; loader=workers or dali
    auto_augment: str | None = None  # imagenet (AutoAugment), or a RandAugment: rand-m9-mstd0.5-inc1; as color_jitter
    random_erasing: float = _number(0.0, 0, 1)  # probability that a rectangle takes the mean colour; as color_jitter
    mixup: float = _number(0.0, 0)  # alpha; with cutmix, each batch gets one of the two
    cutmix: float = _number(0.0, 0)  # alpha
    repeats: int = _number(1, 1)  # an epoch of so many views each of as many fewer examples (repeated augmentation)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed, and their labels with them."""
        return self.mixup > 0 or self.cutmix > 0
