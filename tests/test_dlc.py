"""DLC: features of a surrogate that is pruned more and more, and the loss to the dense network's class centres."""

import json

import numpy as np
import pytest
import torch

from dataprune.checkpoints.masks import prunable
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, cnn
from dataprune.models.sparsity import kept
from dataprune.scores.features import dlc
from dataprune.signals import features_by_sparsity

RNG = np.random.default_rng(0)
LABELS = np.array([0, 3, 0, 3, 7, 0, 7, 3, 0])
FEATURES = RNG.normal(size=(9, 5)).astype(np.float32)
PRUNED = (FEATURES[:, None] + RNG.normal(size=(9, 4, 5)) / 3).astype(np.float16)


def losses():
    """By the definition, one example and level after another."""
    centers = torch.stack([torch.from_numpy(FEATURES[c == LABELS]).double().mean(0) for c in (0, 3, 7)])
    own = torch.tensor([[0, 3, 7].index(c) for c in LABELS])
    each = []
    for level in range(4):
        logits = 1 / torch.cdist(torch.from_numpy(PRUNED[:, level]).double(), centers)
        each.append(torch.nn.functional.cross_entropy(logits, own, reduction="none"))
    return torch.stack(each).mean(0).numpy()


def test_the_score_is_the_mean_loss_over_the_levels():
    np.testing.assert_allclose(dlc(FEATURES, PRUNED, LABELS), losses(), rtol=1e-6)
    np.testing.assert_allclose(dlc(FEATURES, PRUNED, LABELS, keep="easiest"), -losses(), rtol=1e-6)


def test_split_takes_both_ends_of_each_class():
    scores, hard = dlc(FEATURES, PRUNED, LABELS, keep="split"), losses()
    for c in (0, 3):
        ids = np.flatnonzero(c == LABELS)
        by_loss, by_score = ids[np.argsort(hard[ids])], ids[np.argsort(-scores[ids], kind="stable")]
        assert set(by_score[:2]) == {by_loss[0], by_loss[-1]}


def test_an_example_on_its_centre_costs_nothing_and_bad_input_is_told():
    far = np.array([[0.0, 0], [100, 0]])
    assert dlc(far, far[:, None], np.arange(2)).tolist() == [0, 0]
    with pytest.raises(ConfigError, match=r"^keep='middle': expected hardest \| easiest \| split"):
        dlc(FEATURES, PRUNED, LABELS, keep="middle")
    with pytest.raises(ConfigError, match=r"^features_by_sparsity=array of shape \(9, 4\)"):
        dlc(FEATURES, PRUNED[:, :, 0], LABELS)
    with pytest.raises(ConfigError, match=r"^features_by_sparsity=NaN or inf at ids 2"):
        dlc(FEATURES, np.where(np.arange(9)[:, None, None] == 2, np.inf, PRUNED), LABELS)


def test_levels_are_pruned_over_all_layers_and_the_network_is_as_before():
    torch.manual_seed(0)
    network = Network(cnn(1, width=4, depth=2), 3).eval()
    before = {name: v.clone() for name, v in network.state_dict().items()}
    images = torch.randn(2, 1, 8, 8)
    seen = []
    network.backbone.register_forward_pre_hook(
        lambda *ignored: seen.append([w.detach().clone() for w in prunable(network).values()][:2])
    )
    found = features_by_sparsity(network, {"image": images}, levels=3, interval=0.5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    left = [sum(int(w.count_nonzero()) for w in weights) for weights in seen]
    assert left == [kept(0.5, 324), kept(0.5, 162), kept(0.5, 81)] == [162, 81, 41]
    sizes = torch.cat([w.flatten().abs() for w in [*prunable(network).values()][:2]])
    gone = torch.cat([w.flatten() for w in seen[0]]) == 0
    assert sizes[gone].max() < sizes[~gone].min()
    assert found.shape == (2, 3, 8)
    for name, weight in zip([*prunable(network)][:2], seen[1], strict=True):
        network.get_parameter(name).data.copy_(weight)
    assert torch.equal(network.features(image=images), found[:, 1])


def test_a_network_that_fails_gets_its_weights_back():
    network = Network(cnn(1, width=4, depth=2), 3).eval()
    before = network.head.weight.clone(), next(network.backbone.parameters()).clone()
    with pytest.raises(RuntimeError):
        features_by_sparsity(network, {"image": torch.randn(2, 5, 8, 8)})
    assert torch.equal(next(network.backbone.parameters()), before[1])


def test_the_method_runs_and_keeps_classes_balanced(jobs):
    (row,) = jobs.run("method=dlc", "target=none", "prune_ratio=0.5")
    assert row["method"] == "dlc"
    folder = jobs.store / "signals" / row["keys"]["signal.features_by_sparsity"]
    assert np.load(folder / "features_by_sparsity.npy").shape == (row["of"], 10, 16)
    ids = np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy")
    labels = np.load(jobs.store / "index" / row["keys"]["source"] / "train" / "labels.npy")
    assert set(np.bincount(labels[ids])) == {3}
    assert json.dumps(row["config"]["method"]).count("features_by_sparsity") >= 1
    (other,) = jobs.run("method=dlc", "target=none", "method.signals.features_by_sparsity.interval=0.2")
    assert other["keys"]["signal.features_by_sparsity"] != row["keys"]["signal.features_by_sparsity"]
