"""The README says what is there, and its Python runs as printed."""

import json
import re
import textwrap
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from dataprune.dynamic import InfoBatch, WithIds

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
TINY = ["source.reader.per_class=6", "source.reader.test_per_class=2", "surrogate.epochs=3", "pretrain.epochs=2"]
TINY += ["surrogate.model.width=4", "pretrain.model.width=4", "transfer.epochs=2", "baselines=none"]
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def block(word):
    (found,) = [code for code in BLOCKS if word in code]
    return found


def test_the_page_of_files_is_up_to_date_and_every_file_says_what_it_is():
    page = run_path(str(ROOT / "docs" / "files.py"))["text"]()
    assert page == (ROOT / "docs" / "files.md").read_text(), "python docs/files.py"
    assert re.findall(r"^\| `(.*)` \|  \|$", page, re.MULTILINE) == []


def test_every_method_stands_in_the_table():
    table = TEXT.partition("## Methods")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", table))
    methods = {p.stem for p in (ROOT / "conf" / "method").glob("*.yaml")}
    assert methods - named == set()


def test_links_and_pictures_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    assert [t for t in targets if not t.startswith("http") and not (ROOT / t).exists()] == []
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", TEXT, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) - headings == set()


def test_the_loop_with_a_recorder_runs_as_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, labels = torch.randn(200, 10), torch.arange(200) % 4
    network = torch.nn.Linear(10, 4)
    names = {"torch": torch, "images": images, "labels": labels, "network": network}
    names["optimizer"] = torch.optim.SGD(network.parameters(), lr=0.1)
    exec(block("with Recorder("), names)
    assert len(set(names["kept"])) == 100
    assert names["uncertain"].shape == (200,)
    assert names["uncertain"].std() > 0


def test_the_lightning_callback_records_every_example_in_every_epoch(tmp_path):
    from dataprune import Recorder

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(10, 4)

        def training_step(self, batch, batch_idx):
            logits = self.layer(batch["x"])
            return {"loss": torch.nn.functional.cross_entropy(logits, batch["label"]), "logits": logits.detach()}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = [{"id": i, "x": torch.randn(10), "label": i % 4} for i in range(50)]
    with Recorder(tmp_path / "dynamics", n=50, epochs=3) as recorder:
        names = {"pl": pl, "recorder": recorder}
        exec(block("pl.Callback"), names)
        trainer = pl.Trainer(
            max_epochs=3, accelerator="cpu", logger=False, callbacks=[names["Dynamics"]()],
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(data, batch_size=8, shuffle=True))
    p_true = np.load(tmp_path / "dynamics" / "p_true.npy")
    assert p_true.shape == (3, 50)
    assert not np.isnan(p_true).any()


def separable(n=200):
    """Images of ten numbers whose class the first says, as a torch data set."""
    torch.manual_seed(0)
    images = torch.randn(n, 10)
    return torch.utils.data.TensorDataset(images, (images[:, 0] > 0).long())


def test_the_loop_with_a_sampler_prunes_and_learns_as_printed():
    dataset, network = separable(), torch.nn.Linear(10, 2)
    names = {"torch": torch, "network": network, "dataset": dataset, "counts": (counts := [])}
    names["optimizer"] = torch.optim.SGD(network.parameters(), lr=0.5)
    counted = "sampler.set_epoch(epoch); counts.append(sampler.count)"
    exec(block("sampler.set_epoch(epoch)").replace("sampler.set_epoch(epoch)", counted), names)
    assert counts[0] == counts[-1] == 200
    assert max(counts[1:10]) < 190
    x, y = dataset.tensors
    assert (network(x).argmax(1) == y).float().mean() > 0.9


def fitted(folder, epochs, resume=None):
    """The batches and the evaluations of the README's module with a sampler, as (epoch, ids) and epochs."""

    torch.manual_seed(0)
    sampler, seen, evaluated = InfoBatch(200, 8), [], []
    names = {"pl": pl, "torch": torch, "sampler": sampler}
    exec(block("class Pruned"), names)

    class Module(names["Pruned"]):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(10, 2)

        def forward(self, x):
            return self.layer(x)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            seen.append((self.current_epoch, batch[2].tolist()))

        def validation_step(self, batch, batch_idx):
            evaluated.append(self.current_epoch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5)

    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, callbacks=[pl.callbacks.ModelCheckpoint(folder, filename="last")],
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(WithIds(separable()), batch_size=64, sampler=sampler)
    trainer.fit(Module(), loader, torch.utils.data.DataLoader(separable(), batch_size=200), ckpt_path=resume)
    return seen, evaluated


def test_the_lightning_module_with_a_sampler_evaluates_in_every_epoch_and_resumes(tmp_path):
    whole, evaluated = fitted(tmp_path / "whole", 8)
    assert evaluated == list(range(8))
    counts = [sum(len(ids) for epoch, ids in whole if epoch == e) for e in range(8)]
    assert counts[0] == counts[7] == 200
    assert max(counts[1:7]) < 190
    fitted(tmp_path / "part", 3)
    resumed, _ = fitted(tmp_path / "rest", 8, str(tmp_path / "part" / "last.ckpt"))
    assert resumed == [step for step in whole if step[0] >= 3]
    fitted(tmp_path / "end", 8, str(tmp_path / "whole" / "last.ckpt"))  # loads, and there is nothing left to do


class Labelled(torch.utils.data.Dataset):
    """Points of two classes as Hugging Face's Trainer takes them."""

    def __len__(self):
        return 64

    def __getitem__(self, i):
        return {"x": torch.tensor([4.0 * (i % 2) - 2, i / 64]), "labels": i % 2}


class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x, labels=None):
        return {"logits": self.linear(x)}


@pytest.mark.filterwarnings("ignore")
def test_the_hugging_face_trainer_with_a_sampler_prunes_and_observes_no_evaluation(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    sampler = InfoBatch(64, epochs=6)
    names = {"torch": torch, "transformers": transformers, "WithIds": WithIds, "sampler": sampler}
    exec(block("DynamicTrainer"), names)
    seen, observe = [], sampler.observe
    sampler.observe = lambda ids, losses: (seen.append((sampler.now, len(ids))), observe(ids, losses))
    words = {"max_steps": 24, "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "no", "learning_rate": 0.1}
    quiet = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "remove_unused_columns": False}
    args = transformers.TrainingArguments(str(tmp_path), per_device_train_batch_size=16, **words, **quiet)
    parts = {"train_dataset": Labelled(), "eval_dataset": Labelled(), "callbacks": [names["NextEpoch"]()]}
    trainer = names["DynamicTrainer"](Logits(), args, **parts)
    trainer.train()
    counts = [sum(n for epoch, n in seen if epoch == e) for e in range(6)]
    assert counts[0] == 64
    assert 0 < min(counts[1:]) <= max(counts[1:]) < 64
    assert sum("eval_loss" in line for line in trainer.state.log_history) >= 5


def test_the_selectors_take_arrays_as_printed():
    rng = np.random.default_rng(0)
    names = {"np": np, "difficulty": rng.random(2000, np.float32)}
    names["embeddings"] = rng.normal(size=(2000, 16)).astype(np.float32)
    code = block("k_center(embeddings")
    for line in [line for line in code.splitlines() if line.startswith("kept")]:
        exec(code.partition("kept")[0] + line, names)
        assert len(set(names["kept"])) == 1500, line


def test_the_signal_of_the_readme_runs_from_outside_the_package(jobs):
    functions = re.search(r"^    def mirrored.*?(?=^`myconf)", TEXT, re.M | re.S).group()
    option = re.search(r"^    name: asymmetry.*?\n\n", TEXT, re.M | re.S).group()
    (jobs.folder / "my_signals.py").write_text(textwrap.dedent(functions))
    (jobs.folder / "myconf" / "method").mkdir(parents=True)
    (jobs.folder / "myconf" / "method" / "asymmetry.yaml").write_text(textwrap.dedent(option))
    jobs.command("--config-dir", "myconf", "method=asymmetry", "target=none", *TINY[:-2], "baselines=none")
    (row,) = (json.loads(path.read_text()) for path in (jobs.store / "rows").iterdir())
    scores = np.load(jobs.store / "score" / row["keys"]["scores"] / "scores.npy")
    assert scores.std() > 0
    assert row["kept"] == 186


def test_the_tokenizer_of_the_readme_is_one(tmp_path, monkeypatch):
    pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    from dataprune.data.text import Tokens

    monkeypatch.chdir(tmp_path)
    exec(block("WordPieceTrainer"), {"sentences": ["a good film", "Bad films are long ."] * 9})
    codec = Tokens("words.json", 16)
    assert codec.describe({})["types"] == 2
    for text in (("a good film",), ("a good film", "unheard")):
        ids = codec.decode(text)["input_ids"]
        assert ids[0] == 2, "[CLS]"
        assert (ids == 3).sum() == len(text), "[SEP]"


def test_the_method_of_the_readme_runs_from_outside_the_package(jobs):
    function = re.search(r"^    def confident_mistakes.*?\n\n", TEXT, re.M | re.S).group()
    option = re.search(r"^    name: confident_mistakes.*?\n\n", TEXT, re.M | re.S).group()
    command = re.search(r"python -m dataprune (--config-dir myconf .*)", TEXT).group(1).split()
    (jobs.folder / "my_methods.py").write_text(textwrap.dedent(function))
    (jobs.folder / "myconf" / "method").mkdir(parents=True)
    (jobs.folder / "myconf" / "method" / "confident_mistakes.yaml").write_text(textwrap.dedent(option))
    jobs.command(*command, *TINY, "run.report=false")
    (row,) = (json.loads(path.read_text()) for path in (jobs.folder / "store" / "rows").iterdir())
    assert row["method"] == "confident_mistakes"
    scores = np.load(jobs.store / "score" / row["keys"]["scores"] / "scores.npy")
    p_true = np.load(jobs.store / "train" / row["keys"]["surrogate"] / "p_true.npy")
    np.testing.assert_allclose(scores, 1 - p_true[-3:].mean(0), rtol=1e-6)
