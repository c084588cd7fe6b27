"""Stores out of data-transfer's files, and out of models that are ready."""

import numpy as np
import pytest
import torch

from dataprune.checkpoints.fitting import fitted
from dataprune.errors import ConfigError
from dataprune.influence.__main__ import main
from dataprune.influence.estimates import influence
from dataprune.influence.store import OutcomeStore
from dataprune.models.networks import build, resnet18_widths
from dataprune.store import Store
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 30 models")
M, C, T = 12, 9, 5


def made_up(seed=0):
    """Masks (m, c), and what models say on targets of classes 0, 1, 2, 0, 1; nobody gets the last one right."""
    rng = np.random.default_rng(seed)
    masks, truth = rng.random((M, C)) < 0.5, np.array([0, 1, 2, 0, 1])
    predictions = np.where(rng.random((M, T)) < 0.6, truth, 3)
    predictions[:, 4], predictions[0, :4] = 3, truth[:4]
    said = {
        "is_corrects": predictions == truth,
        "predictions": predictions,
        "softmax_logits": rng.random((M, T)).astype(np.float16),
        "acc": rng.random(M).astype(np.float16),
    }
    return masks, said


def as_saved(said, row=slice(None)):
    return {key: values[row] for key, values in said.items()}


def test_a_folder_of_summaries_becomes_a_store_that_answers(tmp_path, capsys):
    masks, said = made_up()
    (tmp_path / "summaries").mkdir()
    summary = {"class_binary_mask": masks.astype(np.int32), "transfer_results": as_saved(said)}
    torch.save(summary | {"transfer_results_full": as_saved(made_up(1)[1])}, tmp_path / "summaries" / "PETS.pt")
    torch.save({}, tmp_path / "summaries" / "FOOD.pt")
    for way, wanted in (("fixed", said), ("full", made_up(1)[1])):
        out = tmp_path / way
        words = [str(tmp_path / "summaries"), "--target", "pets", "-o", str(out), "--transfer", way]
        assert main(["import", *words]) == 0
        assert f"{M} models, {C} units, {T} targets" in capsys.readouterr().out
        store = OutcomeStore.open(out)
        models = store.models()
        np.testing.assert_array_equal(store.masks(models), masks)
        np.testing.assert_array_equal(store.outcomes("p_true", models), wanted["softmax_logits"].astype(np.float32))
        np.testing.assert_array_equal(store.outcomes("prediction", models), wanted["predictions"])
        assert [store.names["targets"][label] for label in store.labels] == ["0", "1", "2", "0", "unknown"]
    words = ["estimate", str(tmp_path / "fixed"), "--half", "all", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    found = np.load(tmp_path / "out" / "influence.npy")
    np.testing.assert_allclose(found, influence(masks, said["softmax_logits"]), atol=1e-6)
    assert "what nobody has noted down" in capsys.readouterr().out
    assert main([*words, "--outcome", "logit_gap"]) == 1
    assert "--outcome='logit_gap': expected one of p_true, prediction" in capsys.readouterr().err
    assert main(["example", str(tmp_path / "fixed"), "0", "--half", "all"]) == 0
    assert "method=left_out 'method.select.ids=[" in capsys.readouterr().out


def test_results_of_single_models_become_the_same_store(tmp_path):
    masks, said = made_up()
    for i, mask in enumerate(masks):
        results = {"args": {"lr": 0.1, "commit": "a1"}, "transfer_results": as_saved(said, i)}
        whole = {"classes_to_keep": np.flatnonzero(mask), "source_results": {"top_1": 0.5}}
        torch.save(whole | {"transfer_datasets": {"PETS": results}}, tmp_path / f"{i:02d}-uuid.pt")
    (tmp_path / "names.txt").write_text("".join(f"n{c}\n" for c in range(C)))
    np.save(tmp_path / "labels.npy", np.array([0, 1, 2, 0, 1]))
    more = ["--classes", str(tmp_path / "names.txt"), "--labels", str(tmp_path / "labels.npy")]
    assert main(["import", str(tmp_path), "--target", "PETS", "-o", str(tmp_path / "out"), *more]) == 0
    store = OutcomeStore.open(tmp_path / "out")
    np.testing.assert_array_equal(store.masks(store.models()), masks)
    assert store.labels.tolist() == [0, 1, 2, 0, 1]
    assert store.names["units"] == [f"n{c}" for c in range(C)]
    np.testing.assert_array_equal(store.outcomes("prediction", store.models()), said["predictions"])


def test_files_that_would_run_code_are_refused(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({"class_binary_mask": Trap()}, tmp_path / "PETS.pt")
    assert main(["import", str(tmp_path), "--target", "PETS", "-o", str(tmp_path / "out")]) == 1
    assert "only tensors and plain containers" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_ready_models_are_transferred_measured_and_say_that_they_are_claimed(jobs, capsys):
    halves = ["method=random_halves"]
    rows = [jobs.run(*halves, f"method.select.model={model}")[0] for model in range(4)]
    files = [str(jobs.store / "train" / row["keys"]["model"] / "model.pt") for row in rows]
    masks = np.zeros((4, 62), bool)
    for mask, row in zip(masks, rows, strict=True):
        mask[np.load(jobs.store / "select" / row["keys"]["subset"] / "classes.npy")] = True
    np.save(jobs.folder / "masks.npy", masks)
    out, words = jobs.folder / "ready", ["--job", *TINY, f"run.store={jobs.store}", "run.progress=false"]
    words = [word for word in words if word != "baselines=none"]
    told = ["register", *files, "--masks", str(jobs.folder / "masks.npy"), "-o", str(out), *words]
    assert main(told) == 0
    assert "4 ready models, claimed" in capsys.readouterr().out
    store = OutcomeStore.open(out)
    np.testing.assert_array_equal(store.masks(store.models()), masks)
    assert store.costs(store.models())[0].get("flops") is None, "lower bounds are no figures"
    found = [row for row in Store(jobs.store, verify=False).rows() if row["method"] == "registered"]
    assert len(found) == 4
    assert all(row["claimed"] and "model" in row["cost"]["unknown"] for row in found)
    right = (store.outcomes("prediction", store.models()) == store.labels).mean(1)
    assert right == pytest.approx([row["metrics"]["target_top1"] for row in rows], abs=1e-6), "the same weights"
    np.save(jobs.folder / "masks.npy", masks[:3])
    assert main(told) == 1
    assert "expected a row for each of the 4 checkpoints" in capsys.readouterr().err


def test_checkpoints_of_the_ready_resnets_fit_their_network():
    model = {"_target_": "dataprune.models.networks.resnet18_widths"}
    network = build(model, {"kind": "image", "channels": 3}, 7)
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    assert shapes["backbone.conv1.weight"] == (16, 3, 7, 7)
    assert shapes["backbone.layer4.1.conv2.weight"] == (1024, 1024, 3, 3)
    assert shapes["head.weight"] == (7, 1024)
    assert network(image=torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    foreign = {f"module.model.{n.removeprefix('backbone.')}": t for n, t in network.state_dict().items()}
    foreign = {name.replace("head", "linear"): tensor for name, tensor in foreign.items()}
    foreign |= {f"module.normalizer.new_{part}": torch.zeros(3, 1, 1) for part in ("mean", "std")}
    assert fitted(foreign, network, "checkpoint").keys() == network.state_dict().keys()
    with pytest.raises(ConfigError, match="widths"):
        resnet18_widths(3, (1, 2))
