"""What every policy promises, whatever it leaves out."""

import io
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from dataprune.data.order import Order
from dataprune.dynamic import IES, RS2, InfoBatch, OrderDP, Policy, ProgressiveDropout, RhoLoss, SeTa, WithIds
from dataprune.errors import ConfigError

N, EPOCHS = 60, 12
POLICIES = {
    "all": lambda seed=0: Policy(N, EPOCHS, seed=seed),
    "infobatch": lambda seed=0: InfoBatch(N, EPOCHS, seed=seed),
    "seta": lambda seed=0: SeTa(N, EPOCHS, seed=seed),
    "rs2": lambda seed=0: RS2(N, EPOCHS, ratio=0.7, seed=seed),
    "orderdp": lambda seed=0: OrderDP(N, EPOCHS, seed=seed),
    "ies": lambda seed=0: IES(N, EPOCHS, threshold=0.5, average=1, seed=seed),
    "dropout": lambda seed=0: ProgressiveDropout(N, EPOCHS, seed=seed),
    "rho": lambda seed=0: RhoLoss(N, EPOCHS, irreducible=np.linspace(0, 1, N), seed=seed),
}
CHANGING = [name for name in POLICIES if name not in ("all", "dropout", "rho")]


@pytest.fixture(params=POLICIES, name="make")
def one_of_all(request):
    return POLICIES[request.param]


def loss_of(epoch):
    """Losses of all examples after an epoch, a made-up training."""
    return np.random.default_rng(epoch).gamma(1.0, 1.0, N).astype(np.float32)


def step(policy, epoch):
    """One epoch as the contract has it: epoch, then observe what was trained on and what else is wanted."""
    ids, weights = policy.epoch(epoch)
    wanted = np.sort(np.concatenate([ids, policy.excluded(epoch)]))
    policy.observe(wanted, loss_of(epoch)[wanted])
    return ids, weights


def same(left, right):
    for one, other in zip(left, right, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one.dtype == other.dtype and one.tobytes() == other.tobytes())


def test_an_epoch_gives_distinct_ids_and_positive_weights_aligned_with_them(make):
    policy = make()
    for epoch in range(EPOCHS):
        ids, weights = step(policy, epoch)
        assert ids.dtype == np.int64
        assert len(set(ids)) == len(ids) == policy.count > 0
        assert 0 <= ids.min() <= ids.max() < N
        if weights is not None:
            assert weights.dtype == np.float32
            assert weights.shape == ids.shape
            assert (weights > 0).all()


def test_an_epoch_is_the_same_however_often_it_is_asked_and_what_comes_meanwhile(make):
    policy = make()
    for epoch in range(EPOCHS):
        before = policy.epoch(epoch)
        policy.observe(before[0][:7], loss_of(epoch)[before[0][:7]])
        same(policy.epoch(epoch), before)
        assert list(policy) == before[0].tolist()


def test_what_a_caller_does_to_the_ids_changes_nothing():
    policy = Policy(N)
    policy.epoch(0)[0].fill(0)
    assert sorted(policy) == list(range(N))


def test_seeds_and_epochs_draw_anew(make):
    assert make().epoch(0)[0].tolist() != make(1).epoch(0)[0].tolist()
    policy = make()
    assert step(policy, 0)[0].tolist() != step(policy, 1)[0].tolist()


def test_what_is_not_pruned_comes_in_the_order_of_the_train_stage():
    order = Order(np.arange(N), 8, seed=3)
    for epoch in (0, 5):
        np.testing.assert_array_equal(Policy(N, seed=3).epoch(epoch)[0], order.epoch(epoch)[0])


# the state


@pytest.mark.parametrize("at", [0, 1, 4, 9])
def test_a_resumed_training_goes_on_with_the_same_bytes(make, at):
    whole = make()
    for epoch in range(at + 1):
        step(whole, epoch)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = make()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for epoch in range(at + 1, EPOCHS):
        same(step(resumed, epoch), step(whole, epoch))


def test_a_state_of_the_middle_of_an_epoch_gives_this_epoch_again_and_the_next(make):
    whole = make()
    for epoch in range(7):
        step(whole, epoch)
    ids, weights = whole.epoch(7)
    whole.observe(ids[:5], loss_of(7)[ids[:5]])
    resumed = make()
    resumed.load_state_dict(whole.state_dict())
    same(resumed.epoch(7), (ids, weights))
    for policy in (whole, resumed):
        policy.observe(ids[5:], loss_of(7)[ids[5:]])
    same(resumed.epoch(8), whole.epoch(8))


def test_a_state_is_a_copy():
    policy = InfoBatch(N, EPOCHS)
    state = policy.state_dict()
    policy.observe(np.arange(N), loss_of(0))
    assert state["losses"]["row"].isnan().all()
    other = InfoBatch(N, EPOCHS)
    other.load_state_dict(state)
    other.observe(np.arange(N), loss_of(0))
    assert state["losses"]["row"].isnan().all()


@pytest.mark.parametrize(
    ("other", "key"),
    [
        (InfoBatch(N, EPOCHS, ratio=0.4), "state_dict.ratio"),
        (InfoBatch(N + 1, EPOCHS), "state_dict.n"),
        (InfoBatch(N, EPOCHS + 1), "state_dict.epochs"),
        (InfoBatch(N, EPOCHS, seed=1), "state_dict.seed"),
        (SeTa(N, EPOCHS), "state_dict.policy"),
    ],
)
def test_the_state_of_another_policy_is_refused(other, key):
    with pytest.raises(ConfigError) as error:
        InfoBatch(N, EPOCHS).load_state_dict(other.state_dict())
    assert error.value.key in (key, "state_dict.ratio")
    with pytest.raises(ConfigError):
        InfoBatch(N, EPOCHS).load_state_dict({})


def test_another_table_of_irreducible_losses_is_another_state():
    with pytest.raises(ConfigError, match="irreducible"):
        RhoLoss(N).load_state_dict(RhoLoss(N, irreducible=np.ones(N)).state_dict())


# observing


def observed(make, calls):
    """The next epochs of a policy that observed each epoch in these calls: epoch, wanted ids -> lists of ids."""
    policy, found = make(), []
    for epoch in range(9):
        ids, _ = policy.epoch(epoch)
        for part in calls(epoch, np.concatenate([ids, policy.excluded(epoch)])):
            policy.observe(part, loss_of(epoch)[part])
        found.append(policy.epoch(epoch))
    return found


def test_observing_batch_by_batch_means_the_same_as_once_an_epoch(make):
    once = observed(make, lambda epoch, ids: [np.sort(ids)])
    for batches in (
        observed(make, lambda epoch, ids: np.array_split(ids, 7)),
        observed(make, lambda e, ids: ids[:, None]),
    ):
        for left, right in zip(once, batches, strict=True):
            same(left, right)


def test_what_two_processes_saw_means_the_same_as_what_one_saw(make):
    once = observed(make, lambda epoch, ids: [np.sort(ids)])
    for left, right in zip(once, observed(make, lambda epoch, ids: [ids[1::2], ids[::2]]), strict=True):
        same(left, right)


def test_a_repeat_that_fills_a_batch_up_does_not_count():
    for calls in ([([3, 4, 3], [1.0, 2.0, 9.0])], [([3, 4], [1.0, 2.0]), ([3], [9.0])]):
        policy = Policy(5)
        for ids, losses in calls:
            policy.observe(ids, losses)
        policy.epoch(1)
        np.testing.assert_array_equal(policy.seen.last, np.float32([np.nan, np.nan, np.nan, 1, 2]))


def test_a_later_epoch_replaces_a_loss_and_leaves_the_others():
    policy = Policy(3)
    policy.observe([0, 1], [1.0, 2.0])
    policy.epoch(1)
    policy.observe([1], [5.0])
    policy.epoch(2)
    np.testing.assert_array_equal(policy.seen.last, np.float32([1, 5, np.nan]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_tensors_with_a_gradient_and_of_any_precision_are_observed(dtype):
    policy = Policy(4)
    losses = torch.tensor([0.5, 2.0], dtype=dtype, requires_grad=True)
    policy.observe(torch.tensor([3, 1], dtype=torch.int32), losses * 1)
    policy.epoch(1)
    np.testing.assert_array_equal(policy.seen.last, np.float32([np.nan, 2, np.nan, 0.5]))


def test_a_loss_that_is_no_number_is_refused_with_its_ids_and_takes_nothing_in():
    policy = InfoBatch(N, EPOCHS)
    with pytest.raises(ConfigError, match=r"losses=NaN or inf at ids 7, 9: expected finite"):
        policy.observe([3, 7, 9], [1.0, float("nan"), float("inf")])
    assert np.isnan(policy.seen.row).all()


@pytest.mark.parametrize(
    ("ids", "losses", "key"),
    [
        ([0, N], [1.0, 1.0], "ids"),
        ([-1], [1.0], "ids"),
        ([0.0], [1.0], "ids"),
        (np.ones(N, bool), np.ones(N), "ids"),
        ([[0]], [[1.0]], "ids"),
        ([0, 1], [1.0], "losses"),
        ([0], 1.0, "losses"),
    ],
)
def test_ids_and_losses_that_do_not_fit_are_refused(ids, losses, key):
    with pytest.raises(ConfigError) as error:
        InfoBatch(N, EPOCHS).observe(ids, losses)
    assert error.value.key == key


def test_observing_nothing_is_nothing():
    policy = IES(N, average=1)
    policy.observe([], [])
    policy.epoch(3)
    assert np.isnan(policy.seen.history).all()


# weights


def test_weights_are_looked_up_by_id_as_a_tensor_or_an_array():
    policy = InfoBatch(N, EPOCHS)
    step(policy, 0)
    ids, weights = policy.epoch(1)
    np.testing.assert_array_equal(policy.weights(ids), weights)
    found = policy.weights(torch.from_numpy(ids[:5]))
    assert found.dtype == torch.float32
    assert found.tolist() == weights[:5].tolist()


def test_an_epoch_without_weights_weighs_all_one(make):
    assert (make().weights(make().epoch(0)[0]) == 1).all()


def test_ids_of_another_epoch_have_no_weight():
    policy = InfoBatch(N, EPOCHS)
    step(policy, 0)
    out = np.setdiff1d(np.arange(N), policy.epoch(1)[0])
    with pytest.raises(ConfigError, match=f"ids={out[0]}: expected ids of epoch 1"):
        policy.weights([policy.epoch(1)[0][0], out[0]])


# arguments


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: Policy(0), "n"),
        (lambda: Policy(2.5), "n"),
        (lambda: Policy(3, 0), "epochs"),
        (lambda: Policy(3, seed=-1), "seed"),
        (lambda: Policy(3, 4).epoch(5), "epoch"),
        (lambda: Policy(3, 4).set_epoch(5), "epoch"),
        (lambda: Policy(3, 4).set_epoch(1.5), "epoch"),
        (lambda: Policy(3, 4).set_epoch(-1), "epoch"),
        (lambda: Policy(3).progress(), "epochs"),
    ],
)
def test_arguments_that_cannot_work_are_refused(call, key):
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.key == key


# torch


def test_progress_is_the_share_of_the_training_that_is_over():
    policy = RS2(100, 4, ratio=0.5)
    assert policy.progress() == 0
    policy.set_epoch(2)
    assert policy.progress(25) == (2 + 0.5) / 4
    assert policy.progress(64) == 0.75
    assert policy.count == 50
    policy.set_epoch(4)
    assert policy.progress() == 1


def test_behind_the_last_epoch_there_is_nothing_to_train_on(make):
    """Where a finished training is resumed; a loop that is longer than its sampler is told, then stopped."""
    policy = make()
    policy.set_epoch(EPOCHS)
    with pytest.warns(UserWarning, match="12 epochs of this sampler are over"):
        assert list(policy) == []
    assert policy.epoch(EPOCHS)[0].dtype == np.int64
    with pytest.raises(ConfigError, match="epoch=13: expected a whole number, 0 to 12"):
        policy.set_epoch(EPOCHS + 1)


@pytest.mark.parametrize("name", POLICIES)
def test_a_loader_has_no_length(name):
    """With one, Lightning would skip evaluation and cut epochs that are longer than the first."""
    with pytest.raises(TypeError):
        len(DataLoader(range(N), sampler=POLICIES[name](), batch_size=8))


@pytest.mark.parametrize(("name", "workers"), [*((name, 0) for name in CHANGING), ("infobatch", 2)])
def test_a_loader_gives_the_examples_of_the_epoch_in_order(name, workers):
    policy, twin = POLICIES[name](), POLICIES[name]()
    data = [(torch.full((2,), float(i)), i % 3) for i in range(N)]
    loader = DataLoader(
        WithIds(data), sampler=policy, batch_size=8, num_workers=workers, persistent_workers=workers > 0
    )
    lengths = set()
    for epoch in range(3 if workers else 8):
        policy.set_epoch(epoch)
        seen = []
        for x, y, ids in loader:
            assert x[:, 0].tolist() == ids.tolist()
            assert y.tolist() == (ids % 3).tolist()
            policy.observe(ids, loss_of(epoch)[ids.numpy()])
            seen += ids.tolist()
        out = policy.excluded(epoch)
        policy.observe(out, loss_of(epoch)[out])
        assert seen == step(twin, epoch)[0].tolist()
        lengths.add(len(seen))
    assert len(lengths) > 1 or name in ("rs2", "orderdp")


def test_a_batch_sampler_takes_it():
    batches = list(BatchSampler(RS2(20, ratio=0.5), 4, drop_last=False))
    assert [len(b) for b in batches] == [4, 4, 2]


def test_a_loop_that_forgets_set_epoch_is_told():
    policy = InfoBatch(N, EPOCHS)
    for ids in DataLoader(range(N), sampler=policy, batch_size=30):
        policy.observe(ids, torch.ones(len(ids)))
    with pytest.warns(UserWarning, match=r"epoch 0 begins again.*set_epoch"):
        iter(policy)
    policy.set_epoch(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        iter(policy)
