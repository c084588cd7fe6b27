"""run.stage_to: a data set's files are copied to a local disk first, whole or not at all, and no result moves."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataprune import staging
from dataprune.config import DataConfig
from dataprune.data.examples import Examples
from dataprune.data.paths import Paths
from dataprune.errors import ConfigError
from dataprune.staging import copied

WORKERS = ["method=random", "target=none", "source=folder", "source.size=8", "run.workers=0"]
WORKERS += ["pretrain.loader=workers", "pretrain.epochs=1"]


@pytest.fixture
def pictures(tmp_path):
    for split in ("train", "test"):
        for label in ("a", "b"):
            for i in range(4):
                path = tmp_path / "root" / split / label / "deep" / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 10 * i + (label == "b"), np.uint8)).save(path)
    return tmp_path / "root"


@pytest.fixture
def index(pictures, tmp_path, dataset):
    reader = {"_target_": "dataprune.data.folder.read"}
    return dataset(DataConfig("f", reader, str(pictures), size=8), tmp_path / "work", kept=False).inputs["examples"]


@pytest.fixture
def fast(tmp_path):
    (tmp_path / "fast").mkdir()
    return tmp_path / "fast"


def left_in(fast):
    return sorted(p.name for p in fast.glob("*/*") if p.is_dir())


def test_the_copy_does_without_the_original(index, fast, pictures):
    before = [Examples(index, "train").items[i] for i in range(8)]
    copy = copied(index, fast)
    shutil.rmtree(pictures)
    assert [Examples(copy, "train").items[i] for i in range(8)] == before
    assert Examples(copy, "train").fingerprint == Examples(index, "train").fingerprint


def test_a_copy_that_is_there_is_used_again(index, fast, monkeypatch):
    first = copied(index, fast)
    monkeypatch.setattr(staging.shutil, "copyfile", None)
    assert copied(index, fast) == first


def test_a_copy_that_fails_leaves_nothing_under_its_name_and_nothing_else(index, fast, monkeypatch):
    real, done = shutil.copyfile, []

    def full(source, target):
        done.append(target)
        if len(done) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(staging.shutil, "copyfile", full)
    with pytest.raises(ConfigError, match=r"^run\.stage_to='.*fast' with .* GB free: expected .* GB for this data set"):
        copied(index, fast)
    assert left_in(fast) == []
    monkeypatch.setattr(staging.shutil, "copyfile", real)
    copied(index, fast)
    assert left_in(fast) == [index.name]


def test_what_a_killed_process_left_is_taken_away(index, fast):
    half = fast / f"dataprune-{os.getuid()}" / f".{index.name}.part-x1"
    (half / "files").mkdir(parents=True)
    copied(index, fast)
    assert left_in(fast) == [index.name]


def test_of_several_processes_one_copies(index, fast, monkeypatch):
    real, done = shutil.copyfile, []
    monkeypatch.setattr(staging.shutil, "copyfile", lambda *paths: done.append(paths) or real(*paths))
    with ThreadPoolExecutor(4) as pool:
        copies = set(pool.map(lambda _: copied(index, fast), range(4)))
    assert len(copies) == 1
    assert len(done) == len(set(done))


def test_room_is_looked_at_before_anything_is_copied(index, fast, monkeypatch):
    usage = shutil.disk_usage(fast)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: usage._replace(free=100))
    monkeypatch.setattr(staging.shutil, "copyfile", None)
    (fast / f"dataprune-{os.getuid()}" / "earlier").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"1e-07 GB free: expected .*earlier copies in .*: earlier\)"):
        copied(index, fast)


@pytest.mark.parametrize("loader", ["memory", "workers"])
def test_stages_read_the_copy_and_no_key_moves(jobs, pictures, fast, monkeypatch, loader):
    words = [*WORKERS, f"source.path={pictures}", f"pretrain.loader={loader}"]
    opened, read = [], Paths.read
    monkeypatch.setattr(Paths, "read", lambda self, i: opened.append(self[i]) or read(self, i))
    (one,) = jobs.run(*words, f"run.stage_to={fast}")
    if loader == "memory":
        assert left_in(fast) == [], "what is decoded once is not copied"
        return
    trained = [path for path in opened if not Path(path).is_relative_to(pictures)]
    assert len(trained) >= 8 + 4, "an epoch of the subset, and the test split"
    assert all(Path(path).is_relative_to(fast) for path in trained)
    (two,) = jobs.run(*words)
    assert two["keys"] == one["keys"]
    assert set(two["cost"]["shared"]) == set(two["keys"]), "nothing is built again"


def test_a_folder_that_is_not_there_is_told_by_its_key(jobs, pictures):
    with pytest.raises(ConfigError, match=r"^run\.stage_to='/no/such': expected an existing folder"):
        jobs.run(*WORKERS, f"source.path={pictures}", "run.stage_to=/no/such")
    assert not jobs.store.exists(), "before a surrogate is trained that reads from memory, say"
