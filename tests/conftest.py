"""What the tests share: tiny jobs in this process, and the command line in another.

Two cores and many small tensors: one thread is faster than two, and must be set before torch loads.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MPLBACKEND", "Agg")

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import dataprune.__main__ as entry
from dataprune import pipeline
from dataprune.checks.config import typed
from dataprune.config import RunConfig
from dataprune.data.codecs import decoding
from dataprune.data.examples import Examples
from dataprune.stages import decode, index

ROOT = Path(__file__).parents[1]
TINY = [
    "source.reader.per_class=6",
    "source.reader.test_per_class=2",
    "surrogate.model.width=4",
    "pretrain.model.width=4",
    "surrogate.epochs=3",
    "pretrain.epochs=2",
    "transfer.epochs=2",
    "baselines=none",
]


class Jobs:
    """Runs tiny jobs on one store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, folder / "store"

    def config(self, *overrides):
        """The typed config of a tiny job with these overrides."""
        foreign = ["transfer"] * ("target=none" in overrides) + ["source.reader"] * any(
            word.startswith("source=") for word in overrides
        )
        # another network is as wide as it is
        foreign += ["pretrain.model.width"] * any(word.startswith("model@pretrain.model=") for word in overrides)
        base = [word for word in TINY if not word.startswith(tuple(foreign))]
        with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
            return typed(compose("config", [*base, f"run.store={self.store}", *overrides]))

    def run(self, *overrides, follow=None):
        """The rows of a tiny job."""
        return pipeline.job(self.config(*overrides), follow)

    def command(self, *words, timeout=120, check=True, **environment):
        """`python -m dataprune` with these words in a process of its own, in the jobs' folder."""
        process = subprocess.run(
            [sys.executable, "-m", "dataprune", *words],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or process.returncode == 0, process.stderr[-3000:]
        return process


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Tiny jobs on a store of this test's own."""
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    return Jobs(tmp_path)


class DataSet:
    """A data set that the stages index and decode have written into two folders."""

    def __init__(self, config, folder: Path, label="source", *, kept=True) -> None:
        self.inputs = {"examples": folder / "index", "pixels": folder / "decode"}  # as other stages get them
        for path in self.inputs.values():
            path.mkdir(parents=True)
        self.facts = index.run(config.table, {}, self.inputs["examples"], RunConfig(), label)
        how = decoding(config, label, kept=kept)
        self.facts |= decode.run(how, self.inputs, self.inputs["pixels"], RunConfig(), f"{label}_pixels")

    def __getitem__(self, split) -> Examples:
        return Examples.of(self.inputs, split)


@pytest.fixture(scope="session")
def dataset():
    """dataset(config, folder): a data set read, checked and decoded there, without a store."""
    return DataSet
