"""DALI as a loader: the same examples as workers, the same pixels but for its filter, the same views as are asked for.

Skipped without the extra `dali`; `make test-dali` runs these alone.
"""

import numpy as np
import pandas as pd
import pytest
import torch

from dataprune.augmentation import AugmentConfig
from dataprune.config import DataConfig, RunConfig
from dataprune.data.changes import Changes
from dataprune.data.codecs import decoding
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.data.order import Order
from dataprune.dynamic import RS2, InfoBatch
from dataprune.errors import ConfigError
from dataprune.stages import decode, index
from tests.made_up_photos import photo

pytest.importorskip("nvidia.dali", reason="the extra dali is not installed", exc_type=ImportError)

N = 23
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An ImageFolder of JPEGs of many shapes, among them odd ones and upright ones."""
    folder = tmp_path_factory.mktemp("photos")
    shapes = [(300, 400), (401, 299), (333, 500), (256, 256), (375, 500), (500, 331)]
    for split, count in (("train", N), ("test", 5)):
        for i in range(count):
            path = folder / split / f"class {i % 3}" / f"{i:02}.jpg"  # a name with a space
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(i, *shapes[i % len(shapes)]))
    return folder


@pytest.fixture
def made(root, tmp_path):
    """made(decoder, **values): the train split of the photographs, decoded so."""

    def make(decoder, reader="dataprune.data.folder.read", path=root, **values):
        values = {"size": 32, "channels": 3, "mean": MEAN, "std": STD} | values
        config = DataConfig("x", {"_target_": reader}, path and str(path), **values)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        inputs = {"examples": folder / "index", "pixels": folder / "decode"}
        for part in inputs.values():
            part.mkdir(parents=True)
        index.run(config.table, {}, inputs["examples"], RunConfig(), "source")
        how = decoding(config, "source", kept=False, decoder=decoder)
        decode.run(how, inputs, inputs["pixels"], RunConfig(), "source_pixels")
        return Examples.of(inputs, "train")

    return make


def loaded(examples, order, epoch=0, threads=1, **augment):
    with Feed(torch.device("cpu"), threads) as feed:
        loader = feed.loader(examples, order, **augment)
        loader.go_on_after(epoch)
        return list(loader)


def pixels(batches):
    """Values from 0 to 255, as they were before they were normalised."""
    images = torch.cat([b["inputs"]["image"] for b in batches])
    return (images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255


@pytest.mark.parametrize("world", [1, 2])
def test_the_same_examples_come_in_the_same_batches_as_from_workers_once_each(made, world):
    words = {"area": [0.08, 1.0], "flip": True}
    files, dali = made("pillow"), made("dali-cpu")
    for epoch in range(3):
        seen = []
        for rank in range(world):
            orders = [Order(np.arange(N), 6, seed=3, rank=rank, world=world) for _ in range(2)]
            batches = [loaded(e, o, epoch, 0, **words) for e, o in zip((files, dali), orders, strict=True)]
            for a, b in zip(*batches, strict=True):
                for name in ("id", "y", "real", "weight"):
                    assert (a[name] is None) == (b[name] is None)
                    assert a[name] is None or torch.equal(a[name], b[name]), name
                assert (a["scale"], a["at"]) == (b["scale"], b["at"])
                assert a["inputs"]["image"].shape == b["inputs"]["image"].shape
                seen += b["id"].tolist() if b["real"] is None else b["id"][b["real"]].tolist()
        assert sorted(seen) == list(range(N)), "each example once, fillers apart"


@pytest.mark.parametrize(
    "view",
    [
        {"size": 224, "resize": 256},
        {"size": None, "resize": 256, "crop": 224},
        {"size": None, "resize": 224, "crop": 224, "antialias": False},
        {"size": None, "resize": 97, "crop": 64, "interpolation": "bicubic"},
        {"size": None, "resize": [160, 240], "crop": 99},
        {"size": 192, "crop": 0.875},
        {"size": 160, "resize": 200, "crop": 131},
    ],
    ids=str,
)
def test_clean_views_have_the_pixels_of_workers(made, view):
    # without a `resize` Pillow opens a JPEG at the smallest of its scales that covers the square: other pixels
    order = Order(np.arange(N), 8, shuffle=False)
    one, two = (pixels(loaded(made(decoder, **view), order)) for decoder in ("pillow", "dali-cpu"))
    apart = (one - two).abs()
    assert apart.mean() <= 0.3
    assert apart.max() <= 6


def test_an_epoch_is_drawn_by_seed_and_epoch_whatever_the_threads(made):
    examples = made("dali-cpu")
    words = {"area": [0.08, 1.0], "flip": True, "changes": Changes(jitter=(0.4, 0.4, 0.4, 0.1), erasing=0.5)}

    def seen(seed=0, epoch=1, threads=1):
        order = Order(np.arange(N), 6, seed=seed, shuffle=False)
        return torch.cat([b["inputs"]["image"] for b in loaded(examples, order, epoch, threads, **words)])

    once = seen()
    assert torch.equal(seen(threads=3), once)
    assert not torch.equal(seen(seed=1), once)
    assert not torch.equal(seen(epoch=2), once)


@pytest.mark.parametrize("area", [None, [0.08, 1.0]])
def test_one_pass_gives_the_training_view_and_the_clean_view(made, area):
    examples, order = made("dali-cpu", size=None, resize=40, crop=32), Order(np.arange(N), 6, seed=3)
    with Feed(torch.device("cpu"), 2) as feed:
        loader = feed.loader(examples, order, area=area, flip=True, size=lambda epoch: 24)
        views = feed.views(loader)
        clean = loaded(examples, order, 1)
        for epoch in (1, 1):  # a second start of it begins anew
            loader.go_on_after(epoch)
            views.go_on_after(epoch)
            given, training = iter(views), iter(loader)
            ahead = next(training)  # Lightning fetches one batch ahead
            for expected in clean:
                batch, ahead = ahead, next(training, None)
                view = next(given)
                assert torch.equal(view["id"], batch["id"])
                assert torch.equal(view["inputs"]["image"], expected["inputs"]["image"])
                assert batch["inputs"]["image"].shape[2:] == (24, 24)


def test_samplers_choose_for_it_as_for_the_others(made):
    examples = made("dali-cpu")
    for sampler in (RS2(N, ratio=0.4, seed=1), InfoBatch(N, 3, seed=1)):
        if isinstance(sampler, InfoBatch):
            sampler.epoch(0)
            sampler.observe(np.arange(N), np.linspace(0, 1, N, dtype=np.float32))
        batches = loaded(examples, Order(np.arange(N), 4, chosen=sampler.epoch), 1)
        ids, weights = sampler.epoch(1)
        np.testing.assert_array_equal(torch.cat([b["id"] for b in batches]), ids)
        assert len(ids) < N
        if weights is not None:
            np.testing.assert_allclose(torch.cat([b["weight"] for b in batches]), weights)


def test_bytes_that_the_index_holds_are_read_too(made, root, tmp_path):
    for split in ("train", "test"):
        files = sorted((root / split).glob("*/*.jpg"))
        rows = [{"image": {"bytes": f.read_bytes(), "path": f.name}, "label": int(f.parent.name[-1])} for f in files]
        pd.DataFrame(rows).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    words = {"reader": "dataprune.data.parquet.read", "path": tmp_path}
    order = Order(np.arange(N), 6, seed=3)
    one, two = (loaded(made(decoder, resize=40, **words), order) for decoder in ("pillow", "dali-cpu"))
    assert [b["id"].tolist() for b in one] == [b["id"].tolist() for b in two]
    assert (pixels(one) - pixels(two)).abs().mean() <= 0.3


@pytest.mark.parametrize(
    "augment",
    [
        AugmentConfig(auto_augment="imagenet"),
        AugmentConfig(auto_augment="rand-m9-n2-p1-inc1"),
        AugmentConfig(auto_augment="rand-m5-p1"),
        AugmentConfig(color_jitter=[0.4, 0.4, 0.4, 0.1]),
        AugmentConfig(random_erasing=1.0),
    ],
    ids=str,
)
def test_changes_change_most_images_and_keep_their_size(made, augment):
    examples, order = made("dali-cpu", resize=40), Order(np.arange(N), 6, shuffle=False)
    plain = pixels(loaded(examples, order))
    seen = pixels(loaded(examples, order, changes=Changes.of(augment)))
    assert seen.shape == plain.shape
    other = ((seen - plain).abs() > 2).flatten(1).any(1)
    assert other.sum() > N / 3
    if augment.random_erasing:
        grey = (seen - 255 * torch.tensor(MEAN)[:, None, None]).abs().amax(1) < 0.01  # the mean colour is 0
        assert 0.05 < grey.float().mean() < 0.35
        assert torch.equal(seen.movedim(1, -1)[~grey], plain.movedim(1, -1)[~grey])
    if augment.color_jitter:
        assert (seen - plain).abs().mean() < 80


def test_mirrored_and_cropped_views_are_parts_of_the_picture(made):
    examples, order = made("dali-cpu", resize=40), Order(np.arange(N), N, shuffle=False)
    plain, flipped = (pixels(loaded(examples, order, flip=flip)) for flip in (False, True))
    mirrored = [torch.equal(b, a.flip(2)) for a, b in zip(plain, flipped, strict=True)]
    assert all(m or torch.equal(a, b) for m, a, b in zip(mirrored, plain, flipped, strict=True))
    assert 0 < sum(mirrored) < N
    small = [pixels(loaded(examples, order, area=[area, area])) for area in (0.1, 0.9)]
    # neighbours differ less in a part that is shown larger
    steps = [(view[..., 1:] - view[..., :-1]).abs().mean() for view in small]
    assert steps[0] < 0.8 * steps[1]


def test_what_dali_cannot_read_is_refused(made, tmp_path):
    with pytest.raises(ConfigError, match=r"^source\.interpolation='area': expected bilinear or bicubic, or loader="):
        made("dali-cpu", interpolation="area")
    words = {"reader": "dataprune.data.digits.read", "path": None, "channels": 1, "mean": [0.5], "std": [0.5]}
    with pytest.raises(ConfigError, match=r"^loader='dali': expected memory or workers: DALI decodes, and the reader"):
        made("dali-cpu", **words)
    with pytest.raises(ConfigError, match=r"^run\.accelerator='cpu': expected gpu: these examples are decoded on one"):
        loaded(made("dali-gpu"), Order(np.arange(N), 6))
