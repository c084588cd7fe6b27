"""Mixup and cutmix in a training step: what is mixed, what its labels are, and that a resumed run mixes the same."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dataprune.augmentation import AugmentConfig
from dataprune.models.networks import Network, timm
from dataprune.training.classifier import Classifier
from dataprune.training.mixing import Mixing

CLASSES = 5
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def mixing(seed=0, rank=0, smoothing=0.0, **alphas):
    return Mixing(AugmentConfig(**alphas), CLASSES, smoothing, seed, rank)


def images(n=6):
    """Image i is i + 1 everywhere."""
    return {"image": torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 3, 16, 16).clone()}


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_labels_have_the_shares_of_the_images(alphas):
    before = images()
    mixed, targets = mixing(**alphas)(before, LABELS, 0, 0)
    assert torch.equal(before["image"], images()["image"]), "the batch of others is not changed"
    assert not torch.equal(mixed["image"], before["image"])
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    for i, image in enumerate(mixed["image"]):
        own, other = i + 1, 6 - i
        share = (image.mean() - other) / (own - other)  # of its own picture
        expected = share * F.one_hot(LABELS[i], CLASSES) + (1 - share) * F.one_hot(LABELS[5 - i], CLASSES)
        torch.testing.assert_close(targets[i], expected, rtol=1e-4, atol=1e-4)
        assert len(image.unique()) == (1 if "mixup" in alphas else 2)


def test_the_last_of_an_odd_batch_stays_as_it_is():
    for n in (1, 5):
        mixed, targets = mixing(mixup=0.8, smoothing=0.1)(images(n), LABELS[:n], 0, 0)
        assert torch.equal(mixed["image"][-1], images(n)["image"][-1])
        own = torch.full((CLASSES,), 0.1 / CLASSES)
        own[LABELS[n - 1]] += 0.9
        torch.testing.assert_close(targets[-1], own)


def test_a_step_is_mixed_by_seed_epoch_step_and_process_alone():
    def seen(seed=0, rank=0, epoch=1, step=2):
        return mixing(seed, rank, mixup=0.8, cutmix=1.0)(images(), LABELS, epoch, step)[0]["image"]

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    once = seen()
    assert torch.equal(seen(), once)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    for other in ({"seed": 1}, {"rank": 1}, {"epoch": 2}, {"step": 3}):
        assert not torch.equal(seen(**other), once), other


def test_the_loss_of_a_mixed_image_is_the_mean_over_its_labels():
    module = Classifier(Network(timm(3, "resnet10t"), CLASSES), None, None, smoothing=0.1)
    logits = torch.randn(6, CLASSES)
    shares = 0.3 * F.one_hot(LABELS, CLASSES) + 0.7 * F.one_hot(LABELS.flip(0), CLASSES)
    one, other = (F.cross_entropy(logits, y, reduction="none") for y in (LABELS, LABELS.flip(0)))
    torch.testing.assert_close(module.each_loss(logits, shares), 0.3 * one + 0.7 * other)
    smoothed = F.cross_entropy(logits, LABELS, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(module.each_loss(logits, LABELS), smoothed)


def test_stochastic_depth_is_a_constant_of_timms_models():
    torch.manual_seed(0)
    network = Network(timm(3, "test_convnext", drop_path_rate=0.9), CLASSES)
    x = torch.randn(4, 3, 64, 64)
    network.train()
    assert not torch.equal(network(image=x), network(image=x))
    network.eval()
    assert torch.equal(network(image=x), network(image=x))
