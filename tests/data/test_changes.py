"""Random changes of an image: each from its own stream, by timm's and torchvision's classes."""

import random

import numpy as np
import pytest
import torch

from dataprune.augmentation import AugmentConfig
from dataprune.config import DataConfig
from dataprune.data.changes import Changes
from dataprune.data.loaders import WorkerLoader
from dataprune.data.order import Order
from dataprune.data.workers import Workers
from tests.data.test_pictures import encoded, smooth

MEAN = [0.25, 0.5, 0.75]
ALL = AugmentConfig(color_jitter=[0.4, 0.4, 0.4, 0.1], auto_augment="rand-m9-mstd0.5-inc1", random_erasing=0.5)


def changed(changes, pixels, seed=0):
    return changes(pixels, np.random.default_rng(seed), MEAN, "bilinear")


@pytest.mark.parametrize(
    "words",
    [
        {"color_jitter": [0.4, 0.4, 0.4, 0.1]},
        {"auto_augment": "imagenet"},
        {"auto_augment": "rand-m9-mstd0.5-inc1"},
        {"random_erasing": 0.7},
    ],
    ids=lambda words: "-".join(map(str, words.values())),
)
def test_an_image_is_changed_by_its_stream_alone(words):
    changes, pixels = Changes.of(AugmentConfig(**words)), smooth(32, 32)
    seen = [changed(changes, pixels, seed) for seed in range(12)]
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    again = [changed(changes, pixels, seed) for seed in range(12)]
    for one, two in zip(seen, again, strict=True):
        np.testing.assert_array_equal(one, two)
        assert (one.dtype, one.shape) == (np.uint8, (32, 32, 3))
    assert len({one.tobytes() for one in seen}) > 4


def test_the_global_generators_go_on_as_if_nothing_was_drawn():
    def drawn(between):
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002
        torch.manual_seed(5)
        between()
        return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

    assert drawn(lambda: changed(Changes.of(ALL), smooth(32, 32))) == drawn(lambda: None)


def test_what_is_erased_is_a_rectangle_of_the_mean_colour():
    pixels = np.zeros((40, 40, 3), np.uint8)
    erased = [(changed(Changes(erasing=1.0), pixels, seed) != 0).any(2) for seed in range(20)]
    for seed, mask in enumerate(erased):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns)
        assert 0.01 < mask.mean() < 0.4
        there = changed(Changes(erasing=1.0), pixels, seed)[mask]
        np.testing.assert_array_equal(there, np.tile(np.rint(255 * np.array(MEAN)), (len(there), 1)))
    never = changed(Changes(erasing=1e-9), pixels)
    np.testing.assert_array_equal(never, pixels)


def test_grey_images_can_be_erased():
    pixels = np.zeros((20, 20, 1), np.uint8)
    assert Changes(erasing=1.0)(pixels, np.random.default_rng(0), [0.5], "bilinear").shape == (20, 20, 1)


def test_nothing_asked_for_is_nothing_done():
    assert Changes.of(AugmentConfig(flip=True, random_resized_crop=[0.1, 1], mixup=0.8, repeats=3)) is None


@pytest.fixture(scope="module")
def files(tmp_path_factory, dataset):
    """Eight JPEGs left in their files."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 8), ("test", 2)):
        for i in range(count):
            path = root / split / f"class{i % 2}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(np.roll(smooth(40, 60), 5 * i, 1)))
    config = DataConfig("x", {"_target_": "dataprune.data.folder.read"}, str(root), size=24, channels=3)
    return dataset(config, tmp_path_factory.mktemp("made"), kept=False)["train"]


def test_workers_change_images_as_this_process_does(files):
    words = {"area": [0.3, 1.0], "flip": True, "changes": Changes.of(ALL)}
    order = Order(np.arange(8), 3, seed=2)
    before = torch.get_rng_state()
    with Workers(2) as workers:
        here, there = (WorkerLoader(files, order, workers=w, **words) for w in (None, workers))
        for epoch in (0, 1):
            for loader in (here, there):
                loader.set_epoch(epoch)
            for a, b in zip(here, there, strict=True):
                assert torch.equal(a["inputs"]["image"], b["inputs"]["image"])
    plain = WorkerLoader(files, order, area=[0.3, 1.0], flip=True)
    assert not torch.equal(next(iter(plain))["inputs"]["image"], next(iter(here))["inputs"]["image"])
    assert torch.equal(torch.get_rng_state(), before)


def test_repeats_show_fewer_examples_more_often_in_an_epoch_of_the_same_length(files):
    order = Order(np.arange(8), 4, seed=2, repeats=3)
    ids = order.epoch(1)[0]
    assert len(ids) == 8
    assert sorted(np.unique(ids, return_counts=True)[1]) == [2, 3, 3]
    np.testing.assert_array_equal(ids[:3], [ids[0]] * 3)  # one after the other: on different processes
    loader = WorkerLoader(files, order, area=[0.2, 0.5], changes=Changes.of(ALL))
    loader.set_epoch(1)
    views = next(iter(loader))["inputs"]["image"][:3]
    assert not torch.equal(views[0], views[1]), "each view has its own draws"
