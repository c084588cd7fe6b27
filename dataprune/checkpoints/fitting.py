"""Tensors of a checkpoint under the names of a network: prefixes go, and all fit, or an error names the rest."""

import sys

import torch
from torch import nn

from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network

PREFIXES = ("module.", "model.", "network.")  # of DataParallel, of Lightning modules, of ours
NORMALISING = ("normalizer.", "normalize.", "normalization.")  # a layer before the network: our codec does it
QUERY, KEY_ENCODER = "encoder_q.", ("encoder_k.", "queue", "queue_ptr")  # of MoCo


def fitted(state: dict[str, torch.Tensor], network: nn.Module, key: str) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names: prefixes go, a foreign classifier becomes `head`.

    network: one of ours, or any module, which then has its own classifier. Names are those of the backbone (a timm or
    torchvision checkpoint) or of a whole `Network` (our own). Of a MoCo checkpoint the query encoder counts, without
    its projection; it, and one of which all names begin with `backbone.`, has no classifier, and there is no `head` in
    what is returned. Anything else that is left over raises ConfigError.
    """
    wanted = network.state_dict()
    if not isinstance(network, Network):
        state = _converted(_stripped(state), network)
        _check_whole(state, wanted, set(), key)
        return state
    state, body_only = _named(_stripped(state), network)
    heads = {name for name in wanted if name.startswith("head.")} if body_only else set()
    _check_whole(state, wanted, heads, key)
    return state


def outputs_of(state: dict[str, torch.Tensor], network: Network) -> int | None:
    """Return how many outputs the classifier of a checkpoint has; None = it has none, or not one layer."""
    named = _named(_stripped(state), network)[0]
    return len(named["head.weight"]) if "head.weight" in named else None


def _named(state: dict[str, torch.Tensor], network: Network) -> tuple[dict[str, torch.Tensor], bool]:
    """The tensors under the names of our network, and whether they are those of a backbone alone."""
    body_only = all(name.startswith("backbone.") for name in state)
    if any(name.startswith(QUERY) for name in state):
        state, body_only = _query_encoder(state), True
    if not any(name.startswith("backbone.") for name in state):  # a foreign classifier may be called head, as ours is
        state = _of_backbone(_converted(state, network.backbone), network.state_dict(), not body_only)
    return state, body_only


def _check_whole(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], optional: set[str], key: str) -> None:
    """Raise ConfigError with the names of what is missing, unknown or of another shape."""
    missing, extra = sorted(wanted.keys() - state.keys() - optional), sorted(state.keys() - wanted.keys())
    both = sorted(wanted.keys() & state.keys())
    shapes = [
        f"{n} {list(state[n].shape)} for {list(wanted[n].shape)}" for n in both if state[n].shape != wanted[n].shape
    ]
    if missing or extra or shapes:
        found = (
            f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}, other shape {shapes[:3]}"
        )
        raise ConfigError(key, Shown(found), "the tensors of this network; is it another model or number of classes?")


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
