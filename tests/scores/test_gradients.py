"""Gradient lengths and means over runs.

Vectors (14): grand_aggregate_pergrad grad_norm and el2n; grand_aggregate_basic mean_score and its five kept sets;
lastlayer_craig_{0,1} grand_last, grad (its length) and el2n. Not matched on purpose: grand_deepcore (each gradient
divided by its batch size); craig_* and grad_dist_* belong to the selectors.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.scores.dynamics import el2n
from dataprune.scores.gradients import aggregate, gradient_length, grand, grand_last_layer

REFERENCE = Path(__file__).parents[1] / "reference"


def two_layers(z):
    """The ReLU network of a vector."""
    network = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.ReLU(), torch.nn.Linear(9, 5))
    for weight, key in zip(network.parameters(), ("w1", "b1", "w2", "b2"), strict=True):
        weight.data = torch.from_numpy(z[key])
    return network


def convolutions(classes=4):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3),
        torch.nn.BatchNorm2d(5),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(5, classes),
    )


def one_backward_each(network, images, labels):
    """Slow twin: a backward pass an example, all trainable parameters."""
    network.eval()
    lengths = []
    for image, label in zip(images, labels, strict=True):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(image[None]), label[None]).backward()
        squares = [w.grad.double().square().sum() for w in network.parameters() if w.requires_grad]
        lengths.append(float(sum(squares).sqrt()))
    return lengths


def test_grand_matches_dp4tl():
    z = np.load(REFERENCE / "grand_aggregate_pergrad.npz")
    network = two_layers(z)
    np.testing.assert_allclose(grand(network, z["x"], z["y"], chunk=7), z["grad_norm"], rtol=1e-4)
    p = network(torch.from_numpy(z["x"])).softmax(-1).detach().numpy()
    error = np.linalg.norm(p - np.eye(5)[z["y"]], axis=1)
    np.testing.assert_allclose(el2n(error[None]), z["el2n"], rtol=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_grand_agrees_with_a_backward_pass_an_example_whatever_the_chunk(frozen):
    network = convolutions()
    network[0].requires_grad_(not frozen)
    images, labels = torch.randn(9, 3, 8, 8), torch.arange(9) % 4
    slow = one_backward_each(network, images, labels)
    for chunk in (1, 4, 100):
        np.testing.assert_allclose(grand(network, images, labels, chunk=chunk), slow, rtol=1e-5)


def test_grand_leaves_the_network_as_it_was():
    network = convolutions().train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grand(network, torch.randn(5, 3, 8, 8), torch.zeros(5, dtype=torch.long))
    assert [module.training for module in network] == [True, False, True, True, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("case", ["0", "1"])
def test_the_closed_form_matches_deepcore_without_its_batch_division(case):
    z = np.load(REFERENCE / "deepcore" / f"lastlayer_craig_{case}.npz")
    ours = grand_last_layer(z["probs"], z["X"], z["y"])
    np.testing.assert_allclose(ours, z["grand_last"], rtol=1e-4)
    np.testing.assert_allclose(ours, np.linalg.norm(z["grad"], axis=1), rtol=1e-4)
    error = np.linalg.norm(z["probs"] - np.eye(z["probs"].shape[1])[z["y"]], axis=1)
    np.testing.assert_allclose(el2n(error[None]), z["el2n"], rtol=1e-4)


def test_the_closed_form_is_grand_of_a_linear_network():
    torch.manual_seed(1)
    head, x, labels = torch.nn.Linear(7, 3), torch.randn(20, 7), torch.arange(20) % 3
    p = head(x).softmax(-1).detach().numpy()
    np.testing.assert_allclose(grand_last_layer(p, x.numpy(), labels.numpy()), grand(head, x, labels), rtol=1e-5)


def test_means_and_kept_sets_match_dp4tl():
    z = np.load(REFERENCE / "grand_aggregate_basic.npz")
    mean = aggregate(z["run_scores"])
    np.testing.assert_allclose(mean, z["mean_score"], rtol=1e-5)
    ranked = np.argsort(-mean, kind="stable")
    for q in z["per_mille"]:
        assert (ranked[: z[f"count_k{q}"]] == z[f"indices_k{q}"]).all()


def test_a_run_that_did_not_score_an_example_has_no_say():
    runs = np.array([[1, np.nan, np.nan], [3, 4, np.nan]])
    np.testing.assert_array_equal(aggregate(runs), [2, 4, np.nan])


def test_el2n_of_one_epoch_over_models_is_the_mean_of_their_rows():
    runs = np.random.default_rng(0).random((5, 8, 30))  # (runs, e, n)
    rows = np.stack([error[3] for error in runs])
    np.testing.assert_allclose(aggregate(rows), np.mean([el2n(error[3:4]) for error in runs], axis=0), rtol=1e-6)


def test_the_larger_gradient_is_kept_first():
    p, x = np.array([[0.9, 0.1], [0.2, 0.8]]), np.ones((2, 3))
    right, wrong = grand_last_layer(p, x, np.array([0, 0]))
    assert wrong > right


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x, y: grand(net, x, y[:3]), r"labels=array of shape \(3,\): expected shape \(5\)"),
        (lambda net, x, y: grand(net, x, y + 2), r"labels=4 at ids 2: expected class ids of 0 to 3"),
        (lambda net, x, y: grand(net, x, y, chunk=0), r"chunk=0: expected a whole number, 1 or more"),
        (lambda net, x, y: grand(net.requires_grad_(False), x, y), r"network=no parameter that requires a gradient"),
        (lambda net, x, y: grand(net, x * torch.tensor([1, 1, 1, np.inf, 1])[:, None, None, None], y), r"at ids 3"),
        (lambda net, x, y: grand_last_layer(np.eye(4)[:3], np.ones((2, 2)), y[:3]), r"features=2 rows: expected 3"),
        (lambda net, x, y: aggregate(np.array([[1.0, np.inf]])), r"run_scores=inf in row 0 at ids 1"),
    ],
)
def test_what_cannot_work_is_named_with_what_would_do(call, message):
    with pytest.raises(ConfigError, match=message):
        call(convolutions(), torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1]))


def test_lengths_that_are_there_are_taken_as_they_are():
    assert gradient_length(np.array([0.5, 2.0])).tolist() == [0.5, 2.0]
    with pytest.raises(ConfigError, match="ids 1 below 0"):
        gradient_length(np.array([0.5, -2.0]))


def test_a_network_that_looks_at_values_is_scored_one_example_at_a_time():
    class Looks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 2)

        def forward(self, x, mask):
            return self.layer(x if mask.all() else x * mask)

    torch.manual_seed(0)
    network, x, labels = Looks(), torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
    mask = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(
        grand(network, {"x": x, "mask": mask}, labels, chunk=2), grand(network.layer, x * mask, labels), rtol=1e-6
    )
