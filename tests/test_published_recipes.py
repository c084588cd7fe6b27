"""The lab notes say what was published: their constants, their rates step by step, and that the whole path runs."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_method
from omegaconf import OmegaConf
from PIL import Image

import dataprune.__main__ as entry
from dataprune import pipeline
from dataprune.checks import augmentation
from dataprune.checks import job as checks
from dataprune.checks.config import typed
from dataprune.data.order import steps_of

IMAGENET = 1_281_167
SGD, ADAMW, ADAM = (f"torch.optim.{name}" for name in ("SGD", "AdamW", "Adam"))
RECORDED = {"surrogate.record.forward": "train", "surrogate.record.view": "clean", "method.score.window": 10}
DYN_UNC = {
    "pretrain.drop_last": True,
    "pretrain.augment.auto_augment": "imagenet",
    "pretrain.augment.random_resized_crop": [0.08, 1.0],
    "source.resize": 224,
    "source.crop": 224,
    "source.antialias": False,
}
SWIN = DYN_UNC | {
    "pretrain.batch_size": 1024,
    "pretrain.optimizer._target_": ADAMW,
    "pretrain.optimizer.weight_decay": 0.05,
    "pretrain.optimizer.betas": [0.9, 0.999],
    "pretrain.label_smoothing": 0.1,
    "pretrain.clip_norm": 5.0,
    "pretrain.precision": "float16",
    "source.interpolation": "bicubic",
}
OF_1K = {"pretrain.epochs": 300, "pretrain.optimizer.lr": 1e-3, "pretrain.schedule.warmup_epochs": 20}
OF_21K = {"pretrain.epochs": 90, "pretrain.optimizer.lr": 1e-3, "pretrain.schedule.warmup_epochs": 5}
CCS = {
    "pretrain.batch_size": 256,
    "pretrain.optimizer._target_": SGD,
    "pretrain.optimizer.lr": 0.1,
    "pretrain.optimizer.momentum": 0.9,
    "pretrain.schedule.end": 1e-4,
}
CIFAR = CCS | {
    "surrogate.epochs": 200,
    "pretrain.iterations": 40_000,
    "pretrain.optimizer.nesterov": True,
    "pretrain.optimizer.weight_decay": 5e-4,
    "pretrain.augment.crop_padding": 4,
}
IMAGENET_CCS = CCS | {
    "surrogate.epochs": 60,
    "pretrain.iterations": 300_000,
    "pretrain.optimizer.weight_decay": 1e-4,
    "pretrain.model.name": "resnet34",
    "source.resize": 256,
    "source.crop": 224,
}
DP4TL = {
    "surrogate.model.name": "resnet18",
    "pretrain.epochs": 16,
    "pretrain.batch_size": 1024,
    "pretrain.optimizer.lr": 0.5,
    "pretrain.optimizer.weight_decay": 5e-5,
    "pretrain.schedule.peak_epoch": 2,
    "pretrain.schedule.low": 1e-4,
    "pretrain.resolution": {"low": 160, "high": 192, "start": 11, "end": 13},
    "source.size": 256,
    "source.crop": 0.875,
    "target.size": 224,
    "transfer.batch_size": 128,
    "transfer.optimizer._target_": ADAM,
}
PROBE = {"transfer.epochs": 50, "transfer.optimizer.lr": 0.01, "transfer.trainable": "head"}
FINETUNE = {"transfer.epochs": 200, "transfer.optimizer.lr": 1e-4, "transfer.trainable": "all"}
PUBLISHED = {
    "dynunc_resnet50_1k": DYN_UNC
    | RECORDED
    | {
        "pretrain.epochs": 90,
        "pretrain.batch_size": 2048,
        "pretrain.optimizer._target_": SGD,
        "pretrain.optimizer.lr": 0.8,
        "pretrain.optimizer.nesterov": True,
        "pretrain.optimizer.weight_decay": 1e-4,
        "pretrain.label_smoothing": 0.0,
        "pretrain.precision": "float32",
        "source.interpolation": "bilinear",
    },
    "dynunc_swin_t_1k": SWIN | OF_1K | RECORDED | {"pretrain.model.drop_path_rate": 0.2},
    "dynunc_swin_b_1k": SWIN | OF_1K | RECORDED | {"pretrain.model.drop_path_rate": 0.2},
    "dynunc_convnext_t_1k": SWIN
    | OF_1K
    | RECORDED
    | {
        "pretrain.batch_size": 2048,
        "pretrain.optimizer.lr": 8e-3,
        "pretrain.clip_norm": None,
        "pretrain.model.drop_path_rate": 0.1,
    },
    "dynunc_swin_t_21k": SWIN | OF_21K | RECORDED | {"pretrain.model.drop_path_rate": 0.1},
    "dynunc_swin_t_21k_processed": SWIN | OF_21K | RECORDED | {"pretrain.model.drop_path_rate": 0.1},
    "dynunc_swin_t_21k_to_1k": SWIN
    | OF_21K
    | RECORDED
    | {
        "transfer.epochs": 30,
        "transfer.optimizer.lr": 4e-5,
        "transfer.optimizer.weight_decay": 1e-8,
        "transfer.schedule.warmup_start": 4e-8,
        "transfer.schedule.end": 4e-7,
        "transfer.head": "matched",
    },
    "ccs_cifar10": CIFAR | {"method.select.strata": 50},
    "ccs_cifar100": CIFAR | {"method.select.strata": 50},
    "d2_cifar10": CIFAR | {"method.score.never_learned": "zero", "method.select.gamma": 0.1},
    "scores_cifar10": CIFAR | {"method.score.never_learned": "zero"},
    "ccs_imagenet1k": IMAGENET_CCS,
    "d2_imagenet1k": IMAGENET_CCS | {"method.select.k": 5},
    "dp4tl_lm_probe": DP4TL | PROBE,
    "dp4tl_fm_probe": DP4TL | PROBE,
    "dp4tl_lm_finetune": DP4TL | FINETUNE,
    "dp4tl_fm_finetune": DP4TL | FINETUNE,
}
# of the steps 0, the end of the warm-up (ResNet: epoch 30), half of what follows it, the last one
RATES = {
    "dynunc_resnet50_1k": [0.8, 0.08, 0.008, 0.008],
    "dynunc_swin_t_1k": [1e-6, 1e-3, 5.05e-4, 1e-5],
    "dynunc_swin_b_1k": [1e-6, 1e-3, 5.05e-4, 1e-5],
    "dynunc_convnext_t_1k": [0.0, 8e-3, 4.001e-3, 2e-6],
    "dynunc_swin_t_21k": [1e-6, 1e-3, 5.05e-4, 1e-5],
}
STEPS = {"dynunc_resnet50_1k": 625, "dynunc_swin_t_1k": 1251, "dynunc_swin_b_1k": 1251, "dynunc_convnext_t_1k": 625}


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One that serves every recipe: some train in float16, which only GPUs can, and read with DALI."""
    monkeypatch.setattr(checks, "on_gpu", lambda cfg: True)
    monkeypatch.setattr(augmentation, "has_dali", lambda: True)
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))


def composed(*words):
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        return compose("config", list(words))


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_a_lab_note_has_the_published_constants(experiment):
    cfg = typed(composed(f"+experiment={experiment}", "source.path=.", *_target(experiment)))
    found = OmegaConf.structured(cfg)
    there = {key: OmegaConf.select(found, key) for key in PUBLISHED[experiment]}
    there = {k: OmegaConf.to_object(v) if OmegaConf.is_config(v) else v for k, v in there.items()}
    assert there == PUBLISHED[experiment]


def _target(experiment):
    return ["target.path=."] if experiment.startswith("dp4tl") or experiment.endswith("to_1k") else []


@pytest.mark.parametrize("experiment", RATES)
def test_the_rates_are_the_published_ones(experiment):
    recipe = typed(composed(f"+experiment={experiment}", "source.path=.")).pretrain
    per_epoch = steps_of(IMAGENET, recipe.batch_size, recipe.drop_last)
    assert per_epoch == STEPS.get(experiment, per_epoch)
    steps = recipe.epochs * per_epoch
    constants = {name: value for name, value in recipe.schedule.items() if name != "_target_"}
    warm = constants.get("warmup_epochs", constants.get("every")) * per_epoch
    schedule = get_method(recipe.schedule["_target_"])
    asked = [0, warm, warm + (steps - warm) // 2, steps - 1]
    rates = [schedule(step, steps, per_epoch, recipe.optimizer["lr"], **constants) for step in asked]
    np.testing.assert_allclose(rates, RATES[experiment], rtol=1e-4)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """64 images of four classes, as folders and as file lists."""
    root, rng = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        lines = []
        for label in range(4):
            folder = root / split / f"n0000000{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (40, 36, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"image_{i}.JPEG")
                lines.append(f"/{folder.name}/image_{i}.JPEG {label}\n")
        (root / split / "file_list.txt").write_text("".join(lines))
    return root


DYNUNC = sorted(path.stem for path in (entry.here("conf") / "experiment").glob("dynunc_*.yaml"))
SMALL = {  # of each network; all see 32 pixels
    "resnet50": ["layers=[1,1,1,1]"],
    "swin": ["img_size=32", "window_size=4", "embed_dim=24", "depths=[1,1,1,1]"],
    "swinv2": ["img_size=32", "window_size=4", "embed_dim=24", "depths=[1,1,1,1]"],
    "convnext": ["depths=[1,1,1,1]", "dims=[8,16,24,32]"],
    "vit": ["img_size=32", "embed_dim=24", "depth=1", "num_heads=2"],
}


@pytest.mark.parametrize("name", DYNUNC)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_whole_path_runs_on_64_images(name, imagenet, tmp_path):
    """Record, score, keep, train on what is kept, measure; with 21K also on to 1K."""
    words = [f"+experiment={name}", f"source.path={imagenet}", f"run.store={tmp_path / 'store'}", "baselines=none"]
    words += ["source.size=32", "source.resize=32", "source.crop=32", "prune_ratio=0.25", "method.score.window=2"]
    words += ["run.workers=0", "run.accelerator=cpu", "run.progress=false", "source.expect=null"]
    roles = ["surrogate", "pretrain"]
    if name.endswith("to_1k"):
        words += [
            f"target.path={imagenet}",
            "target.size=32",
            "target.resize=32",
            "target.crop=32",
            "target.expect=null",
        ]
        roles.append("transfer")
    for role in roles:
        words += [f"{role}.{word}" for word in ("epochs=4", "batch_size=16", "precision=float32", "loader=workers")]
    for role in ("surrogate", "pretrain"):
        words += [f"+{role}.model.{word}" for word in SMALL[name.split("_")[1]]]
    (row,) = pipeline.job(typed(composed(*words)))
    assert row["kept"] == 48
    assert row["cost"]["images_seen"] == 4 * 48
    assert set(row["metrics"]) >= {"source_top1"} | ({"target_top1"} if "transfer" in roles else set())
