"""What a codec is: it makes columns of an example as its reader gave it, and inputs of a network of many of these.

A codec stands in a config by `_target_` (`source.codec`), with its constants. It is a small object that worker
processes get a copy of. The one of images is `dataprune.data.images.Images`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprune.callables import Parameters, check_target, function_at
from dataprune.config import DataConfig, DecodeConfig
from dataprune.errors import ConfigError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Columns = dict[str, np.ndarray]  # of one example, by name
Inputs = dict[str, "torch.Tensor"]  # of a batch, by name: what a network is called with
IMAGES = "dataprune.data.images.Images"  # the codec whose encoded examples several decoders read
# fields of DataConfig that are handed to a codec which takes them
HANDED = ("size", "channels", "mean", "std", "resize", "crop", "interpolation", "antialias")
SIZES = {"height", "width"}  # facts of an input in which two data sets may differ for one network


class Codec:
    """The codec to derive from: `decode`, `collate`, `describe`, `blank` and `show` are its own, the rest may stay."""

    kind = "image"  # of the examples that it takes, as the index says: image | text
    once = False  # whether stage decode keeps the columns whatever the loader: what is dear to decode and small

    def decode(self, item: Any, draw: Any = None) -> Columns:
        """Return the columns of one example; `draw` holds the random numbers of a training image (images only)."""
        raise NotImplementedError

    def collate(self, examples: Sequence[Columns]) -> Inputs:
        """Return the inputs of a batch, each tensor with the batch as its first axis."""
        raise NotImplementedError

    def describe(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a network must know: `kind` and plain values. `header`: `shapes` of an example's columns."""
        raise NotImplementedError

    def blank(self, input: Mapping[str, Any], n: int) -> Inputs:
        """Return the inputs of n made-up examples without content, of the kind and sizes that `describe` tells."""
        raise NotImplementedError

    def show(self, item: Any) -> np.ndarray | str:
        """Return what a person looks at: pixels uint8 (h, w, c), or a line of text."""
        raise NotImplementedError

    def measure(self, examples: Iterable[Columns]) -> dict[str, Any]:
        """Return the constants that only the train split tells, from its columns; those that are given are not asked
        of it."""
        return {}

    def contents(self) -> dict[str, str]:
        """Return a hash of what lies behind each constant that is a place (a path, a name in a cache): it is that which
        counts, wherever it lies."""
        return {}

    def remark(self) -> str | None:
        """Return what the log should say of the examples that were decoded since the last remark."""
        return None

    def stack(self, examples: Sequence[Columns]) -> Inputs:
        """Return a batch as it travels from a worker process; `finish` makes its inputs of it."""
        return self.collate(examples)

    def finish(self, stacked: Inputs, device: "torch.device") -> Inputs:
        """Return the inputs of a stacked batch, on the device."""
        return {name: column.to(device, non_blocking=True) for name, column in stacked.items()}


def decoding(data: DataConfig, key: str, *, kept: bool = True, decoder: str = "pillow") -> DecodeConfig:
    """Return the config of stage decode for a data set: its codec with all constants that the data set states.

    decoder: what opens the encoded examples, if a recipe wants another than Pillow (of Images alone). `key`: of the
    data set. Raises ConfigError for a value that the codec does not take, or one that it finds wrong itself; a codec of
    a user's is not built for that.
    """
    takes = check_target(data.codec, f"{key}.codec")
    spec = dict(data.codec) | _handed(data, takes, key)
    if spec["_target_"] == IMAGES and "decoder" in spec:
        raise ConfigError(f"{key}.codec.decoder", spec["decoder"], "nothing there: recipes say it (pretrain.decoder)")
    if decoder != "pillow":
        spec["decoder"] = checked_decoder(decoder, spec["_target_"], key)
    if spec["_target_"].startswith("dataprune."):
        try:
            codec_of(spec)
        except ConfigError as error:
            raise error.under(key) from None
    return DecodeConfig(spec, kept)


def _handed(data: DataConfig, takes: Parameters, key: str) -> dict[str, Any]:
    """The constants that the data set states beside its codec. Raises ConfigError for one that the codec does not
    take, or that stands there too."""
    handed: dict[str, Any] = {}
    for name in HANDED:
        value = getattr(data, name)
        if value is None:
            continue
        if name in data.codec:
            raise ConfigError(f"{key}.{name}", value, f"null: {key}.codec.{name} says it already")
        if not (takes.open or name in takes.names):
            raise ConfigError(f"{key}.{name}", value, f"null: the codec {data.codec['_target_']} takes no {name}")
        handed[name] = value
    return handed


def checked_decoder(decoder: str, codec: str, key: str) -> str:
    """Return the decoder, or raise a ConfigError about a recipe's loader (DALI) or decoder for another codec than
    Images."""
    if codec == IMAGES:
        return decoder
    if decoder.startswith("dali"):
        raise ConfigError("loader", "dali", f"memory or workers: {key} is decoded by {codec}, and DALI reads images")
    raise ConfigError("decoder", decoder, f"auto: {key} is decoded by {codec}, which knows no other")


def placed(config: DecodeConfig, key: str) -> DecodeConfig:
    """Return the config with the constants of the codec that are places apart, and hashes of their content instead.

    Raises ConfigError for what is not there; `key`: of the data set.
    """
    codec = codec_of(config.codec)
    try:
        contents = codec.contents()
    except ConfigError as error:
        raise error.under(key) from None
    places = {name: config.codec[name] for name in contents}
    return DecodeConfig(config.codec | contents, config.kept or codec.once, places)


def codec_of(spec: Mapping[str, Any]) -> Codec:
    """Return the codec that a spec (`_target_` and constants) describes."""
    return function_at(spec["_target_"])(**{name: value for name, value in spec.items() if name != "_target_"})


def disagreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first fact in which two inputs differ so that no network takes both; None = one may take both."""
    return next((name for name in [*one, *other] if name not in SIZES and one.get(name) != other.get(name)), None)


def compare_views(codec: Mapping[str, Any], said: Mapping[str, Any], label: str) -> None:
    """Warn of images that are resized in another way than those that an adopted network was trained on.

    codec: of the images, as in their header.json. said: the network's report.json.
    """
    wanted = said["interpolation"]
    if (here := codec.get("interpolation", wanted)) != wanted:
        log.warning("%s: %s was trained on %s images, these are %s", label, said["file"], wanted, here)
