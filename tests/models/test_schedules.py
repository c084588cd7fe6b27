"""All fourteen arrays of schedules_classsel.npz but the one that records a defect (chained warm-up and cosine)."""

from pathlib import Path

import numpy as np
import pytest

from dataprune.training.schedules import cosine, cyclic, cyclic_momentum, linear, multistep, resolution

VECTORS = np.load(Path(__file__).parents[1] / "reference" / "schedules_classsel.npz")


@pytest.mark.parametrize(
    ("name", "schedule", "lr", "constants"),
    [
        ("dp4tl_cyclic_lr", cyclic, 0.5, {"peak_epoch": 2, "low": 1e-4}),
        ("dp4tl_cosine_lr", cosine, 0.1, {}),
        ("madry_cyclic_lr", cyclic, 0.5, {"peak_epoch": 2}),
        ("madry_transfer_cyclic_lr", cyclic, 0.3, {"peak_epoch": 5}),
    ],
)
def test_learning_rate_is_the_reference_s_at_every_step(name, schedule, lr, constants):
    expected = VECTORS[name]
    ours = [schedule(i, len(expected), 10, lr, **constants) for i in range(len(expected))]
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_step_schedule_is_the_reference_s():
    ours = [multistep(i * 10, 150, 10, 0.1, every=5) for i in range(15)]
    np.testing.assert_allclose(ours, VECTORS["madry_steplr_epoch_lr"], rtol=1e-9)


def test_momentum_mirrors_the_cyclic_rate():
    ours = [cyclic_momentum(i, 160, 10) for i in range(160)]
    np.testing.assert_allclose(ours, VECTORS["dp4tl_cyclic_momentum"], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "ramp"),
    [
        ("resolution_16ep", (160, 192, 11, 13)),
        ("resolution_24ep", (160, 192, 17, 20)),
        ("resolution_32ep", (160, 192, 23, 27)),
        ("resolution_40ep", (160, 192, 29, 34)),
        ("resolution_56ep", (160, 192, 41, 48)),
        ("resolution_88ep", (160, 192, 65, 76)),
        ("resolution_160_256_10_30", (160, 256, 10, 30)),
    ],
)
def test_resolution_ramps_as_in_the_reference(name, ramp):
    low, high, start, end = ramp
    ours = [resolution(e, low=low, high=high, start=start, end=end) for e in range(len(VECTORS[name]))]
    assert ours == VECTORS[name].tolist()


def test_warmup_is_followed_by_one_cosine_that_ends_at_zero():
    rates = [cosine(i, 1000, 10, 3e-3, warmup_epochs=10, warmup_start=3e-6) for i in range(1001)]
    assert rates[100] == max(rates) == 3e-3
    assert np.all(np.diff(rates[100:]) < 0)
    assert rates[1000] == pytest.approx(0)


def test_linear_warms_up_over_a_share_and_ends_at_zero():
    rates = [linear(i, 190, 10, 5e-5, warmup=0.05) for i in range(191)]
    assert rates[:3] == [0, 5e-6, 1e-5]
    assert rates[10] == max(rates) == 5e-5, "9.5 steps of warm-up are 10"
    np.testing.assert_allclose(np.diff(rates[10:]), -5e-5 / 180)
    assert rates[190] == 0


def test_linear_may_begin_at_its_rate():
    assert [linear(i, 4, 2, 1.0) for i in range(5)] == [1, 0.75, 0.5, 0.25, 0]
