"""Stage adopt: take foreign weights into one of our networks; what follows need not know where they came from.

Inputs: `examples` (index) of the data that the model was trained on; the checkpoint is a file outside the store, its
SHA-256 is in the recipe, as is that of the cost.json beside it. Files: model.pt, network.json, as the train stage
writes them.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from dataprune.config import AdoptConfig, RunConfig
from dataprune.cost import told_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown, first_line
from dataprune.models.networks import Network, build, describe

CONFIG = AdoptConfig
PREFIXES = ("module.", "model.", "network.")  # of DataParallel, of Lightning modules, of ours


def run(config: AdoptConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Fit the checkpoint's tensors to the network, all of them, or raise a ConfigError that says which do not fit."""
    examples = Examples.of(inputs, "train")
    n_classes = len(examples.classes)
    network = build(config.model, examples.input, n_classes)
    state = read_state(Path(config.checkpoint), f"{label}.checkpoint")
    network.load_state_dict(fitted(state, network, f"{label}.checkpoint"))
    torch.save({k: v.contiguous() for k, v in network.state_dict().items()}, work / "model.pt")
    (work / "network.json").write_text(json.dumps(describe(config.model, examples.input, n_classes), indent=1))
    elsewhere = told_of(config.checkpoint, f"{label}.checkpoint")
    parameters = sum(p.numel() for p in network.parameters())
    return {"parameters": parameters, "examples": len(examples), "images_seen": 0, "elsewhere": elsewhere}


def _of_backbone(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A backbone's tensors under the names of our network, in which it is a part.

    What the backbone has no place for is the old classifier: one weight, one bias.
    """
    body = {f"backbone.{name}": t for name, t in state.items() if f"backbone.{name}" in wanted}
    rest = {name: t for name, t in state.items() if f"backbone.{name}" not in wanted}
    return body | {f"head.{name.rpartition('.')[2]}": tensor for name, tensor in rest.items()}


def read_state(path: Path, key: str) -> dict[str, torch.Tensor]:
    """The state_dict in a checkpoint file: itself, or under `state_dict` or `model`. Only tensors are unpickled."""
    there = _loaded(path, key)
    for name in ("state_dict", "model"):
        if isinstance(there, dict) and isinstance(there.get(name), dict):
            there = there[name]
    if not isinstance(there, dict) or not all(isinstance(v, torch.Tensor) for v in there.values()):
        raise ConfigError(key, str(path), "a state_dict: names and tensors")
    return there


def _loaded(path: Path, key: str) -> Any:
    """What torch reads from a file, its checksums compared first: torch writes them and does not look at them."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ConfigError(key, str(path), f"a file as it was written: {damaged} in it has changed")
        return torch.load(path, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors here; all mean the same to the user
        expected = f"a file of tensors that torch.load(weights_only=True) reads ({first_line(error)})"
        raise ConfigError(key, str(path), expected) from None


def fitted(state: dict[str, torch.Tensor], network: Network, key: str) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names: prefixes go, a foreign classifier becomes `head`.

    Names are those of the backbone (a timm or torchvision checkpoint) or of a whole `Network` (our own).
    """
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    wanted = network.state_dict()
    if not state.keys() & wanted.keys():
        state = _of_backbone(state, wanted)
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    shapes = [n for n in wanted.keys() & state.keys() if wanted[n].shape != state[n].shape]
    if missing or extra or shapes:
        found = (
            f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, other shape {shapes[:3]}"
        )
        raise ConfigError(key, Shown(found), "the tensors of this network; is it another model or number of classes?")
    return state
