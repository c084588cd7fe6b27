"""What a reader must know stands beside the numbers."""

import json

import pytest

from dataprune.report.cautions import (
    claims,
    crossed_seeds,
    incomplete_costs,
    left_unsaid,
    mixed_versions,
    one_surrogate,
    several_settings,
)
from dataprune.report.lines import frame, summary
from tests.report.made_up import d2, full, row


def test_lines_whose_seeds_share_one_surrogate_are_named():
    swept = [d2(9.0, seeds={"seed": s, "surrogate.seed": s}, seed=s) for s in (0, 1)]
    fixed = [d2(0.1, seeds={"seed": s, "surrogate.seed": 0}, seed=s) for s in (0, 1)]
    (note,) = one_surrogate(frame(swept + fixed + [row(seed=s) for s in (0, 1)]))
    assert note.startswith("One surrogate serves all seeds of d2 gamma=0.1: ")


@pytest.mark.parametrize("role", ["surrogate", "surrogate.run1", "dynamics"])
def test_several_surrogates_of_one_score_and_foreign_dynamics_count_as_one(role):
    rows = [row("el2n", seed=s, keys={role: "6a"}, config={"surrogate": {"epochs": 1}}) for s in (0, 1)]
    (note,) = one_surrogate(frame(rows))
    assert "all seeds of el2n:" in note


def test_one_seed_has_no_error_bar_to_warn_of():
    assert one_surrogate(frame([d2(0.1)])) == []


def test_crossed_seeds_are_no_independent_samples():
    crossed = [row(seeds={"seed": s, "surrogate.seed": t}) for s in (0, 1) for t in (0, 1)]
    (note,) = crossed_seeds(frame(crossed + [full(seed=s) for s in (0, 1)]))
    assert note.startswith("Seeds are crossed in random: ")
    assert crossed_seeds(frame([d2(0.1, seeds={"seed": s, "surrogate.seed": 0}) for s in range(3)])) == []


def test_unknown_costs_name_the_stage_and_the_lines():
    rows = [row("external", cost={"unknown": ["scores"]}, config={"method": {}}), row()]
    (note,) = incomplete_costs(summary(frame(rows)))
    assert note == "Cost of scores unknown (it came from outside): external. Their costs are lower bounds."


def test_claimed_lines_are_named():
    (note,) = claims(summary(frame([row(claimed=True), full()])))
    assert note.startswith("Claimed: random rest on")
    assert claims(summary(frame([row(), full()]))) == []


def test_settings_that_differ_are_told_with_their_lines():
    other = {"source": {"content": "ff00", "size": 28}}
    (note,) = several_settings(frame([row(), d2(0.1, config=other)]))
    assert "content=ab12: random" in note
    assert "content=ff00: d2" in note
    assert several_settings(frame([row(), d2(0.1)])) == []


def test_a_key_that_no_label_shows_is_told():
    recipe = {"pretrain": {"epochs": 60, "batch_size": 64}}
    assert left_unsaid(frame([row(), row(config=recipe)])) == ["Lines of random differ also in pretrain.epochs."]


def manifest(store, stage, key, torch, device=None):
    (store / stage / key).mkdir(parents=True)
    content = {"versions": {"torch": torch, "dataprune": "0.2"}} | ({"device": device} if device else {})
    (store / stage / key / "manifest.json").write_text(json.dumps(content))


def test_a_mix_of_libraries_or_devices_is_told_by_stage(tmp_path):
    manifest(tmp_path, "index", "5a", "2.11", "cpu")
    manifest(tmp_path, "train", "6a", "2.11", "H200")
    manifest(tmp_path, "train", "6b", "2.12", "A100")
    manifest(tmp_path, "train", "6c", "2.99", "of another page")
    keys = [{"source": "5a", "model": "6a"}, {"source": "5a", "model": "6b"}]
    (note,) = mixed_versions(tmp_path, keys)
    assert note.endswith("device A100 and H200 (train); torch 2.11 and 2.12 (train).")
    assert mixed_versions(tmp_path, keys[:1]) == []


def test_results_that_are_gone_or_say_nothing_mix_nothing(tmp_path):
    manifest(tmp_path, "train", "6a", "2.11")
    (tmp_path / "train" / "6b").mkdir()
    (tmp_path / "train" / "6b" / "manifest.json").write_text("{}")
    keys = [{"model": key} for key in ("6a", "6b", "gone")]
    assert mixed_versions(tmp_path, keys) == []
    assert mixed_versions(tmp_path / "no store", keys) == []
