"""Hugging Face image Parquet files."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataprune.config import DataConfig
from dataprune.data.parquet import read
from dataprune.errors import ConfigError

INT, BINARY = pa.int64(), pa.binary()
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value):
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "PNG")
    return file.getvalue()


def write(path, labels, *, images=None, kind=BINARY, label_kind=INT, metadata=None, names=("image", "label")):
    """A file with one image a label; `images`: as the column's type wants them."""
    images = [png(i) for i in range(len(labels))] if images is None else images
    fields = [pa.field(names[0], kind), pa.field(names[1], label_kind)]
    schema = pa.schema(fields, metadata=metadata)
    pq.write_table(pa.table([pa.array(images, kind), pa.array(labels, label_kind)], schema=schema), path)


@pytest.fixture
def folder(tmp_path):
    """A folder with a good test.parquet; a test writes the train file."""
    write(tmp_path / "test.parquet", [0])
    return tmp_path


def test_plain_bytes_have_rows_for_names(folder):
    write(folder / "train.parquet", [1, 0, 1], images=[png(7), png(8), png(9)])
    train = read(str(folder)).splits["train"]
    assert list(train.examples) == [png(7), png(8), png(9)]
    assert list(train.examples) == [png(7), png(8), png(9)], "it can be read again"
    assert train.labels.tolist() == [1, 0, 1]
    assert train.labels.dtype == np.int64
    assert train.names == ["train.parquet:0", "train.parquet:1", "train.parquet:2"]


def test_a_struct_gives_bytes_and_names(folder):
    images = [{"bytes": png(7), "path": "a.png"}, {"bytes": png(8), "path": None}]
    write(folder / "train.parquet", [0, 1], images=images, kind=STRUCT)
    train = read(str(folder)).splits["train"]
    assert list(train.examples) == [png(7), png(8)]
    assert train.names == ["a.png", "train.parquet:1"]


def test_a_struct_of_bytes_alone_is_taken(folder):
    write(folder / "train.parquet", [0], images=[{"bytes": png(7)}], kind=pa.struct([("bytes", pa.binary())]))
    train = read(str(folder)).splits["train"]
    assert (list(train.examples), train.names) == ([png(7)], ["train.parquet:0"])


def test_shards_are_read_in_the_order_of_their_names(folder):
    for shard, value in ((2, 30), (0, 10), (1, 20)):
        name = f"train-0000{shard}-of-00003.parquet"
        write(folder / name, [shard, shard], images=[png(value), png(value + 1)])
    train = read(str(folder)).splits["train"]
    assert list(train.examples) == [png(v) for v in (10, 11, 20, 21, 30, 31)]
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert train.names[2] == "train-00001-of-00003.parquet:0"


def test_columns_may_be_called_otherwise(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", [2], names=("img", "fine_label"), label_kind=pa.uint8())
    data = read(str(folder), image="img", label="fine_label")
    assert data.splits["train"].labels.tolist() == [2]


def test_validation_is_the_test_split_where_there_is_no_test(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.parquet", [0])
    assert read(str(tmp_path)).splits["test"].names == ["validation.parquet:0"]
    write(tmp_path / "test.parquet", [0])
    assert list(read(str(tmp_path)).splits) == ["train", "validation", "test"]


# class names


def test_class_names_come_from_hugging_face(folder):
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    write(folder / "train.parquet", [0, 1], metadata=metadata)
    assert read(str(folder)).classes == ["cat", "dog", "eel"]


def test_class_names_come_from_plain_metadata(folder):
    write(folder / "train.parquet", [0, 1], metadata={"class_names": "cat,dog"})
    assert read(str(folder)).classes == ["cat", "dog"]


@pytest.mark.parametrize("features", [{}, {"label": {"dtype": "int64", "_type": "Value"}}])
def test_without_names_the_numbers_of_all_splits_are_the_names(folder, features):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    write(folder / "train.parquet", [0, 1], metadata=metadata)
    write(folder / "test.parquet", [3])
    assert read(str(folder)).classes == ["0", "1", "2", "3"]


# what is refused


def test_a_folder_without_train_is_refused_with_what_it_has(folder):
    with pytest.raises(ConfigError, match=r"^path='.*': expected a folder with train\*\.parquet in.*; it has test\."):
        read(str(folder))


def test_a_folder_without_test_is_refused(tmp_path):
    write(tmp_path / "train.parquet", [0])
    with pytest.raises(ConfigError, match=r"expected a folder with test\*\.parquet inside; it has train\.parquet"):
        read(str(tmp_path))


def test_a_missing_column_is_named_with_those_there_are(folder):
    write(folder / "train.parquet", [0], names=("img", "label"))
    with pytest.raises(ConfigError, match=r"^path='.*train\.parquet': expected a column 'image'; it has img, label"):
        read(str(folder))


@pytest.mark.parametrize(
    ("labels", "kind", "there"),
    [(["cat"], pa.string(), "object"), ([0.5], pa.float64(), "float64"), ([0, None], INT, "float64")],
)
def test_labels_that_are_no_integers_are_refused(folder, labels, kind, there):
    write(folder / "train.parquet", labels, label_kind=kind)
    with pytest.raises(ConfigError, match=rf"^path='.*': expected integer labels in column 'label', not {there}"):
        read(str(folder))


def test_a_column_of_something_else_is_refused(folder):
    write(folder / "train.parquet", [0], images=["a.png"], kind=pa.string())
    with pytest.raises(ConfigError, match=r"^path='.*': expected encoded images in column 'image', not string"):
        read(str(folder))
    write(folder / "train.parquet", [0], images=[{"path": "a.png"}], kind=pa.struct([("path", pa.string())]))
    with pytest.raises(ConfigError, match=r"expected encoded images in column 'image', not struct<path: string>"):
        read(str(folder))


def test_a_row_without_bytes_is_named(folder, tmp_path, dataset):
    images = [*[{"bytes": png(7), "path": "a.png"}] * 300, {"bytes": None, "path": "b.png"}]
    write(folder / "train.parquet", [0] * 301, images=images, kind=STRUCT)
    config = DataConfig("parquet", {"_target_": "dataprune.data.parquet.read"}, str(folder))
    message = r"^path='.*train\.parquet': expected an image in each row; row 300 has none"
    with pytest.raises(ConfigError, match=message):
        dataset(config, tmp_path / "work")


@pytest.mark.parametrize("kept", [True, False])
def test_an_indexed_file_gives_its_pictures_back(folder, tmp_path, dataset, kept):
    write(folder / "train.parquet", [0, 1, 1], images=[png(7), png(8), png(9)])
    reader = {"_target_": "dataprune.data.parquet.read"}
    config = DataConfig("parquet", reader, str(folder), size=2)
    examples = dataset(config, tmp_path / "work", kept=kept)["train"]
    if kept:
        assert examples.column("image")[:, 1, 1, 0].tolist() == [7, 8, 9]
    else:
        assert [examples.items[i] for i in (2, 0)] == [png(9), png(7)]


def test_the_layout_of_hugging_face_with_a_test_split_that_nobody_labelled(tmp_path):
    (tmp_path / "data").mkdir()
    for shard in range(2):
        write(tmp_path / "data" / f"train-0000{shard}-of-00002.parquet", [shard], images=[png(shard)])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [1])
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [-1])
    data = read(str(tmp_path))
    assert data.splits["train"].labels.tolist() == [0, 1]
    assert data.splits.keys() == {"train", "test"}
    assert data.splits["test"].names == ["validation-00000-of-00001.parquet:0"]
    assert data.classes == ["0", "1"]
    (tmp_path / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(ConfigError, match="without 1 of 2 parts: 00001"):
        read(str(tmp_path))
