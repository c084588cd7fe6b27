"""Batches from memory, files and vectors: the same examples, the same pixels, the same meaning of weight and scale."""

import gc
import multiprocessing
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from dataprune.config import DataConfig
from dataprune.data.augment import Draws, batch
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.data.loaders import MemoryLoader, VectorLoader, WorkerLoader
from dataprune.data.order import Order
from dataprune.data.workers import Workers
from dataprune.errors import ConfigError

N = 10


@pytest.fixture(scope="module")
def tables(tmp_path_factory, dataset):
    """The same ten PNGs of 10x8 pixels, as squares of 8, kept in memory and left in their files."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", N), ("test", 2)):
        for i in range(count):
            path = root / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)).save(path)
    made = {}
    for loader in ("memory", "workers"):
        reader = {"_target_": "dataprune.data.folder.read"}
        config = DataConfig("x", reader, str(root), size=8, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])
        made[loader] = dataset(config, tmp_path_factory.mktemp(loader), kept=loader == "memory")["train"]
    return made


def order(batch_size=4, **words):
    return Order(np.arange(N), batch_size, **words)


def same(a, b):
    """Whether two batches are equal in every part."""
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            same(a[key], b[key])
        elif isinstance(a[key], torch.Tensor):
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=0)
        else:
            assert a[key] == b[key], key


def test_a_batch_has_its_parts(tables):
    loader = MemoryLoader(tables["memory"], order(seed=3))
    loader.set_epoch(2)
    batches = list(loader)
    assert len(batches) == 3
    with pytest.raises(TypeError):  # Lightning would take it once, for epochs that differ in it
        len(loader)
    np.testing.assert_array_equal(torch.cat([b["id"] for b in batches]), order(seed=3).epoch(2)[0])
    for b in batches:
        assert b.keys() == {"inputs", "y", "id", "real", "weight", "scale", "at"}
        assert (b["inputs"]["image"].dtype, b["inputs"]["image"].shape[1:]) == (torch.float32, (3, 8, 8))
        assert b["y"].dtype == b["id"].dtype == torch.int64
        np.testing.assert_array_equal(b["y"], tables["memory"].labels[b["id"]])
        assert b["real"] is None
        assert b["weight"] is None
        assert b["scale"] == 1 / len(b["id"])


def test_pixels_are_normalised_by_the_header(tables):
    b = next(iter(MemoryLoader(tables["memory"], order(shuffle=False))))
    pixels = torch.from_numpy(tables["memory"].column("image")[:4] / np.float32(255)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    torch.testing.assert_close(b["inputs"]["image"], (pixels - mean) / std, rtol=1e-5, atol=1e-6)


def test_memory_and_files_give_the_same_clean_pass(tables):
    memory = MemoryLoader(tables["memory"], order(shuffle=False))
    files = WorkerLoader(tables["workers"], order(shuffle=False), size=8)
    for a, b in zip(memory, files, strict=True):
        same(a, b)


def test_workers_change_nothing(tables):
    """Epoch after epoch, also after an epoch that was broken off, and within another pass."""
    words = {"size": 6, "area": [0.3, 1.0], "flip": True}
    with Workers(2) as workers:
        alone = WorkerLoader(tables["workers"], order(seed=1), **words)
        helped = WorkerLoader(tables["workers"], order(seed=1), workers=workers, **words)
        clean = WorkerLoader(tables["workers"], order(shuffle=False), workers=workers)
        there = list(WorkerLoader(tables["workers"], order(shuffle=False)))
        seen = []
        for epoch in (0, 1, 3):
            for loader in (alone, helped):
                loader.set_epoch(epoch)
            next(iter(helped))
            batches = list(alone)
            for i, (a, b) in enumerate(zip(batches, helped, strict=True)):
                same(a, b)
                if (epoch, i) == (1, 1):  # a clean pass in the middle of an epoch
                    for c, d in zip(there, clean, strict=True):
                        same(c, d)
            seen.append(torch.cat([b["inputs"]["image"] for b in batches]).sum().item())
        assert len(set(seen)) == 3


def test_workers_stay_over_epochs_and_passes_and_end_with_the_stage(tables):
    before, began = torch.get_rng_state(), time.monotonic()
    with Feed(torch.device("cpu"), 2) as feed:
        training = feed.loader(tables["workers"], order(seed=1), flip=True)
        clean = feed.clean(tables["workers"], np.arange(N), 4)
        assert not multiprocessing.active_children(), "started when they are needed"
        list(training)
        there = {child.pid for child in multiprocessing.active_children()}
        training.set_epoch(1)
        for loader in (clean, training, clean):
            list(loader)
        assert {child.pid for child in multiprocessing.active_children()} == there
        assert len(there) == 2
        training.itself = training  # what a trainer holds is part of a cycle
        next(iter(training))
    assert not multiprocessing.active_children()
    assert torch.equal(torch.get_rng_state(), before)
    del feed, training, clean
    gc.collect()
    assert time.monotonic() - began < 4


def test_workers_end_with_an_error_too(tables):
    def broken_off():
        with Feed(torch.device("cpu"), 2) as feed:
            for _ in feed.clean(tables["workers"], np.arange(N), 4):
                raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert not multiprocessing.active_children()


def test_what_breaks_in_a_worker_is_raised_here(tables, tmp_path):
    shutil.copytree(tables["workers"].folder, tmp_path / "index")
    (tmp_path / "index" / "export" / "root.txt").write_text(str(tmp_path / "gone"))
    examples = Examples(tmp_path / "index", "train", tables["workers"].pixels)
    with pytest.raises(FileNotFoundError), Feed(torch.device("cpu"), 2) as feed:
        list(feed.clean(examples, np.arange(N), 4))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", ["memory", "workers"])
def test_augmentation_is_drawn_by_seed_and_epoch(tables, kind):
    def pixels(seed, epoch):
        as_given = order(seed=seed, shuffle=False)  # an example's place is the same in every epoch
        if kind == "memory":
            loader = MemoryLoader(tables["memory"], as_given, padding=2, flip=True)
        else:
            loader = WorkerLoader(tables["workers"], as_given, size=8, area=[0.3, 1.0], flip=True)
        loader.set_epoch(epoch)
        return torch.cat([b["inputs"]["image"] for b in loader])

    once = pixels(0, 1)
    assert torch.equal(pixels(0, 1), once)
    assert not torch.equal(pixels(0, 2), once)
    assert not torch.equal(pixels(1, 1), once)


def test_memory_augments_by_place_in_the_epoch(tables):
    loader = MemoryLoader(tables["memory"], order(seed=4), padding=1, flip=True)
    loader.set_epoch(5)
    examples, draws = tables["memory"], Draws.of_epoch(N, 1, True, 4, 5)
    ids = order(seed=4).epoch(5)[0]
    expected = batch(np.asarray(examples.column("image")), ids, draws, np.arange(N), loader.table)
    assert torch.equal(torch.cat([b["inputs"]["image"] for b in loader]), expected)


def test_a_mirrored_file_is_its_picture_mirrored(tables):
    plain, flipped = (WorkerLoader(tables["workers"], order(N, shuffle=False), size=8, flip=f) for f in (False, True))
    a, b = next(iter(plain))["inputs"]["image"], next(iter(flipped))["inputs"]["image"]
    mirrored = [torch.equal(y, x.flip(2)) for x, y in zip(a, b, strict=True)]
    assert all(m or torch.equal(x, y) for m, x, y in zip(mirrored, a, b, strict=True))
    assert 0 < sum(mirrored) < N


def test_epochs_go_on_where_an_earlier_attempt_stopped(tables):
    """Lightning counts from 0 in every program; `epochs_done` is added."""
    whole, rest = (MemoryLoader(tables["memory"], order(seed=1), padding=1) for _ in range(2))
    whole.set_epoch(3)
    rest.go_on_after(2)
    rest.sampler.set_epoch(1)
    for a, b in zip(whole, rest, strict=True):
        same(a, b)


def test_vectors_are_given_by_id(tables):
    vectors = torch.arange(N * 3, dtype=torch.float32).view(N, 3)
    weights = np.linspace(1, 2, N)
    loader = VectorLoader(tables["memory"], order(seed=2), vectors, weights=weights)
    images = MemoryLoader(tables["memory"], order(seed=2), weights=weights)
    for a, b in zip(loader, images, strict=True):
        assert torch.equal(a["inputs"]["features"], vectors[a["id"]])
        same(a | {"inputs": {}}, b | {"inputs": {}})


def test_reflection_needs_a_picture_larger_than_the_padding(tables):
    MemoryLoader(tables["memory"], order(), padding=7)
    with pytest.raises(ConfigError, match=r"^augment\.crop_padding=8: expected 0 to 7: below the side of the images"):
        MemoryLoader(tables["memory"], order(), padding=8)


# weight and scale


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_processes_mean_is_that_of_the_global_batch(tables, world, weighted):
    """DDP averages the gradients of scale * sum(weight * loss): with shares of any size it must be the global mean."""
    weights = np.linspace(0.5, 1.5, N).astype(np.float32) if weighted else None
    network = torch.nn.Linear(3 * 64, 2)

    def losses(b):
        each = F.cross_entropy(network(b["inputs"]["image"].flatten(1)), b["y"], reduction="none")
        return each if b["weight"] is None else each * b["weight"]

    def gradient(loss):
        return torch.autograd.grad(loss, network.weight)[0]

    shares = [MemoryLoader(tables["memory"], order(6, rank=r, world=world), weights=weights) for r in range(world)]
    for whole, *parts in zip(MemoryLoader(tables["memory"], order(6), weights=weights), *shares, strict=True):
        mean = sum(gradient(losses(b).sum() * b["scale"]) for b in parts) / world
        torch.testing.assert_close(mean, gradient(losses(whole).mean()))


def test_what_only_fills_a_share_up_weighs_nothing(tables):
    weights = np.full(N, 3.0)
    for given, real_weight in ((None, 1), (weights, 3)):
        shares = [list(MemoryLoader(tables["memory"], order(4, rank=r, world=4), weights=given)) for r in range(4)]
        last = [s[-1] for s in shares]  # two examples for four processes
        assert [b["real"] if b["real"] is None else b["real"].tolist() for b in last] == [None, None, [False], [False]]
        assert [b["weight"] if b["weight"] is None else b["weight"].tolist() for b in last[2:]] == [[0], [0]]
        assert last[0]["weight"] is None if given is None else last[0]["weight"].tolist() == [real_weight]
        assert {b["scale"] for b in last} == {4 / 2}
