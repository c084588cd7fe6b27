"""Solvers of a linear head: the steps of torch's own loop, and the minimum that L-BFGS is for."""

import numpy as np
import pytest
import torch

from dataprune.data.order import Order
from dataprune.data.shares import same_share
from dataprune.errors import ConfigError
from dataprune.streams import stream
from dataprune.training.linear import Task, full_batch, sgd
from dataprune.training.schedules import multistep

N, D, CLASSES = 70, 12, 5
SGD = {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-3}
LBFGS = {"_target_": "torch.optim.LBFGS", "history_size": 20, "line_search_fn": "strong_wolfe"}


def task(epochs=6, optimizer=SGD, weights=None, steps=None, seed=0):
    """Gaussian classes that overlap, a fresh head, and what a solver has told."""
    draws = torch.Generator().manual_seed(3)
    labels = torch.arange(N) % CLASSES
    vectors = torch.randn(N, D, generator=draws) + 0.7 * torch.randn(CLASSES, D, generator=draws)[labels]
    torch.manual_seed(1)
    head, lines, passed = torch.nn.Linear(D, CLASSES), [], []
    order = Order(np.arange(N), 16, seed)
    steps = epochs * order.steps if steps is None else steps

    def rate(at, lr):
        return multistep(at, steps, order.steps, lr, epochs=[2, 4])

    told, counted = lambda *line: lines.append(line), lambda x: passed.append(len(x))
    made = Task(head, vectors, labels, weights, order, epochs, steps, rate, optimizer, told, counted)
    return made, lines, passed


def plain_loop(given):
    """torch.optim.SGD with autograd, batch by batch; the mean loss and accuracy of each epoch."""
    constants = {name: value for name, value in given.optimizer.items() if name != "_target_"}
    optimizer, lines, done = torch.optim.SGD(given.head.parameters(), **constants), [], 0
    for epoch in range(given.epochs):
        sums = np.zeros(2)
        for share in given.order.batches(epoch):
            if done == given.steps:
                break
            ids = torch.from_numpy(share.ids)
            for group in optimizer.param_groups:
                group["lr"] = given.rate(share.at, constants["lr"])
            logits = given.head(given.vectors[ids])
            losses = torch.nn.functional.cross_entropy(logits, given.labels[ids], reduction="none")
            weighted = losses if given.weights is None else losses * given.weights[ids]
            optimizer.zero_grad()
            (weighted.sum() / len(ids)).backward()
            optimizer.step()
            done += 1
            sums += [weighted.sum().item(), (logits.argmax(1) == given.labels[ids]).sum().item()]
        lines.append(sums / N)
    return lines


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("constants", [{}, {"momentum": 0.0}, {"weight_decay": 0.0}], ids=str)
def test_sgd_takes_the_steps_of_torchs_loop(constants, weighted):
    weights = torch.linspace(0.5, 1.5, N) if weighted else None
    (ours, lines, passed), (theirs, _, _) = (task(optimizer=SGD | constants, weights=weights) for _ in range(2))
    sgd(ours)
    wanted = plain_loop(theirs)
    for name, parameter in theirs.head.named_parameters():
        found = ours.head.get_parameter(name)
        torch.testing.assert_close(found, parameter, rtol=1e-5, atol=1e-6)
        assert not torch.equal(found, task()[0].head.get_parameter(name)), "it has learned"
    np.testing.assert_allclose([line[2:4] for line in lines], wanted, rtol=1e-5)
    assert [line[0] for line in lines] == list(range(6))
    np.testing.assert_allclose([line[4] for line in lines], [0.05] * 2 + [0.005] * 2 + [0.0005] * 2)
    assert sum(passed) == 6 * N, "the last, smaller batch too"


def test_sgd_ends_after_its_iterations():
    (ours, lines, _), (theirs, _, _) = (task(epochs=2, steps=7) for _ in range(2))
    sgd(ours)
    plain_loop(theirs)
    torch.testing.assert_close(ours.head.weight, theirs.head.weight, rtol=1e-5, atol=1e-6)
    assert lines[-1][1] == 7


def test_sgd_refuses_what_it_would_ignore():
    with pytest.raises(ConfigError, match="nesterov"):
        sgd(task(optimizer=SGD | {"nesterov": True})[0])


def objective(given, l2):
    w, b = given.head.weight.detach().double(), given.head.bias.detach().double()
    w.requires_grad_(), b.requires_grad_()
    loss = torch.nn.functional.cross_entropy(given.vectors.double() @ w.T + b, given.labels)
    loss = loss + 0.5 * l2 * (w.square().sum() + b.square().sum())
    loss.backward()
    return torch.cat([w.grad.flatten(), b.grad]).abs().max().item()


@pytest.mark.parametrize("l2", [5e-2, 5e-4])
def test_lbfgs_ends_where_the_gradient_of_the_objective_is_zero_whatever_the_seed(l2):
    heads = []
    for seed in (0, 1):
        given, lines, passed = task(steps=200, optimizer=LBFGS, seed=seed)
        torch.nn.init.normal_(given.head.weight, std=1 + seed)  # it starts at zero
        assert full_batch(given, l2=l2) == {"l2": l2}
        assert objective(given, l2) < 1e-4
        assert len(lines) == 1
        assert set(passed) == {N}
        heads.append(given.head.weight.detach().clone())
    torch.testing.assert_close(*heads, rtol=1e-2, atol=1e-3)


def test_of_several_strengths_the_best_on_held_out_examples_is_taken():
    given, several = task(steps=100, optimizer=LBFGS)[0], [1e-5, 0.03, 1.0]
    found = full_batch(given, l2=several, validation=0.3)
    kept = same_share(given.labels.numpy(), 49, stream(0, "validation"))
    heldout, right = np.setdiff1d(np.arange(N), kept), {}
    for l2 in several:
        part = task(steps=100, optimizer=LBFGS)[0]
        part.order.ids = kept
        full_batch(part, l2=l2)
        right[l2] = (part.head(given.vectors[heldout]).argmax(1) == given.labels[heldout]).double().mean().item()
    assert len({*right.values()}) > 1
    assert found["l2"] == max(l2 for l2 in several if right[l2] == max(right.values()))
    alone = task(steps=100, optimizer=LBFGS)[0]
    full_batch(alone, l2=found["l2"])
    torch.testing.assert_close(given.head.weight, alone.head.weight)  # fitted on all in the end
    with pytest.raises(ConfigError, match="validation"):
        full_batch(task(optimizer=LBFGS)[0], l2=[1.0, 2.0], validation=0.0)
