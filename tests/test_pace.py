"""What a training tells of its pace: images a second, waiting for input, the share of the peak; and of its parts."""

import json
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from dataprune.peaks import peak_flops
from dataprune.training.callbacks import EMA, History, SumImages
from dataprune.training.pace import Pace, Waited, in_words, summary
from dataprune.training.parts import Parts
from dataprune.training.recorder import Recorder
from dataprune.training.views import RecordViews
from tests.test_callbacks import N, classifier, examples, fit, lines, loader_of

assert examples  # a fixture
pytestmark = pytest.mark.filterwarnings("ignore")
SLEEP_S = 0.03


class Slow:
    """A loader that sleeps before each batch."""

    def __init__(self, loader):
        self.loader, self.sampler = loader, loader

    def __iter__(self):
        for batch in self.loader:
            time.sleep(SLEEP_S)
            yield batch


class SlowStep(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        time.sleep(SLEEP_S)


def paced(path, loader, epochs=2, peak=None, *callbacks, module=None, **words):
    """Train with a Pace; its lines."""
    waited = Waited(loader)
    before = Pace(path / "pace.jsonl", "model", epochs, waited, peak)
    fit(module or classifier(), waited, epochs, before, *callbacks, SumImages(), **words)
    return lines(path / "pace.jsonl")


def test_a_loader_that_sleeps_as_long_as_the_step_is_waited_for_half_of_the_time(examples, tmp_path):
    batches = loader_of(examples, 1)
    _, *warm = paced(tmp_path, Slow(batches), 3, None, SlowStep())  # in the first one things are compiled
    assert np.mean([line["input_wait"] for line in warm]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([line["images_s"] for line in warm]) == pytest.approx(1 / (2 * SLEEP_S), rel=0.3)


def test_what_happens_after_the_steps_of_an_epoch_is_not_its_pace(examples, tmp_path):
    class After(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            time.sleep(0.5)

    first, second = paced(tmp_path, Slow(loader_of(examples, 5)), 2, None, After())
    assert second["images_s"] > N / 0.5
    assert (first["epoch"], second["epoch"]) == (0, 1)


def test_mfu_is_the_network_s_flops_a_second_over_the_peak(examples, tmp_path):
    from dataprune.models.flops import step_flops

    each = step_flops(classifier().network, {"image": torch.empty(1, 8, 8)})
    for line in paced(tmp_path, Slow(loader_of(examples, 5)), 2, 1e6):
        assert line["mfu"] == pytest.approx(each * line["images_s"] / 1e6, rel=0.01)


def test_several_processes_are_one_pace():
    parts = [{"images": 30.0, "seconds": 2.0, "waited": 1.0, "flops": 8.0, "memory": m} for m in (3.0, 4.0)]
    line = summary(parts, 8.0)
    assert line == {"images_s": 30.0, "input_wait": 0.5, "memory_gb": 4.0, "mfu": 0.5}
    assert in_words(line) == "30 images/s, waits for input 50%, 4.0 GB of GPU memory, MFU 50.0%"
    assert summary([{"images": 30.0, "seconds": 2.0, "waited": 1.0}], None).keys() == {"images_s", "input_wait"}


@pytest.mark.parametrize(
    ("device", "precision", "tera"),
    [
        ("NVIDIA H200", "bfloat16", 989.4),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 PCIe", "float16", 756),
        ("NVIDIA A100-SXM4-80GB", "float32", 19.5),
        ("NVIDIA L4", "bfloat16", 121),
        ("NVIDIA L40S", "bfloat16", 362.05),
        ("Tesla V100-SXM2-16GB", "float16", 125),
        ("Tesla V100-PCIE-32GB", "float16", 112),
    ],
)
def test_peaks_are_known_by_the_device_s_name(device, precision, tera):
    assert peak_flops(device, precision) == tera * 1e12


def test_a_peak_that_is_not_known_is_none():
    assert peak_flops("Some Accelerator 4", "bfloat16") is None
    assert peak_flops("Tesla V100-SXM2-16GB", "bfloat16") is None, "it has no bfloat16"


def test_epochs_told_have_their_pace_and_a_result_s_digest_has_not(jobs):
    told = []
    (row,) = jobs.run("method=random", "target=none", follow=lambda role, line: told.append(line))
    home = jobs.store / "train" / row["keys"]["model"]
    assert [line["epoch"] for line in told] == [0, 1]
    assert all({"train_top1", "images_s", "input_wait"} <= line.keys() for line in told)
    assert not any("images_s" in line for line in lines(home / "history.jsonl"))
    assert not any("pace" in name for name in json.loads((home / "manifest.json").read_text())["files"])
    again = []
    jobs.run("method=random", "target=none", follow=lambda role, line: again.append(line))
    assert again == told


# gradient accumulation


def weighted(examples, batch_size):
    loader = loader_of(examples, batch_size)
    loader.weights = torch.from_numpy(np.linspace(0.1, 2, N).astype(np.float32))
    return loader


class Steps(pl.Callback):
    def __init__(self):
        self.seen, self.rates = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append((len(batch["y"]), pl_module.step))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def test_a_batch_in_parts_is_the_step_of_the_whole_one(examples, tmp_path):
    """20 weighted examples in batches of 8, 8 and 4: parts of 2 each, steps of the same gradient."""
    whole, parts, seen = classifier(), classifier(), Steps()
    fit(whole, weighted(examples, 8), 2, History(tmp_path / "whole", 2, None, 0))
    fit(
        parts, Parts(weighted(examples, 8), 4), 2, seen, History(tmp_path / "parts", 2, None, 0),
        accumulate_grad_batches=4,
    )  # fmt: skip
    assert [step for _, step in seen.seen[:10]] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 3]
    assert {size for size, _ in seen.seen} == {2}
    assert seen.rates[:10] == [0.5] * 4 + [0.25] * 4 + [0.5 / 3] * 2, "the rate is that of the whole batch's step"
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, atol=1e-6, rtol=1e-5)
    for one, two in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert one == pytest.approx(two, rel=1e-5)


def test_parts_of_a_smaller_batch_are_of_like_size(examples):
    sizes = [len(part["y"]) for part in Parts(loader_of(examples, 12), 3)]
    assert sizes == [4, 4, 4, 4, 4]
    sizes = [len(part["y"]) for part in Parts(loader_of(examples, 15), 3)]
    assert sizes == [5, 5, 5, 5]
    sizes = [len(part["y"]) for part in Parts(loader_of(examples, 14), 2)]
    assert sizes == [7, 7, 6]
    part = next(iter(Parts(loader_of(examples, 14), 2)))
    assert part["inputs"]["image"].shape[0] == 7


def test_an_average_of_weights_takes_in_steps_and_not_parts(examples):
    whole, parts = classifier(), classifier()
    fit(whole, loader_of(examples), 2, EMA(0.5))
    fit(parts, Parts(loader_of(examples), 4), 2, EMA(0.5), accumulate_grad_batches=4)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parts.network.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_views_that_are_recorded_come_in_the_same_parts(examples, tmp_path):
    recorder = Recorder(tmp_path / "views", N, 1)
    views = RecordViews(recorder, Parts(loader_of(examples), 4))
    fit(classifier(), Parts(loader_of(examples), 4), 1, views, accumulate_grad_batches=4)
    whole = Recorder(tmp_path / "whole", N, 1)
    fit(classifier(), loader_of(examples), 1, RecordViews(whole, loader_of(examples)))
    one, two = (np.load(tmp_path / name / "p_true.npy") for name in ("views", "whole"))
    np.testing.assert_allclose(one, two, rtol=1e-4)
    assert not np.isnan(one).any()
