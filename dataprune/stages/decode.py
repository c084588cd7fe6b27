"""Stage decode: the examples of an indexed data set as columns, as networks see them.

Input: `examples` (index). Files: header.json (the codec with all its constants and the hash of its code; what a network
must know of its inputs; whether all columns are kept, and their form) and, if they are, the columns of each split
(data.columns). They are kept where a memory loader wants them, or of a codec that decodes once; arrays that the index
holds in the wanted form are not copied. Else workers decode at every epoch; here only the form is laid down.
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
    key, codec = label.replace("_pixels", "").replace("_workers", ""), codec_of(config.codec | config.places)
    table = json.loads((inputs["examples"] / "header.json").read_text())
    if codec.kind != table["kind"]:
        expected = f"a codec of {table['kind']}s, which the reader gives; this one takes {codec.kind}s"
        raise ConfigError(f"{key}.codec", config.codec["_target_"], expected)
    kept, forms = config.kept or codec.once, {}
    if getattr(codec, "decoder", "").startswith("dali"):
        _check_encoded(inputs["examples"], table["splits"], key)
    for name in table["splits"]:
        examples = Examples(inputs["examples"], name, work)
        if kept and name == "train" and not codec.once:
            _check_memory(codec, examples, table["splits"], key)
        forms[name] = _kept(codec, examples, work / name, key) if kept else _described(codec, examples, key)
    _check_one_shape(forms, key, config.codec.get("size"))
    columns = _train_columns(codec, Examples(inputs["examples"], "train", work), kept, key)
    spec = config.codec | codec.measure(columns)
    described = _input_of(codec_of(spec), forms["train"], key)
    header = {"kept": kept, "codec": spec, "code": codes_of(spec), "input": described, "columns": forms["train"]}
    (work / "header.json").write_text(json.dumps(header, indent=1))
    return {"input": described}


def _input_of(codec: Codec, form: dict[str, Any], key: str) -> dict[str, Any]:
    """What a network must know of its inputs: examples of this form."""
    try:
        return codec.describe({"shapes": {name: column["shape"] for name, column in form.items()}})
    except ConfigError as error:
        raise error.under(key) from None


def _check_encoded(folder: Path, splits: dict[str, Any], key: str) -> None:
    """Raise a ConfigError about a recipe's loader if the examples of a split are not encoded."""
    if arrays := [name for name in splits if Examples(folder, name).items.are_arrays]:
        expected = f"memory or workers: DALI decodes, and the reader of {key} gives arrays ({arrays[0]})"
        raise ConfigError("loader", "dali", expected)


def _check_one_shape(forms: dict[str, dict[str, Any]], key: str, size: Any) -> None:
    """Raise a ConfigError if examples of one split have another shape than those of the next."""
    shapes = {json.dumps({column: f["shape"] for column, f in form.items()}) for form in forms.values()}
    if len(shapes) > 1:
        raise ConfigError(f"{key}.size", size, f"one size for all splits; they have {', '.join(sorted(shapes))}")


def _kept(codec: Codec, examples: Examples, folder: Path, key: str) -> dict[str, Any]:
    """Keep the columns of a split unless the index holds them in this form; returns the form of an example."""
    held, n = _held(codec, examples), len(examples)
    if held is not None:
        return {"image": {"dtype": "uint8", "shape": list(held.shape[1:])}}
    with Bar(f"decode {folder.name}", n) as bar, ThreadPoolExecutor(os.cpu_count()) as pool, Keeping(folder, n) as kept:
        for start in range(0, n, CHUNK):
            ids = range(start, min(start + CHUNK, n))
            columns = list(pool.map(lambda i: _decoded(codec, examples, i, key), ids))
            try:
                kept.add(columns)
            except ValueError as error:
                expected = f"a side in pixels ({key}.size=64): the examples differ, {error}"
                raise ConfigError(f"{key}.size", None, expected) from None
            bar.advance(len(columns))
    if (said := codec.remark()) is not None:
        log.info("%s %s: %s", key, folder.name, said)
    return kept.form


def _held(codec: Codec, examples: Examples) -> np.ndarray | None:
    """The images uint8 (n, h, w, c) that the index holds as the codec would decode them; None = it does not."""
    held = examples.items.arrays()
    return held if held is not None and isinstance(codec, Images) and codec.leaves(held.shape[1:]) else None


def _decoded(codec: Codec, examples: Examples, i: int, key: str) -> Columns:
    try:
        return codec.decode(examples.items[i])
    except BROKEN as error:
        if isinstance(error, ConfigError):
            raise error.under(key) from None
        raise ConfigError(f"{key}.path", Shown(f"unreadable {examples.names[i]}"), str(error)) from None


def _described(codec: Codec, examples: Examples, key: str) -> dict[str, Any]:
    """The form that a split's examples will be decoded to, at every epoch anew."""
    if isinstance(codec, Images) and codec.size is None and examples.items.arrays() is None:
        raise ConfigError(f"{key}.size", None, "a side in pixels: loader=workers decodes to one size")
    columns = _decoded(codec, examples, 0, key)
    return {name: {"dtype": str(column.dtype), "shape": list(column.shape)} for name, column in columns.items()}


def _check_memory(codec: Codec, examples: Examples, splits: dict[str, Any], key: str) -> None:
    """Say how large the columns of all splits will be; raise a ConfigError about `loader` where they do not fit."""
    each = sum(column.nbytes for column in _decoded(codec, examples, 0, key).values())
    size, there = each * sum(split["n"] for split in splits.values()), total_memory()
    log.info("%s: %.3g GB in memory, %d bytes an example", key, size / 1e9, each)
    if size > there / 2:
        much = f"{size / 1e9:.3g} GB of {key} are over half of the {there / 1e9:.3g} GB of memory here"
        raise ConfigError("loader", "memory", f"workers, which decode at every epoch: {much}")


def total_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _train_columns(codec: Codec, examples: Examples, kept: bool, key: str) -> Iterator[Columns]:
    """The columns of the train split, of one example or of many at a time; nothing is read before the first is asked
    for."""
    if kept and isinstance(codec, Images):
        images = examples.column("image")
        yield from ({"image": images[i : i + CHUNK]} for i in range(0, len(images), CHUNK))
        return
    with Bar("measure train", len(examples)) as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(examples), CHUNK):
            ids = range(start, min(start + CHUNK, len(examples)))
            yield from pool.map(lambda i: _decoded(codec, examples, i, key), ids)
            bar.advance(len(ids))
