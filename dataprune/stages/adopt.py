"""Stage adopt: take foreign weights into one of our networks; what follows need not know where they came from.

Inputs: `examples` (index) of the data that the model was trained on; the checkpoint is a file outside the store, its
SHA-256 is in the recipe, as is that of the cost.json beside it. Files: model.pt, network.json, as the train stage
writes them.
"""

import json
import logging
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown, first_line
from dataprune.models.networks import Network, build, describe
from dataprune.stage_configs import AdoptConfig

CONFIG = AdoptConfig
PREFIXES = ("module.", "model.", "network.")  # of DataParallel, of Lightning modules, of ours
NORMALISING = ("normalizer.", "normalize.", "normalization.")  # a layer before the network: our codec does it
QUERY, KEY_ENCODER = (
    "encoder_q.",
    ("encoder_k.", "queue", "queue_ptr"),
)  # of MoCo
log = logging.getLogger(__name__)


def run(config: AdoptConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Fit the checkpoint's tensors to the network, all of them, or raise a ConfigError that says which do not fit."""
    examples = Examples.of(inputs, "train")
    n_classes = len(examples.classes)
    network = build(config.model, examples.input, n_classes)
    state = read_state(Path(config.checkpoint), f"{label}.checkpoint")
    state = fitted(state, network, f"{label}.checkpoint")
    has_head = "head.weight" in state
    if not has_head:
        log.warning("%s: no classifier in %s: only its features mean something", label, config.checkpoint)
        head = network.head
        state |= {"head.weight": torch.zeros_like(head.weight), "head.bias": torch.zeros_like(head.bias)}
    network.load_state_dict(state)
    torch.save({k: v.contiguous() for k, v in network.state_dict().items()}, work / "model.pt")
    (work / "network.json").write_text(json.dumps(describe(config.model, examples.input, n_classes), indent=1))
    elsewhere = told_of(config.checkpoint, f"{label}.checkpoint")
    parameters = sum(p.numel() for p in network.parameters())
    facts = {"parameters": parameters, "examples": len(examples), "images_seen": 0, "elsewhere": elsewhere}
    return facts if has_head else facts | {"head": False}


class Inert:
    """What stands for everything that a checkpoint names beside tensors and containers (Swin's and Dyn-Unc's hold their
    whole configuration): an empty mapping, whatever it is called with. Nothing of the file is run."""

    def __new__(cls, *ignored: object, **also: object) -> Any:
        """Return an empty mapping."""
        return OrderedDict()


def _of_backbone(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], has_head: bool
) -> dict[str, torch.Tensor]:
    """A backbone's tensors under the names of our network, in which it is a part.

    What the backbone has no place for is the old classifier, if that is one layer, whatever it is called.
    """
    body = {f"backbone.{name}": t for name, t in state.items() if f"backbone.{name}" in wanted}
    rest = {name: t for name, t in state.items() if f"backbone.{name}" not in wanted}
    one_layer = len({name.rpartition(".")[0] for name in rest}) == 1
    if has_head and one_layer:
        rest = {f"head.{name.rpartition('.')[2]}": tensor for name, tensor in rest.items()}
    return body | rest


def _converted(state: dict[str, torch.Tensor], backbone: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a published checkpoint as timm's network of that kind names and sizes them: it knows the authors'
    own names, and resizes tables of positions. Others stay as they are."""
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None or (state.keys() >= backbone.state_dict().keys() and _sized(state, backbone)):
        return state
    return convert(dict(state), backbone)


def _sized(state: dict[str, torch.Tensor], backbone: torch.nn.Module) -> bool:
    return all(state[name].shape == tensor.shape for name, tensor in backbone.state_dict().items())


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
        with safe_globals([(Inert, name) for name in get_unsafe_globals_in_checkpoint(str(path))]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors here; all mean the same to the user
        expected = f"a file of tensors that torch.load(weights_only=True) reads ({first_line(error)})"
        raise ConfigError(key, str(path), expected) from None


def fitted(state: dict[str, torch.Tensor], network: Network, key: str) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names: prefixes go, a foreign classifier becomes `head`.

    Names are those of the backbone (a timm or torchvision checkpoint) or of a whole `Network` (our own). Of a MoCo
    checkpoint the query encoder counts, without its projection; it, and one of which all names begin with `backbone.`,
    has no classifier, and there is no `head` in what is returned. Anything else that is left over raises ConfigError.
    """
    state = _stripped(state)
    wanted = network.state_dict()
    body_only = all(name.startswith("backbone.") for name in state)
    if any(name.startswith(QUERY) for name in state):
        state, body_only = _query_encoder(state), True
    if not any(name.startswith("backbone.") for name in state):  # a foreign classifier may be called head, as ours is
        state = _of_backbone(_converted(state, network.backbone), wanted, not body_only)
    heads = {name for name in wanted if name.startswith("head.")} if body_only else set()
    missing, extra = sorted(wanted.keys() - state.keys() - heads), sorted(state.keys() - wanted.keys())
    shapes = [n for n in wanted.keys() & state.keys() if wanted[n].shape != state[n].shape]
    if missing or extra or shapes:
        found = (
            f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, other shape {shapes[:3]}"
        )
        raise ConfigError(key, Shown(found), "the tensors of this network; is it another model or number of classes?")
    return state


def _stripped(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors without prefixes that all names share, and without layers that only normalise images."""
    before: dict[str, torch.Tensor] = {}
    while state.keys() != before.keys():
        before = state
        state = {name: t for name, t in state.items() if not (name.startswith(NORMALISING) and t.numel() <= 3)}
        for prefix in PREFIXES:
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _query_encoder(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """MoCo's query encoder without its projection; what belongs to neither encoder stays under its name."""
    query = {name.removeprefix(QUERY): tensor for name, tensor in state.items() if name.startswith(QUERY)}
    others = {n: t for n, t in state.items() if not n.startswith((QUERY, *KEY_ENCODER))}
    return {name: tensor for name, tensor in query.items() if not name.startswith("fc.")} | others
