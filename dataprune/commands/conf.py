"""Option files of conf/, read without Hydra."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dataprune.errors import ConfigError, Shown

PACKAGE = Path(__file__).resolve().parents[1]
# inside the package in a wheel, beside it in a checkout
CONF = next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir())


def options(group: str) -> list[str]:
    """Names of the options of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def read(group: str, name: str) -> DictConfig:
    """An option of a group, or a file that ends in .yaml."""
    path = Path(name) if name.endswith(".yaml") else CONF / group / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(options(group))
        raise ConfigError(f"--{'config' if group == 'select' else group}", name, f"a YAML file, or one of {there}")
    try:
        content = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            str(path), Shown("no YAML"), f"keys and values ({str(error).splitlines()[-1].strip()})"
        ) from error
    if not isinstance(content, DictConfig):
        raise ConfigError(str(path), Shown("a list"), "keys and values")
    return content
