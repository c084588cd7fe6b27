"""The example table as the index stage leaves it."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig, LimitConfig
from dataprune.data.examples import Encoded
from dataprune.data.paths import Paths

DIGITS = DataConfig("digits", {"_target_": "dataprune.data.digits.read", "shots": 3}, limit=LimitConfig(test=40))


@pytest.fixture(scope="module")
def digits(tmp_path_factory, dataset):
    """Indexed and decoded digits."""
    return dataset(DIGITS, tmp_path_factory.mktemp("digits"))


def test_a_split_is_read_back_as_the_reader_gave_it(digits):
    from dataprune.data.digits import read

    there, examples = read(shots=3).splits["train"], digits["train"]
    np.testing.assert_array_equal(examples.column("image"), there.examples)
    np.testing.assert_array_equal(examples.labels, there.labels)
    assert examples.names == there.names
    assert len(examples) == 30
    assert len(digits["test"]) == 40
    assert examples.classes == list("0123456789")
    assert examples.splits == ["train", "test"]


def test_pixels_stay_on_disk_until_they_are_asked_for(digits):
    assert isinstance(digits["train"].column("image"), np.memmap)


def test_the_header_has_what_a_loader_needs(digits):
    header = digits["train"].header
    assert header["input"] == {"kind": "image", "channels": 1, "height": 8, "width": 8}
    assert (header["kind"], header["maximum"]) == ("image", 16)
    assert header["splits"] == {"train": {"n": 30}, "test": {"n": 40}}
    assert header["columns"] == {"image": {"dtype": "uint8", "shape": [8, 8, 1]}}
    pixels = np.asarray(digits["train"].column("image"), np.float64) / 255
    np.testing.assert_allclose(digits["train"].codec.mean, [pixels.mean()])
    np.testing.assert_allclose(digits["train"].codec.std, [pixels.std()])


def test_the_fingerprint_is_that_of_the_content(digits, tmp_path, dataset):
    def fingerprints(shots):
        reader = {"_target_": "dataprune.data.digits.read", "shots": shots}
        made = dataset(DataConfig("another name", reader, limit=LimitConfig(test=40)), tmp_path / str(shots))
        return [made[split].fingerprint for split in ("train", "test")]

    train, test = digits["train"].fingerprint, digits["test"].fingerprint
    assert train != test
    assert fingerprints(3) == [train, test]
    assert fingerprints(4)[0] != train


def test_encoded_images_travel_to_a_worker_without_their_bytes(tmp_path):
    split = tmp_path / "held" / "train"
    split.mkdir(parents=True)
    blob = [b"first", b"", b"third" * 1000]
    (split / "encoded.bin").write_bytes(b"".join(blob))
    np.save(split / "offsets.npy", np.cumsum([0, *map(len, blob)]))
    (tmp_path / "header.json").write_text(json.dumps({"kind": "image"}))
    encoded = Encoded(tmp_path, "train")
    sent = pickle.loads(pickle.dumps(encoded))
    assert len(pickle.dumps(encoded)) < 1000
    assert [sent[i] for i in (2, 0, 1)] == [blob[2], blob[0], blob[1]]


def test_encoded_images_are_found_below_the_root_of_their_data_set(tmp_path):
    root = tmp_path / "pictures"
    (root / "train" / "a").mkdir(parents=True)
    for i in range(2):
        Image.new("L", (1, 1), i).save(root / "train" / "a" / f"{i}.png")
    (tmp_path / "export" / "train").mkdir(parents=True)
    (tmp_path / "export" / "root.txt").write_text(str(root))
    Paths.write(tmp_path / "export" / "train", ["train/a/1.png", "train/a/0.png"])
    assert Encoded(tmp_path, "train")[0] == (root / "train" / "a" / "1.png").read_bytes()
