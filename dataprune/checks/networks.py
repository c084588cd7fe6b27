"""Build every network of a job before its first training and call it with inputs of the size that it will get.

On torch's meta device, which computes shapes and no numbers: a ViT costs a tenth of a second. What fails there is
tried again with numbers, because some networks cannot do without. Only networks and codecs of this package are asked:
what a user's own one does when it is built is not known here.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException

from dataprune.arrays import entry
from dataprune.config import Config, TrainConfig
from dataprune.data.codecs import codec_of
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.plan import Plan
from dataprune.store import Result

OURS = "dataprune."


def check_networks(cfg: Config, plan: Plan, source: Data, target: Data | None) -> None:
    """Raise a ConfigError for a network that cannot be built or takes no inputs of this size, and for a checkpoint that
    does not fit its network.

    Imports torch: for jobs that train something.
    """
    for role, group in _used(cfg, plan):
        data = source if group == "source" else target
        if data is not None and _is_known(getattr(cfg, role).model, data):
            _check_network(cfg, role, group, data, target)


def check_head(plan: Plan, surrogate: Result) -> None:
    """Raise a ConfigError where a method looks at the logits of a surrogate that came without a classifier."""
    if surrogate.facts.get("head", True):
        return
    of_logits = {"signals", "target_signals", "gradients", "heldout"}
    for call in plan.calls:
        for parameter, array in call.arrays.items():
            if entry(array).role in of_logits and not array.endswith(("features", "embeddings")):
                expected = "an array of features: surrogate.checkpoint has no classifier"
                raise ConfigError(f"{call.key}.{parameter}", array, expected)


def _used(cfg: Config, plan: Plan) -> Iterator[tuple[str, str]]:
    """(recipe of a network, data set that it sees), by config key."""
    if plan.prunes and plan.needs_surrogate:
        yield "surrogate", "source"
    if plan.prunes and "target_signals" in plan.roles:
        yield "surrogate", "target"
    if cfg.method.trains_on != "nothing":
        yield "pretrain", "source"
    yield "pretrain", "target"  # whose network is what is transferred


def _check_network(cfg: Config, role: str, group: str, data: Data, target: Data | None) -> None:
    """Build the network of a recipe for the data set that it sees, and try what will be done with it."""
    recipe: TrainConfig = getattr(cfg, role)
    header, input = data.header, data.header["input"]
    trained = cfg.transfer if (role, group) == ("pretrain", "target") and cfg.transfer else recipe
    for asked_for in _inputs(input, trained.resolution):
        _check_shape(json.dumps(recipe.model), json.dumps(header["codec"]), json.dumps(asked_for), role, group)
    if trained.checkpointing and trained.checkpoint is None:
        _check_checkpointing(recipe.model or {}, input, role if trained is recipe else "transfer")
    if recipe.checkpoint is not None and group == "source":
        _check_adopted(cfg, role, data, target)


def _check_adopted(cfg: Config, role: str, data: Data, target: Data | None) -> None:
    """Look whether the checkpoint fits the network and, where its head is kept, the target's classes."""
    recipe, input = getattr(cfg, role), data.header["input"]
    classes = None if cfg.source.absent else data.facts["classes"]
    outputs = _check_checkpoint(recipe, input, classes, role)
    if cfg.transfer is not None and cfg.transfer.head == "reuse" and target is not None:
        from dataprune.passes import check_outputs  # torch

        check_outputs(outputs, target.facts["classes"], exactly=cfg.transfer.epochs == 0)


def _is_known(model: dict[str, Any] | None, data: Data) -> bool:
    """Whether there is a network of this package, for a codec of this package."""
    if model is None or not model["_target_"].startswith(f"{OURS}models."):
        return False
    return data.header["codec"]["_target_"].startswith(OURS)


def _inputs(input: dict[str, Any], resolution: dict[str, int]) -> list[dict[str, Any]]:
    """The data set's input, and those of both ends of a ramp in pixels."""
    sides = {resolution["low"], resolution["high"]} if resolution else set()
    return [input, *(input | {"height": side, "width": side} for side in sorted(sides))]


def _check_checkpointing(model: dict[str, Any], input: dict[str, Any], role: str) -> None:
    import torch

    from dataprune.models.networks import build

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            build(_unweighted(model), input, 2).checkpoint()
    except ConfigError as error:
        raise error.under(role) from None


@cache  # the jobs of a sweep in one process have few networks
def _check_shape(model: str, codec: str, asked_for: str, role: str, group: str) -> None:
    spec, input = json.loads(model), json.loads(asked_for)
    failed = _attempt(spec, json.loads(codec), input, "meta")
    # a network may need numbers to compute its shapes: then the real attempt decides
    failed = failed and _attempt(spec, json.loads(codec), input, "cpu")
    if isinstance(failed, ConfigError):
        raise failed if failed.key.startswith(("source.", "target.")) else failed.under(role)
    if failed is not None:
        name = spec.get("name", spec["_target_"].rpartition(".")[2])
        reason = (str(failed) or type(failed).__name__).splitlines()[0]
        key, shown = f"{group}.codec", Shown(", ".join(f"{fact} {value}" for fact, value in input.items()))
        if input["kind"] == "image":
            key, shown = f"{group}.size", Shown(f"images of {input['height']} x {input['width']} pixels")
        raise ConfigError(key, shown, f"a size that {role}.model ({name}) takes: {reason}")


def _attempt(spec: dict[str, Any], codec: dict[str, Any], input: dict[str, Any], device: str) -> BaseException | None:
    """What goes wrong when the network is built and called with two examples of these sizes."""
    try:
        _forward(spec, codec, input, device)
    except InstantiationException as error:  # hydra's, around what the network's function has raised
        return error.__cause__ or error
    except Exception as error:  # torch raises RuntimeError, timm AssertionError, others what they like
        return error
    return None


def _forward(spec: dict[str, Any], codec: dict[str, Any], input: dict[str, Any], device: str) -> None:
    """Build the network and pass two examples through it, in eval mode."""
    import torch

    from dataprune.models.networks import build

    with torch.random.fork_rng(devices=[]), torch.device(device), torch.inference_mode():
        network = build(_unweighted(spec), input, 2).eval()
        network(**codec_of(codec).blank(input, 2))


def _unweighted(spec: dict[str, Any]) -> dict[str, Any]:
    """The same network without the weights that it would fetch."""
    return spec | {"pretrained": False} if spec.get("pretrained") else spec


def _check_checkpoint(recipe: TrainConfig, input: dict[str, Any], classes: int | None, role: str) -> int:
    """How many outputs the model has; classes: those that it must have, None = as many as it comes with."""
    import torch

    from dataprune.checkpoints.conversion import convert
    from dataprune.checkpoints.loading import check_claims, placed
    from dataprune.checkpoints.masks import figures
    from dataprune.models.networks import build
    from dataprune.stages.adopt import built_for, classes_of

    assert recipe.model is not None
    assert recipe.checkpoint is not None
    found = convert(Path(recipe.checkpoint), f"{role}.checkpoint", weights=recipe.lth_weights)
    model = built_for(_unweighted(recipe.model), found, role)
    outputs = classes_of(found, model, input) if classes is None else classes
    with torch.device("meta"):
        network = build(model, input, outputs)
    _, masks = placed(found, network)
    check_claims(found, figures(masks), recipe.density, f"{role}.density")
    return outputs
