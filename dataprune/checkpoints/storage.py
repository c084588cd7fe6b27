"""How sparse checkpoints store weights and masks: each way takes a file's tensors into a ledger, under their own names.

Sources: the published files of STR (Kusupati et al. 2020), AC/DC (Peste et al. 2021), WoodFisher (Singh and Alistarh
2020), M-FAC (Frantar et al. 2021), lottery tickets for transfer (Chen et al. 2021); torch.nn.utils.prune.
"""

from typing import Any

import torch

from dataprune.checkpoints.ledger import Ledger
from dataprune.checkpoints.reading import Foreign, unparalleled
from dataprune.errors import ConfigError, Shown

WRAPPER, WRAPPED_MASK, BIAS_MASK = "._layer.", "._weight_mask", "._bias_mask"
THRESHOLD, COPY = ".sparseThreshold", "sparseWeight"
ORIGINAL, PRUNED_MASK = "_orig", "_mask"
TICKET = "init_weight"


def wrapped(file: Foreign, into: Ledger) -> None:
    """AC/DC, GMP, WoodFisher: `P._layer.weight` and `P._weight_mask`; masks of biases never change and are dropped."""
    for name, tensor in file.tensors.items():
        if name.endswith(WRAPPED_MASK):
            into.mask(name.removesuffix(WRAPPED_MASK) + ".weight", tensor, name)
        elif name.endswith(BIAS_MASK):
            into.dropped[name] = "mask of a bias, which is never pruned"
        else:
            into.put(name.replace(WRAPPER, "."), tensor, name)


def thresholded(file: Foreign, into: Ledger) -> None:
    """STR: the weight is what a learned threshold leaves of it, sign(w) * relu(|w| - sigmoid(s))."""
    for name, tensor in file.tensors.items():
        layer = name.rpartition(".")[0]
        if COPY in name:
            into.dropped[name] = "a stored copy of a weight"
        elif name.endswith(THRESHOLD):
            if f"{layer}.weight" not in file.tensors or tensor.numel() != 1:
                raise ConfigError(into.key, Shown(name), "one number, and a weight beside it")
            into.dropped[name] = "threshold, which is in the weight"
        elif name.endswith(".weight") and (threshold := file.tensors.get(layer + THRESHOLD)) is not None:
            weight = tensor.sign() * torch.relu(tensor.abs() - torch.sigmoid(threshold.reshape(())))
            into.put(name, weight, name)
            into.mask(name, weight != 0, layer + THRESHOLD)
        else:
            into.put(name, tensor, name)


def pruned(file: Foreign, into: Ledger, weights: str = "ticket") -> None:
    """Lottery tickets, torch.nn.utils.prune: `P.weight_orig`, `P.weight_mask`.

    weights: "ticket" = those before the training where the file has them, "trained" = those after it.
    """
    masks = _pruned_masks(file, into.key)
    before = file.beside.get(TICKET)
    ticket = weights == "ticket" and isinstance(before, dict)
    if not ticket:
        into.dropped |= {TICKET: "weights before the training"} if before is not None else {}
    chosen: dict[str, Any] = unparalleled(before, into.key) if ticket else file.tensors  # type: ignore[arg-type]
    for name, tensor in chosen.items():
        if not name.endswith(PRUNED_MASK):
            into.put(name.removesuffix(ORIGINAL), tensor, f"{TICKET}: {name}" if ticket else name)
    for name, mask in masks.items():
        into.mask(name.removesuffix(PRUNED_MASK), mask, name)
    if ticket:
        after = [name for name in file.tensors if not name.endswith(PRUNED_MASK)]
        into.dropped |= dict.fromkeys(after, "weights after the training")


def _pruned_masks(file: Foreign, key: str) -> dict[str, torch.Tensor]:
    """The masks among the weights of a pruned network, and those beside them; ConfigError where they differ."""
    masks = {name: tensor for name, tensor in file.tensors.items() if name.endswith(PRUNED_MASK)}
    beside = file.beside.get("mask")
    more = unparalleled(beside, key) if isinstance(beside, dict) else {}
    for name, mask in more.items():
        if not isinstance(mask, torch.Tensor) or (name in masks and not torch.equal(masks[name].bool(), mask.bool())):
            raise ConfigError(key, Shown(f"two masks {name}"), "the same mask beside the weights and in them")
    return more | masks


def flat(file: Foreign, into: Ledger) -> None:
    """M-FAC: one vector of 0 and 1 for the weights one after another, of the convolutions and the classifier.

    It covers those with `conv` or `fc` in their names, in the order of the file, or all of two dimensions or more.
    Raises ConfigError if its length fits neither.
    """
    plain(file, into)
    vector = file.beside["mask"]
    named = [n for n in file.tensors if ("conv" in n or "fc" in n) and "bias" not in n]
    sized = [n for n, t in file.tensors.items() if n.endswith(".weight") and t.ndim > 1]
    for names in (named, sized):
        counts = [file.tensors[name].numel() for name in names]
        if sum(counts) == len(vector):
            for name, part in zip(names, vector.split(counts), strict=True):
                into.mask(name, part.view(file.tensors[name].shape), f"mask of {name}")
            return
    expected = f"{sum(file.tensors[n].numel() for n in named)} numbers, one a weight of conv and fc layers"
    raise ConfigError(into.key, Shown(f"a mask of {len(vector)} numbers"), expected)


def plain(file: Foreign, into: Ledger) -> None:
    """Weights under their names; their masks beside them, if this program wrote the file."""
    for name, tensor in file.tensors.items():
        into.put(name, tensor, name)
    masks = file.beside.get("masks")
    for name, mask in masks.items() if isinstance(masks, dict) else ():
        into.mask(name, mask, f"masks: {name}")
