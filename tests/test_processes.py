"""Processes of a stage: their number is the recipe's, their errors reach the driver, nobody half-writes a file."""

import json
import os
import threading
from dataclasses import replace

import pytest

from dataprune import launch
from dataprune.errors import ConfigError
from dataprune.processes import alone, place, run_in_processes
from dataprune.store import write_json


def test_one_process_is_rank_0_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert place(1) == (0, 1)


def test_another_number_of_processes_than_the_recipe_s_is_an_error(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert place(2) == (1, 2)
    with pytest.raises(RuntimeError, match="a stage of 4 processes runs in 2"):
        place(4)


def test_what_others_have_set_is_hidden_and_comes_back(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.setenv("MASTER_ADDR", "elsewhere")
    with alone():
        assert not {"SLURM_PROCID", "MASTER_ADDR"} & os.environ.keys()
    assert os.environ["SLURM_PROCID"] == "5"


def test_a_config_error_in_a_worker_is_the_same_line_in_the_driver(jobs, tmp_path):
    (row,) = jobs.run("method=random", "target=none")
    cfg = jobs.config("method=random", "target=none", "run.accelerator=cpu")
    config = replace(cfg.pretrain, processes=2, precision="float16")
    inputs = {
        "examples": jobs.store / "index" / row["keys"]["source"],
        "pixels": jobs.store / "decode" / row["keys"]["source_pixels"],
    }
    (tmp_path / "work" / "scratch").mkdir(parents=True)
    recipe = launch.recipe_of("train", config, {})
    launch.write_task(tmp_path / "work", launch.task_of(recipe, config, inputs, cfg.run, label="model"))
    with pytest.raises(ConfigError, match=r"^model\.precision='float16': expected float32 or bfloat16") as caught:
        run_in_processes(tmp_path / "work", 2, threads=1)
    assert "\n" not in str(caught.value)


def test_threads_that_write_one_file_at_once_leave_it_whole(tmp_path):
    """Two containers give all their processes the same numbers: a name made of one is no name of one's own."""
    path, wrong = tmp_path / "row.json", []

    def write(value):
        for _ in range(60):
            try:
                write_json(path, [value] * 2000)
                assert len(set(json.loads(path.read_text()))) == 1
            except (OSError, ValueError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [p.name for p in tmp_path.iterdir()] == ["row.json"]
