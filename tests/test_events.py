"""When weights are pruned: the published ramps and phases, and what does not fit the epochs."""

import json
from pathlib import Path

import pytest

from dataprune.errors import ConfigError
from dataprune.training.events import alternating, gradual, gradual_of_str, rounds
from dataprune.training.schedules import cosine, finetuned, rewound

TOLD = json.loads((Path(__file__).parent / "reference" / "sparse" / "g_numeric.json").read_text())


def test_the_cubic_ramp_is_that_of_the_reference_and_reaches_its_end():
    start, every, end, first, final = TOLD["gmp"]["args"]
    events = gradual(start, end, every, first, final)
    assert events == pytest.approx({int(e): s for e, s in TOLD["gmp"]["events"].items()})
    assert events[40] == 0.9, "exactly"
    assert [*gradual(3, 3, 5, 0.05, 0.9).items()] == [(3, 0.9)]


def test_the_ramp_of_str_has_an_event_an_epoch():
    events = gradual_of_str(20, 79, 0.9)
    assert (events[20], events[80], len(events)) == (0.0, 0.9, 61)
    assert events[50] == pytest.approx(0.9 * (1 - 0.5**3))


def test_the_phases_of_100_epochs_are_the_published_ones():
    args = TOLD["acdc"]["args"]
    events = alternating(args["total"], args["warmup"], args["phase"], args["last_dense"], args["final_sparse"], 0.9)
    assert events == {int(e): s for e, s in TOLD["acdc"]["events"].items()}
    assert alternating(20, 2, 1, 2, 3, 0.9).keys() == {*range(2, 16), 17}


@pytest.mark.parametrize("phases", [(20, 10, 5, 10, 15), (100, 10, 4, 10, 15), (95, 10, 5, 10, 15)])
def test_phases_that_do_not_fit_are_refused(phases):
    with pytest.raises(ConfigError, match=r"^phase=\d \(-?\d+ epochs are left for phases\): expected a length"):
        alternating(*phases, 0.9)


def test_tickets_are_drawn_at_the_end_of_each_round():
    events = rounds(24, 9, 4, 0.488)  # 9 + 3 * 5
    assert events == pytest.approx({9: 0.2, 14: 0.36, 19: 0.488}, abs=1e-4)
    assert events[19] == 0.488
    for epochs, length, rewind in ((25, 9, 4), (9, 9, 4)):
        with pytest.raises(ConfigError, match=r"^length=9: expected a first round"):
            rounds(epochs, length, rewind, 0.488)
    with pytest.raises(ConfigError, match=r"^rewind=9: expected 0 to 8"):
        rounds(20, 9, 9, 0.5)


def test_the_rate_goes_back_with_the_weights():
    steps = [cosine(step, 90, 10, 0.1, warmup_epochs=1) for step in range(90)]
    found = [rewound(step, 240, 10, 0.1, length=9, rewind=4, warmup_epochs=1) for step in range(240)]
    assert found == [*steps, *steps[40:], *steps[40:], *steps[40:]]


def test_fine_tuning_has_a_rate_of_its_own():
    found = [finetuned(step, 250, 10, 0.1, after=20, factor=0.2) for step in range(250)]
    assert found[:200] == [cosine(step, 200, 10, 0.1) for step in range(200)]
    assert found[200:] == pytest.approx([cosine(step, 50, 10, 0.02) for step in range(50)])
