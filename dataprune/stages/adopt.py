"""Stage adopt: take foreign weights into one of our networks; what follows need not know where they came from.

Inputs: `examples` (index) of the data that the model was trained on, or none: then the config says what its images are
like, and the checkpoint how many classes it knows. The checkpoint is a file outside the store, its
SHA-256 is in the recipe, as is that of the cost.json beside it. Files: model.pt, network.json, as the train stage
writes them; masks.npz, a bool array for each convolution and linear layer, True = kept; report.json: which tensor came
from where, its shape and density, what was dropped and made up.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dataprune.checkpoints import masks as mask_files
from dataprune.checkpoints.conversion import Converted, convert
from dataprune.checkpoints.fitting import outputs_of
from dataprune.checkpoints.loading import check_claims, placed, report
from dataprune.checkpoints.paths import check_paths
from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.data.codecs import compare_views
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build, describe
from dataprune.passes import blank_of, sizes
from dataprune.stage_configs import AdoptConfig
from dataprune.store.files import write_json

CONFIG = AdoptConfig
TIMM = "dataprune.models.networks.timm"
log = logging.getLogger(__name__)


def run(config: AdoptConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Fit the checkpoint's tensors to the network, all of them, or raise a ConfigError that says which do not fit."""
    examples, key = Examples.of(inputs, "train") if "examples" in inputs else None, f"{label}.checkpoint"
    found = convert(Path(config.checkpoint), key, weights=config.lth_weights)
    model, input = built_for(config.model, found, label), config.input if examples is None else examples.input
    n_classes = classes_of(found, model, input) if examples is None else len(examples.classes)
    network = build(model, input, n_classes)
    state, masks = placed(found, network)
    figures = mask_files.figures(masks)
    check_claims(found, figures, config.density, f"{label}.density")
    said = report(found, state) | figures
    if not (has_head := "head.weight" in state):
        log.warning("%s: no classifier in %s: only its features mean something", label, config.checkpoint)
        state |= {f"head.{name}": torch.zeros_like(value) for name, value in network.head.named_parameters()}
    check_paths(network, masks, image_of(input), config.checkpoint, key)
    network.load_state_dict(state)
    torch.save({k: v.contiguous() for k, v in network.state_dict().items()}, work / "model.pt")
    (work / "network.json").write_text(json.dumps(describe(model, input, n_classes), indent=1))
    mask_files.write(masks, work / mask_files.FILE)
    write_json(work / "report.json", said)
    if examples is not None:
        compare_views(examples.header["codec"], said, label)
    elsewhere = told_of(config.checkpoint, key)
    parameters = sum(p.numel() for p in network.parameters())
    facts = {"parameters": parameters, "images_seen": 0, "elsewhere": elsewhere} | _seen(network, examples, input)
    return facts if has_head else facts | {"head": False}


def _seen(network: Network, examples: Examples | None, input: Mapping[str, Any]) -> dict[str, Any]:
    """How many examples the network knows, its density and the FLOPs of one of them."""
    if examples is not None:
        return {"examples": len(examples)} | sizes(network, blank_of(examples))
    size = image_of(input)
    return {"examples": 0} | sizes(network, None if size is None else {"image": torch.zeros(size)})


def classes_of(found: Converted, model: dict[str, Any], input: Mapping[str, Any]) -> int:
    """Return how many classes the checkpoint's own classifier knows; 1 where it has none."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build(model, input, 1)
    return outputs_of(found.ledger.tensors, network) or 1


def image_of(input: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return (channels, height, width) of the images that a codec makes; None for other inputs."""
    size = [each for name in ("channels", "height", "width") if isinstance(each := input.get(name), int)]
    return tuple(size) if len(size) == 3 else None


def built_for(model: dict[str, Any], found: Converted, label: str) -> dict[str, Any]:
    """Return the `model` config with what the checkpoint's network had that timm's of that name has not: RigL's max
    pooling, the ReLU of the first MobileNet. Raises ConfigError where the config asks for something else."""
    if model["_target_"] != TIMM:
        for name, value in found.needs.items():
            log.warning("%s: a network of these weights has %s=%s", label, name, value)
        return model
    for name, value in found.needs.items():
        if model.get(name, value) != value:
            raise ConfigError(f"{label}.model.{name}", model[name], f"{value}, as in the network of these weights")
    return model | found.needs
