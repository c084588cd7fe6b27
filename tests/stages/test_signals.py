"""Signals: functions of a frozen network, ours and a user's own, of the last weights and of an early epoch's."""

import numpy as np
import pytest
import torch

from dataprune.config import RunConfig, SignalsConfig
from dataprune.errors import ConfigError
from dataprune.launch import recipe_of
from dataprune.passes import load_network
from dataprune.stages import signals
from tests.golden.inputs import images, model

SKETCH = """
import torch

def sketch(network, inputs, labels, features, *, width):
    assert not network.training and not torch.is_grad_enabled()
    assert torch.equal(network.head(features), network(**inputs))
    return torch.stack([features.sum(1), labels.float()], 1)[:, :width]

def level(network, inputs):
    return [x.flatten(1).sum(1) for x in inputs.values()][0] > 0

def gradient(network, inputs, labels):
    with torch.enable_grad():
        loss = torch.nn.functional.cross_entropy(network(**inputs), labels, reduction="sum")
        (found,) = torch.autograd.grad(loss, network.head.bias)
    return found.norm().expand(len(labels))

def score(sketch, level):
    return sketch[:, 0] * level
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_signals.py").write_text(SKETCH)
    monkeypatch.syspath_prepend(tmp_path)


def told(folder, functions, arrays=()):
    """What the stage writes, and its facts."""
    inputs = images(folder, per_class=3) | {"model": model(folder / "model")}
    work = folder / "told"
    work.mkdir()
    config = SignalsConfig([*arrays, *functions], functions, batch_size=4)
    facts = signals.run(config, inputs, work, RunConfig(accelerator="cpu"), "signals")
    return {path.stem: np.load(path) for path in work.glob("*.npy")}, facts


def test_a_users_signal_has_the_shape_and_dtype_that_it_says(tmp_path, mine):
    functions = {
        "sketch": {"_target_": "my_signals.sketch", "width": 2, "shape": [2], "dtype": "float16"},
        "level": {"_target_": "my_signals.level", "dtype": "bool"},
        "gradient": {"_target_": "my_signals.gradient"},
    }
    found, facts = told(tmp_path, functions, ["features"])
    assert facts["sketch"] == [9, 2]
    np.testing.assert_allclose(found["sketch"][:, 0], found["features"].sum(1), rtol=1e-2)
    assert found["sketch"][:, 1].tolist() == found["labels"].tolist()
    assert (found["sketch"].dtype, found["level"].dtype, found["gradient"].dtype) == (np.float16, bool, np.float32)
    assert (found["gradient"] > 0).all()
    assert facts["images_forward"] >= 9
    assert facts["flops"] is None, "nobody knows what a user's function does with the network"


def test_the_source_of_a_users_signal_counts(mine):
    code = {
        name: recipe_of("signals", SignalsConfig([name], {name: {"_target_": f"my_signals.{name}"}}), {}).code
        for name in ("sketch", "level")
    }
    assert all(code[name].keys() == {f"my_signals.{name}"} for name in code)
    assert recipe_of("signals", SignalsConfig(["grad_norm"]), {}).code == {}, "ours go by the stage's VERSION"


def test_a_signal_of_another_shape_is_refused(tmp_path, mine):
    functions = {"sketch": {"_target_": "my_signals.sketch", "width": 2, "shape": [3]}}
    with pytest.raises(ConfigError, match=r"^method\.signals\.sketch=tensor of shape \(4, 2\): expected .* \(4, 3\)"):
        told(tmp_path, functions)


def test_a_name_that_is_no_signal_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^signals\.arrays='labels': expected some of logits, features, grad_norm"):
        told(tmp_path, {}, ["labels"])


MINE = ["method=variability", "method.score={_target_: my_signals.score}", "target=none"]
OWN = "+method.signals.sketch={_target_: my_signals.sketch, width: 1, shape: [1]}"
LEVEL = "+method.signals.level={_target_: my_signals.level, dtype: bool}"


def test_a_method_brings_its_signals_along(jobs, mine, tmp_path):
    (row,) = jobs.run(*MINE, OWN, LEVEL)
    keys = row["keys"]
    sketch = np.load(jobs.store / "signals" / keys["signal.sketch"] / "sketch.npy")
    level = np.load(jobs.store / "signals" / keys["signal.level"] / "level.npy")
    scores = np.load(jobs.store / "score" / keys["scores"] / "scores.npy")
    np.testing.assert_allclose(scores, sketch[:, 0] * level)
    assert {"signal.sketch", "signal.level"} <= set(row["config"]["signals"])
    assert {"signal.sketch", "signal.level"} <= set(row["cost"]["unknown"])
    assert "signals" not in keys, "logits and features that nobody asks for"
    (other,) = jobs.run(*MINE, OWN.replace("width: 1", "width: 2").replace("[1]", "[2]"), LEVEL)
    assert other["keys"]["signal.sketch"] != keys["signal.sketch"]
    assert other["keys"]["signal.level"] == keys["signal.level"]
    assert other["identity"] != row["identity"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+method.signals.logits={_target_: my_signals.level}", "method.signals.logits='logits': expected a name"),
        ("+method.signals.sketch={_target_: my_signals.nope}", "method.signals.sketch._target_='my_signals.nope'"),
        ("+method.signals.sketch={_target_: my_signals.sketch}", "method.signals.sketch.width=None: expected a value"),
        (OWN.replace("[1]", "[0]"), "method.signals.sketch.shape=[0]: expected numbers of 1 or more"),
        (OWN.replace("shape", "dtype: text, shape"), "method.signals.sketch.dtype='text': expected float32"),
        (OWN.replace("shape", "passes: two, shape"), "method.signals.sketch.passes='two': expected forward"),
    ],
)
def test_a_signal_that_cannot_be_is_refused_before_anything_runs(jobs, mine, word, message):
    with pytest.raises(ConfigError) as caught:
        jobs.run(*MINE, LEVEL, word)
    assert str(caught.value).startswith(message)
    assert not jobs.store.exists()


def test_signals_of_an_early_epoch_are_those_of_its_weights(jobs):
    words = ["method=el2n_early", "method.epoch=1", "target=none"]
    with pytest.raises(ConfigError, match=r"method\.epoch=1: expected one of surrogate\.snapshots, which is \[\]"):
        jobs.run(*words)
    (row,) = jobs.run(*words, "surrogate.snapshots=[1,3]", "method.runs=2")
    assert {"scores.run1", "signals.run1", "combined"} <= set(row["keys"]), "means over surrogates, too"
    surrogate = jobs.store / "train" / row["keys"]["surrogate"]
    early, late = load_network(surrogate, 1).state_dict(), load_network(surrogate).state_dict()
    last = load_network(surrogate, 3).state_dict()
    assert all(torch.equal(late[name], last[name]) for name in late), "the last epoch is the end"
    assert not torch.equal(early["head.weight"], late["head.weight"])
    logits = np.load(jobs.store / "signals" / row["keys"]["signals"] / "logits.npy")
    features = np.load(jobs.store / "signals" / row["keys"]["signals"] / "features.npy")
    expected = torch.from_numpy(features) @ early["head.weight"].T + early["head.bias"]
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    with pytest.raises(ConfigError, match=r"surrogate\.snapshots=\[4\]: expected epochs of the training, 1 to 3"):
        jobs.config(*words, "surrogate.snapshots=[4]")
