"""Sweeps in one driver: what ends a worker, the driver or a job, and what is left afterwards."""

import json
import os
import signal

import pytest

from dataprune import jobs as job_module
from tests.conftest import TINY
from tests.test_kill import start, wait_for

SWEEP = ["-m", *TINY, "target=none", "method=random,el2n", "prune_ratio=0.5,0.3", "run.report=false", "run.threads=1"]
SWEEP = [word for word in SWEEP if not word.startswith("transfer")]
SLOW = [*SWEEP, "source.reader.per_class=40", "pretrain.epochs=12", "pretrain.batch_size=16"]


def workers(folder):
    """Process ids of the workers that run in this folder: each leads a group of its own."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                command = open(f"/proc/{entry.name}/cmdline").read()  # noqa: SIM115
                if "dataprune.executors.worker" in command and os.readlink(f"/proc/{entry.name}/cwd") == str(folder):
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def trains(folder):
    return any((folder / "store" / "work").glob("train-*/history.jsonl"))


def rows(folder):
    return list((folder / "store" / "rows").glob("*.json"))


def test_a_killed_worker_is_replaced_and_the_sweep_ends_well(tmp_path):
    driver = start(tmp_path, *SLOW, "run.executor=pool", "run.slots=2")
    wait_for(lambda: trains(tmp_path), 120)
    for worker in workers(tmp_path):
        os.kill(worker, signal.SIGKILL)
    assert driver.wait(280) == 0, (tmp_path / "log0.txt").read_text()[-2000:]
    log = (tmp_path / "log0.txt").read_text()
    assert "tried again" in log
    assert len(rows(tmp_path)) == 4
    assert not workers(tmp_path)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_driver_leaves_no_process_and_the_same_command_goes_on(tmp_path, end):
    words = [*SLOW, "run.executor=pool", "run.slots=2"]
    driver = start(tmp_path, *words)
    wait_for(lambda: trains(tmp_path), 120)
    assert workers(tmp_path)
    os.kill(driver.pid, end)
    assert driver.wait(30) != 0
    wait_for(lambda: not workers(tmp_path), 15)
    assert start(tmp_path, *words).wait(280) == 0
    assert len(rows(tmp_path)) == 4


def test_the_jobs_of_a_sweep_share_one_engine(jobs):
    ran = jobs.command(*SWEEP, "run.slots=1,2", check=False)
    assert "run.slots=2: expected 1, as in the sweep's first job" in ran.stderr
    assert not (jobs.folder / "store" / "work").exists()


def test_a_function_of_ones_own_gives_the_executor(jobs):
    (jobs.folder / "engines.py").write_text(
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def threads(resources, count):\n"
        "    open('asked.txt', 'a').write(f'{resources.gpus} {resources.cpus}\\n')\n"
        "    return ThreadPoolExecutor(count)\n"
    )
    jobs.command(*SWEEP, "run.executor={_target_:engines.threads,count:1}", "run.resources.train.cpus=3", timeout=280)
    assert len(rows(jobs.folder)) == 4
    asked = (jobs.folder / "asked.txt").read_text().split("\n")
    assert "0 3" in asked, "for trainings"
    ran = jobs.command(*SWEEP, "run.executor=engines.none", check=False)
    assert "run.executor='engines.none': expected here | pool" in ran.stderr


def test_a_surrogate_that_many_jobs_need_is_built_once(jobs):
    log = jobs.command(*SWEEP, timeout=280).stdout
    assert sum("surrogate" in line and "building" in line for line in log.splitlines()) == 1
    again = jobs.command(*SWEEP, timeout=280).stdout
    assert "building" not in again
    folders = [path.parent for path in (jobs.folder / "outputs").rglob("rows.json")]
    assert len(folders) == 8
    for folder in folders:
        assert (folder / ".hydra" / "config.yaml").exists()
        assert "subset" in (folder / "dataprune.log").read_text()
        assert len(json.loads((folder / "rows.json").read_text())) == 1


def test_a_job_returns_the_metric_that_a_sweeper_asks_for(jobs, tmp_path):
    cfg = jobs.config("target=none", "method=random", "run.objective=source_top1")
    folder = tmp_path / "out"
    folder.mkdir()
    with job_module.driving(cfg, folder) as graph:
        value = job_module.execute(job_module.Job(cfg, folder, "out"), graph)
    assert value == json.loads((folder / "rows.json").read_text())[0]["metrics"]["source_top1"]
    cfg.run.objective = "target_top5"
    with job_module.driving(cfg, folder) as graph, pytest.raises(ValueError, match=r"run\.objective='target_top5'"):
        job_module.execute(job_module.Job(cfg, folder, "out"), graph)
