"""A share of train that becomes the validation split, and published sizes."""

import sys

import numpy as np
import pytest

from dataprune.config import DataConfig, LimitConfig
from dataprune.errors import ConfigError

READER = """
import numpy as np
from dataprune.data.examples import Dataset, Split

def read(validation=False, single=False, once=False):
    labels = np.repeat([0, 1, 2], (40, 20, 10))
    labels = np.append(labels, 3) if single else labels
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    names = [f"row {i}" for i in range(len(labels))]
    train = Split(iter(images) if once else images, labels, names)
    few = Split(images[-4:], labels[-4:])
    splits = {"train": train, "test": few} | ({"validation": few} if validation else {})
    return Dataset(["a", "b", "c", "d"][: 3 + single], splits)
"""


@pytest.fixture
def indexed(tmp_path, monkeypatch, dataset):
    """indexed(share, ...) indexes 40, 20 and 10 images of three classes, each of which shows its row."""
    (tmp_path / "rows_of_images.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    number = iter(range(99))

    def index(share=None, seed=0, limit=None, **reader):
        spec = {"_target_": "rows_of_images.read"} | reader
        config = DataConfig("d", spec, limit=limit or LimitConfig(), seed=seed, validation=share)
        return dataset(config, tmp_path / str(next(number)))

    yield index
    sys.modules.pop("rows_of_images", None)


def rows(data, split):
    """The rows of the reader's train split that lie in a split, as their images show."""
    return data[split].column("image")[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("once", [False, True])
def test_the_share_is_that_of_every_class_and_ids_are_rows_of_what_remains(indexed, once):
    data = indexed(0.2, once=once)
    train, validation = rows(data, "train"), rows(data, "validation")
    assert sorted(train + validation) == list(range(70))
    assert np.bincount(data["validation"].labels).tolist() == [8, 4, 2]
    assert train == sorted(train)
    assert data["train"].names == [f"row {row}" for row in train]
    assert data["train"].labels.tolist() == np.repeat([0, 1, 2], (40, 20, 10))[train].tolist()


def test_the_share_is_drawn_by_the_seed_of_the_data_set_and_makes_another_data_set(indexed):
    one, same, seed, share, whole = indexed(0.2), indexed(0.2), indexed(0.2, seed=1), indexed(0.3), indexed()
    assert rows(one, "validation") == rows(same, "validation") != rows(seed, "validation")
    prints = {data["train"].fingerprint for data in (one, seed, share, whole)}
    assert len(prints) == 4
    assert one["train"].fingerprint == same["train"].fingerprint
    assert one["test"].fingerprint == whole["test"].fingerprint


def test_limits_are_of_what_the_share_has_left(indexed):
    data = indexed(0.2, limit=LimitConfig(train=14, validation=7))
    assert np.bincount(data["train"].labels).tolist() == [8, 4, 2]
    assert np.bincount(data["validation"].labels).tolist() == [4, 2, 1]
    assert not set(rows(data, "train")) & set(rows(data, "validation"))


@pytest.mark.parametrize(
    ("share", "reader", "message"),
    [
        (0.2, {"validation": True}, r"source\.validation=0\.2: expected null: the set has a validation split"),
        (0.01, {}, r"source\.validation=0\.01: expected 0\.0429 or more, 3 of the 70 examples"),
        (0.99, {}, r"source\.validation=0\.99: expected a smaller share"),
        (0.2, {"single": True}, r"source\.validation=0\.2: expected a smaller share, or two examples of each class"),
    ],
)
def test_a_share_that_leaves_a_class_without_examples_is_refused(indexed, share, reader, message):
    with pytest.raises(ConfigError, match=message):
        indexed(share, **reader)


def test_full_with_another_share_is_another_experiment(jobs):
    rows = [jobs.run("method=full", "target=none", f"source.validation={share}")[0] for share in (0.2, 0.3, "null")]
    assert len({row["identity"] for row in rows}) == 3
    assert [row["of"] for row in rows] == [298, 260, 372]


@pytest.mark.parametrize("share", ["0", "1", "-0.1"])
def test_what_is_no_share_is_told_before_anything_is_read(jobs, share):
    with pytest.raises(ConfigError, match=r"^source\.validation=.*above 0 and below 1"):
        jobs.config(f"source.validation={share}")


PUBLISHED = "++source.expect={train: 372, test: 124, classes: 62}"


def test_a_data_set_of_the_published_sizes_is_taken(jobs):
    jobs.run("method=full", "target=none", PUBLISHED)
    jobs.run("method=full", "target=none", PUBLISHED, "source.validation=0.2")


def test_a_data_set_of_another_size_is_refused_with_both_sizes(jobs):
    message = r"^source\.path=glyphs with 372 train examples, 62 classes: expected 400 train examples, 10 classes, as p"
    with pytest.raises(ConfigError, match=message):
        jobs.run("method=full", "target=none", "++source.expect={train: 400, test: 124, classes: 10}")
    with pytest.raises(ConfigError, match="0 validation examples: expected 5 validation examples"):
        jobs.run("method=full", "target=none", "++source.expect={validation: 5}")
    assert not (jobs.store / "train").exists()


def test_a_limit_may_make_it_smaller(jobs):
    jobs.run("method=full", "target=none", "++source.expect={train: 400, classes: 62}", "source.limit.train=124")
    jobs.run("method=full", "target=none", "source.expect=null")


def test_sizes_of_what_a_data_set_has_not_are_told(jobs):
    with pytest.raises(ConfigError, match=r"^source\.expect='val': expected train | validation | test | classes"):
        jobs.config("++source.expect={val: 5}")
