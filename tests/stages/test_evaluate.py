"""Figures of ImageNet through the pipeline: ReaL's labels, and the 1,000 outputs of a model of 21K classes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dataprune.errors import ConfigError
from dataprune.stages.evaluate import gathered, measure

WORDS = ["method=full", "target=none", "source=folder", "source.size=8", "source.channels=3", "pretrain.epochs=1"]


@pytest.fixture
def pictures(tmp_path):
    """Four classes to learn, of which the third is empty of test images; names as in ImageNet's validation set."""
    for label in range(4):
        for i in range(3):
            path = tmp_path / "root" / "train" / f"n0{label}" / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 60 * label + i, np.uint8)).save(path)
    for number, label in ((1, 3), (2, 0), (3, 1), (4, 3)):
        path = tmp_path / "root" / "val" / f"n0{label}" / f"ILSVRC2012_val_0000000{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 60 * label, np.uint8)).save(path)
    return tmp_path / "root"


def outcomes(jobs, row):
    with np.load(jobs.store / "evaluate" / row["keys"]["source_result"] / "outcomes.npz") as found:
        return {name: found[name] for name in found.files}


def test_real_labels_are_counted_by_number_and_are_in_the_key_by_their_content(jobs, pictures, tmp_path):
    words, real = [*WORDS, f"source.path={pictures}"], tmp_path / "real.json"
    (plain,) = jobs.run(*words)
    order = [2, 3, 1, 4]  # the test split is sorted by class: n00, n01, n03, n03
    predicted = dict(zip(order, outcomes(jobs, plain)["prediction"].tolist(), strict=True))
    wrong = {number: (prediction + 1) % 4 for number, prediction in predicted.items()}
    real.write_text(json.dumps([[predicted[1], 9], [wrong[2]], [], [wrong[4]]]))
    (row,) = jobs.run(*words, f"evaluate.real={real}")
    assert row["metrics"]["source_real_n"] == 3, "an empty list does not count"
    assert row["metrics"]["source_real_top1"] == pytest.approx(1 / 3)
    assert row["metrics"]["source_top1"] == plain["metrics"]["source_top1"]
    real.write_text(json.dumps([[predicted[1]], [predicted[2]], [], [predicted[4]]]))
    (other,) = jobs.run(*words, f"evaluate.real={real}")
    assert other["metrics"]["source_real_top1"] == 1
    assert other["keys"]["model"] == plain["keys"]["model"]
    assert len({r["identity"] for r in (plain, row, other)}) == 3


def test_what_does_not_fit_the_data_is_told_before_anything_is_trained(jobs, tmp_path):
    (tmp_path / "real.json").write_text("[[1]]")
    (tmp_path / "columns.txt").write_text("61\n62\n")
    with pytest.raises(ConfigError, match=r"^evaluate\.real=image '.*': expected names with a number of 1 to 1"):
        jobs.run("method=full", "target=none", f"evaluate.real={tmp_path / 'real.json'}")
    with pytest.raises(ConfigError, match=r"^evaluate\.classes_file=.*: expected distinct columns of 0 to 61"):
        jobs.run("method=full", "target=none", f"evaluate.classes_file={tmp_path / 'columns.txt'}")
    assert not (jobs.store / "train").exists()


def test_only_the_mapped_outputs_are_looked_at(jobs, pictures, tmp_path):
    words, columns = [*WORDS, f"source.path={pictures}"], tmp_path / "mapping_dict.txt"
    np.savetxt(columns, [0, 1, 3])
    (row,) = jobs.run(*words, f"evaluate.classes_file={columns}")
    assert set(outcomes(jobs, row)["prediction"].tolist()) <= {0, 1, 2}
    np.savetxt(columns, [0, 1, 2])
    message = r"^evaluate\.classes_file=3 columns: expected columns of all classes of test; n03 has none"
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words, f"evaluate.classes_file={columns}", "pretrain.seed=9")
    assert len(list(jobs.store.glob("train/*"))) == 1, "it is told before another model is trained"


class Named:
    """A split of a data set with these classes."""

    def __init__(self, classes):
        self.classes, self.split = classes, "test"


def test_gathering_by_hand():
    logits = torch.tensor([[9.0, 0, 5, 1], [9, 0, 1, 5]])
    mapped, labels = gathered(logits, torch.tensor([3, 3]), np.array([2, 3]), Named(list("abcd")))
    assert mapped.tolist() == [[5, 1], [1, 5]]
    assert labels.tolist() == [1, 1]
    assert measure(mapped, labels)[0]["top1"] == 0.5
    mapped, labels = gathered(logits, torch.tensor([1, 0]), np.array([2, 3]), Named(list("cd")))
    assert labels.tolist() == [1, 0], "a data set of the small set's classes has positions already"
    assert measure(mapped, labels)[0]["top1"] == 0


def test_what_is_not_there_is_told_before_anything_is_read(jobs, tmp_path):
    with pytest.raises(ConfigError, match=r"^evaluate\.real='gone.json': expected an existing file"):
        jobs.config("evaluate.real=gone.json")
    with pytest.raises(ConfigError, match=r"^evaluate\.about='target': expected source"):
        jobs.config("evaluate.about=target", "target=none")


def test_a_reused_head_keeps_the_columns_of_the_targets_classes(jobs, pictures, tmp_path):
    target, columns = tmp_path / "target", tmp_path / "mapping_dict.txt"
    for split in ("train", "val"):
        for label in (1, 3):
            for i in range(3):
                path = target / split / f"n0{label}" / f"{i}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 60 * label + i, np.uint8)).save(path)
    words = [word for word in WORDS if word != "target=none"] + [f"source.path={pictures}", "target=folder"]
    words += [f"target.path={target}", "target.size=8", "target.channels=3", "transfer.head=reuse", "transfer.epochs=1"]
    words += ["transfer.optimizer.lr=1e-12", f"transfer.head_columns={columns}"]
    np.savetxt(columns, [1, 3], fmt="%.18e")
    (row,) = jobs.run(*words)

    def head(role):
        return torch.load(jobs.store / "train" / row["keys"][role] / "model.pt", weights_only=True)["head.weight"]

    assert torch.allclose(head("adapted"), head("model")[[1, 3]], atol=1e-5)
    np.savetxt(columns, [3, 1], fmt="%.18e")
    (other,) = jobs.run(*words)
    assert other["identity"] != row["identity"], "the file is in the key by its content"
    np.savetxt(columns, [3], fmt="%.18e")
    with pytest.raises(ConfigError, match=r"^transfer\.head='reuse': expected fresh: 1 outputs for the 2 classes"):
        jobs.run(*words)
    np.savetxt(columns, [3, 9], fmt="%.18e")
    with pytest.raises(ConfigError, match=r"^transfer\.head_columns=.*expected distinct columns of 0 to 3"):
        jobs.run(*words)
    with pytest.raises(ConfigError, match=r"^transfer\.head_columns=.*expected null, or transfer\.head=reuse"):
        jobs.run(*words, "transfer.head=fresh")
