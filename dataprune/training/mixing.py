"""Mixup and cutmix (Zhang et al. 2018, Yun et al. 2019) of the images and labels of a batch, by timm's class."""

import torch
from timm.data.mixup import Mixup, mixup_target

from dataprune.config import AugmentConfig
from dataprune.data.changes import drawn_from
from dataprune.streams import stream


class Mixing:
    """Mixes each image of a batch with the one as far from its end as it is from the beginning.

    Each process draws for each of its steps by (seed, epoch, step, rank): which of the two if the recipe has both (each
    half of the time), and how much. smoothing: of the labels, before they are mixed.
    """

    def __init__(self, augment: AugmentConfig, n_classes: int, smoothing: float, seed: int, rank: int) -> None:
        words = {"label_smoothing": smoothing, "num_classes": n_classes}
        self.mixup = Mixup(augment.mixup, augment.cutmix, **words)
        self.n_classes, self.smoothing, self.seed, self.rank = n_classes, smoothing, seed, rank

    def __call__(
        self, inputs: dict[str, torch.Tensor], labels: torch.Tensor, epoch: int, step: int
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the inputs with `image` (b, c, h, w) mixed, and targets float32 (b, classes) of sum 1.

        labels: int64 (b,). Of an odd number of images the last one stays as it is: timm mixes pairs.
        """
        images, even = inputs["image"].clone(), len(labels) // 2 * 2
        targets = mixup_target(labels, self.n_classes, 1.0, self.smoothing)
        if even:
            with drawn_from(stream(self.seed, "mix", epoch, step, self.rank)):
                images[:even], targets[:even] = self.mixup(images[:even], labels[:even])
        return inputs | {"image": images}, targets
