"""InfoBatch prunes only what is below the mean, and what it keeps of that stands for all of it.

Vector: infobatch_prune_step (scores, weights, below_mean; not the random identity).
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.dynamic import InfoBatch, Policy
from dataprune.errors import ConfigError
from dataprune.streams import stream

REFERENCE = Path(__file__).parents[1] / "reference" / "peer_scores" / "infobatch_prune_step.npz"


def after(losses, n=None, **options):
    """A policy that observed these losses of the first ids in epoch 0."""
    policy = InfoBatch(n or len(losses), options.pop("epochs", 8), **options)
    policy.observe(np.arange(len(losses)), losses)
    return policy


def slow(losses, ratio, kept_below):
    """Weights by id as the paper has them, 0 = left out; `kept_below`: the ids below the mean that were drawn."""
    seen = [float(loss) for loss in losses if not np.isnan(loss)]
    mean = sum(seen) / len(seen)
    return [1.0 if not loss < mean else 1 / (1 - ratio) if i in kept_below else 0.0 for i, loss in enumerate(losses)]


def test_one_pruning_agrees_with_the_published_code_in_all_but_the_draw():
    with np.load(REFERENCE) as z:
        scores, kept, below, theirs = z["scores"], z["kept_seed7_official"], z["below_mean"], z["weights_official"]
    ids, weights = after(scores).epoch(1)
    assert len(ids) == len(kept) == 41
    assert set(np.flatnonzero(~below)) < set(ids)
    assert below[ids].sum() == below[kept].sum()
    assert sorted(weights) == sorted(theirs[kept])
    assert set(weights[below[ids]]) == {2.0}


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.9])
def test_an_epoch_is_what_the_formula_says(ratio):
    rng = np.random.default_rng(1)
    losses = rng.gamma(0.5, 1, 101).astype(np.float32)
    losses[rng.permutation(101)[:20]] = np.nan  # never observed
    policy = InfoBatch(101, 8, ratio=ratio)
    seen = np.flatnonzero(~np.isnan(losses))
    policy.observe(seen, losses[seen])
    ids, weights = policy.epoch(3)
    found = np.zeros(101, np.float32)
    found[ids] = weights
    np.testing.assert_allclose(found, slow(losses, ratio, set(ids)), rtol=1e-6)
    below = np.flatnonzero(losses < np.nanmean(losses.astype(float)))
    drawn = stream(0, "prune", 3).permutation(below)[: int(round((1 - ratio) * len(below), 9))]
    assert set(drawn) == set(below) & set(ids)  # a stream of its own: what is kept tells nothing about the order


def test_the_first_epoch_is_the_whole_data_unweighted():
    ids, weights = InfoBatch(10, 4).epoch(0)
    assert sorted(ids) == list(range(10))
    assert weights is None


def test_what_was_never_observed_is_kept_with_weight_one():
    policy = after([1.0, 5.0], n=6, ratio=0.99)
    ids, weights = policy.epoch(1)
    assert dict(zip(ids.tolist(), weights.tolist(), strict=True)) == dict.fromkeys([1, 2, 3, 4, 5], 1.0)


def test_equal_losses_prune_nothing():
    ids, weights = after(np.ones(10)).epoch(1)
    assert len(ids) == 10
    assert weights is None or (weights == 1).all()


@pytest.mark.parametrize(
    ("epochs", "anneal", "full"),
    [(8, 0.125, [0, 7]), (10, 0.3, [0, 7, 8, 9]), (9, 0.125, [0, 8]), (4, 0, [0]), (3, 1, [0, 1, 2])],
)
def test_the_last_epochs_are_full_and_unweighted(epochs, anneal, full):
    policy = InfoBatch(40, epochs, anneal=anneal)
    found = []
    for epoch in range(epochs):
        ids, weights = policy.epoch(epoch)
        policy.observe(ids, np.linspace(0, 1, 40)[ids])
        if len(ids) == 40:
            assert weights is None
            found.append(epoch)
        else:
            assert len(ids) == 30
    assert found == full


def test_the_annealed_epochs_are_those_of_a_training_without_pruning():
    policy = after(np.arange(40.0), epochs=8)
    np.testing.assert_array_equal(policy.epoch(7)[0], Policy(40).epoch(7)[0])


def test_a_ratio_of_zero_keeps_all():
    ids, weights = after(np.arange(9.0), ratio=0).epoch(1)
    assert len(ids) == 9
    assert set(weights) == {1.0}


def test_the_expected_weight_of_every_example_is_one():
    """Unbiased: over the draws each id's mean weight is 1, 0 counting where it is left out."""
    total, draws = np.zeros(20), 2000
    for seed in range(draws):
        ids, weights = after(np.arange(20.0), ratio=0.6, seed=seed).epoch(1)
        total[ids] += weights
        assert weights.sum() == pytest.approx(20)  # 4 of the 10 below the mean, each for 2.5
    assert (total[10:] == draws).all()
    # the standard deviation of one draw is sqrt(0.6 / 0.4) = 1.22, of the mean 0.027
    np.testing.assert_allclose(total[:10] / draws, 1, atol=5 * 1.22 / np.sqrt(draws))


def test_the_gradient_of_the_weighted_loss_is_that_of_all_examples_on_average():
    rng = np.random.default_rng(0)
    gradients, losses = rng.normal(size=(30, 4)), rng.gamma(1, 1, 30)
    losses[losses < losses.mean()] *= 0.9
    sums = []
    for seed in range(3000):
        ids, weights = after(losses, seed=seed).epoch(1)
        sums.append((weights[:, None] * gradients[ids]).sum(0))
    below = int((losses < losses.mean()).sum())
    whole = gradients.sum(0)
    if below % 2:  # the rounding down of what is kept is the only bias
        low = losses < losses.mean()
        whole = gradients[~low].sum(0) + gradients[low].sum(0) * (below - 1) / below
    error = np.std(sums, axis=0) / np.sqrt(len(sums))
    assert (np.abs(np.mean(sums, axis=0) - whole) < 5 * error).all()


def test_the_mean_is_over_stale_losses_too():
    policy = after([0.0, 0, 0, 10], epochs=8, ratio=0.99)
    assert policy.epoch(1)[0].tolist() == [3]
    policy.observe([3], [20.0])
    assert policy.epoch(2)[0].tolist() == [3]
    policy.observe([3], [0.0])  # all equal now
    assert len(policy.epoch(3)[0]) == 4


@pytest.mark.parametrize(
    ("options", "key"),
    [({"ratio": 1}, "ratio"), ({"ratio": -0.1}, "ratio"), ({"ratio": "half"}, "ratio"),
     ({"ratio": float("nan")}, "ratio"), ({"anneal": 1.5}, "anneal"), ({"anneal": True}, "anneal"),
     ({"epochs": None}, "epochs")],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_its_name(options, key):
    with pytest.raises(ConfigError) as error:
        InfoBatch(10, options.pop("epochs", 4), **options)
    assert error.value.key == key
    assert "fraction from 0" in str(error.value) or key == "epochs"
