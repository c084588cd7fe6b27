"""What a conversion has made of a file: every tensor of it has a place here, or a reason why it has none."""

from dataclasses import dataclass, field

import torch

from dataprune.errors import ConfigError, Shown


@dataclass
class Ledger:
    """Tensors and masks by the names of timm's networks, where each came from, and what was left out, made, not known.

    key: of errors. masks: bool, True = kept, only those that the file stores.
    """

    key: str
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)  # name -> name in the file
    dropped: dict[str, str] = field(default_factory=dict)  # name in the file -> why
    made: dict[str, str] = field(default_factory=dict)  # name -> what it was made of
    unknown: list[str] = field(default_factory=list)  # names in the file that no rule of the format has a place for

    def put(self, name: str, tensor: torch.Tensor, source: str) -> None:
        """File a tensor. Raises ConfigError if there is one of this name, or it holds NaN or infinity."""
        if name in self.tensors:
            found = Shown(f"{self.sources[name]} and {source}")
            raise ConfigError(self.key, found, f"each tensor once: both are {name}")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ConfigError(self.key, Shown(f"NaN or infinity in {source}"), "weights that are finite numbers")
        self.tensors[name], self.sources[name] = tensor, source

    def mask(self, name: str, values: torch.Tensor, source: str) -> None:
        """File a mask of 0 and 1. Raises ConfigError for other values, and for a second mask of the same name."""
        if name in self.masks:
            raise ConfigError(self.key, Shown(source), f"each mask once: {name} has one already")
        if values.dtype != torch.bool and not bool(((values == 0) | (values == 1)).all()):
            raise ConfigError(self.key, Shown(f"{source} with other values"), "masks of 0 and 1")
        self.masks[name] = values.bool()

    def make(self, name: str, tensor: torch.Tensor, why: str) -> None:
        """File a tensor that is not in the file as it is here."""
        self.tensors[name], self.made[name] = tensor, why

    def rename(self, names: dict[str, str]) -> None:
        """Give tensors and masks other names; those that `names` does not have keep theirs. Raises as `put`."""
        tensors, masks, sources = self.tensors, self.masks, self.sources
        self.tensors, self.masks, self.sources = {}, {}, {}
        for name, tensor in tensors.items():
            self.put(names.get(name, name), tensor, sources.get(name, name))
        for name, mask in masks.items():
            self.mask(names.get(name, name), mask, name)

    def multiply(self) -> None:
        """Set the weights to 0 where their masks do, whatever is stored there.

        Raises ConfigError for a mask whose weight is not there, or has another shape.
        """
        for name, mask in self.masks.items():
            if name not in self.tensors:
                raise ConfigError(self.key, Shown(f"{name} missing, of which there is a mask"), "both")
            weight = self.tensors[name]
            if weight.shape != mask.shape:
                found = Shown(f"mask {list(mask.shape)} of {name} {list(weight.shape)}")
                raise ConfigError(self.key, found, "masks of the weights' shapes")
            self.tensors[name] = torch.where(mask, weight, torch.zeros_like(weight))
