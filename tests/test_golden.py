"""What dear stages give for a config is pinned, and so are the defaults that no key holds: both move with a VERSION.

A failing test names the config class whose VERSION to raise; `python -m tests.golden` pins again.
"""

import copy
import dataclasses
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml
from hydra.utils import get_object

from dataprune.callables import is_ours
from dataprune.launch import CHEAP
from tests.conftest import ROOT
from tests.golden import __main__ as command
from tests.golden import defaults, pinned
from tests.golden.pinned import Found, Near
from tests.golden.stages import RUNS, of_dynamics, of_evaluate, of_signals, of_train
from tests.golden.trainings import CHANGES

FAR = 100  # a change of behaviour moves something by this many tolerances at least


# the stages


def test_every_dear_stage_has_a_golden_run():
    stages = {path.stem for path in (ROOT / "dataprune" / "stages").glob("*.py") if "\nCONFIG = " in path.read_text()}
    assert stages == {*RUNS, *CHEAP} == {*defaults.STAGES}


@pytest.mark.parametrize("stage", RUNS)
def test_results_move_only_with_the_version(stage, tmp_path):
    config, found = defaults.config_of(stage), RUNS[stage](tmp_path)
    why = pinned.complaint(config, pinned.load(stage), found.moved, found.added)
    assert why is None, f"{stage}: {why}"


@pytest.mark.parametrize("change", CHANGES)
def test_another_training_is_far_from_the_pinned_one(change, tmp_path):
    assert farthest(of_train(tmp_path, change), "train") > FAR


@pytest.mark.parametrize(
    ("run", "stage", "change"),
    [
        (of_dynamics, "dynamics", "other examples"),
        (of_signals, "signals", "other images"),
        (of_signals, "signals", "other weights"),
        (of_evaluate, "evaluate", "other images"),
        (of_evaluate, "evaluate", "other weights"),
    ],
)
def test_another_input_is_far_from_the_pinned_one(run, stage, change, tmp_path):
    assert farthest(run(tmp_path, change), stage) > FAR


def farthest(found: Found, stage: str) -> float:
    """How many tolerances the near values that moved most are away from the pinned ones."""
    there = pinned.load(stage)["near"]
    return max(near.distance(pinned.array_of(there[name])) / near.tolerance for name, near in found.near.items())


# the rules, for values


@dataclasses.dataclass
class SomeConfig:
    VERSION: ClassVar[int] = 2


def stored(found: Found, version: int = 2) -> dict[str, Any]:
    """As `found` would stand in a golden file."""
    return {"VERSION": version} | found.plain()


def gives(ids: list[int], weights: list[float], **more: Any) -> Found:
    return Found({"ids": ids} | more, {"weights": Near(np.array(weights), 1e-4)})


BEFORE = gives([1, 2], [0.5, -2.0])


def said(found: Found, there: dict[str, Any] | None) -> str | None:
    return pinned.complaint(SomeConfig, there, found.moved, found.added)


def test_equal_values_and_those_within_the_tolerance_pass():
    assert said(BEFORE, stored(BEFORE)) is None
    assert said(gives([1, 2], [0.5 + 1.9e-4, -2.0]), stored(BEFORE)) is None
    assert said(gives([1, 2], [np.nan, 1.0]), stored(gives([1, 2], [np.nan, 1.0]))) is None


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (gives([2, 1], [0.5, -2.0]), r"ids is \[2, 1\], was \[1, 2\]"),
        (gives([1, 2], [0.5 + 2.1e-4, -2.0]), r"weights is 0\.0001\d* away \(tolerance 0\.0001\)"),
        (gives([1, 2], [0.5]), "weights is inf away"),
        (gives([1, 2], [0.5, np.nan]), "weights is inf away"),
        (Found({"ids": [1, 2]}, {}), "weights is gone"),
        (Found({}, BEFORE.near), "ids is gone"),
    ],
)
def test_moved_values_ask_for_a_version(now, what):
    with pytest.raises(AssertionError, match=rf"^raise VERSION of SomeConfig and pin again .*: {what}"):
        raise AssertionError(said(now, stored(BEFORE)))
    assert (pinned.refuse(SomeConfig, stored(BEFORE), now.moved) or "").startswith("raise VERSION of SomeConfig first")


def test_a_raised_version_asks_for_its_values():
    moved = gives([2, 1], [0.5, -2.0])
    for now in (BEFORE, moved):
        assert (said(now, stored(BEFORE, 1)) or "").startswith("VERSION of SomeConfig is 2, pinned are the values of 1")
        assert pinned.refuse(SomeConfig, stored(BEFORE, 1), now.moved) is None


def test_a_version_does_not_fall():
    assert "a VERSION only rises" in (pinned.refuse(SomeConfig, stored(BEFORE, 3), BEFORE.moved) or "")


def test_a_new_value_is_pinned_without_a_version():
    now = gives([1, 2], [0.5, -2.0], places=[0])
    assert (said(now, stored(BEFORE)) or "").startswith("new, pin them too (python -m tests.golden): places")
    assert pinned.refuse(SomeConfig, stored(BEFORE), now.moved) is None
    assert (said(BEFORE, None) or "").startswith("not pinned yet")


def test_values_that_moved_with_a_library_say_so():
    there = stored(BEFORE) | {"libraries": pinned.libraries() | {"numpy": "1.0"}}
    assert "pinned with other libraries than numpy" in (said(gives([2, 1], [0.5, -2.0]), there) or "")


# the command


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Golden files of one tiny stage in a folder of its own; a list that holds what it gives next."""
    gives_next = [BEFORE]
    monkeypatch.setattr(pinned, "HERE", tmp_path)
    monkeypatch.setattr("tests.golden.stages.RUNS", {"some": lambda folder: gives_next[0]})
    monkeypatch.setattr(defaults, "config_of", lambda stage: SomeConfig)
    monkeypatch.setattr(defaults, "table", lambda: {})
    assert command.main() == 0
    return gives_next


def test_the_command_does_not_overwrite_what_the_version_stands_for(files, tmp_path, monkeypatch, capsys):
    before = (tmp_path / "some.json").read_bytes()
    files[0] = gives([2, 1], [0.5, -2.0], places=[0])
    assert command.main() == 1
    assert (tmp_path / "some.json").read_bytes() == before
    assert "some: raise VERSION of SomeConfig first: ids is [2, 1], was [1, 2]" in capsys.readouterr().err
    monkeypatch.setattr(SomeConfig, "VERSION", 3)
    assert command.main() == 0
    there = pinned.load("some")
    assert (there["VERSION"], there["exact"]) == (3, {"ids": [2, 1], "places": [0]})
    assert there["libraries"].keys() == {"numpy", "torch", "pillow"}


def test_the_command_adds_what_is_new_and_leaves_the_rest(files):
    files[0] = gives([1, 2], [0.5 + 1e-4, -2.0], places=[0])
    assert command.main() == 0
    there = pinned.load("some")
    assert there["exact"] == {"ids": [1, 2], "places": [0]}
    assert there["near"]["weights"]["values"] == [0.5, -2.0]


# defaults


@pytest.mark.parametrize("stage", defaults.STAGES)
def test_defaults_move_only_with_the_version(stage):
    there = pinned.load("defaults").get(stage)
    why = defaults.complaint(defaults.config_of(stage), now_()[stage], there)
    assert why is None, f"{stage}: {why}"


@cache
def now_() -> defaults.Table:
    return defaults.table()


def test_the_table_holds_nested_fields_and_keyword_defaults():
    train = now_()["train"]["defaults"]
    assert train["TrainConfig.batch_size"] == 128
    assert train["TrainConfig.augment.crop_padding"] == 0
    assert train["dataprune.models.networks.resnet.blocks"] == [2, 2, 2, 2]
    assert train["dataprune.training.schedules.cosine.end"] == 0.0
    assert now_()["adopt"]["defaults"]["dataprune.models.networks.cnn.width"] == 32
    assert now_()["index"]["defaults"]["dataprune.data.parquet.read.image"] == "image"
    assert now_()["signals"]["defaults"]["SignalsConfig.arrays"] == ["logits", "features"]
    assert now_()["signals"]["defaults"]["dataprune.scores.gradients.grand.chunk"] == 16


@pytest.fixture
def table(tmp_path, monkeypatch):
    """The table as pinned in a folder of its own, and the one that the command and test see: to be changed."""
    now = copy.deepcopy(now_())
    monkeypatch.setattr(pinned, "HERE", tmp_path)
    monkeypatch.setattr(defaults, "table", lambda: now)
    assert defaults.pin() == []
    return now


def told(now: defaults.Table, stage: str) -> str:
    return defaults.complaint(defaults.config_of(stage), now[stage], pinned.load("defaults")[stage]) or ""


@pytest.mark.parametrize(
    ("stage", "name", "value", "config"),
    [
        ("train", "TrainConfig.label_smoothing", 0.1, "TrainConfig"),
        ("train", "TrainConfig.adversarial.steps", 7, "TrainConfig"),
        ("train", "dataprune.models.networks.cnn.depth", 4, "TrainConfig"),
        ("train", "dataprune.training.schedules.multistep.gamma", 0.2, "TrainConfig"),
        ("adopt", "dataprune.models.networks.cnn.depth", 4, "AdoptConfig"),
        ("index", "dataprune.data.digits.read.shots", 4, "IndexConfig"),
        ("evaluate", "EvaluateConfig.split", "validation", "EvaluateConfig"),
    ],
)
def test_a_changed_default_asks_for_the_version_of_its_stage(table, monkeypatch, stage, name, value, config):
    was = table[stage]["defaults"][name]
    table[stage]["defaults"][name] = value
    what = f"the default of {name} is {value!r}, was {was!r}"
    assert told(table, stage).startswith(f"raise VERSION of {config} and pin again")
    assert what in told(table, stage)
    assert defaults.pin() == [f"{stage}: raise VERSION of {config} first: {what}"]
    assert pinned.load("defaults")[stage]["defaults"][name] == was
    raised = table[stage]["VERSION"] = defaults.config_of(stage).VERSION + 1
    monkeypatch.setattr(defaults.config_of(stage), "VERSION", raised)
    assert told(table, stage).startswith(f"VERSION of {config} is {raised}")
    assert defaults.pin() == []
    assert told(table, stage) == ""


def test_a_new_default_is_pinned_without_a_version(table):
    table["train"]["defaults"]["TrainConfig.ema"] = 0.0
    assert told(table, "train").startswith("new, pin them too (python -m tests.golden): TrainConfig.ema")
    assert defaults.pin() == []
    assert told(table, "train") == ""


def test_a_default_that_goes_must_not_come_back_as_another(table):
    was = table["train"]["defaults"].pop("TrainConfig.clip_norm")
    assert told(table, "train") == ""
    assert defaults.pin() == []
    table["train"]["defaults"]["TrainConfig.clip_norm"] = 1.0
    assert f"TrainConfig.clip_norm is 1.0, was {was!r}" in told(table, "train")


ROLES = {  # what a `_target_` is the value of -> the stage that calls it; score, select and cut are in cheap stages
    "reader": "index", "codec": "decode", "model": "train", "schedule": "train", "momentum": "train",
    "sampler": "train", "callbacks": "train", "solver": "train", "signals": "signals",
}  # fmt: skip
BY_NAME = ("callbacks", "signals")  # these hold several, by names of the user's


def targets(node: Any, role: str) -> list[tuple[str, str]]:
    """(role, dotted path) of each `_target_` of ours below a node of a YAML file."""
    if not isinstance(node, dict):
        return []
    here = [(role, node["_target_"])] if is_ours(node.get("_target_", "")) else []
    inside = [(role if role in BY_NAME else str(key), inner) for key, inner in node.items()]
    return here + [found for place, inner in inside for found in targets(inner, place)]


def test_every_function_that_a_dear_stage_gets_from_a_yaml_is_in_the_table():
    named = {stage: {_path(f) for f in defaults.functions_of(stage)} for stage in defaults.STAGES}
    seen: set[str] = set()
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        role = path.parent.name  # conf/model/cnn.yaml is a model, whole
        for place, target in targets(yaml.safe_load(path.read_text()), role):
            if target == "dataprune.report.Remember":  # Hydra calls it, no stage
                continue
            if place in ROLES:
                seen.add(place)
                assert _path(get_object(target)) in named[ROLES[place]], f"{path}: {target}"
            else:
                assert place in ("score", "select", "pick"), f"{path}: {place}"
    assert seen == {*ROLES}
    assert named["adopt"] < named["train"], "adopt builds networks too"


def _path(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"
