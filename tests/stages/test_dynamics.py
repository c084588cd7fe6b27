"""Foreign dynamics in the pipeline: the same files as the Recorder's, and methods that run without a surrogate."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprune.config import RunConfig
from dataprune.errors import ConfigError
from dataprune.scores.dynamics import area_under_margin, dynamic_uncertainty, el2n, forgetting, tdds
from dataprune.stage_configs import DynamicsConfig
from dataprune.stages import dynamics
from dataprune.training.recorder import ROWS, Recorder

REFERENCE = Path(__file__).parents[1] / "reference"
N, CLASSES, EPOCHS = 7, 3, 4
LABELS = np.arange(N) % CLASSES
LOGITS = (np.random.default_rng(0).normal(size=(EPOCHS, N, CLASSES)) * 4).astype(np.float32)
EXACT = torch.from_numpy(LOGITS).double().softmax(-1).numpy()
FINGERPRINT = "f" * 64


def imported(folder, path, labels=LABELS, n_classes=CLASSES, **words):
    """Run the stage on a data set of these labels; returns its facts and what it wrote."""
    index, work = folder / "index", folder / "work"
    (index / "train").mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    np.save(index / "train" / "labels.npy", labels)
    (index / "classes.json").write_text(json.dumps([str(c) for c in range(n_classes)]))
    (index / "header.json").write_text(json.dumps({"fingerprints": {"train": FINGERPRINT}}))
    facts = dynamics.run(DynamicsConfig(str(path), **words), {"examples": index}, work, RunConfig(), "dynamics")
    return facts, {file.stem: np.load(file) for file in work.glob("*.npy")}


def outputs(folder, values=LOGITS):
    """TDDS's layout, in a shuffled order."""
    folder.mkdir()
    for epoch, rows in enumerate(values):
        order = np.random.default_rng(epoch).permutation(len(rows))
        np.save(folder / f"{epoch}_Output.npy", rows[order])
        np.save(folder / f"{epoch}_Index.npy", order)
    return folder


def batches(path, log_probs, order, size):
    """CCS's layout."""
    items = [
        {"epoch": epoch, "iteration": i, "idx": ids, "output": torch.from_numpy(log_probs[epoch])[ids]}
        for epoch, row in enumerate(order)
        for i, ids in enumerate(torch.from_numpy(row).split(size))
    ]
    path.write_bytes(pickle.dumps({"data-name": "cifar10", "training_dynamics": items}))
    return path


def recorder(folder, **words):
    with Recorder(folder, N, EPOCHS, fingerprint=FINGERPRINT, **words) as there:
        for epoch in range(EPOCHS):
            there.update(epoch, torch.arange(N), torch.from_numpy(LOGITS[epoch]), torch.from_numpy(LABELS))
    return folder


# what is written

WIDER = {"logit_gap": 20}  # the logarithm of a small rounded probability


def test_logits_give_what_the_recorder_would_have_written(tmp_path):
    facts, written = imported(tmp_path, outputs(tmp_path / "npy"))
    recorder(tmp_path / "ours")
    assert written.keys() == {"p_true", "margin", "error", "correct", "logit_gap"}
    for name, values in written.items():
        np.testing.assert_array_equal(values, np.load(tmp_path / "ours" / f"{name}.npy"))
    assert facts.pop("elsewhere") == {}, "what they cost is not known"
    assert facts == {"layout": "outputs", "epochs": EPOCHS, "n": N, "quantities": list(ROWS), "unseen": 0}


@pytest.mark.parametrize(
    ("values", "tolerance"), [(EXACT, 1e-6), (EXACT.astype(np.float16), 1e-3), (np.log(EXACT), 1e-6)]
)
def test_probabilities_give_the_same_numbers_as_logits(tmp_path, values, tolerance):
    np.save(tmp_path / "all.npy", values)
    _, written = imported(tmp_path, tmp_path / "all.npy")
    recorder(tmp_path / "ours")
    for name, found in written.items():
        np.testing.assert_allclose(
            found, np.load(tmp_path / "ours" / f"{name}.npy"), atol=tolerance * WIDER.get(name, 1)
        )


def test_half_precision_logs_of_ccs_are_within_their_rounding(tmp_path):
    order = np.stack([np.random.default_rng(e).permutation(N) for e in range(EPOCHS)])
    _, written = imported(tmp_path, batches(tmp_path / "td.pickle", np.log(EXACT).astype(np.float16), order, 3))
    recorder(tmp_path / "ours")
    for name, found in written.items():
        np.testing.assert_allclose(found, np.load(tmp_path / "ours" / f"{name}.npy"), atol=3e-3 * WIDER.get(name, 1))


def test_a_recorders_folder_is_taken_over_as_it_is(tmp_path):
    ours = recorder(tmp_path / "ours", n_classes=CLASSES)
    facts, written = imported(tmp_path, ours, probabilities=True)
    assert facts["layout"] == "recorder"
    assert written.keys() == {"p_true", "margin", "error", "correct", "logit_gap", "probabilities"}
    for name, values in written.items():
        np.testing.assert_array_equal(values, np.load(ours / f"{name}.npy"))
    header, theirs = (json.loads((folder / "dynamics.json").read_text()) for folder in (tmp_path / "work", ours))
    assert header == theirs


def test_texts_have_nothing_but_the_true_class(tmp_path):
    p_true = EXACT[:, np.arange(N), LABELS].copy()
    p_true[1, [2, 5]] = 0
    (tmp_path / "pred_prob_history").mkdir()
    for epoch, row in enumerate(p_true):
        np.savetxt(tmp_path / "pred_prob_history" / f"prob_{epoch}.txt", row)
    facts, written = imported(tmp_path, tmp_path / "pred_prob_history", probabilities=True)
    assert written.keys() == {"p_true"}
    assert written["p_true"].dtype == np.float32
    np.testing.assert_array_equal(written["p_true"], np.where(p_true == 0, np.nan, p_true).astype(np.float32))
    header = json.loads((tmp_path / "work" / "dynamics.json").read_text())
    assert header == {"n": N, "epochs": EPOCHS, "n_classes": None, "fingerprint": FINGERPRINT} | {
        "unseen": {"0": 0, "1": 2, "2": 0, "3": 0}
    }
    assert facts["unseen"] == 2


def test_what_a_batch_has_left_out_is_not_seen(tmp_path):
    order = [np.arange(N), np.array([0, 1, 2, 2, 1])]
    log_probs = np.log(EXACT).astype(np.float16)
    facts, written = imported(tmp_path, batches(tmp_path / "td.pickle", log_probs, order, 3))
    assert facts["unseen"] == 4
    for name in ("p_true", "margin", "error"):
        assert np.isnan(written[name]).sum(1).tolist() == [0, 4]
    assert not written["correct"][1, 3:].any()


def test_the_full_softmax_is_written_when_it_is_asked_for(tmp_path):
    _, written = imported(tmp_path, outputs(tmp_path / "npy"), probabilities=True)
    assert written["probabilities"].dtype == np.float16
    np.testing.assert_allclose(written["probabilities"], EXACT, atol=1e-3)
    found = tdds(written["probabilities"], LABELS, window=3)
    np.testing.assert_allclose(found, tdds(EXACT, LABELS, window=3), atol=0.02)


def test_blocks_change_nothing(tmp_path, monkeypatch):
    _, whole = imported(tmp_path, outputs(tmp_path / "npy"), probabilities=True)
    monkeypatch.setattr(dynamics, "BLOCK", 2)
    _, blocks = imported(tmp_path, tmp_path / "npy", probabilities=True)
    for name, values in whole.items():
        np.testing.assert_array_equal(blocks[name], values)


# reference vectors: CCS's and Dyn-Unc's own functions on these inputs


@pytest.mark.parametrize("name", ["forgetting", "aum", "el2n"])
def test_scores_of_ccs_pickles_are_those_of_ccs(tmp_path, name):
    case = np.load(REFERENCE / f"{name}.npz")
    path = batches(tmp_path / "td.pickle", case["log_probs_f16"], case["order"], int(case["batch_size"]))
    _, written = imported(tmp_path, path, case["targets"], int(case["num_classes"]))
    if name == "forgetting":
        assert forgetting(written["correct"], never_learned="zero").tolist() == case["forgetting"].tolist()
        assert forgetting(written["correct"]).tolist() == case["forgetting_never_learned_is_E"].tolist()
        assert written["correct"].sum(0).tolist() == case["correctness"].tolist()
    elif name == "aum":
        np.testing.assert_allclose(-area_under_margin(written["margin"]), case["accumulated_margin"], atol=1e-5)
    else:
        np.testing.assert_allclose(el2n(written["error"]), case["el2n"], atol=1e-5)


@pytest.mark.parametrize("case", sorted({k.split("/")[0] for k in np.load(REFERENCE / "dynunc.npz").files}))
def test_scores_of_dyn_unc_texts_are_those_of_dyn_unc(tmp_path, case):
    with np.load(REFERENCE / "dynunc.npz") as file:
        there = {key.split("/")[1]: file[key] for key in file.files if key.startswith(f"{case}/")}
    if "score" not in there:
        pytest.skip("the reference fails there")
    for epoch, row in enumerate(there["probs"]):
        np.savetxt(tmp_path / f"prob_{epoch}.txt", row)
    n = there["probs"].shape[1]
    _, written = imported(tmp_path, tmp_path, np.zeros(n, int), 1)
    found = dynamic_uncertainty(written["p_true"], window=int(there["window"]), missing="reference")
    np.testing.assert_allclose(found, there["score"], rtol=1e-6)


# what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:, :, :2], r"array of shape \(7, 2\): expected shape \(7, 3\): the source has 7 examples of 3"),
        (lambda v: v[:, :5], "without ids 5, 6: expected every example in some epoch"),
        (lambda v: np.where(np.arange(N)[:, None] == 3, np.nan, v), "NaN or inf at ids 3: expected finite outputs"),
        (lambda v: np.where(v == v.max(), np.inf, v), r"NaN or inf at ids \d: expected finite outputs"),
    ],
)
def test_outputs_that_do_not_fit_the_source_are_refused(tmp_path, change, message):
    with pytest.raises(ConfigError, match=rf"^surrogate\.dynamics='.*{message}"):
        imported(tmp_path, outputs(tmp_path / "npy", change(LOGITS)))
    assert not (tmp_path / "work" / "dynamics.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p * np.where(np.arange(N) == 2, 1.2, 1)[:, None],
            r"(at ids 2: expected|softmax at ids 2: expected)",
        ),
        (lambda p: np.where(np.arange(N)[:, None] == 2, np.nan, p), "nan at ids 2: expected probabilities: 0 to 1"),
        (lambda p: p - np.where(np.arange(N) == 4, 0.7, 0)[:, None], "at ids 4: expected probabilities: 0 to 1"),
        (lambda p: p[:, :-1], "array of shape .*: the source has 7 examples|with 6 values: expected 7"),
    ],
)
def test_probabilities_that_are_none_are_refused(tmp_path, change, message):
    np.save(tmp_path / "all.npy", change(EXACT))
    with pytest.raises(ConfigError, match=rf"^surrogate\.dynamics='.*{message}"):
        imported(tmp_path, tmp_path / "all.npy")


def test_logits_where_ccs_keeps_log_probabilities_are_refused(tmp_path):
    path = batches(tmp_path / "td.pickle", LOGITS, [np.arange(N)] * EPOCHS, 3)
    with pytest.raises(ConfigError, match=r"without a softmax at ids 0, 1, .*: expected log_probabilities"):
        imported(tmp_path, path)


def test_a_recording_of_another_data_set_is_refused(tmp_path):
    with Recorder(tmp_path / "ours", N, 1, fingerprint="e" * 64) as there:
        there.update(0, torch.arange(N), torch.from_numpy(LOGITS[0]), torch.from_numpy(LABELS))
    with pytest.raises(ConfigError, match="dynamics of data set eeeeeeee: expected those of the source, ffffffff"):
        imported(tmp_path, tmp_path / "ours")


# the pipeline


def texts(jobs, n=372, epochs=6, seed=0):
    folder = jobs.folder / f"texts{seed}"
    folder.mkdir()
    for epoch, row in enumerate(np.random.default_rng(seed).random((epochs, n))):
        np.savetxt(folder / f"prob_{epoch}.txt", row)
    return folder


def of(jobs, row, role, stage, name):
    return np.load(jobs.store / stage / row["keys"][role] / f"{name}.npy")


ONLY_SELECT = ("target=none", "pretrain.epochs=1")


def test_a_method_of_dynamics_trains_no_surrogate(jobs):
    folder = texts(jobs)
    words = ["method=dynamic_uncertainty", "constants.window=5", f"surrogate.dynamics={folder}", *ONLY_SELECT]
    (row,) = jobs.run(*words)
    assert "surrogate" not in row["keys"]
    assert row["surrogate"] is None
    assert row["cost"]["surrogate_images"] == 0
    p_true = np.stack([np.loadtxt(folder / f"prob_{epoch}.txt") for epoch in range(6)])
    np.testing.assert_allclose(
        of(jobs, row, "scores", "score", "scores"), dynamic_uncertainty(p_true, window=5), rtol=1e-5
    )
    moved = folder.rename(jobs.folder / "moved")
    (again,) = jobs.run(*words, f"surrogate.dynamics={moved}")
    assert again["keys"] == row["keys"], "the content counts, not where it lies"
    (moved / "prob_2.txt").write_text("0.5\n" * 372)
    (other,) = jobs.run(*words, f"surrogate.dynamics={moved}")
    assert other["keys"]["dynamics"] != row["keys"]["dynamics"]


def test_a_method_that_wants_signals_too_trains_a_surrogate_for_them(jobs):
    """D2: difficulty from foreign dynamics, neighbours in our own surrogate's features."""
    np.save(jobs.folder / "all.npy", np.random.default_rng(0).normal(size=(3, 372, 62)))
    (plain,) = jobs.run("method=k_center", *ONLY_SELECT)
    (row,) = jobs.run("method=d2", f"surrogate.dynamics={jobs.folder / 'all.npy'}", *ONLY_SELECT)
    assert row["keys"]["surrogate"] == plain["keys"]["surrogate"], "the same training as without foreign dynamics"
    assert "dynamics" in row["keys"]


def test_what_another_of_our_jobs_recorded_can_be_taken_over(jobs):
    (first,) = jobs.run("method=forgetting", *ONLY_SELECT)
    folder = jobs.store / "train" / first["keys"]["surrogate"]
    (row,) = jobs.run("method=forgetting", f"surrogate.dynamics={folder}", *ONLY_SELECT)
    assert "surrogate" not in row["keys"]
    assert row["keys"]["scores"] != first["keys"]["scores"]
    np.testing.assert_array_equal(
        of(jobs, row, "scores", "score", "scores"), of(jobs, first, "scores", "score", "scores")
    )
    with pytest.raises(ConfigError, match=r"^surrogate\.dynamics='.*372 examples: expected 310, as the source has"):
        jobs.run("method=forgetting", f"surrogate.dynamics={folder}", "source.limit.train=310", *ONLY_SELECT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["method=forgetting"],
            r"^method\.score\.correct='correct': expected an array of p_true: surrogate\.dynamics=",
        ),
        (["method=ccs"], r"^method\.score\.margin='margin': .* has no margin$"),
        (["method=el2n"], r"^method\.score\.error='error': .* has no error$"),
        (["method=tdds", "surrogate.record.probabilities=true"], "has no probabilities$"),
        (
            ["method=dynamic_uncertainty", "method.score.window=6"],
            r"^method\.score\.window=6: expected 2 to 5 \(6 epoc",
        ),
        (
            ["method=d2", "method.score._target_=dataprune.scores.dynamics.variability", "~method.score.never_learned"],
            r"^method\.cut\.score\.margin='margin': .* has no margin$",
        ),
    ],
)
def test_a_quantity_that_is_not_there_is_named_before_anything_runs(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words, f"surrogate.dynamics={texts(jobs)}")
    assert not jobs.store.exists()


def test_only_the_surrogate_has_dynamics_and_they_exist(jobs):
    with pytest.raises(ConfigError, match=r"^surrogate\.dynamics='nowhere': expected an existing folder or file"):
        jobs.run("method=variability", "surrogate.dynamics=nowhere")
    with pytest.raises(ConfigError, match=r"^pretrain\.dynamics='x': expected null: dynamics are the surrogate's"):
        jobs.run("method=variability", "pretrain.dynamics=x")


def test_a_recording_that_does_not_fit_leaves_no_result(jobs):
    with pytest.raises(ConfigError, match=r"with 371 values: expected 372, one an example of the source"):
        jobs.run("method=variability", f"surrogate.dynamics={texts(jobs, n=371)}", *ONLY_SELECT)
    assert not (jobs.store / "dynamics").exists()
    (row,) = jobs.run("method=variability", f"surrogate.dynamics={texts(jobs, seed=1)}", *ONLY_SELECT)
    assert row["kept"] == 186


def test_examples_that_a_training_leaves_out_too_often_are_told_with_what_would_do(jobs):
    words = ["method=dynamic_uncertainty", "method.score.window=2", "surrogate.drop_last=true"]
    with pytest.raises(ConfigError, match=r"^method\.score=NaN at ids .*, recorded in too few epochs: .*drop_last"):
        jobs.run(*words, "surrogate.batch_size=250")
