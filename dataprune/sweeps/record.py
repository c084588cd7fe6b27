"""What Hydra leaves in a job's folder (`.hydra/`), written as Hydra would, in a tenth of its time."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import OmegaConfDumper


class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """libyaml's, which writes text as omegaconf reads it: "1e-3" in quotes."""


Dumper.add_representer(str, OmegaConfDumper.str_representer)


def record(config: DictConfig, folder: Path) -> None:
    """Write config.yaml, hydra.yaml and overrides.yaml of a job with its `hydra` node."""
    if config.hydra.output_subdir is None:
        return
    there = folder / config.hydra.output_subdir
    there.mkdir(parents=True, exist_ok=True)
    whole = OmegaConf.to_container(config, enum_to_str=True)
    assert isinstance(whole, dict)
    hydra = {"hydra": whole.pop("hydra")}
    for name, value in (("config", whole), ("hydra", hydra), ("overrides", hydra["hydra"]["overrides"]["task"])):
        (there / f"{name}.yaml").write_text(_text(value))


def _text(value: Any) -> str:
    return yaml.dump(value, Dumper=Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
