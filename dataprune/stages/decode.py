"""Stage decode: the examples of an indexed data set as columns, as networks see them.

Input: `examples` (index). Files: header.json (the codec with all its constants and the hash of its code; what a network
must know of its inputs; storage) and, with storage=memory or a codec that decodes once, the columns of each split
(data.columns). Arrays that the index holds in the wanted form are not copied. Else workers decode at every epoch; here
only the form is laid down.
"""

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import codes_of
from dataprune.config import DecodeConfig, RunConfig
from dataprune.data.codecs import Codec, Columns, codec_of
from dataprune.data.columns import Keeping
from dataprune.data.examples import CHUNK, Examples
from dataprune.data.images import Images
from dataprune.errors import ConfigError, Shown
from dataprune.progress import Bar

CONFIG = DecodeConfig
log = logging.getLogger(__name__)
BROKEN = (OSError, SyntaxError, ValueError)  # what Pillow raises for a file that content=stat has not read


def run(config: DecodeConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Decode and measure; returns the input that a network gets. `label` is the config group (source or target)."""
    key, codec = label.replace("_pixels", ""), codec_of(config.codec | config.places)
    table = json.loads((inputs["examples"] / "header.json").read_text())
    if codec.kind != table["kind"]:
        expected = f"a codec of {table['kind']}s, which the reader gives; this one takes {codec.kind}s"
        raise ConfigError(f"{key}.codec", config.codec["_target_"], expected)
    forms = {}
    for name in table["splits"]:
        examples = Examples(inputs["examples"], name, work)
        keep = _kept if config.storage == "memory" or codec.once else _described
        forms[name] = keep(codec, examples, work / name, key)
        if (said := codec.remark()) is not None:
            log.info("%s %s", f"{key} {name}:", said)
    shapes = {json.dumps({column: f["shape"] for column, f in form.items()}) for form in forms.values()}
    if len(shapes) > 1:
        expected = f"one size for all splits; they have {', '.join(sorted(shapes))}"
        raise ConfigError(f"{key}.size", config.codec.get("size"), expected)
    spec = config.codec | codec.measure(_train_columns(codec, Examples(inputs["examples"], "train", work), config, key))
    form = forms["train"]
    described = codec_of(spec).describe({"shapes": {name: column["shape"] for name, column in form.items()}})
    header = {"storage": config.storage, "codec": spec, "code": codes_of(spec), "input": described, "columns": form}
    (work / "header.json").write_text(json.dumps(header, indent=1))
    return {"input": described}


def _kept(codec: Codec, examples: Examples, folder: Path, key: str) -> dict[str, Any]:
    """Keep the columns of a split unless the index holds them in this form; returns the form of an example."""
    held, n = examples.items.arrays(), len(examples)
    if held is not None and _as_wanted(codec, held[0]):
        return {"image": {"dtype": "uint8", "shape": list(held.shape[1:])}}
    with Bar(f"decode {folder.name}", n) as bar, ThreadPoolExecutor(os.cpu_count()) as pool, Keeping(folder, n) as kept:
        for start in range(0, n, CHUNK):
            ids = range(start, min(start + CHUNK, n))
            columns = list(pool.map(lambda i: _decoded(codec, examples, i, key), ids))
            if start == 0:
                _fits_in_memory(n * sum(column.nbytes for column in columns[0].values()), f"{key}.storage")
            try:
                kept.add(columns)
            except ValueError as error:
                expected = f"a side in pixels ({key}.size=64): the examples differ, {error}"
                raise ConfigError(f"{key}.size", None, expected) from None
            bar.advance(len(columns))
    return kept.form


def _as_wanted(codec: Codec, held: np.ndarray) -> bool:
    """Whether an array that a reader gave is what decoding it would give."""
    return isinstance(codec, Images) and np.array_equal(codec.decode(held)["image"], held)


def _decoded(codec: Codec, examples: Examples, i: int, key: str) -> Columns:
    try:
        return codec.decode(examples.items[i])
    except BROKEN as error:
        if isinstance(error, ConfigError):
            raise error.under(key) from None
        raise ConfigError(f"{key}.path", Shown(f"unreadable {examples.names[i]}"), str(error)) from None


def _described(codec: Codec, examples: Examples, folder: Path, key: str) -> dict[str, Any]:
    """The form that a split's examples will be decoded to, at every epoch anew."""
    if isinstance(codec, Images) and codec.size is None:
        raise ConfigError(f"{key}.size", None, "a side in pixels: storage=files decodes to one size")
    if examples.items.are_arrays:
        raise ConfigError(f"{key}.storage", "files", "memory: the reader gives decoded images")
    columns = _decoded(codec, examples, 0, key)
    return {name: {"dtype": str(column.dtype), "shape": list(column.shape)} for name, column in columns.items()}


def _fits_in_memory(size: int, key: str) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > there / 2:
        raise ConfigError(
            key, "memory", f"files: {size / 1e9:.1f} GB of pixels are over half of {there / 1e9:.1f} GB RAM"
        )


def _train_columns(codec: Codec, examples: Examples, config: DecodeConfig, key: str) -> Iterator[Columns]:
    """The columns of the train split, of one example or of many at a time; nothing is read before the first is asked
    for."""
    if config.storage == "memory" and isinstance(codec, Images):
        images = examples.column("image")
        yield from ({"image": images[i : i + CHUNK]} for i in range(0, len(images), CHUNK))
        return
    with Bar("measure train", len(examples)) as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(examples), CHUNK):
            ids = range(start, min(start + CHUNK, len(examples)))
            yield from pool.map(lambda i: _decoded(codec, examples, i, key), ids)
            bar.advance(len(ids))
