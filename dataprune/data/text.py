"""Text as tokens: what a tokenizer makes of one text or of a pair, cut to a length and padded in the batch."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprune.data.codecs import Codec, Columns, Inputs
from dataprune.errors import ConfigError, first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PADDING = ("[PAD]", "<pad>", "<|padding|>")  # how tokenizers that do not say it call the token that pads
HOW = "a tokenizer.json, the folder of a tokenizer, or a name in the local cache (`hf download NAME` puts it there)"
EXTRA = "an installed library: pip install 'dataprune[text]'"

Item = tuple[str, ...]  # the fields of an example: one text, or two


class Tokens(Codec):
    """The codec of text: of an example its first `length` tokens.

    tokenizer: path of a tokenizer.json, a tokenizer's folder, or a name in the local cache; nothing is downloaded. How
    a pair is put together, what letters become and what marks the beginning is the tokenizer's business. Longer texts
    lose their end (of a pair, the longer one first). vocabulary, padding, types: what `measure` has found in the
    tokenizer: how many tokens it knows, the id that fills a batch up, 2 where it tells the texts of a pair apart; with
    these no tokenizer is read any more, but for decoding, and its content may stand for its place.
    Columns: `input_ids` int32 (l,), and `token_type_ids` where the tokenizer tells the texts of a pair apart.
    Inputs: these padded to the longest of the batch, and `attention_mask`, 1 where a token is; int64 (b, l).
    """

    kind = "text"
    once = True

    def __init__(
        self,
        tokenizer: str,
        length: int = 128,
        vocabulary: int | None = None,
        padding: int | None = None,
        types: int | None = None,
    ) -> None:
        if not tokenizer:
            raise ConfigError("codec.tokenizer", tokenizer, HOW)
        self.tokenizer, self.length = tokenizer, length
        self._known = vocabulary, padding, types
        self._cut = count()  # of a number that threads add to

    def __reduce__(self) -> tuple:
        return Tokens, (self.tokenizer, self.length, *self._known)

    @cached_property
    def _read(self) -> tuple["Tokenizer", dict[str, Any]]:
        """The tokenizer that cuts to the length, and what it is: a hash of its content for its name."""
        library, padding = _load(self.tokenizer)
        digest = hashlib.sha256(f"{padding} {library.to_str()}".encode()).hexdigest()[:16]
        marks = library.num_special_tokens_to_add(True)
        if self.length < marks + 2:
            expected = f"{marks + 2} or more: a pair and the {marks} marks around it"
            raise ConfigError("codec.length", self.length, expected)
        library.enable_truncation(self.length)
        types = 1 + max(library.encode("", "").type_ids, default=0)
        vocabulary = 1 + max(library.get_vocab().values())  # numbers may be left out
        found = {"tokenizer": digest, "vocabulary": vocabulary, "padding": padding, "types": types}
        return library, found

    @property
    def _facts(self) -> dict[str, Any]:
        vocabulary, padding, types = self._known
        if vocabulary is None or padding is None or types is None:
            return self._read[1]
        return {"tokenizer": self.tokenizer, "vocabulary": vocabulary, "padding": padding, "types": types}

    def contents(self) -> dict[str, str]:
        """Return a hash of the content of each constant that is a place: the tokenizer's."""
        return {"tokenizer": self._facts["tokenizer"]}

    def measure(self, examples: Iterable[Columns]) -> dict[str, Any]:
        """Return the constants that stand for the tokenizer wherever it lies."""
        return self._facts

    def describe(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return kind, vocabulary, length, padding, types, and the hash of the tokenizer."""
        return {"kind": "tokens", **self._facts, "length": self.length}

    def decode(self, item: Item, draw: Any = None) -> Columns:
        """Return the columns of one text, or of a pair. Raises ConfigError if the tokenizer leaves nothing of it."""
        try:
            found = self._read[0].encode(item[0], item[1] if len(item) > 1 else None)
        except Exception as error:  # the library has no other kind
            raise ConfigError(
                "codec.tokenizer", self.tokenizer, f"one that takes any text ({first_line(error)})"
            ) from None
        if not found.ids:
            raise ConfigError("codec.tokenizer", self.tokenizer, f"one that leaves something of {str(item)[:60]}")
        if found.overflowing:
            next(self._cut)
        columns = {"input_ids": np.array(found.ids, np.int32)}
        if self._facts["types"] > 1:
            columns["token_type_ids"] = np.array(found.type_ids, np.int32)
        return columns

    def remark(self) -> str | None:
        """Return how many of the texts decoded since the last remark were cut; None = none."""
        so_far, self._cut = next(self._cut), count()
        return f"{so_far:,} texts cut to {self.length} tokens" if so_far else None

    def collate(self, examples: Sequence[Columns]) -> Inputs:
        """Return the inputs of a batch, int64 (b, l) each."""
        import torch

        lengths = np.array([len(one["input_ids"]) for one in examples])
        there = np.arange(lengths.max()) < lengths[:, None]
        batch = {"attention_mask": torch.from_numpy(there.astype(np.int64))}
        for name in examples[0]:
            column = np.full(there.shape, self._facts["padding"] if name == "input_ids" else 0, np.int64)
            column[there] = np.concatenate([one[name] for one in examples])
            batch[name] = torch.from_numpy(column)
        return batch

    def blank(self, input: Mapping[str, Any], n: int) -> Inputs:
        """Return texts of the greatest length that say nothing."""
        import torch

        tokens = torch.zeros(n, input["length"], dtype=torch.int64)
        columns = ["input_ids", *(["token_type_ids"] if input["types"] > 1 else [])]
        return dict.fromkeys(columns, tokens) | {"attention_mask": torch.ones_like(tokens)}

    def show(self, item: Item) -> str:
        """Return an example as a line of text."""
        return " | ".join(" ".join(text.split()) for text in item)


def _load(source: str) -> tuple["Tokenizer", int]:
    """A tokenizer that neither pads nor cuts, and the id of the token that pads."""
    library, named = _from_file(source) if Path(source).is_file() else _from_folder_or_cache(source)
    stated = (library.padding or {}).get("pad_id")
    library.no_padding()
    library.no_truncation()
    usual = (library.token_to_id(token) for token in PADDING)
    padding = next((i for i in (named, stated, *usual) if i is not None), None)
    if padding is None:
        raise ConfigError(
            "codec.tokenizer", source, f"one with a token that pads ({', '.join(PADDING)}): batches need it"
        )
    return library, padding


def _from_file(source: str) -> tuple["Tokenizer", None]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ConfigError("codec.tokenizer", source, EXTRA) from None
    try:
        return Tokenizer.from_file(source), None
    except Exception as error:  # the library has no other kind
        raise ConfigError("codec.tokenizer", source, f"{HOW}; this file is none ({first_line(error)})") from None


def _from_folder_or_cache(source: str) -> tuple["Tokenizer", int | None]:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ConfigError("codec.tokenizer", source, f"a tokenizer.json, or for other forms {EXTRA}") from None
    try:
        found = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError("codec.tokenizer", source, f"{HOW} ({first_line(error)})") from None
    if not hasattr(found, "backend_tokenizer"):
        raise ConfigError("codec.tokenizer", source, "a tokenizer with a fast form (a tokenizer.json)")
    return found.backend_tokenizer, found.pad_token_id
