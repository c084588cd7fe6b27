"""Published checkpoints become our networks, whole or not at all, and nothing that they name is run."""

import os
import re
from types import SimpleNamespace

import pytest
import torch

from dataprune.checkpoints.fitting import fitted
from dataprune.checkpoints.reading import read_state
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build

SWIN = {
    "_target_": "dataprune.models.networks.timm",
    "name": "swin_tiny_patch4_window7_224",
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [1, 2],
    "img_size": 32,
    "window_size": 4,
}


def swin(**constants) -> Network:
    return build(SWIN | constants, {"kind": "image", "channels": 3, "height": 32, "width": 32}, 5)


def as_its_authors_name_it(network: Network) -> dict[str, torch.Tensor]:
    """The names of the published code: a stage ends with its downsampling, and buffers are kept too."""
    named = {}
    for name, tensor in network.state_dict().items():
        name = name.removeprefix("backbone.")
        if found := re.match(r"layers\.(\d+)\.downsample\.(.*)", name):
            name = f"layers.{int(found[1]) - 1}.downsample.{found[2]}"
        named[name] = tensor
    return named | {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16)}


def test_the_published_names_of_swin_are_understood():
    network = swin()
    published = as_its_authors_name_it(network)
    assert "layers.0.downsample.reduction.weight" in published
    taken, own = fitted(published, network, "pretrain.checkpoint"), network.state_dict()
    assert taken.keys() == own.keys()
    assert all(torch.equal(taken[name], own[name]) for name in own)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tables_of_positions_are_resized_to_the_window():
    taken = fitted(as_its_authors_name_it(swin()), wider := swin(window_size=8), "pretrain.checkpoint")
    table = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    assert taken[table].shape[0] == (2 * 8 - 1) ** 2
    assert all(tensor.shape == wider.state_dict()[name].shape for name, tensor in taken.items())


def test_a_classifier_called_head_is_no_sign_that_the_file_is_ours():
    """timm's ViT has `head.weight` too."""
    vit = {"_target_": "dataprune.models.networks.timm", "name": "vit_tiny_patch16_224"}
    small = vit | {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 1}
    network = build(small, {"kind": "image", "channels": 3, "height": 32, "width": 32}, 5)
    state = {name.removeprefix("backbone."): tensor for name, tensor in network.state_dict().items()}
    assert fitted(state, network, "pretrain.checkpoint").keys() == network.state_dict().keys()


class Settings(dict):
    """What a configuration in a checkpoint may be: reading it as it asks would run its code."""

    def __reduce__(self):
        return os.system, ("echo broken > broken",)


def test_a_configuration_beside_the_weights_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ckpt_epoch_3.pth"
    torch.save({"model": {"weight": torch.ones(2)}, "config": SimpleNamespace(A=1), "epoch": 3}, path)
    assert read_state(path, "pretrain.checkpoint")["weight"].tolist() == [1, 1]
    torch.save({"model": {"weight": torch.ones(2)}, "config": Settings()}, path)
    with pytest.raises(ConfigError, match=r"^pretrain\.checkpoint="):
        read_state(path, "pretrain.checkpoint")
    assert not (tmp_path / "broken").exists()
