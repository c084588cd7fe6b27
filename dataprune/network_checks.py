"""Build every network of a job before its first training and show it images of the size it will get.

On torch's meta device, which computes shapes and no numbers: a ViT costs a tenth of a second. What fails there is
tried again with numbers, because some networks cannot do without. Only networks of `dataprune.models` are asked: what
a user's own one does when it is built is not known here.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException

from dataprune.config import Config, TrainConfig
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.plan import Plan

OURS = "dataprune.models."


def check_networks(cfg: Config, plan: Plan, source: Data, target: Data | None) -> None:
    """Raise a ConfigError for a network that cannot be built or takes no images of this size, and for a checkpoint that
    does not fit its network.

    Imports torch: for jobs that train something.
    """
    used: list[tuple[str, TrainConfig, Data | None, str]] = []
    if plan.prunes and plan.needs_surrogate:
        used.append(("surrogate", cfg.surrogate, source, "source"))
    if plan.prunes and "target_signals" in plan.roles:
        used.append(("surrogate", cfg.surrogate, target, "target"))
    if cfg.method.trains_on != "nothing":
        used.append(("pretrain", cfg.pretrain, source, "source"))
    used.append(("pretrain", cfg.pretrain, target, "target"))  # whose network is what is transferred
    for role, recipe, data, group in used:
        if data is None or recipe.model is None or not recipe.model["_target_"].startswith(OURS):
            continue
        header = data.header
        ramp = cfg.transfer if (role, group) == ("pretrain", "target") and cfg.transfer else recipe
        sides = {tuple(header["splits"]["train"]["shape"][:2])}
        sides |= {(ramp.resolution[end],) * 2 for end in ("low", "high") if ramp.resolution}
        for shape in sorted(sides):
            _check_shape(json.dumps(recipe.model), header["channels"], shape, role, group)
        if recipe.checkpoint is not None and group == "source":
            _check_checkpoint(recipe, header["channels"], data.facts["classes"], role)


@cache  # the jobs of a sweep in one process have few networks
def _check_shape(model: str, channels: int, shape: tuple[int, int], role: str, group: str) -> None:
    spec = json.loads(model)
    failed = _attempt(spec, channels, shape, "meta")
    # a network may need numbers to compute its shapes: then the real attempt decides
    failed = failed and _attempt(spec, channels, shape, "cpu")
    if isinstance(failed, ConfigError):
        raise failed if failed.key.startswith(("source.", "target.")) else failed.under(role)
    if failed is not None:
        name = spec.get("name", spec["_target_"].rpartition(".")[2])
        reason = (str(failed) or type(failed).__name__).splitlines()[0]
        shown = Shown(f"images of {shape[0]} x {shape[1]} pixels")
        raise ConfigError(f"{group}.size", shown, f"a size that {role}.model ({name}) takes: {reason}")


def _attempt(spec: dict[str, Any], channels: int, shape: tuple[int, int], device: str) -> BaseException | None:
    """What goes wrong when the network is built and shown two images of this shape."""
    try:
        _forward(spec, channels, shape, device)
    except InstantiationException as error:  # hydra's, around what the network's function has raised
        return error.__cause__ or error
    except Exception as error:  # torch raises RuntimeError, timm AssertionError, others what they like
        return error
    return None


def _forward(spec: dict[str, Any], channels: int, shape: tuple[int, int], device: str) -> None:
    """Build the network and pass two images through it, in eval mode."""
    import torch

    from dataprune.models.networks import build

    with torch.random.fork_rng(devices=[]), torch.device(device), torch.inference_mode():
        network = build(_unweighted(spec), channels, 2).eval()
        network(torch.zeros(2, channels, *shape))


def _unweighted(spec: dict[str, Any]) -> dict[str, Any]:
    """The same network without the weights that it would fetch."""
    return spec | {"pretrained": False} if spec.get("pretrained") else spec


def _check_checkpoint(recipe: TrainConfig, channels: int, classes: int, role: str) -> None:
    import torch

    from dataprune.models.networks import build
    from dataprune.stages.adopt import fitted, read_state

    assert recipe.model is not None
    assert recipe.checkpoint is not None
    with torch.device("meta"):
        network = build(_unweighted(recipe.model), channels, classes)
    key = f"{role}.checkpoint"
    fitted(read_state(Path(recipe.checkpoint), key), network, key)
