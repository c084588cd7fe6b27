"""How sparse checkpoints name the layers of ResNets and of MobileNetV1, and what timm's networks call them.

Torchvision's ResNets have timm's names. Sources: the published files of RigL (Evci et al. 2020) in torch, SparseML, AMC
(He et al. 2018).
"""

import re
from collections.abc import Iterable

RIGL = (
    (r"initial_conv\.conv\.", "conv1."),
    (r"initial_conv\.bn\.", "bn1."),
    (r"layer(\d)\.block\.(\d+)\.shortcut\.conv\.", r"layer\1.\2.downsample.0."),
    (r"layer(\d)\.block\.(\d+)\.shortcut\.bn\.", r"layer\1.\2.downsample.1."),
    (r"layer(\d)\.block\.(\d+)\.conv(\d)\.conv\.", r"layer\1.\2.conv\3."),
    (r"layer(\d)\.block\.(\d+)\.conv(\d)\.bn\.", r"layer\1.\2.bn\3."),
    (r"fc\.", "fc."),
)
SPARSEML = (
    (r"input\.conv\.", "conv1."),
    (r"input\.bn\.", "bn1."),
    (r"sections\.(\d)\.(\d+)\.identity\.conv\.", r"layer\1.\2.downsample.0."),
    (r"sections\.(\d)\.(\d+)\.identity\.bn\.", r"layer\1.\2.downsample.1."),
    (r"sections\.(\d)\.(\d+)\.(conv\d|bn\d)\.", r"layer\1.\2.\3."),
    (r"classifier\.fc\.", "fc."),
)
STAGES = [(s, b) for s, blocks in enumerate((1, 2, 2, 6, 2)) for b in range(blocks)]  # of MobileNetV1
PARTS = {"0": "conv_dw", "1": "bn1", "3": "conv_pw", "4": "bn2"}  # of its blocks


def rigl(names: Iterable[str]) -> dict[str, str | None]:
    """Names of RigL's ResNet in torch -> timm's; None for a name that no rule fits."""
    return {name: _first(RIGL, name) for name in names}


def sparseml(names: Iterable[str]) -> dict[str, str | None]:
    """Names of SparseML's ResNets -> timm's; None for a name that no rule fits."""
    return {name: _first(SPARSEML, re.sub(r"^sections\.(\d)", _next, name)) for name in names}


def mobilenet(names: Iterable[str]) -> dict[str, str | None]:
    """Names `model.i.j.X` of MobileNetV1 -> timm's; None for a name that no rule fits."""
    return {name: _mobile(re.sub(r"^fc\.", "classifier.", name)) for name in names}


def amc(names: Iterable[str]) -> dict[str, str | None]:
    """Names of AMC's MobileNetV1 -> timm's; None for a name that no rule fits."""
    found: dict[str, str | None] = {}
    for name in names:
        as_model = re.sub(r"^conv1\.", "model.0.", name)
        as_model = re.sub(r"^features\.(\d+)\.", lambda m: f"model.{int(m[1]) + 1}.", as_model)
        found[name] = _mobile(re.sub(r"^classifier\.0\.", "classifier.", as_model))
    return found


def usual(names: Iterable[str]) -> dict[str, str | None]:
    """Names of ResNets are timm's already, those of MobileNetV1 are not; others stay, whatever they are."""
    names = list(names)
    return mobilenet(names) if {"model.0.0.weight", "model.13.3.weight"} <= {*names} else as_they_are(names)


def as_they_are(names: Iterable[str]) -> dict[str, str | None]:
    """Keep the names, whatever they are."""
    return {name: name for name in names}


def _first(rules: tuple[tuple[str, str], ...], name: str) -> str | None:
    for pattern, replacement in rules:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return None


def _next(found: re.Match) -> str:
    """SparseML counts stages from 0."""
    return f"sections.{int(found[1]) + 1}"


def _mobile(name: str) -> str | None:
    if name.startswith("classifier."):
        return name
    if not (found := re.match(r"model\.(\d+)\.(\d+)\.(.+)", name)):
        return None
    layer, part, rest = int(found[1]), found[2], found[3]
    if layer == 0:
        return {"0": f"conv_stem.{rest}", "1": f"bn1.{rest}"}.get(part)
    if layer > len(STAGES) or part not in PARTS:
        return None
    stage, block = STAGES[layer - 1]
    return f"blocks.{stage}.{block}.{PARTS[part]}.{rest}"
