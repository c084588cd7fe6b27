"""A sparse checkpoint becomes a model with masks and a report, and stays sparse through its transfer."""

import json

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.models import networks
from dataprune.models.networks import build
from dataprune.passes import load_network
from tests.conftest import TINY

KEEP = "+transfer.callbacks.keep._target_=dataprune.training.keep_masks.KeepMasks"


def wrapped(jobs, path):
    """Write a trained model as AC/DC writes its own: masks beside weights that are not zero; the masks."""
    (row,) = jobs.run("method=full")
    state = torch.load(jobs.store / "train" / row["keys"]["model"] / "model.pt")
    theirs, masks = {}, {}
    for name, tensor in state.items():
        bare = name.removeprefix("backbone.").replace("head.", "fc.")
        if tensor.ndim == 4:
            layer = bare.removesuffix(".weight")
            masks[name] = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(len(masks))) < 0.3
            theirs[f"module.{layer}._layer.weight"] = tensor
            theirs[f"module.{layer}._weight_mask"] = masks[name].float()
        else:
            theirs[f"module.{bare}"] = tensor
    torch.save({"epoch": 9, "model_state_dict": theirs}, path)
    return masks


def test_a_sparse_checkpoint_is_adopted_with_its_masks_and_transferred_with_its_zeros(jobs):
    path = jobs.folder / "acdc.ckpt"
    masks = wrapped(jobs, path)
    (row,) = jobs.run("method=full", f"pretrain.checkpoint={path}", KEEP, "transfer.trainable=all")
    folder = jobs.store / "adopt" / row["keys"]["model"]
    with np.load(folder / "masks.npz") as stored:
        assert all(np.array_equal(stored[name], mask.numpy()) for name, mask in masks.items())
        assert stored["head.weight"].all()
    report = json.loads((folder / "report.json").read_text())
    (first,) = [line for line in report["tensors"] if line["name"] == "backbone.stages.0.0.weight"]
    kept = masks["backbone.stages.0.0.weight"].float().mean().item()
    assert first["from"] == "stages.0.0._layer.weight"
    assert first["density"] == pytest.approx(kept)
    assert report["format"] == "wrapped"
    adopted, moved = load_network(folder), load_network(jobs.store / "train" / row["keys"]["adapted"])
    for name, mask in masks.items():
        assert torch.equal(adopted.get_parameter(name) != 0, mask)
        assert torch.equal(moved.get_parameter(name) != 0, mask)
    assert not torch.equal(adopted.get_parameter(name), moved.get_parameter(name))


def test_two_processes_hold_the_same_zeros(jobs):
    path = jobs.folder / "acdc.ckpt"
    masks = wrapped(jobs, path)
    dense = set(jobs.store.glob("train/*"))
    words = ["method=full", *TINY, f"run.store={jobs.store}", "run=cpu", "run.report=false", KEEP]
    words += [f"pretrain.checkpoint={path}", "transfer.trainable=all", "transfer.processes=2"]
    jobs.command(*words, timeout=240)
    (adopted,), (moved,) = jobs.store.glob("adopt/*"), set(jobs.store.glob("train/*")) - dense
    before, after = load_network(adopted), load_network(moved)
    for name, mask in masks.items():
        assert torch.equal(after.get_parameter(name) != 0, mask)
        assert not torch.equal(after.get_parameter(name), before.get_parameter(name))


def test_a_claimed_density_is_checked_before_anything_is_trained(jobs):
    path = jobs.folder / "acdc.ckpt"
    wrapped(jobs, path)
    adopted = ["method=full", f"pretrain.checkpoint={path}"]
    with pytest.raises(ConfigError, match=r"^pretrain\.density=0\.1: expected 0\.[23]\d+"):
        jobs.run(*adopted, "pretrain.density=0.1")
    assert not (jobs.store / "adopt").exists()
    with pytest.raises(ConfigError, match=r"^pretrain\.density=0\.1: expected null"):
        jobs.run("method=full", "pretrain.density=0.1")


def test_max_pooling_of_tensorflow_pads_at_the_end_alone():
    timm = {"_target_": "dataprune.models.networks.timm", "name": "resnet18"}
    image = {"kind": "image", "channels": 3}
    own, theirs = build(timm, image, 3), build(timm | {"maxpool": "tf_same"}, image, 3)
    x = torch.randn(1, 1, 8, 8)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1), value=-float("inf"))
    assert torch.equal(theirs.backbone.maxpool(x), torch.nn.functional.max_pool2d(padded, 3, 2))
    assert not torch.equal(own.backbone.maxpool(x), theirs.backbone.maxpool(x))
    with pytest.raises(ConfigError, match=r"^model\.maxpool='same'"):
        networks.timm(3, "resnet18", maxpool="same")
