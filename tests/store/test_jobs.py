"""House-keeping leaves alone what a running job uses, however long it runs: its row is filed last."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from filelock import FileLock

from dataprune.errors import ConfigError
from dataprune.store import Recipe, Store, write_json
from dataprune.store.__main__ import main
from dataprune.store.jobs import RunningJob, in_use
from tests.conftest import ROOT

OLD = 1_000_000.0


def build(store, seed):
    recipe = Recipe("train", 1, {"seed": seed})
    with store.building(recipe, say=print) as work:
        (work / "model.pt").write_text(f"weights of {seed}")
        return store.commit(recipe, {})


@pytest.fixture
def store(tmp_path):
    """Two trainings of long ago that no row refers to."""
    store = Store(tmp_path / "store")
    for seed in (1, 2):
        os.utime(build(store, seed) / "manifest.json", (OLD, OLD))
    return store


@pytest.fixture
def keep(store, capsys):
    def command(*words):
        code = main(["--root", str(store.root), *words])
        return code, *capsys.readouterr()

    return command


def test_gc_spares_what_a_job_of_days_uses_before_its_row_is_filed(store, keep):
    one, two = store.results()
    with RunningJob(store.root) as running:
        running.note("train", one.key)
        code, out, _ = keep("gc", "--yes")
        assert (code, out) == (
            0, f"removed train/{two.key} 0.0 MB\nkept 1 that running jobs use, whose rows are not filed yet\n",
        )  # fmt: skip
        assert [r.key for r in store.results()] == [one.key]
    assert keep("gc", "--yes")[1] == f"removed train/{one.key} 0.0 MB\n", "the job is over and filed nothing"


def test_remove_refuses_what_a_running_job_uses_and_says_so(store, keep):
    one, two = store.results()
    with RunningJob(store.root) as running:
        running.note("train", one.key)
        code, out, complaint = keep("remove", one.key, two.key)
    assert (code, out, complaint) == (1, f"removed train/{two.key}\n", f"kept train/{one.key}: a running job uses it\n")
    assert one.has("model.pt")


def test_a_result_whose_lock_is_held_is_not_removed(store, keep):
    one = next(store.results())
    with FileLock(store.root / "locks" / f"train-{one.key}.lock"):
        assert keep("remove", one.key)[2] == f"kept train/{one.key}: a process is building it\n"
        assert keep("gc", "--yes")[1].count("removed") == 1
    assert one.has("model.pt")


def test_what_a_worker_reads_stays_when_its_driver_is_gone(store, keep):
    one, _ = store.results()
    recipe = Recipe("evaluate", 1, {})
    with store.building(recipe, say=print) as work:
        write_json(work / "scratch" / "task.json", {"inputs": {"model": str(one.path)}})
        assert keep("gc", "--yes")[1].startswith("removed train/")
        code, _, complaint = keep("remove", one.key)
        assert (code, complaint) == (1, f"kept train/{one.key}: evaluate-{recipe.key} is being built from it\n")


JOB = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from dataprune.store.jobs import RunningJob
    with RunningJob(Path(sys.argv[1])) as running:
        running.note("train", sys.argv[2])
        print("running", flush=True)
        time.sleep(60)
""")


def test_another_process_is_respected_until_it_is_killed(store, keep):
    one, two = store.results()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", JOB, str(store.root), one.key]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert job.stdout.readline() == b"running\n"
    assert in_use(store.root) == {f"train/{one.key}": "a running job uses it"}
    assert keep("remove", one.key)[0] == 1
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert keep("remove", one.key, two.key)[0] == 0
    assert [p.name for p in (store.root / "jobs").iterdir() if p.name != "all.lock"] == [], "nothing of it is left"


def test_a_job_that_has_ended_leaves_no_trace(store):
    with RunningJob(store.root) as running:
        running.note("train", "ab")
        running.note("train", "ab")
        assert in_use(store.root) == {"train/ab": "a running job uses it"}
    assert [p.name for p in (store.root / "jobs").iterdir() if p.name != "all.lock"] == []


def test_a_pipeline_notes_every_result_that_it_uses(jobs, monkeypatch):
    seen = {}

    monkeypatch.setattr(Store, "write_row", lambda self, name, row: seen.update(in_use(self.root)))
    (row,) = jobs.run("method=forgetting", "target=none")
    assert {name.partition("/")[2] for name in seen} == set(row["keys"].values())


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_store_that_is_a_file_is_one_line(jobs, below):
    (jobs.folder / "taken").write_text("a file")
    with pytest.raises(ConfigError, match=r"^run\.store='.*taken.*': expected a folder that can be written"):
        jobs.run(f"run.store={jobs.folder / 'taken'}{below}")
