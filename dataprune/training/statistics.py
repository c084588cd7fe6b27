"""Statistics of batch norm, taken anew on other data while all weights stand still."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from dataprune.models.networks import Network, laid_out
from dataprune.models.tally import FORWARD, Tally


@torch.no_grad()
def reestimate(
    network: Network,
    epochs: Callable[[int], Iterable[dict[str, Any]]],
    passes: int,
    layout: torch.memory_format,
    tally: Tally,
) -> None:
    """Pass the batches of `epochs(0)` to `epochs(passes - 1)` through a frozen backbone whose batch norms are in train
    mode: their running means and variances follow with the layers' own momentum. Nothing else changes.

    A batch of one example is left out: batch norm takes no single vector.
    """
    network.freeze_backbone(bn=False)
    network.train()
    for epoch in range(passes):
        for batch in epochs(epoch):
            if len(batch["y"]) > 1:
                network.features(**laid_out(batch["inputs"], layout))
                tally.add(FORWARD, batch["inputs"], batch["real"])
    tally.settle()
    network.eval()
