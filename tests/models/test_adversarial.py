"""PGD stays inside its ball and inside the picture, and makes the loss worse."""

import torch

from dataprune.models.networks import build
from dataprune.training.adversarial import attack_images

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
EPSILON = 8 / 255
RGB = {"kind": "image", "channels": 3}


def attacked(epsilon=EPSILON, steps=3):
    torch.manual_seed(0)
    network = build({"_target_": "dataprune.models.networks.cnn", "width": 8, "norm": "group"}, RGB, 10)
    pixels, y = torch.rand(16, 3, 8, 8), torch.randint(0, 10, (16,))
    x = (pixels - MEAN.view(1, 3, 1, 1)) / STD.view(1, 3, 1, 1)
    inputs = attack_images(network, {"image": x}, y, epsilon=epsilon, steps=steps, mean=MEAN, std=STD)
    moved = inputs["image"]
    return network, pixels, moved * STD.view(1, 3, 1, 1) + MEAN.view(1, 3, 1, 1), x, moved, y


def test_the_change_is_within_epsilon_and_the_pixels_within_zero_and_one():
    _, before, after, *_ = attacked()
    assert (after - before).abs().max() <= EPSILON + 1e-6
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6


def test_the_loss_rises():
    network, _, _, x, moved, y = attacked()
    loss = torch.nn.functional.cross_entropy
    assert loss(network(image=moved), y) > loss(network(image=x), y)


def test_no_gradient_is_left_behind():
    network, *_, moved, _ = attacked()
    assert not moved.requires_grad
    assert all(p.grad is None for p in network.parameters())
