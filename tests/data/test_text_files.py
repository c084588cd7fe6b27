"""Text in tables: every form of file gives the same data set, and what cannot be one is said."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprune.data.text_files import read
from dataprune.errors import ConfigError
from tests.made_up_text import write

TEXT = ['one, "two"', "three\nfour", "NA", "fünf"]
FORMS = [".parquet", ".csv", ".tsv", ".jsonl"]


@pytest.fixture
def folder(tmp_path):
    """A folder with a good test.csv; a test writes the train file."""
    write(tmp_path / "test.csv", text=["a", "b"], label=[0, 1])
    return tmp_path


def texts(split):
    return list(split.examples)


def refused(folder, message, **options):
    with pytest.raises(ConfigError, match=message) as caught:
        read(str(folder), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(form, tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}{form}", other=[1, 2, 3, 4], text=TEXT, label=[1, 0, 1, 1])
    found = read(str(tmp_path))
    train = found.splits["train"]
    assert texts(train) == [(text,) for text in TEXT]
    assert train.labels.tolist() == [1, 0, 1, 1]
    assert train.labels.dtype == np.int64
    assert train.names == [f"train{form}:{row}" for row in range(4)]
    assert found.classes == ["0", "1"]


@pytest.mark.parametrize("form", FORMS)
def test_pairs_keep_the_order_of_the_columns(form, tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}{form}", b=["x", "y"], a=["u", "v"], label=["no", "yes"])
    found = read(str(tmp_path), columns=["a", "b"])
    assert texts(found.splits["train"]) == [("u", "x"), ("v", "y")]
    assert found.classes == ["no", "yes"]


def test_splits_are_files_numbered_files_or_folders(tmp_path):
    write(tmp_path / "train-00001-of-00002.csv", text=["c"], label=[1])
    write(tmp_path / "train-00000-of-00002.csv", text=["a", "b"], label=[0, 1])
    write(tmp_path / "dev" / "part2.jsonl", text=["e"], label=[1])
    write(tmp_path / "dev" / "part1.jsonl", text=["d"], label=[0])
    write(tmp_path / "test.parquet", text=["f"], label=[0])
    write(tmp_path / "unsupervised.csv", text=["g"], label=[-1])
    splits = read(str(tmp_path)).splits
    assert {name: texts(split) for name, split in splits.items()} == {
        "train": [("a",), ("b",), ("c",)], "validation": [("d",), ("e",)], "test": [("f",)],
    }  # fmt: skip


def test_splits_may_have_names_of_their_own(tmp_path):
    for name in ("train_r1", "train_r3", "dev_r3", "test_r3"):
        write(tmp_path / f"{name}-00000-of-00001.parquet", text=[name], label=[0])
    refused(tmp_path, "^path=.*: expected a folder with train in .parquet, .csv, .tsv, .jsonl inside; it has dev_r3-0")
    named = {"train": "train_r3", "validation": "dev_r3", "test": "test_r3"}
    assert texts(read(str(tmp_path), splits=named).splits["train"]) == [("train_r3",)]
    refused(tmp_path, r"^reader\.splits=.*: expected files that are there", splits={"train": "train_r4"})
    refused(tmp_path, r"^reader\.splits='tset': expected train \| validation \| test", splits=named | {"tset": "x"})


def test_without_a_test_split_validation_is_the_test_split(tmp_path):
    for name in ("train", "validation"):
        write(tmp_path / f"{name}.csv", text=[name], label=[0])
    splits = read(str(tmp_path)).splits
    assert set(splits) == {"train", "test"}
    assert texts(splits["test"]) == [("validation",)]


def test_a_part_of_train_becomes_the_validation_split(folder):
    write(folder / "train.csv", text=[str(i) for i in range(40)], label=[int(i % 4 == 0) for i in range(40)])
    splits = read(str(folder), carve=8, seed=1).splits
    train, validation = splits["train"], splits["validation"]
    assert np.bincount(validation.labels).tolist() == [6, 2]
    assert sorted(texts(train) + texts(validation)) == sorted((str(i),) for i in range(40))
    assert not set(train.names) & set(validation.names)
    assert texts(read(str(folder), carve=8, seed=1).splits["validation"]) == texts(validation)
    assert texts(read(str(folder), carve=8, seed=2).splits["validation"]) != texts(validation)
    refused(folder, r"^reader\.carve=39: expected 2 to 38", carve=39)
    write(folder / "val.csv", text=["a"], label=[0])
    refused(folder, r"^reader\.carve=8: expected 0: there is a validation split", carve=8)


# labels


def test_parquet_files_of_hugging_face_name_their_classes(folder):
    info = {"info": {"features": {"label": {"names": ["down", "up"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, folder / "train.parquet")
    assert read(str(folder)).classes == ["down", "up"]


@pytest.mark.parametrize("stars", [[1, 2, 5], ["1", "2", "5"]])
def test_listed_classes_may_be_numbers_that_do_not_begin_at_0(stars, tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.jsonl", text=["a", "b", "c"], label=stars)
    found = read(str(tmp_path), classes=[1, 2, 3, 4, 5])
    assert found.classes == ["1", "2", "3", "4", "5"]
    assert found.splits["train"].labels.tolist() == [0, 1, 4]


def test_listed_classes_say_the_order_of_words(folder):
    write(folder / "train.csv", text=["a", "b", "c"], label=["e", "n", "c"])
    write(folder / "test.csv", text=["a"], label=["c"])
    found = read(str(folder), classes=["e", "n", "c"])
    assert found.splits["train"].labels.tolist() == [0, 1, 2]
    assert found.splits["test"].labels.tolist() == [2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.0, 1.0], r"^reader\.label=0\.0 at rows 0, 1 of train\.jsonl: expected integers, or class names"),
        ([0, None], r"^reader\.label=NULL at rows 1 of train\.jsonl: expected integers"),
        ([True, False], r"^reader\.label=True at rows 0, 1 of train\.jsonl: expected integers"),
        (["up", None], r"^reader\.label=NULL at rows 1 of train\.jsonl: expected up, or integers"),
        (["up", ""], r"^reader\.label=NULL at rows 1 of train\.jsonl: expected up, or integers"),
        (["up", "3"], r"^reader\.label='3' beside other words: expected integers, or class names"),
        ([0, "up"], r"^reader\.label='up' at rows 1 of train\.jsonl: expected integers"),
        ([[0], [1]], r"^reader\.label=\[0\] at rows 0, 1 of train\.jsonl: expected integers"),
    ],
)
def test_labels_that_are_no_integers_or_names(labels, message, folder):
    write(folder / "train.jsonl", text=["a", "b"], label=labels)
    refused(folder, message)


def test_a_label_that_train_does_not_have(folder):
    write(folder / "train.csv", text=["a", "b"], label=["up", "down"])
    write(folder / "test.csv", text=["a"], label=["upp"])
    refused(folder, r"^reader\.label='upp' at rows 0 of test\.csv: expected down \| up, or integers")


# text


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column(form, folder):
    write(folder / f"train{form}", sentence=["a"], label=[0])
    refused(folder, rf"^columns='text': expected a column of .*train\{form}.*; it has sentence, label")
    refused(folder, r"^reader\.label='y': expected a column of .*train", columns=["sentence"], label="y")


def test_a_column_that_is_there_twice(folder):
    (folder / "train.csv").write_text("text,text,label\na,b,0\n")
    refused(folder, "^columns='text': expected a column of .*; it has two of that name")


@pytest.mark.parametrize(("value", "shown"), [(None, "NULL"), (3, "int 3"), (["a"], "list")])
def test_what_is_not_text(value, shown, folder):
    write(folder / "train.jsonl", text=["a", value], label=[0, 1])
    refused(folder, rf"^columns='text' with {shown}.* at rows 1 of train\.jsonl: expected text")


def test_mixed_nulls_of_parquet(folder):
    write(folder / "train.parquet", text=["a", None, "c", None], label=[0, 1, 0, 1])
    refused(folder, r"^columns='text' with NULL at rows 1, 3 of train\.parquet: expected text")


def test_three_columns_are_no_pair(folder):
    refused(folder, "^columns=.*: expected one column of text, or two for pairs", columns=["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", b"text,label\na,0\nb\n", r"train\.csv': expected a readable csv file in UTF-8 \(CSV parse error"),
        ("train.csv", b"text,label\n\xff\xfe,0\n", r"train\.csv': expected a readable csv file in UTF-8"),
        ("train.jsonl", b'{"text": "a", "label": 0}\n{"text"\n', r"train\.jsonl:2': expected a JSON object a line"),
        ("train.jsonl", b"[1]\n", r"train\.jsonl:1': expected a JSON object a line"),
        ("train.jsonl", b'{"text": "\xff"}\n', r"train\.jsonl': expected a readable jsonl file in UTF-8"),
        ("train.parquet", b"PAR1", r"train\.parquet': expected a Parquet file"),
    ],
)
def test_broken_files(name, content, message, folder):
    (folder / name).write_bytes(content)
    refused(folder, f"^path='.*{message}")


def test_two_kinds_of_files_of_one_split(folder):
    for form in (".csv", ".jsonl"):
        write(folder / f"train{form}", text=["a"], label=[0])
    refused(folder, "^path=.*: expected files of one kind for train; it has train.csv, train.jsonl")


def test_a_file_instead_of_a_folder(folder):
    refused(folder / "test.csv", "^path=.*: expected a folder with train and test files inside; this is a file")
