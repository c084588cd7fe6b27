"""FLOPs of many lengths from few counts, and only where they follow."""

import pytest
import torch

from dataprune.models import text
from dataprune.models.flops import forward_flops, step_flops
from dataprune.models.lengths import by_length
from dataprune.models.networks import Network


def counted(flops, lengths):
    """What by_length gives for these lengths, and how many it asked for."""
    asked = []
    found = by_length({f"form {n}": n for n in lengths}, lambda form: asked.append(form) or flops(int(form[5:])))
    assert list(found) == [f"form {n}" for n in sorted(lengths)]
    return list(found.values()), len(asked)


def test_a_polynomial_is_counted_four_times():
    wanted = [7.0 * n * n + 1e12 * n + 5 for n in range(3, 129)]
    assert counted(lambda n: 7.0 * n * n + 1e12 * n + 5, range(128, 2, -1)) == (wanted, 4)


@pytest.mark.parametrize("flops", [lambda n: float(n**3), lambda n: float(-(-n // 8) * 8)], ids=["cubic", "rounded up"])
def test_what_is_none_is_counted_at_every_length(flops):
    assert counted(flops, range(5, 40)) == ([flops(n) for n in range(5, 40)], 35)


def test_few_lengths_are_counted():
    assert counted(lambda n: float(n**3), [5, 2, 9]) == ([8.0, 125.0, 729.0], 3)


def test_what_cannot_be_counted_is_unknown():
    assert counted(lambda n: None, range(9)) == ([None] * 9, 4)


@pytest.mark.parametrize("count", [forward_flops, step_flops])
def test_an_encoder_is_a_polynomial(count):
    pytest.importorskip("transformers", reason="the extra `text` is not installed")
    network = Network(text.small(20, 12, 0, 1, layers=2, width=16, heads=2), 3)

    def flops(length):
        column = torch.empty(length, dtype=torch.int64, device="meta")
        return count(network, {"input_ids": column, "attention_mask": column})

    values, asked = counted(flops, range(2, 13))
    assert asked == 4
    assert values == [flops(length) for length in range(2, 13)]
    linear, attention = 2 * 2 * 12 * 12 * 16 * 16, 2 * 4 * 12 * 12 * 16  # two layers at length 12
    assert values[-1] == pytest.approx((linear + attention + 2 * 16 * 3) * (1 if count is forward_flops else 3))
