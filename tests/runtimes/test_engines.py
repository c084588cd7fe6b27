"""The engines themselves, each where it is installed: the features of torch, zeros kept, files and jobs.

`make test-runtimes` installs ONNX Runtime and OpenVINO and runs these; DEEPSPARSE_PYTHON names the interpreter of an
environment with DeepSparse.
"""

import json
import os

import numpy as np
import pytest
import timm
import torch

from dataprune.checkpoints.__main__ import main
from dataprune.checks.runtimes import check_runtime
from dataprune.config import RunConfig, SignalsConfig
from dataprune.errors import ConfigError
from dataprune.runtimes.exporting import write_onnx
from dataprune.stages import signals
from tests.golden.inputs import images, model
from tests.test_checkpoints import HERE

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
from onnx import numpy_helper  # noqa: E402

PYTHON = os.environ.get("DEEPSPARSE_PYTHON")
ENGINES = ["onnxruntime", "openvino", "deepsparse"]
SMALL = {"layers": [1, 2, 1, 1], "channels": [2, 4, 8, 16]}
SPARSE = "g_acdc_wrapped.ckpt"


def there(name):
    """Skip the test where an engine is not installed; else its part of a SignalsConfig."""
    if name == "deepsparse":
        return {"runtime": name, "runtime_python": PYTHON or pytest.skip("DEEPSPARSE_PYTHON is not set")}
    pytest.importorskip(name, reason=f"the extra {name} is not installed")
    return {"runtime": name}


def told(folder, config):
    work = folder / "told"
    work.mkdir()
    facts = signals.run(
        config, images(folder, per_class=23) | {"model": model(folder / "model")}, work, RunConfig(), ""
    )
    return np.load(work / "features.npy"), np.load(work / "logits.npy"), facts


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_gives_torchs_features_of_every_example(tmp_path, name):
    given = there(name)
    check_runtime(SignalsConfig(**given))
    for folder in ("torch", name):
        (tmp_path / folder).mkdir()
    features, logits, _ = told(tmp_path / "torch", SignalsConfig())
    found, theirs, facts = told(tmp_path / name, SignalsConfig(**given))
    assert len(found) == 69, "a batch of 64 and one that is filled up"
    np.testing.assert_allclose(found, features, atol=1e-5)
    np.testing.assert_allclose(theirs, logits, atol=1e-5)
    assert facts["runtime"]["engine"].startswith(name)
    assert facts["runtime"]["cosine"] > 0.9999


def test_less_exact_numbers_are_another_constant_with_another_tolerance(tmp_path):
    there("openvino")
    spec = {"_target_": "dataprune.runtimes.openvino.Engine", "precision": "bf16"}
    _, _, facts = told(tmp_path, SignalsConfig(runtime=spec))
    assert facts["runtime"]["cosine"] > 0.99
    (tmp_path / "again").mkdir()
    with pytest.raises(ConfigError, match=r"^signals\.runtime\.precision='f8': expected f32 \| bf16$"):
        told(tmp_path / "again", SignalsConfig(runtime=spec | {"precision": "f8"}))


def test_zeros_are_kept_where_batch_norm_is_folded_in(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("resnet50", num_classes=0, zero_init_last=False, **SMALL)
    pruned = 0
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data *= torch.rand_like(weight) < 0.2
            pruned += int((weight == 0).sum())
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.running_var.uniform_(0.5, 2)
    write_onnx(network, tmp_path / "x.onnx", (2, 3, 64, 64))
    graph = onnx.load(tmp_path / "x.onnx").graph
    weights = [w for w in map(numpy_helper.to_array, graph.initializer) if w.ndim == 4]
    assert sum(int((w == 0).sum()) for w in weights) == pruned
    assert {node.op_type for node in graph.node}.isdisjoint({"BatchNormalization", "Gemm"}), "folded in; no classifier"
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [2, 3, 64, 64]
    assert onnx.load(tmp_path / "x.onnx").opset_import[0].version >= 13
    assert network.training, "the network that is asked for stays as it was"


def test_a_sparse_checkpoint_becomes_onnx_on_the_command_line(tmp_path, capsys):
    there("onnxruntime")
    out = tmp_path / "x.onnx"
    words = ["onnx", str(HERE / SPARSE), str(out), "--batch", "5", "--size", "64"]
    assert main([*words, "--constants", json.dumps(SMALL), "--density", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "density 0.2" in said
    assert "compared with torch on 64 random images, onnxruntime" in said
    assert [d.dim_value for d in onnx.load(out).graph.input[0].type.tensor_type.shape.dim] == [5, 3, 64, 64]
    out.unlink()
    assert main(words) == 1, "timm's own resnet50 has other layers"
    assert main([*words[:-1], "0", "--constants", json.dumps(SMALL)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert not out.exists()


def test_a_result_of_ours_becomes_onnx_of_its_own_images(tmp_path, capsys):
    there("onnxruntime")
    assert main(["onnx", str(model(tmp_path / "model")), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == [64, 3, 8, 8]
    assert said["out"] == str(tmp_path / "model.onnx")
    assert said["compared"]["cosine"] > 0.9999
    assert main(["onnx", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("file=")


def test_a_network_that_cannot_be_written_is_one_line(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x.flatten(2)).sum(1)

    with pytest.raises(ConfigError, match=r"^onnx=Odd \(.*\): expected a network that torch"):
        write_onnx(Odd(), tmp_path / "x.onnx", (2, 3, 4, 4))
    assert not (tmp_path / "x.onnx").exists()


def test_a_job_selects_by_features_of_an_engine(jobs):
    there("onnxruntime")
    words = ["method=moderate", "target=none"]
    (plain,), (row,) = jobs.run(*words), jobs.run(*words, "signals.runtime=onnxruntime")
    assert plain["keys"]["surrogate"] == row["keys"]["surrogate"]
    assert plain["keys"]["signals"] != row["keys"]["signals"]
    assert row["config"]["signals"]["signals"]["runtime"] == "onnxruntime"
    found = [np.load(jobs.store / "signals" / each["keys"]["signals"] / "features.npy") for each in (plain, row)]
    np.testing.assert_allclose(*found, atol=1e-4)
