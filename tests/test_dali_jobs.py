"""Whole jobs with loader=dali: every pass of a model that it trained uses it, and what was used is in the keys.

Skipped without the extra `dali`; `make test-dali` runs these alone.
"""

import json

import numpy as np
import pytest
import torch

from dataprune.augmentation import AugmentConfig
from dataprune.config import DataConfig, RecordConfig
from dataprune.data import dali
from dataprune.data.codecs import decoding
from dataprune.store import Store
from tests.golden.inputs import CNN
from tests.made_up_photos import photo
from tests.test_ddp import dynamics
from tests.test_kill import start
from tests.test_sampling import cut_short, history, keep_each_epoch, recipe, run

pytest.importorskip("nvidia.dali", reason="the extra dali is not installed", exc_type=ImportError)

N = 21


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An ImageFolder of 21 and 6 small JPEGs of three classes."""
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", N), ("test", 6)):
        for i in range(count):
            path = folder / split / f"class{i % 3}" / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(i % 3, 40 + i % 4, 50))
    return folder


def words(root, *more):
    given = ["method=forgetting", "target=none", "source=folder", f"source.path={root}", "source.size=16"]
    given += ["source.channels=3", "surrogate.loader=dali", "pretrain.loader=dali", "run.report=false", "run=cpu"]
    return [*given, "surrogate.epochs=3", "pretrain.epochs=2", "pretrain.batch_size=5", "surrogate.batch_size=6", *more]


def test_every_pass_of_a_job_uses_it_and_the_keys_say_so(jobs, root, monkeypatch):
    passes, build = [], dali.pipeline

    def noted(look, *given, **more):
        passes.append(look)
        return build(look, *given, **more)

    monkeypatch.setattr(dali, "pipeline", noted)
    (row,) = jobs.run(*words(root, "surrogate.record.view=clean", "method=moderate"))
    seen = len(passes)
    assert seen == 3 + 1 + 2 + 1, "three and two epochs, the signals and the evaluation"
    assert {look.twice for look in passes} == {True, False}, "a training view and its clean one come from one decoding"
    header = json.loads((jobs.store / "decode" / row["keys"]["source_pixels"] / "header.json").read_text())
    assert header["codec"]["decoder"] == "dali-cpu"
    files = [word.replace("dali", "workers") for word in words(root, "surrogate.record.view=clean", "method=moderate")]
    (other,) = jobs.run(*files, "run.workers=0")
    assert len(passes) == seen
    for role in ("source_pixels", "surrogate", "signals", "model", "source_result"):
        assert row["keys"][role] != other["keys"][role], role
    assert row["keys"]["source"] == other["keys"]["source"]
    assert row["metrics"].keys() == other["metrics"].keys()
    assert {r.key for r in Store(jobs.store).results()} >= set(row["keys"].values())


def test_two_processes_record_each_example_once(root, tmp_path):
    more = ["surrogate.processes=2", "surrogate.record.view=clean", "surrogate.model.norm=group", "baselines=none"]
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        given = words(root, *more, f"surrogate.processes={count}")
        assert start(tmp_path / str(count), *given).wait(240) == 0, (tmp_path / str(count) / "log0.txt").read_text()
    (one, unseen_one), (two, unseen_two) = (dynamics(tmp_path / str(count)) for count in (1, 2))
    assert unseen_one == unseen_two == {"0": 0, "1": 0, "2": 0}
    for name in one:  # not augmented: the views are those of one process
        np.testing.assert_allclose(two[name].astype(float), one[name].astype(float), atol=1e-3, err_msg=name)


def test_a_training_that_was_cut_short_sees_the_same_examples(root, dataset, tmp_path, monkeypatch):
    keep_each_epoch(monkeypatch)
    config = DataConfig("x", {"_target_": "dataprune.data.folder.read"}, str(root), size=16, channels=3)
    monkeypatch.setattr("tests.conftest.decoding", lambda *given, **w: decoding(*given, **w, decoder="dali-cpu"))
    inputs = dataset(config, tmp_path / "made", kept=False).inputs
    assert '"dali-cpu"' in (inputs["pixels"] / "header.json").read_text()
    augment = AugmentConfig(flip=True, random_resized_crop=[0.2, 1.0], color_jitter=[0.4, 0.4, 0.4, 0.1], mixup=0.2)
    given = {"sampler": {}, "loader": "dali", "augment": augment, "epochs": 4, "batch_size": 4, "model": CNN}
    training = recipe(**given, record=RecordConfig("train", "clean"))
    facts, whole = run(training, inputs, tmp_path / "whole")
    cut_short(2, training, inputs, tmp_path / "cut", monkeypatch)
    again, resumed = run(training, inputs, tmp_path / "cut")
    assert again == facts
    assert facts["images_seen"] == 4 * N
    assert [line["epoch"] for line in history(tmp_path / "cut")] == list(range(4))
    for name in whole:  # a CPU draws and decodes the same again
        assert torch.equal(whole[name], resumed[name]), name
