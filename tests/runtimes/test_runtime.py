"""Engines of frozen features without any of them installed: what is asked, refused, keyed, filled up and compared."""

import ast
import importlib.util
import json
import re
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dataprune.runtimes
from dataprune.checkpoints.__main__ import main
from dataprune.checks.runtimes import check_runtime
from dataprune.config import RunConfig, SignalsConfig
from dataprune.errors import ConfigError
from dataprune.launch import recipe_of
from dataprune.passes import load_network
from dataprune.runtimes import deepsparse, features
from dataprune.runtimes.exporting import cosines, write_onnx
from dataprune.stages import signals
from tests.golden.inputs import images, model

MINE = """
import numpy as np
from dataprune.runtimes.runtime import Runtime

class Pixels(Runtime):
    name = "pixels 1"
    least = -1.0

    def __init__(self, path, threads, factor=1.0):
        self.factor, self.batches = factor, []

    def __call__(self, images):
        return self.factor * images.reshape(len(images), -1)[:, :8]
"""
OWN, GONE = "signals.runtime={_target_: my_engine.", "signals.runtime_python=/no/python"
FOREIGN = """#!{python}
import sys
import numpy as np

print("deepsparse 0", flush=True)
for line in sys.stdin:
    given, made = line.rstrip("\\n").split("\\t")
    images = np.load(given)
    if images.min() < 0:
        sys.exit("negative pixels")
    np.save(made, images.mean((2, 3)))
    print("done", flush=True)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module with an engine of a user's own; what it gets is no ONNX file, for the package onnx may be missing."""
    (tmp_path / "my_engine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)

    def written(backbone, out, shape, key):
        out.write_bytes(b"")
        return out

    monkeypatch.setattr(features, "write_onnx", written)


def installed(monkeypatch, *names):
    """As if of the engines' packages these alone were installed."""
    find = importlib.util.find_spec

    def found(name, package=None):
        return (object() if name in names else None) if name in ("onnx", "onnxruntime", "openvino") else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def test_a_users_engine_serves_the_features_and_the_head_is_torchs(tmp_path, mine):
    inputs = images(tmp_path, per_class=5) | {"model": model(tmp_path / "model")}
    work = tmp_path / "told"
    work.mkdir()
    spec = {"_target_": "my_engine.Pixels", "factor": 2.0}
    config = SignalsConfig(runtime=spec, batch_size=4)
    facts = signals.run(config, inputs, work, RunConfig(accelerator="cpu"), "signals")
    found, logits = np.load(work / "features.npy"), np.load(work / "logits.npy")
    assert found.min() < 0, "normalised pixels, which the network's own features are not"
    head = load_network(inputs["model"]).head
    np.testing.assert_allclose(logits, head(torch.from_numpy(found)).detach().numpy(), rtol=1e-5)
    assert facts["runtime"]["engine"] == "pixels 1"
    assert facts["runtime"]["compared"] == 15
    assert {"s_per_1000", "torch_s_per_1000", "cosine"} <= facts["runtime"].keys()
    assert not list(work.rglob("*.onnx")), "what was written for the engine is no part of the result"


def test_what_an_engine_gets_is_filled_up_to_its_batch_and_given_back_in_order():
    seen = []

    def engine(given):
        seen.append(given.shape)
        return given.mean((2, 3))

    engine.name, engine.least = "means", 0.9999
    served = features.Features(engine, lambda x: x.mean((2, 3)), 4)
    given = torch.arange(7 * 2 * 3 * 3, dtype=torch.float32).reshape(7, 2, 3, 3)
    assert torch.equal(served(given), given.mean((2, 3)))
    assert seen == [(4, 2, 3, 3)] * 2
    assert served.facts()["compared"] == 7


@pytest.mark.parametrize("wrong", [lambda x: -x.mean((2, 3)), lambda x: x.mean((2, 3)) * np.nan])
def test_an_engine_that_computes_something_else_is_refused(wrong):
    wrong.name, wrong.least = "wrong 1", 0.9999
    served = features.Features(wrong, lambda x: x.mean((2, 3)), 4)
    with pytest.raises(
        ConfigError, match=r"^signals\.runtime='wrong 1': expected features as torch's: a cosine of 0\.99"
    ):
        served(torch.ones(4, 2, 3, 3))


def test_torch_computes_the_first_64_examples_and_no_more():
    counted = []

    def backbone(x):
        counted.append(len(x))
        return x.mean((2, 3))

    def engine(given):
        return given.mean((2, 3))

    engine.name, engine.least = "means", 0.9999
    served = features.Features(engine, backbone, 50)
    for _ in range(3):
        served(torch.rand(50, 2, 3, 3))
    assert counted == [50, 14]


def test_cosines_of_empty_rows_are_1_only_where_both_are_empty():
    found = np.array([[0, 0], [0, 0], [1, 1], [1, 0]], np.float32)
    wanted = np.array([[0, 0], [1, 0], [2, 2], [0, 1]], np.float32)
    np.testing.assert_allclose(cosines(found, wanted), [1, 0, 1, 0])


def test_the_engine_is_in_the_key_and_the_place_of_its_interpreter_is_not(mine):
    def key(**changes):
        return recipe_of("signals", SignalsConfig(**changes), {}).key

    own = {"_target_": "my_engine.Pixels"}
    keys = [
        key(),
        key(runtime="onnxruntime"),
        key(runtime="openvino"),
        key(runtime=own),
        key(runtime=own | {"factor": 2}),
    ]
    assert len(set(keys)) == 5
    assert key(runtime="torch") == keys[0]
    assert key(runtime="openvino", runtime_python="/elsewhere/python") == keys[2]
    assert recipe_of("signals", SignalsConfig(runtime=own), {}).code.keys() == {"my_engine.Pixels"}, (
        "a user's code counts"
    )


def test_a_missing_extra_is_one_line_that_names_the_command(monkeypatch):
    installed(monkeypatch)
    for name, extra in (("onnxruntime", "onnxruntime"), ("openvino", "openvino")):
        with pytest.raises(ConfigError) as caught:
            check_runtime(SignalsConfig(runtime=name))
        said = f"signals.runtime='{name}': expected torch, or the extra: pip install 'dataprune[{extra}]'"
        assert str(caught.value) == said
    installed(monkeypatch, "onnxruntime")
    with pytest.raises(ConfigError, match=r"dataprune\[onnxruntime\]"):  # without the package onnx it gets no file
        check_runtime(SignalsConfig(runtime="onnxruntime"))
    installed(monkeypatch, "onnxruntime", "onnx")
    check_runtime(SignalsConfig(runtime="onnxruntime"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("signals.runtime=tensorrt", "runtime='tensorrt': expected torch, onnxruntime, openvino, deepsparse, or"),
        (f"{OWN}Nope}}", "runtime._target_='my_engine.Nope': expected"),
        (f"{OWN}Pixels, speed: 2}}", "runtime.speed=2: expected one of the constants"),
        ("signals.runtime=deepsparse", "runtime_python=None: expected the Python (3.8 to 3.11) of DeepSparse: py"),
        (f"signals.runtime=deepsparse {GONE}", "runtime_python='/no/python': expected the Python"),
        (GONE, "runtime_python='/no/python': expected null"),
        (
            f"{OWN}Pixels}} method=grand_full",
            "runtime={'_target_': 'my_engine.Pixels'}: expected torch: grad_norm, for",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_runs(jobs, mine, monkeypatch, words, message):
    installed(monkeypatch, "onnx")
    with pytest.raises(ConfigError) as caught:
        jobs.run("target=none", *re.split(r" (?=[a-z._]+=)", words))
    assert str(caught.value).startswith(f"signals.{message}")
    assert not jobs.store.exists()


def test_texts_have_no_engine(tmp_path, mine, monkeypatch):
    inputs = images(tmp_path) | {"model": model(tmp_path / "model")}
    monkeypatch.setattr(signals, "image_of", lambda input: None)
    with pytest.raises(
        ConfigError, match=r"^signals\.runtime={.*}: expected torch: engines get images, and these are image"
    ):
        signals.run(SignalsConfig(runtime={"_target_": "my_engine.Pixels"}), inputs, tmp_path, RunConfig(), "signals")


def test_a_job_uses_the_engine_that_it_names_and_its_row_is_another(jobs, mine, monkeypatch):
    installed(monkeypatch, "onnx")
    words = ["method=moderate", "target=none"]
    (plain,) = jobs.run(*words)
    (row,) = jobs.run(*words, "signals.runtime={_target_: my_engine.Pixels}", "surrogate.model.width=2")
    (same,) = jobs.run(*words, "surrogate.model.width=2")
    assert row["identity"] not in (plain["identity"], same["identity"])
    assert row["keys"]["signals"] != same["keys"]["signals"]
    assert row["keys"]["surrogate"] == same["keys"]["surrogate"], "the engine is of the frozen network alone"
    manifest = json.loads((jobs.store / "signals" / row["keys"]["signals"] / "manifest.json").read_text())
    assert manifest["facts"]["runtime"]["engine"] == "pixels 1"


def interpreter(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_another_interpreter_gets_images_and_gives_features(tmp_path):
    engine = deepsparse.Engine(
        tmp_path / "x.onnx", 1, interpreter(tmp_path / "python", FOREIGN.format(python=sys.executable))
    )
    assert engine.name == "deepsparse 0"
    given = np.random.default_rng(0).random((3, 2, 4, 4)).astype(np.float32)
    for batch in (given, given[::-1]):
        np.testing.assert_allclose(engine(np.ascontiguousarray(batch)), batch.mean((2, 3)))
    with pytest.raises(ConfigError, match=r"^signals\.runtime_python='.*it ended with 1: negative pixels$"):
        engine(given - 5)
    engine.close()
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


def test_an_interpreter_without_deepsparse_is_named_in_one_line(tmp_path):
    python = interpreter(tmp_path / "python", "#!/bin/sh\necho one >&2\necho 'no module deepsparse' >&2\nexit 3\n")
    with pytest.raises(ConfigError, match=r"^runtime_python='.*': .* it ended with 3: no module deepsparse$"):
        deepsparse.Engine(tmp_path / "x.onnx", 1, python)


def test_what_the_other_interpreter_runs_is_python_3_8():
    ast.parse(deepsparse.WORKER.read_text(), feature_version=(3, 8))
    assert deepsparse.WORKER.parent == Path(dataprune.runtimes.__file__).parent


def test_without_the_package_onnx_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    installed(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"^onnx=no package onnx: expected the extra: pip install 'dataprune\[onnx\]'$"
    ):
        write_onnx(torch.nn.Flatten(), tmp_path / "x.onnx", (1, 3, 2, 2))
    folder = model(tmp_path / "model")
    assert main(["onnx", str(folder), str(tmp_path / "x.onnx")]) == 1
    said = capsys.readouterr()
    assert said.err.strip() == "onnx=no package onnx: expected the extra: pip install 'dataprune[onnx]'"
    assert not (tmp_path / "x.onnx").exists()
