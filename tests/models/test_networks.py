"""Backbones are as wide as they say, and a frozen one stays as it is."""

import pytest
import torch
from torch import nn

from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build, cnn, resnet, timm, torchvision

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def image(channels, side=8):
    """What the codec of images says."""
    return {"kind": "image", "channels": channels, "height": side, "width": side}


def checked(backbone, channels, size):
    """The backbone in eval mode, after a look at what it gives for two images."""
    with torch.no_grad():
        features = backbone.eval()(torch.randn(2, channels, size, size))
    assert features.shape == (2, backbone.num_features)
    return backbone


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_cnn(channels, norm):
    network = checked(cnn(channels, width=4, depth=3, norm=norm), channels, 8)
    assert network.num_features == 16
    kinds = {type(m) for m in network.modules()} & {nn.BatchNorm2d, nn.GroupNorm}
    assert kinds == {"batch": {nn.BatchNorm2d}, "group": {nn.GroupNorm}, "none": set()}[norm]


def test_cnn_takes_images_down_to_its_least_side():
    checked(cnn(1, width=2, depth=3), 1, 4)
    checked(cnn(1, width=2, depth=1), 1, 1)


def test_an_unknown_norm_is_refused():
    with pytest.raises(ConfigError, match=r"^model\.norm='layer': expected one of batch, group, none"):
        cnn(1, norm="layer")


@pytest.mark.parametrize(("blocks", "factor"), [([1, 1, 1, 1], 8), ([1, 2], 2)])
def test_resnet(blocks, factor):
    network = checked(resnet(3, width=4, blocks=blocks), 3, 9)
    assert network.num_features == 4 * factor


def test_resnet_by_default_is_the_one_of_the_cifar_papers():
    network = build({"_target_": "dataprune.models.networks.resnet"}, image(3), 10)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "resnet10t", "levit_conv_128s"])
def test_timm(name):
    """MobileNet has a layer behind the pooling that makes its features wider than its own `num_features` says."""
    size = 224 if "levit" in name else 32
    checked(timm(1, name), 1, size)


def test_timm_hands_its_constants_on():
    assert timm(1, "resnet10t", drop_rate=0.25).drop_rate == 0.25


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18"])
def test_torchvision(name):
    checked(torchvision(3, name), 3, 32)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: timm(3, "resnet1"), r"^model\.name='resnet1': expected a timm model"),
        (lambda: torchvision(3, "resnet1"), r"^model\.name='resnet1': expected a torchvision classification model"),
        (
            lambda: torchvision(3, "raft_small"),
            r"^model\.name='raft_small': expected a torchvision classification model",
        ),
        (lambda: torchvision(3, "squeezenet1_1"), r"^model\.name='squeezenet1_1': expected a model that ends in a lin"),
        (lambda: torchvision(1, "resnet18"), r"^source\.channels=1: expected 3: torchvision's models take RGB images"),
    ],
)
def test_a_model_that_cannot_be_is_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


# build and Network


def test_build_draws_weights_from_torch_s_generator():
    spec = {"_target_": "dataprune.models.networks.cnn", "width": 2}
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(torch.cat([p.flatten() for p in build(spec, image(1), 3).parameters()]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_a_module_that_does_not_tell_its_width_is_refused():
    expected = r"^model\._target_='torch\.nn\.Conv2d': expected a function whose module has the attribute num_features"
    with pytest.raises(ConfigError, match=expected):
        build({"_target_": "torch.nn.Conv2d", "out_channels": 2, "kernel_size": 1}, image(1), 3)


def test_logits_are_the_head_of_the_features():
    network = build({"_target_": "dataprune.models.networks.cnn", "width": 2}, image(1), 3).eval()
    x = torch.randn(4, 1, 8, 8)
    features = network.features(image=x)
    assert features.shape == (4, 8)
    assert network(image=x).shape == (4, 3)
    assert torch.equal(network(image=x), network.head(features))
    assert torch.equal(network(features=features), network(image=x))


def test_a_frozen_backbone_stays_in_eval_mode_and_only_the_head_learns():
    network = Network(cnn(1, width=2), 3)
    network.freeze_backbone()
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    for _ in range(2):
        network.eval()
        network.train()
        assert network.head.training
        assert not any(m.training for m in network.backbone.modules())
        network(image=torch.randn(4, 1, 8, 8)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in network.backbone.state_dict().items()), "statistics too"
    assert [n for n, p in network.named_parameters() if p.grad is not None] == ["head.weight", "head.bias"]


def test_a_backbone_that_is_not_frozen_trains():
    network = Network(cnn(1, width=2), 3)
    network.eval()
    assert network.train().backbone.training
