"""Small text data sets and tokenizers, made up where a test needs them."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WORDS = ["good", "bad", "film", "plot", "the", "a", "is", "not", "very", "and"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write(path, **columns):
    """A table in the form that the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(zip(*columns.values(), strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([tuple(columns), *rows])
    return path


def tokenizer(path, *, marks=True, padding="[PAD]", words=WORDS):
    """A tokenizer.json that knows a few words; marks: [CLS] a [SEP] b [SEP], the second text of type 1."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: i for i, word in enumerate([padding, *MARKS[1:], *words])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.normalizer = tokenizers.normalizers.Lowercase()
    if marks:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    made.save(str(path))
    return str(path)
