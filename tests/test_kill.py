"""kill -9 at any moment: the same command goes on where it was and ends with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

JOB = [
    "method=forgetting", "target=none", "baselines=none", "run.report=false", "run.threads=1",
    "source.reader.per_class=40", "source.reader.test_per_class=2",
    "surrogate.epochs=8", "surrogate.batch_size=32", "pretrain.epochs=1",
]  # fmt: skip


def start(folder: Path, *words: str) -> subprocess.Popen:
    with open(folder / f"log{len(list(folder.glob('log*')))}.txt", "w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dataprune", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_for(condition, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def lines(folder: Path) -> int:
    return sum(len(p.read_text().splitlines()) for p in folder.glob("store/work/train-*/history.jsonl"))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.parent.relative_to(folder)): json.loads(path.read_text())["digest"]
        for path in folder.glob("store/*/*/manifest.json")
    }


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert start(whole, *JOB).wait(120) == 0
    job = start(cut, *JOB)
    wait_for(lambda: lines(cut) >= 3)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    (work,) = cut.glob("store/work/train-*")
    assert (work / "scratch" / "last.ckpt").exists()
    assert not list(cut.glob("store/train/*")), "half a result is none"
    assert start(cut, *JOB).wait(120) == 0
    assert "going on after epoch" in (cut / "log1.txt").read_text()
    assert digests(cut) == digests(whole)
    assert not list(cut.glob("store/work/*"))


def test_two_jobs_at_once_share_and_one_killed_hands_over(tmp_path):
    """Both want the same surrogate; the builder is killed; the one that waited goes on from its checkpoint."""
    long = [*JOB, "surrogate.epochs=60"]  # still running when the second process has done its imports
    first = start(tmp_path, *long)
    wait_for(lambda: list(tmp_path.glob("store/work/train-*/recipe.json")))
    second = start(tmp_path, *long, "prune_ratio=0.7")
    wait_for(lambda: "waiting for" in (tmp_path / "log1.txt").read_text())
    os.killpg(first.pid, signal.SIGKILL)
    assert second.wait(120) == 0
    log = (tmp_path / "log1.txt").read_text()
    assert f":{first.pid}, which has been building it since" in log
    assert "going on after epoch" in log
    assert start(tmp_path, *long).wait(120) == 0
    results = [path.parent.parent.name for path in tmp_path.glob("store/*/*/manifest.json")]
    assert {stage: results.count(stage) for stage in ("index", "decode", "train", "score", "select", "evaluate")} == {
        "index": 1,
        "decode": 1,
        "train": 3,  # one surrogate, two subsets
        "score": 1,
        "select": 2,
        "evaluate": 2,
    }


@pytest.mark.parametrize("stage", ["index", "score"])
def test_a_kill_leaves_nothing_that_looks_finished(tmp_path, stage):
    """Interrupt right after a stage's work folder appears; whatever is there, the next run ends well."""
    job = start(tmp_path, *JOB, "surrogate.epochs=2")
    wait_for(lambda: list(tmp_path.glob(f"store/work/{stage}-*")) or list(tmp_path.glob(f"store/{stage}/*")))
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert start(tmp_path, *JOB, "surrogate.epochs=2").wait(120) == 0
    verified = subprocess.run(
        [sys.executable, "-m", "dataprune.store", "--root", str(tmp_path / "store"), "verify"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "7 of 7 results are whole" in verified.stdout
