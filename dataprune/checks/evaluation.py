"""Outputs and labels of others: what a reused head and an evaluation make of them, told before anything is trained."""

from collections.abc import Mapping

import numpy as np

from dataprune.config import Config
from dataprune.data.examples import Examples
from dataprune.dataset import Data
from dataprune.errors import ConfigError
from dataprune.formats.imagenet import number_of, positions, read_mapping, read_real


def check_evaluated(cfg: Config, source: Data, targets: Mapping[str, Data | None]) -> None:
    """Raise a ConfigError for ReaL labels that the names of an evaluated split do not fit, for columns that the model
    that is measured has not, and for classes of the split that are none of them.

    targets: by the key of their config.
    """
    config, about_source = cfg.evaluate, cfg.evaluate.about == "source"
    if config.real is None and config.classes_file is None:
        return
    for data in [source] if about_source else targets.values():
        if data is None:
            continue
        try:
            if config.classes_file is not None:
                _check_columns(cfg, config.classes_file, source, data)
            if config.real is not None:
                _check_real(config.real, Examples(data.table.path, config.split))
        except ConfigError as error:
            raise error.under("evaluate") from None


def _check_columns(cfg: Config, path: str, source: Data, data: Data) -> None:
    """Raise a ConfigError for columns that the model has not that is measured here, or for a class that is none."""
    fresh = cfg.evaluate.about != "source" and has_fresh_head(cfg)
    columns = read_mapping(path, data.facts["classes"] if fresh else outputs_of(cfg, source, data))
    split = Examples(data.table.path, cfg.evaluate.split)
    positions(np.unique(split.labels), columns, split.classes, split.split)


def _check_real(path: str, split: Examples) -> None:
    """Raise a ConfigError for a name of the split that tells no place in the ReaL labels."""
    sets = read_real(path)
    for name in split.names:
        number_of(name, len(sets))


def has_fresh_head(cfg: Config) -> bool:
    """Return whether the model of the target has as many outputs as the target has classes; a scratch model always."""
    return cfg.transfer is not None and (cfg.transfer.head != "reuse" or cfg.method.trains_on == "nothing")


def outputs_of(cfg: Config, source: Data, measured: Data) -> int:
    """Return how many outputs a model of the source has on a data set: of a head that a transfer reuses, those kept."""
    outputs, transfer = source.facts["classes"], cfg.transfer
    if measured is source or transfer is None or transfer.head_columns is None:
        return outputs
    try:
        return len(read_mapping(transfer.head_columns, outputs))
    except ConfigError as error:
        raise ConfigError("transfer.head_columns", error.value, error.expected) from None
