"""Examples that went through a network: the real ones, each time that they did, at the shape that they had."""

import pytest
import torch

from dataprune.models import tally
from dataprune.models.flops import forward_flops, step_flops
from dataprune.models.networks import Network, cnn
from dataprune.models.tally import ATTACK, FORWARD, GRADIENT, STEP, Tally, form_of

SMALL, LARGE = (1, 8, 8), (1, 16, 16)


def images(n, shape):
    return {"image" if len(shape) == 3 else "features": torch.empty(n, *shape)}


def example(shape):
    return {name: column[0] for name, column in images(1, shape).items()}


def form(shape):
    return form_of(images(1, shape))


def tally_of(*added):
    tally = Tally()
    for kind, n, shape in added:
        tally.add(kind, images(n, shape))
    tally.settle()
    return tally


@pytest.fixture
def network():
    return Network(cnn(1, width=4, depth=2), 5)


@pytest.mark.parametrize(
    ("kind", "forward", "backward", "seen"),
    [(FORWARD, 7, 0, 0), (STEP, 7, 7, 7), (ATTACK, 7, 7, 0), (GRADIENT, 7, 7, 0)],
)
def test_each_kind_goes_its_ways(network, kind, forward, backward, seen):
    tally = tally_of((kind, 4, SMALL), (kind, 3, SMALL))
    facts = tally.facts(network)
    assert (facts["images_forward"], facts["images_backward"], tally.seen) == (forward, backward, seen)
    expected = {FORWARD: forward_flops, STEP: step_flops, GRADIENT: step_flops, ATTACK: lambda *_: 0}[kind]
    assert facts["flops"] == 7 * expected(network, example(SMALL))


def test_fillers_are_not_counted():
    tally = Tally()
    tally.add(STEP, images(3, SMALL), torch.tensor([True, False, True]))
    tally.add(STEP, images(3, SMALL))
    tally.settle()
    assert tally.seen == 5


def test_images_of_another_size_take_other_flops(network):
    facts = tally_of((STEP, 2, SMALL), (STEP, 3, LARGE)).facts(network)
    assert facts["flops"] == 2 * step_flops(network, example(SMALL)) + 3 * step_flops(network, example(LARGE))
    assert facts["images_forward"] == 5


def test_vectors_take_flops_and_are_no_images(network):
    network.freeze_backbone()
    facts = tally_of((FORWARD, 10, SMALL), (STEP, 40, (8,))).facts(network)
    head = 2 * 8 * 5
    assert facts == {
        "images_forward": 10,
        "images_backward": 0,
        "flops": 10 * forward_flops(network, example(SMALL)) + 40 * 2 * head,
    }


def test_what_cannot_be_counted_makes_the_sum_unknown(network):
    facts = tally_of((FORWARD, 10, SMALL), (STEP, 4, (9, 9, 9))).facts(network)  # nine channels do not go in
    assert facts == {"images_forward": 14, "images_backward": 4, "flops": None}


def test_nothing_takes_nothing(network):
    assert Tally().facts(network) == {"images_forward": 0, "images_backward": 0, "flops": 0.0}


def test_processes_are_summed_when_it_is_settled_and_not_twice():
    tally = Tally()
    for _ in range(2):
        tally.add(STEP, images(3, SMALL))
        tally.add(FORWARD, images(5, SMALL))
        tally.settle(lambda sums: (2 * sums).tolist())
    tally.settle(lambda sums: pytest.fail("there is nothing new"))
    assert tally.counts == {(STEP, form(SMALL)): 12, (FORWARD, form(SMALL)): 20}


def test_its_state_is_plain_and_adds_up(tmp_path):
    first = tally_of((STEP, 3, SMALL), (FORWARD, 2, LARGE))
    torch.save(first.state(), tmp_path / "state.pt")
    second = tally_of((STEP, 1, SMALL))
    second.take_over(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.counts == {(STEP, form(SMALL)): 4, (FORWARD, form(LARGE)): 2}


def test_what_is_not_settled_is_in_no_checkpoint():
    tally = tally_of((STEP, 3, SMALL))
    tally.add(STEP, images(9, SMALL))
    assert tally.state() == [[STEP, [["image", "torch.float32", list(SMALL)]], 3]]


def test_texts_of_many_lengths_cost_what_each_length_costs(monkeypatch):
    """Attention makes two short texts cheaper than one that is twice as long."""

    class Attends(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 2)

        def forward(self, input_ids, attention_mask):
            x = self.embedding(input_ids)
            return self.head((x @ x.transpose(1, 2) @ x).mean(1))

    asked = []
    real = tally.forward_flops
    monkeypatch.setattr(tally, "forward_flops", lambda network, x: asked.append(x) or real(network, x))
    counted = Tally()
    for length in range(1, 21):
        column = torch.zeros(3, length, dtype=torch.int64)
        counted.add(FORWARD, {"input_ids": column, "attention_mask": column})
    counted.settle()
    facts = counted.facts(Attends())
    assert facts["images_forward"] == 60
    assert facts["flops"] == sum(3 * (2 * 2 * length * length * 4 + 2 * 4 * 2) for length in range(1, 21))
    assert len(asked) == 4


def test_processes_that_saw_other_lengths_add_up():
    """Two processes pad their shares of a batch to their own longest text: sums over kinds must meet in one order."""

    def counted(*lengths):
        one = Tally()
        for length in lengths:
            one.add(FORWARD, {"input_ids": torch.zeros(2, length, dtype=torch.int64)})
        return one

    here, there = counted(5, 7, 7), counted(6, 7)
    both = set(here.here) | set(there.here)
    sums = []
    there.settle(lambda numbers: sums.append(numbers) or numbers.tolist(), lambda seen: seen | both)
    here.settle(lambda numbers: (numbers + sums[0]).tolist(), lambda seen: seen | both)
    assert {form[0][2]: n for (_, form), n in here.counts.items()} == {(5,): 2, (6,): 2, (7,): 6}
