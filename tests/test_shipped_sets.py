"""Every shipped data set with files, read through its config from a small fake of what lies on disk."""

import json
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image
from scipy.io import savemat

import dataprune.__main__ as entry
from dataprune.checks.config import typed
from dataprune.data.content import read
from dataprune.errors import ConfigError
from dataprune.stage_calls import check_sizes

ENTRIES = {"train": ["b/1.jpg", "a/1.jpg"], "val": ["a/2.jpg"], "test": ["b/2.jpg", "a/3.jpg"]}
CLASSES = {"a": 0, "b": 1}
COOP = {
    "pets_coop": ("OxfordPets", "images"), "stanford_cars_coop": ("StanfordCars", "."),
    "flowers_coop": ("OxfordFlowers", "jpg"), "food_coop": ("Food101", "images"),
    "sun397_coop": ("SUN397", "SUN397"), "dtd_coop": ("DescribableTextures", "images"),
    "ucf101": ("UCF101", "UCF-101-midframes"), "eurosat": ("EuroSAT", "2750"),
    "caltech101_coop": ("Caltech101", "101_ObjectCategories"),
}  # fmt: skip
FOLDERS = {
    "birdsnap": "test",
    "flowers": "test",
    "food": "valid",
    "pets": "test",
    "stanford_cars": "test",
    "sun397": "test",
}


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def coop(root, name):
    title, images = COOP[name]
    for file in chain.from_iterable(ENTRIES.values()):
        picture(root / images / file)
    split = {part: [[file, CLASSES[file[0]], file[0]] for file in files] for part, files in ENTRIES.items()}
    (root / f"split_zhou_{title}.json").write_text(json.dumps(split))
    return {"train": 2, "validation": 1, "test": 2}


def folders(root, name):
    for part, count in (("train", 2), (FOLDERS[name], 3)):
        for i in range(count):
            picture(root / part / "ab"[i % 2] / f"{i}.jpg")
    return {"train": 2, "test": 3}


def waterbirds(root, name):
    for i in range(3):
        picture(root / "001.Black_footed_Albatross" / f"{i}.jpg")
    lines = [json.dumps({"x": f"001.Black_footed_Albatross/{i}.jpg", "y": i % 2}) for i in range(3)]
    (root / "train.json").write_text("\n".join(lines[:2]))
    (root / "test.json").write_text(lines[2])
    return {"train": 2, "test": 1}


def aircraft(root, name):
    for i in range(3):
        picture(root / "data" / "images" / f"{i}.jpg")
    (root / "data" / "images_variant_trainval.txt").write_text("0 Model B200\n1 707-320\n")
    (root / "data" / "images_variant_test.txt").write_text("2 707-320\n")
    return {"train": 2, "test": 1}


def dtd(root, name):
    (root / "labels").mkdir(parents=True)
    for part in ("train", "val", "test"):
        files = [f"{kind}/{kind}_{part}.jpg" for kind in ("banded", "dotted")]
        for file in files:
            picture(root / "images" / file)
        (root / "labels" / f"{part}1.txt").write_text("\n".join(files))
    return {"train": 2, "validation": 2, "test": 2}


def caltech(root, name):
    of, first = {"caltech101": ("101_ObjectCategories", 30), "caltech256": ("256_ObjectCategories", 60)}[name]
    classes = {"caltech101": ["ant", "bee", "BACKGROUND_Google"], "caltech256": ["001.ak47", "257.clutter"]}[name]
    for folder in classes:
        for i in range(first + 1):
            picture(root / of / folder / f"image_{i:04}.jpg")
    return {"train": 2 * first, "test": 2}


def svhn(root, name):
    root.mkdir()
    for split, n in (("train", 20), ("test", 10)):
        content = {"X": np.zeros((32, 32, 3, n), np.uint8), "y": np.arange(n)[:, None] % 10 + 1}
        savemat(root / f"{split}_32x32.mat", content)
    return {"train": 20, "test": 10}


def cinic10(root, name):
    for part in ("train", "valid", "test"):
        for label in "ab":
            picture(root / part / label / "cifar10-train-1.png")
    return {"train": 2, "validation": 2, "test": 2}


def tiny_imagenet(root, name):
    for wnid in ("n01443537", "n01629819"):
        picture(root / "train" / wnid / "images" / f"{wnid}_0.JPEG")
    picture(root / "val" / "images" / "val_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01629819\t0\t0\t62\t62\n")
    picture(root / "test" / "images" / "test_0.JPEG")
    return {"train": 2, "test": 1}


def imagenet21k(root, name):
    for wnid in ("n01440764", "n04399999"):
        picture(root / "train" / wnid / "1.JPEG")
    (root / "train" / "n04399382").mkdir()
    picture(root / "val" / "n04399382" / "ILSVRC2012_val_00000001.JPEG")
    return {"train": 2, "test": 1}


FAKES = (
    dict.fromkeys(COOP, coop) | dict.fromkeys(FOLDERS, folders) | dict.fromkeys(("caltech101", "caltech256"), caltech)
)
FAKES |= {f.__name__: f for f in (waterbirds, aircraft, dtd, svhn, cinic10, tiny_imagenet, imagenet21k)}


@pytest.mark.parametrize("name", FAKES)
def test_a_shipped_set_is_read_as_it_lies_on_disk_and_its_size_is_checked(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    sizes = FAKES[name](tmp_path / "data", name)
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        config = typed(compose("config", [f"target={name}", f"target.path={tmp_path / 'data'}"])).target
    data = read(config.table, "target")
    assert {split: len(there.labels) for split, there in data.splits.items()} == sizes
    facts = sizes | {"classes": len(data.classes)}
    assert config.name == name
    with pytest.raises(ConfigError, match=rf"^target\.path={name} with .*as published"):
        check_sizes(config, facts | {"classes": facts["classes"] + 1}, "target")
    check_sizes(replace(config, expect=facts), facts, "target")


def test_sets_of_one_name_with_other_splits_have_other_names():
    targets = {path.stem for path in (entry.here("conf") / "target").glob("*.yaml")}
    twice = {"pets", "stanford_cars", "flowers", "food", "sun397", "dtd", "caltech101"}
    assert twice | {f"{name}_coop" for name in twice} <= targets


@pytest.mark.parametrize(("share", "n"), [(10, 5000), (25, 12500), (50, 25000)])
def test_the_small_cifars_are_limits_of_the_whole(share, n, tmp_path, monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    (tmp_path / "train.parquet").touch()
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        config = typed(compose("config", [f"target=cifar10_{share}", f"target.path={tmp_path}"])).target
    assert config.limit.train == n
    check_sizes(config, {"train": n, "test": 10000, "classes": 10}, "target")
