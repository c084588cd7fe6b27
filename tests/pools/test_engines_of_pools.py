"""Pools on Ray, Dask and Slurm's library: `make test-engines`; each is skipped where it is not installed."""

import os
import sys

import numpy as np
import pytest

from tests.pools.made_up import KILLER, Made, chosen
from tests.pools.test_pool_runs import D2, DEDUP, left


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def pool(made, tmp_path):
    return made.parquet(tmp_path / "pool")


@pytest.mark.parametrize(("module", "engine", "address"), [
    ("ray", "ray", None), ("distributed", "dask", None), ("submitit", "slurm", "cluster=local,timeout_min=5"),
])  # fmt: skip
@pytest.mark.parametrize("options", [DEDUP, D2], ids=["semdedup", "d2"])
def test_every_engine_gives_the_same_bytes(pool, tmp_path, monkeypatch, module, engine, address, options):
    pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    chosen(pool, tmp_path / "a", **options)
    kept = chosen(pool, tmp_path / "b", engine=engine, address=address, **options)
    assert left(tmp_path / "a") == left(tmp_path / "b")
    assert kept.stats["stages"]["label"]["tasks"] == 3


@pytest.mark.parametrize(("module", "engine"), [("ray", "ray"), ("distributed", "dask")])
def test_a_mistake_in_a_worker_is_the_same_line(made, tmp_path, module, engine):
    pytest.importorskip(module)
    made.rows[217] = np.nan
    with pytest.raises(ValueError, match="NaN or inf in rows 17 of s1") as error:
        chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", engine=engine, **DEDUP)
    assert type(error.value).__name__ == "ConfigError"


@pytest.mark.parametrize(("module", "engine"), [("ray", "ray"), ("distributed", "dask")])
def test_an_engine_does_again_what_a_killed_worker_did(pool, tmp_path, monkeypatch, module, engine):
    pytest.importorskip(module)
    (tmp_path / "engine_killer.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text = f"name: killer\nscore: {{_target_: engine_killer.score, flag: {tmp_path / 'flag'}}}\n"
    (tmp_path / "m.yaml").write_text(text + "select: {_target_: dataprune.selectors.ranked.top}\n")
    kept = chosen(pool, tmp_path / "out", engine=engine, method=str(tmp_path / "m.yaml"), budget=100, cells=5)
    assert (tmp_path / "flag").exists()
    assert len(kept.ids) == 100


def test_a_dataset_of_ray_is_a_pool(made, pool, tmp_path):
    ray = pytest.importorskip("ray")
    data = pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        dataset = data.read_parquet([str(path) for path in sorted(pool.glob("*.parquet"))])
        kept = chosen(dataset, tmp_path / "a", engine="ray", **DEDUP)
        assert ray.is_initialized()  # it is the caller's
    finally:
        ray.shutdown()
    assert kept.uids.tolist() == chosen(pool, tmp_path / "b", **DEDUP).uids.tolist()


def test_a_data_frame_of_dask_is_a_pool(made, pool, tmp_path):
    pytest.importorskip("distributed")
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.read_parquet([str(path) for path in sorted(pool.glob("*.parquet"))])
    kept = chosen(frame, tmp_path / "a", **DEDUP)
    assert kept.uids.tolist() == chosen(pool, tmp_path / "b", **DEDUP).uids.tolist()


def test_a_dataset_of_hugging_face_is_a_pool(made, pool, tmp_path):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_parquet([str(path) for path in sorted(pool.glob("*.parquet"))])
    kept = chosen(dataset, tmp_path / "a", **DEDUP)
    assert kept.uids.tolist() == chosen(pool, tmp_path / "b", **DEDUP).uids.tolist()
