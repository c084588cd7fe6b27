"""The experiments that are ready for ImageNet run end to end on a folder that looks like it, with a few images."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SMALL = [
    "source.size=32", "source.expect=null", "target.size=32", "target.expect=null", "target.channels=3",
    "target.name=pets", "run.workers=0", "run.progress=false",
    "run.report=false",
]  # fmt: skip
SHORT = [
    f"{role}.{key}"
    for role in ("surrogate", "pretrain")
    for key in (
        "epochs=3", "batch_size=8", "precision=float32", "resolution.low=32", "resolution.high=64",
        "resolution.start=0", "resolution.end=2", "optimizer.lr=0.05", "model.name=resnet18",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """IMAGENET and PETS: six and two classes of colours, four training images each."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, classes in (("imagenet", [f"n0144076{i}" for i in range(6)]), ("pets", ["cat", "dog"])):
        for split, count in (("train", 4), ("val", 2)):
            for i, label in enumerate(classes):
                folder = root / name / split / label
                folder.mkdir(parents=True)
                for j in range(count):
                    pixels = (rng.integers(0, 80, (40, 48, 3)) + 30 * i).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{j}.JPEG")
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """One working directory: the jobs share its store, so the surrogate trains once."""
    return tmp_path_factory.mktemp("work")


def started(folders, work, *words):
    data = [f"source.path={folders / 'imagenet'}", f"target.path={folders / 'pets'}"]
    command = [sys.executable, "-m", "dataprune", *words, *data, *SMALL, *SHORT]
    ran = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    newest = max((work / "outputs").rglob("rows.json"), key=lambda p: p.stat().st_mtime)
    return json.loads(newest.read_text())


@pytest.mark.parametrize("mapping", ["lm", "fm"])
@pytest.mark.parametrize("way", ["probe", "finetune"])
def test_dp4tl(mapping, way, folders, work):
    words = ["-m", f"+experiment=dp4tl_{mapping}_{way}", "prune_ratio=0.5", "seed=0", "transfer.epochs=2"]
    rows = started(folders, work, *words)
    assert [row["method"] for row in rows] == [
        {"lm": "label_mapping", "fm": "feature_mapping"}[mapping], "random_classes", "full",
    ]  # fmt: skip
    assert rows[0]["kept"] == 12
    assert rows[0]["transfer"] == {"probe": "head", "finetune": "all"}[way]
    assert 0 <= rows[0]["metrics"]["target_top1"] <= 1


def test_influences_and_their_counterfactual(folders, work):
    store = work / "influence_store"
    words = ["-m", "+experiment=data_transfer_influence", f"run.influence.store={store}", "run.influence.models=6"]
    started(folders, work, *words, "method.select.model=range(0,6)", "transfer.epochs=2", "pretrain.epochs=1")
    estimate = [sys.executable, "-m", "dataprune.influence", "estimate", str(store), "-o", str(work / "influence")]
    ran = subprocess.run(estimate, cwd=work, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "6 models" in ran.stdout
    # as a score: a class that no model had is neutral; of two that the same models had, rounding must not decide
    mean = np.nan_to_num(np.load(work / "influence" / "mean_influence.npy")).astype(np.float32)
    words = ["-m", "+experiment=data_transfer_counterfactual", "method=influence", "prune_ratio=0.5", "seed=0"]
    path = f"method.path={work / 'influence' / 'mean_influence.npy'}"
    rows = started(folders, work, *words, path, "transfer.epochs=2", "pretrain.epochs=1")
    kept = work / "store" / "select" / rows[0]["keys"]["subset"] / "classes.npy"
    assert set(np.load(kept)) == set(np.argsort(-mean, kind="stable")[:3]), "the most harmful half is gone"
    assert rows[0]["metrics"]["target_n"] == 2, "measured on the half that made no influences"
