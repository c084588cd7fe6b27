"""Labels and columns of others that an evaluation reads: looked at before a training whose figures would lack them."""

from collections.abc import Mapping

from dataprune.config import Config
from dataprune.data.examples import Examples
from dataprune.dataset import Data
from dataprune.errors import ConfigError
from dataprune.formats.imagenet import number_of, read_mapping, read_real


def check_evaluated(cfg: Config, source: Data, targets: Mapping[str, Data | None]) -> None:
    """Raise a ConfigError for ReaL labels that the names of an evaluated split do not fit, and for columns that the
    model that is measured has not. targets: by the key of their config."""
    config, about_source = cfg.evaluate, cfg.evaluate.about == "source"
    if config.real is None and config.classes_file is None:
        return
    reuses = cfg.transfer is not None and cfg.transfer.head == "reuse"
    for data in [source] if about_source else targets.values():
        if data is None:
            continue
        try:
            if config.classes_file is not None:
                read_mapping(config.classes_file, (source if about_source or reuses else data).facts["classes"])
            if config.real is not None:
                sets = read_real(config.real)
                for name in Examples(data.table.path, config.split).names:
                    number_of(name, len(sets))
        except ConfigError as error:
            raise error.under("evaluate") from None
