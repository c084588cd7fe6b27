"""Trainings on changed images: the same bytes after a kill, and what contradicts a recipe refused before it runs."""

import importlib.util

import numpy as np
import pytest
import torch

from dataprune.augmentation import AugmentConfig
from dataprune.checks.augmentation import check_augmentation
from dataprune.config import DataConfig, RecordConfig, TrainConfig
from dataprune.errors import ConfigError
from tests.data.test_pictures import encoded, smooth
from tests.golden.inputs import CNN
from tests.test_sampling import cut_short, history, keep_each_epoch, recipe, run

EVERYTHING = AugmentConfig(
    flip=True,
    random_resized_crop=[0.3, 1.0],
    color_jitter=[0.4, 0.4, 0.4, 0.1],
    auto_augment="rand-m9-mstd0.5-inc1",
    random_erasing=0.5,
    mixup=0.8,
    cutmix=1.0,
    repeats=2,
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, dataset):
    """Thirteen JPEGs of two classes, left in their files."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 13), ("test", 4)):
        for i in range(count):
            path = root / split / f"class{i % 2}" / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(np.roll(smooth(20, 30), 3 * i, 1)))
    config = DataConfig("x", {"_target_": "dataprune.data.folder.read"}, str(root), size=16, channels=3)
    return dataset(config, tmp_path_factory.mktemp("made"), kept=False).inputs


def test_a_training_with_every_change_that_was_cut_short_ends_with_the_same_bytes(inputs, tmp_path, monkeypatch):
    keep_each_epoch(monkeypatch)
    record = RecordConfig("train", "clean")
    words = {"sampler": {}, "loader": "workers", "augment": EVERYTHING, "epochs": 4, "batch_size": 4, "model": CNN}
    config = recipe(**words, record=record, label_smoothing=0.1)
    facts, whole = run(config, inputs, tmp_path / "whole")
    cut_short(2, config, inputs, tmp_path / "cut", monkeypatch)
    again, resumed = run(config, inputs, tmp_path / "cut")
    assert again == facts
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    seen = [np.load(tmp_path / w / "p_true.npy") for w in ("whole", "cut")]
    np.testing.assert_array_equal(*seen)
    assert (np.isnan(seen[0]).sum(1) == 6).all(), "an epoch of two views each has seven of thirteen examples"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["pretrain.augment.color_jitter=[0.4,0.4]"], r"pretrain\.augment\.color_jitter=\[0\.4, 0\.4\]: expected \[b"),
        (["pretrain.augment.color_jitter=[0.4,0.4,0.4,0.6]"], r"pretrain\.augment\.color_jitter=.*hue at most 0\.5"),
        (["pretrain.augment.auto_augment=rand-x9"], r"pretrain\.augment\.auto_augment='rand-x9': expected imagenet"),
        (["pretrain.augment.random_erasing=2"], r"pretrain\.augment\.random_erasing=2\.0: expected 0 to 1"),
        (["pretrain.augment.random_erasing=0.5"], r"pretrain\.augment\.random_erasing=0\.5: expected 0, or pretr"),
        (["pretrain.augment.auto_augment=imagenet"], r"pretrain\.augment\.auto_augment='imagenet': expected null, or"),
        (
            ["pretrain.augment.auto_augment=imagenet", "pretrain.loader=workers"],
            r"pretrain\.augment\.auto_augment='imagenet': expected null: it is about colours, and these images are",
        ),
        (["pretrain.decoder=torchvision"], r"pretrain\.decoder='torchvision': expected auto, or pretrain\.loader=work"),
        (["surrogate.augment.mixup=0.8"], r"surrogate\.augment\.mixup=0\.8: expected 0, or surrogate\.record\.view=cl"),
        (["pretrain.augment.cutmix=1", "pretrain.adversarial.epsilon=.1"], r"pretrain\.augment\.cutmix=1\.0: expe.*at"),
        (["pretrain.augment.mixup=1", "method=infobatch"], r"pretrain\.augment\.mixup=1\.0: expected 0: pretrain\.s"),
        (["pretrain.augment.repeats=3", "method=rs2"], r"pretrain\.augment\.repeats=3: expected 1: pretrain\.sampler"),
        (["source.interpolation=nearest"], r"source\.interpolation='nearest': expected one of bilinear, bicubic, area"),
        (["source.interpolation=area", "source.antialias=false"], r"source\.antialias=False: expected true: area"),
        (["+source.codec.decoder=torchvision"], r"source\.codec\.decoder='torchvision': expected nothing there"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_is_trained(jobs, words, text):
    with pytest.raises(ConfigError, match=f"^{text}"):
        jobs.run("run.workers=0", *words)
    assert not (jobs.store / "train").exists()


def test_dali_is_an_extra(jobs, monkeypatch):
    there = importlib.util.find_spec
    for gone in ("nvidia", "nvidia.dali"):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, gone=gone: None if name == gone else there(name))
        with pytest.raises(
            ConfigError, match=r"^surrogate\.loader='dali': expected memory or workers, or the extra: pip"
        ):
            jobs.run("surrogate.loader=dali")
    assert not jobs.store.exists()


@pytest.mark.parametrize("policy", ["rand-m9", "rand-m9-p1-mstd0.5", "rand-m12-p1", "rand-m9-p1-mmax5"])
def test_a_policy_that_dali_does_not_have_is_refused(policy, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    recipe = TrainConfig(loader="dali", augment=AugmentConfig(auto_augment=policy))
    with pytest.raises(
        ConfigError, match=r"^pretrain\.augment\.auto_augment='rand.*': expected rand-m9-n2-p1-inc1 with"
    ):
        check_augmentation(recipe, "pretrain")
    recipe.augment.auto_augment = "rand-m9-n3-p1.0-inc1"
    check_augmentation(recipe, "pretrain")


def test_mixed_images_train_where_recorded_are_clean_ones(jobs):
    words = ["method=forgetting", "target=none", "surrogate.epochs=2", "pretrain.epochs=1", "run.workers=0"]
    plain, mixed = (
        jobs.run(*words, "surrogate.record.view=clean", *more)[0]
        for more in ([], ["surrogate.augment.mixup=0.8", "pretrain.augment.cutmix=1.0", "pretrain.augment.repeats=2"])
    )
    assert plain["keys"]["surrogate"] != mixed["keys"]["surrogate"]
    assert plain["keys"]["source_pixels"] == mixed["keys"]["source_pixels"]


def test_a_decoder_and_a_filter_are_in_the_key(jobs):
    words = ["method=random", "target=none", "pretrain.epochs=1", "run.workers=0", "pretrain.loader=workers"]
    changes = (
        [],
        ["pretrain.decoder=torchvision"],
        ["source.interpolation=bicubic", "source.size=6"],
        ["source.size=6"],
    )
    keys = [jobs.run(*words, *more)[0]["keys"] for more in changes]
    for role in ("source_pixels", "model", "source_result"):
        assert len({key[role] for key in keys}) == 4, role
