"""Dynamics from any loop: what is on disk afterwards, and what is refused."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.training.recorder import ROWS, Recorder, quantities

N, CLASSES = 7, 3


def logits_of(epoch, n=N):
    return torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(epoch)) * 3


LABELS = torch.arange(N) % CLASSES


def read(folder, name):
    return np.load(Path(folder) / f"{name}.npy")


def record(folder, epochs, total=3, **words):
    """Record these epochs of N examples in batches of three, in an order of each epoch's own."""
    with Recorder(folder, N, total, **words) as recorder:
        for epoch in epochs:
            for ids in torch.roll(torch.arange(N), epoch).split(3):
                recorder.update(epoch, ids, logits_of(epoch)[ids], LABELS[ids])


def slow(logits, label):
    """The five quantities of one example, in float64 and by their definitions."""
    p = np.exp(logits.astype(np.float64) - logits.max())
    p /= p.sum()
    others = [p[c] for c in range(len(p)) if c != label]
    onehot = [float(c == label) for c in range(len(p))]
    gap = float(logits[label]) - max(float(logits[c]) for c in range(len(p)) if c != label)
    return p[label], p[label] - max(others), np.linalg.norm(p - onehot), int(np.argmax(logits)) == label, gap


# what is written


def test_rows_are_those_of_a_slow_twin(tmp_path):
    record(tmp_path, range(3), n_classes=CLASSES)
    for epoch in range(3):
        expected = [slow(logits_of(epoch)[i].numpy(), int(LABELS[i])) for i in range(N)]
        for name, column in zip(ROWS, zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(read(tmp_path, name)[epoch], column, rtol=2e-6, err_msg=name)
        expected_p = logits_of(epoch).double().softmax(1)
        np.testing.assert_allclose(read(tmp_path, "probabilities")[epoch], expected_p, rtol=1e-3)
    kinds = {name: read(tmp_path, name).dtype for name in [*ROWS, "probabilities"]}
    assert kinds == {
        "p_true": "f4",
        "margin": "f4",
        "error": "f4",
        "correct": "?",
        "logit_gap": "f4",
        "probabilities": "f2",
    }


def test_the_score_functions_take_the_arrays_as_they_are(tmp_path):
    from dataprune.scores.dynamics import area_under_margin, el2n, forgetting

    record(tmp_path, range(3))
    assert forgetting(read(tmp_path, "correct")).shape == (N,)
    assert area_under_margin(read(tmp_path, "margin")).shape == el2n(read(tmp_path, "error"), epochs=2).shape == (N,)


def test_the_error_keeps_its_digits_where_the_model_is_sure():
    """sqrt(1 + sum(p^2) - 2 p_true) would be 0 here, or NaN; 1 - p_true has one digit, then none."""
    logits = torch.tensor([[12.0, 0.0], [16.0, -1.0], [40.0, 0.0]])
    error = quantities(logits, torch.tensor([0, 0, 0]))[0][2]
    wrong = 1 / (1 + np.exp([12.0, 17.0, 40.0]))  # the other class's probability; twice in the norm
    np.testing.assert_allclose(error, wrong * np.sqrt(2), rtol=1e-5)


def test_half_precision_logits_give_a_probability_above_zero():
    p_true = quantities(torch.tensor([[0.0, 20.0]], dtype=torch.float16), torch.tensor([0]))[0][0]
    assert p_true.item() == pytest.approx(np.exp(-20.0), rel=1e-3)


def test_the_lowest_class_wins_a_tie():
    correct = quantities(torch.zeros(2, 3), torch.tensor([0, 2]))[0][3]
    assert correct.tolist() == [1, 0]


def test_what_was_not_seen_is_nan_and_counted(tmp_path):
    with Recorder(tmp_path, N, 2, n_classes=CLASSES) as recorder:
        ids = torch.tensor([1, 4])
        recorder.update(0, ids, logits_of(0)[ids], LABELS[ids])
    for name in ("p_true", "margin", "error"):
        row = read(tmp_path, name)[0]
        assert np.flatnonzero(~np.isnan(row)).tolist() == [1, 4], name
    assert np.isnan(read(tmp_path, "probabilities")[0, [0, 2, 3, 5, 6]]).all()
    assert not read(tmp_path, "correct")[0, [0, 2, 3, 5, 6]].any()
    assert np.isnan(read(tmp_path, "p_true")[1]).all(), "an epoch that did not run"
    assert json.loads((tmp_path / "dynamics.json").read_text())["unseen"] == {"0": 5}


@pytest.mark.parametrize("batches", [[[1, 2], [2, 3]], [[1, 2, 2, 3]], [[2, 2, 2], [1, 3, 2]]])
def test_the_first_value_of_an_epoch_wins(tmp_path, batches):
    with Recorder(tmp_path, N, 1, n_classes=2) as recorder:
        seen, expected = 0, {}
        for ids in batches:
            values = torch.arange(seen, seen + len(ids)).float()
            for i, value in zip(ids, values.sigmoid().tolist(), strict=True):
                expected.setdefault(i, value)
            logits = torch.stack([values, torch.zeros(len(ids))], 1)
            recorder.update(0, torch.tensor(ids), logits, torch.zeros(len(ids), dtype=torch.int64))
            seen += len(ids)
    np.testing.assert_allclose(read(tmp_path, "p_true")[0, [1, 2, 3]], [expected[i] for i in (1, 2, 3)], rtol=1e-6)
    np.testing.assert_allclose(read(tmp_path, "probabilities")[0, 2, 0], expected[2], rtol=1e-3)


def test_what_is_not_real_does_not_count(tmp_path):
    with Recorder(tmp_path, N, 1) as recorder:
        ids, real = torch.tensor([5, 6, 5, 0]), torch.tensor([False, True, True, False])
        logits = torch.zeros(4, CLASSES)
        logits[2, LABELS[5]] = 1
        recorder.update(0, ids, logits, LABELS[ids], real)
    row = read(tmp_path, "p_true")[0]
    assert np.flatnonzero(~np.isnan(row)).tolist() == [5, 6]
    assert row[5] > row[6] == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
def test_ids_and_labels_of_any_integer_type_are_taken(tmp_path, kind):
    with Recorder(tmp_path, N, 1) as recorder:
        recorder.update(0, torch.arange(N).to(kind), logits_of(0), LABELS.to(kind))
    np.testing.assert_array_equal(read(tmp_path, "p_true")[0], quantities(logits_of(0), LABELS)[0][0])


def test_nothing_of_the_graph_is_kept(tmp_path):
    recorder = Recorder(tmp_path, N, 1)
    logits = logits_of(0).requires_grad_()
    recorder.update(0, torch.arange(N), logits, LABELS)
    assert not recorder.rows.requires_grad
    recorder.close()


def test_the_loop_of_the_docstring(tmp_path):
    images, network = torch.randn(N, 4), torch.nn.Linear(4, CLASSES)
    data = torch.utils.data.TensorDataset(torch.arange(N), images, LABELS)
    loader = torch.utils.data.DataLoader(data, batch_size=3, shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with Recorder(tmp_path / "dynamics", n=N, epochs=2) as recorder:
        for epoch in range(2):
            for ids, x, labels in loader:
                logits = network(x)
                torch.nn.functional.cross_entropy(logits, labels).backward()
                optimizer.step()
                recorder.update(epoch, ids, logits, labels)
    assert not np.isnan(read(tmp_path / "dynamics", "p_true")).any()
    files = {p.name for p in (tmp_path / "dynamics").iterdir()}
    assert files == {f"{name}.npy" for name in ROWS} | {"dynamics.json"}


# an epoch is written whole or not at all


def test_an_error_in_the_block_does_not_write_the_epoch_that_it_cut_short(tmp_path):
    def loop(recorder):
        recorder.update(0, torch.arange(N), logits_of(0), LABELS)
        recorder.update(1, torch.arange(3), logits_of(1)[:3], LABELS[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path, N, 2) as recorder:
        loop(recorder)
    assert json.loads((tmp_path / "dynamics.json").read_text())["unseen"] == {"0": 0}
    assert not np.isnan(read(tmp_path, "p_true")[0]).any()
    assert np.isnan(read(tmp_path, "p_true")[1]).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_broken_logits_name_their_ids_and_leave_the_epoch_unwritten(tmp_path, bad):
    recorder = Recorder(tmp_path, N, 2, n_classes=CLASSES)
    recorder.update(0, torch.arange(N), logits_of(0), LABELS)
    logits = logits_of(1)
    logits[[2, 5], 0] = bad
    recorder.update(1, torch.arange(N), logits, LABELS)
    with pytest.raises(ConfigError, match=r"^logits=NaN or inf at ids 2, 5: expected finite .*epoch 1 was not"):
        recorder.flush()
    assert np.isnan(read(tmp_path, "p_true")[1]).all()
    assert not read(tmp_path, "correct")[1].any()
    assert np.isnan(read(tmp_path, "probabilities")[1]).all()
    assert json.loads((tmp_path / "dynamics.json").read_text())["unseen"] == {"0": 0}


def test_recording_goes_on_in_the_same_folder(tmp_path):
    record(tmp_path / "once", range(3), n_classes=CLASSES)
    record(tmp_path / "twice", [0, 1], n_classes=CLASSES)
    record(tmp_path / "twice", [1, 2], n_classes=CLASSES)
    for name in [*ROWS, "probabilities"]:
        np.testing.assert_array_equal(read(tmp_path / "once", name), read(tmp_path / "twice", name))
    assert (tmp_path / "once" / "dynamics.json").read_text() == (tmp_path / "twice" / "dynamics.json").read_text()


def test_an_epoch_that_is_repeated_replaces_its_row_whole(tmp_path):
    record(tmp_path, [0], total=1)
    with Recorder(tmp_path, N, 1) as recorder:
        recorder.update(0, torch.tensor([3]), logits_of(9)[[3]], LABELS[[3]])
    assert np.flatnonzero(~np.isnan(read(tmp_path, "p_true")[0])).tolist() == [3]
    assert json.loads((tmp_path / "dynamics.json").read_text())["unseen"] == {"0": 6}


def test_a_folder_that_was_killed_before_its_first_line_is_made_anew(tmp_path):
    (tmp_path / "p_true.npy").write_bytes(b"half")
    record(tmp_path, range(3))
    assert not np.isnan(read(tmp_path, "p_true")).any()


# what is refused


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"n": N + 1}, r"^n=8: expected n=7 as in"),
        ({"epochs": 4}, r"^epochs=4: expected epochs=3 as in"),
        ({"n_classes": 3}, r"^n_classes=3: expected n_classes=None as in"),
        ({"fingerprint": "cd"}, r"^fingerprint='cd': expected fingerprint='ab' as in .*, or another folder$"),
    ],
)
def test_dynamics_of_something_else_are_refused(tmp_path, words, text):
    same = {"n": N, "epochs": 3, "fingerprint": "ab"}
    Recorder(tmp_path, **same)
    Recorder(tmp_path, **same)
    with pytest.raises(ConfigError, match=text):
        Recorder(tmp_path, **same | words)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"epoch": 3}, r"^epoch=3: expected 0 to 2 \(this recorder was made for 3 epochs\)"),
        ({"epoch": -1}, r"^epoch=-1: expected 0 to 2"),
        ({"ids": torch.tensor([0, 7])}, r"^ids=0 to 7: expected 0 to 6"),
        ({"ids": torch.tensor([-1, 6])}, r"^ids=-1 to 6: expected 0 to 6"),
        ({"labels": torch.tensor([0, 3])}, r"^labels=0 to 3: expected 0 to 2"),
        ({"labels": torch.tensor([0])}, r"^ids, logits, labels=\(2,\), \(2, 3\), \(1,\): expected shapes"),
        ({"logits": torch.zeros(2)}, r"^ids, logits, labels=\(2,\), \(2,\), \(2,\): expected shapes"),
    ],
)
def test_a_first_batch_that_cannot_be_is_refused(tmp_path, change, text):
    recorder = Recorder(tmp_path, N, 3)
    good = {"epoch": 0, "ids": torch.tensor([0, 1]), "logits": torch.zeros(2, 3), "labels": torch.tensor([0, 1])}
    with pytest.raises(ConfigError, match=text):
        recorder.update(**good | change)


@pytest.mark.parametrize("name", ["n", "epochs"])
def test_nothing_to_record_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"^{name}=0: expected 1 or more"):
        Recorder(tmp_path, **{"n": 1, "epochs": 1} | {name: 0})


# several processes

PROGRAM = """
    import sys, torch, torch.distributed as dist
    from dataprune.training.recorder import Recorder
    dist.init_process_group("gloo", f"file://{sys.argv[2]}", rank=int(sys.argv[3]), world_size=2)
    rank = dist.get_rank()
    shares = [[[0, 2], [4, 0]], [[1, 3], [5, 4]]]   # 4 is seen by both; 0 twice by one; 6 by nobody
    with Recorder(sys.argv[1], 7, 2, n_classes=2) as recorder:
        for epoch in range(2):
            for step, ids in enumerate(shares[rank]):
                ids = torch.tensor(ids)
                value = ids + 10.0 * epoch + torch.tensor([0.0, 0.5 * step])   # a repeat has another value
                logits = torch.stack([value / 10, torch.zeros(2)], 1)
                recorder.update(epoch, ids, logits, torch.zeros(2, dtype=torch.int64))
    dist.destroy_process_group()
"""


def test_processes_give_the_union_with_each_example_once(tmp_path):
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "dynamics"), str(tmp_path / "meet")]
    workers = [subprocess.Popen([*program, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for worker in workers:
        _, complaint = worker.communicate(timeout=60)
        assert worker.returncode == 0, complaint
    expected = torch.tensor([[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]], dtype=torch.float32).div(10).sigmoid()
    np.testing.assert_allclose(read(tmp_path / "dynamics", "p_true")[:, :6], expected, rtol=1e-6)
    np.testing.assert_allclose(read(tmp_path / "dynamics", "probabilities")[:, :6, 0], expected, rtol=1e-3)
    assert np.isnan(read(tmp_path / "dynamics", "p_true")[:, 6]).all()
    assert json.loads((tmp_path / "dynamics" / "dynamics.json").read_text())["unseen"] == {"0": 1, "1": 1}
