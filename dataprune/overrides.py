"""Words of the command line that compose, and would then be ignored or mixed without a word."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dataprune.config import Config
from dataprune.errors import ConfigError, Shown

MAY_BE_SEVERAL = ("experiment", "multirun_templates", "hydra")  # groups whose options are meant to be laid over another


def check_overrides(cfg: Config, words: Sequence[str]) -> None:
    """Raise a ConfigError for a group that is given several options, which would be laid over one another, and for a
    transfer recipe without a target. words: overrides as they were typed."""
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        is_group = ("." not in key or "@" in key) and not key.startswith(MAY_BE_SEVERAL)
        if is_group and value.startswith("["):
            raise ConfigError(key, Shown(value), _instead(key, [o.strip() for o in value.strip("[]").split(",")]))
        if cfg.target is None and key == "train@transfer":
            raise ConfigError(key, value, "no transfer recipe beside target=none, or a target")


def check_constants(constants: Mapping[str, Any], words: Sequence[str]) -> None:
    """Raise a ConfigError for a constant of a score that the command line states and `constants` replaces: an
    experiment may say some of these, such as the demo its windows."""
    for word in words:
        key = word.lstrip("+").partition("=")[0]
        method, _, name = key.rpartition(".score.")
        is_method = method == "method" or method.startswith("baselines.")
        if is_method and (instead := constants.get(name)) is not None:
            raise ConfigError(key, Shown("..."), f"constants.{name}=..., which is {instead} here and takes its place")


def check_words(words: Sequence[str]) -> None:
    """Raise a ConfigError for values of a transfer beside target=none, and for no transfer beside a target: there Hydra
    ends in a stack trace."""
    if "transfer=null" in words:
        raise ConfigError("transfer", None, "target=none, which takes the transfer away too")
    keys = [word.lstrip("+~").partition("=")[0] for word in words]
    lost = next((key for key in keys if key.startswith("transfer.")), None)
    if lost is not None and "target=none" in words:
        raise ConfigError(lost, Shown("..."), "no value of a transfer beside target=none, or a target")


def below_sweeps(words: Sequence[str]) -> list[str]:
    """Return the words of a sweep with the values below a group that is swept put off until a job is composed.

    `method=a,b method.cut.fraction=0.25`: Hydra would put the value into the default method first, which has no cut.
    A sweep over one value waits for the job.
    """
    swept = {key.lstrip("+") + "." for key, _, value in (word.partition("=") for word in words) if "," in value}
    groups = {key for key in swept if "." not in key[:-1]}
    put_off = []
    for word in words:
        key, given, value = word.partition("=")
        waits = given and key.lstrip("+").startswith(tuple(groups)) and not re.search(r"[,(\[{]", value)
        put_off.append(f"{key}=choice({value})" if waits else word)
    return put_off


def _instead(group: str, options: list[str]) -> str:
    if group == "target" and len(options) > 1:
        more = " ".join(f"+target@others.{option}={option}" for option in options[1:])
        return f"one option; one subset for several targets: target={options[0]} {more}"
    return f"one option; a job for each of them: --multirun {group}={','.join(options)}"
