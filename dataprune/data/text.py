"""Text as tokens: what a tokenizer makes of one text or of a pair, cut to a length and padded in the batch."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprune.errors import ConfigError, first_line

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

PADDING = ("[PAD]", "<pad>", "<|padding|>")  # how tokenizers that do not say it call the token that pads
HOW = "a tokenizer.json, the folder of a tokenizer, or a name in the local cache (`hf download NAME` puts it there)"
EXTRA = "no library for text: pip install 'dataprune[text]'"

Item = tuple[str, ...]  # the fields of an example: one text, or two
Columns = dict[str, np.ndarray]
Inputs = dict[str, "torch.Tensor"]


class Tokens:
    """The codec of text: of an example its first `length` tokens.

    tokenizer: path of a tokenizer.json, a tokenizer's folder, or a name in the local cache; nothing is downloaded. How
    a pair is put together, what letters become and what marks the beginning is the tokenizer's business. Longer texts
    lose their end (of a pair, the longer one first). padding: the id that fills a batch up; None = the tokenizer's.
    Columns: `input_ids` int32 (l,), and `token_type_ids` where the tokenizer tells the texts of a pair apart.
    Inputs: these padded to the longest of the batch, and `attention_mask`, 1 where a token is; int64 (b, l).
    """

    kind = "text"
    once = True

    def __init__(self, tokenizer: str, length: int = 128, padding: int | None = None) -> None:
        self.tokenizer, self.length, self._padding = tokenizer, length, padding
        self._cut = count()  # of a number that threads add to

    def __reduce__(self) -> tuple:
        return Tokens, (self.tokenizer, self.length, self._padding)

    @cached_property
    def _read(self) -> tuple["Tokenizer", int, str]:
        """The tokenizer that cuts to the length, the id that pads, and a hash of all that it does before it cuts."""
        library, padding = _load(self.tokenizer)
        digest = hashlib.sha256(f"{padding} {library.to_str()}".encode()).hexdigest()[:16]
        marks = library.num_special_tokens_to_add(True)
        if self.length < marks + 2:
            raise ConfigError(
                "codec.length", self.length, f"{marks + 2} or more: a pair and the {marks} marks around it"
            )
        library.enable_truncation(self.length)
        return library, padding, digest

    @property
    def padding(self) -> int:
        """The id that fills a batch up."""
        return self._read[1] if self._padding is None else self._padding

    @property
    def digest(self) -> str:
        """Hash of what the tokenizer does: its content, wherever it lies."""
        return self._read[2]

    @cached_property
    def types(self) -> int:
        """How many kinds of tokens there are: 2 where the tokenizer tells the texts of a pair apart."""
        return 1 + max(self._read[0].encode("", "").type_ids, default=0)

    def describe(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Return kind, vocabulary, length, padding, types, and the hash of the tokenizer."""
        return {
            "kind": "tokens",
            "vocabulary": self._read[0].get_vocab_size(),
            "length": self.length,
            "padding": self.padding,
            "types": self.types,
            "tokenizer": self.digest,
        }

    def decode(self, item: Item, draw: Any = None) -> Columns:
        """Return the columns of one text, or of a pair. Raises ConfigError if the tokenizer leaves nothing of it."""
        try:
            found = self._read[0].encode(*item)
        except Exception as error:  # the library has no other kind
            raise ConfigError(
                "codec.tokenizer", self.tokenizer, f"one that takes any text ({first_line(error)})"
            ) from None
        if not found.ids:
            raise ConfigError("codec.tokenizer", self.tokenizer, f"one that leaves something of {str(item)[:60]}")
        if found.overflowing:
            next(self._cut)
        columns = {"input_ids": np.array(found.ids, np.int32)}
        if self.types > 1:
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
            column = np.full(there.shape, self.padding if name == "input_ids" else 0, np.int64)
            column[there] = np.concatenate([one[name] for one in examples])
            batch[name] = torch.from_numpy(column)
        return batch

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
        raise ConfigError("codec.tokenizer", source, f"a tokenizer.json, or the library for others: {EXTRA}") from None
    try:
        found = AutoTokenizer.from_pretrained(source, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError("codec.tokenizer", source, f"{HOW} ({first_line(error)})") from None
    if not hasattr(found, "backend_tokenizer"):
        raise ConfigError("codec.tokenizer", source, "a tokenizer with a fast form (a tokenizer.json)")
    return found.backend_tokenizer, found.pad_token_id
