"""The example table as the index stage leaves it."""

import pickle

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig, LimitConfig, RunConfig
from dataprune.data.examples import Encoded, Examples
from dataprune.launch import recipe_of
from dataprune.stages import index
from dataprune.store import Store

DIGITS = DataConfig("digits", {"_target_": "dataprune.data.digits.read", "shots": 3}, limit=LimitConfig(test=40))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The folder of indexed digits, in a store."""
    store, recipe = Store(tmp_path_factory.mktemp("store")), recipe_of("index", DIGITS, {})
    with store.building(recipe, say=print) as work:
        return store.commit(recipe, index.run(DIGITS, {}, work, RunConfig(), "target")).path


def test_a_split_is_read_back_as_the_reader_gave_it(digits):
    from dataprune.data.digits import read

    there, examples = read(shots=3).splits["train"], Examples(digits, "train")
    np.testing.assert_array_equal(examples.images, there.images)
    np.testing.assert_array_equal(examples.labels, there.labels)
    assert examples.names == there.names
    assert len(examples) == 30
    assert len(Examples(digits, "test")) == 40
    assert examples.classes == list("0123456789")
    assert examples.splits == ["train", "test"]


def test_pixels_stay_on_disk_until_they_are_asked_for(digits):
    assert isinstance(Examples(digits, "train").images, np.memmap)


def test_the_header_has_what_a_loader_needs(digits):
    header = Examples(digits, "train").header
    assert header["channels"] == 1
    assert header["maximum"] == 16
    assert header["storage"] == "memory"
    assert header["splits"] == {"train": {"n": 30, "shape": [8, 8, 1]}, "test": {"n": 40, "shape": [8, 8, 1]}}
    pixels = np.asarray(Examples(digits, "train").images, np.float64) / 255
    np.testing.assert_allclose(header["mean"], pixels.mean())
    np.testing.assert_allclose(header["std"], pixels.std())


def test_the_fingerprint_is_that_of_the_content(digits, tmp_path):
    def fingerprint(config):
        store, recipe = Store(tmp_path), recipe_of("index", config, {})
        with store.building(recipe, say=print) as work:
            return Examples(
                store.commit(recipe, index.run(config, {}, work, RunConfig(), "s")).path, "test"
            ).fingerprint

    def renamed(shots):
        reader = {"_target_": "dataprune.data.digits.read", "shots": shots}
        return DataConfig("another name", reader, limit=LimitConfig(test=40))

    assert fingerprint(renamed(3)) == Examples(digits, "train").fingerprint
    assert fingerprint(renamed(4)) != Examples(digits, "train").fingerprint


def test_encoded_images_travel_to_a_worker_without_their_bytes(tmp_path):
    split = tmp_path / "train"
    split.mkdir()
    blob = [b"first", b"", b"third" * 1000]
    (split / "encoded.bin").write_bytes(b"".join(blob))
    np.save(split / "offsets.npy", np.cumsum([0, *map(len, blob)]))
    encoded = Encoded(tmp_path, "train")
    sent = pickle.loads(pickle.dumps(encoded))
    assert len(pickle.dumps(encoded)) < 1000
    assert [sent[i] for i in (2, 0, 1)] == [blob[2], blob[0], blob[1]]


def test_encoded_images_are_found_below_the_root_of_their_data_set(tmp_path):
    root = tmp_path / "pictures"
    (root / "train" / "a").mkdir(parents=True)
    for i in range(2):
        Image.new("L", (1, 1), i).save(root / "train" / "a" / f"{i}.png")
    (tmp_path / "train").mkdir()
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "root.txt").write_text(str(root))
    (tmp_path / "train" / "names.json").write_text('["train/a/1.png", "train/a/0.png"]')
    assert Encoded(tmp_path, "train")[0] == (root / "train" / "a" / "1.png").read_bytes()
