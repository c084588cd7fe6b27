"""Runs over shards: the same bytes however they are made, restarts, changed inputs, what is refused."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.datacomp import UID, parse_uids
from dataprune.pools import cells, decide, layout, select
from dataprune.pools.__main__ import main
from dataprune.pools.crew import Crew
from tests.conftest import ROOT
from tests.pools.made_up import KILLER, THREADS, Made, chosen

D2 = {"method": "d2", "budget": 0.4, "columns": {"scores": "score"}, "cells": 12, "probes": 2}
DEDUP = {"method": "semdedup", "budget": 0.5, "cells": 12}
LEFT = ("selection.json", "subset.npz", "uids.parquet", "uids.npy")


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def pool(made, tmp_path):
    return made.parquet(tmp_path / "pool")


def left(output):
    """The bytes of what a selection leaves."""
    return {name: (output / name).read_bytes() for name in LEFT}


@pytest.mark.parametrize("options", [DEDUP, D2], ids=["semdedup", "d2"])
def test_workers_memory_and_buckets_do_not_change_a_byte(pool, tmp_path, monkeypatch, options):
    chosen(pool, tmp_path / "a", workers=1, **options)
    monkeypatch.setattr(layout, "LEAST", 3)
    monkeypatch.setattr(layout.Room, "rows", 50)  # a shard goes to buckets piece by piece
    chosen(pool, tmp_path / "b", workers=3, memory="1G", **options)
    assert left(tmp_path / "a") == left(tmp_path / "b")


def test_processes_give_the_same_bytes_and_end(pool, tmp_path):
    chosen(pool, tmp_path / "a", **DEDUP)
    kept = chosen(pool, tmp_path / "b", engine="local", workers=2, memory="1G", **DEDUP)
    assert left(tmp_path / "a") == left(tmp_path / "b")
    assert 50e6 < max(costs["peak"] for costs in kept.stats["stages"].values()) < 2**30
    assert not [p for p in os.listdir(tmp_path / "b" / "parts") if p.startswith((".", "spread"))]


@pytest.mark.parametrize("options", [DEDUP, D2], ids=["semdedup", "d2"])
def test_a_run_that_broke_off_goes_on_where_it_was(pool, tmp_path, monkeypatch, options):
    chosen(pool, tmp_path / "whole", **options)
    function = {"semdedup": decide.decide, "d2": cells.label}[options["method"]]
    calls, lock = [], threading.Lock()

    def breaking(self, stage, tasks):
        def some(task):
            with lock:
                calls.append(task.part)
                if len(calls) > 2:
                    raise OSError("the machine has stopped")
            function(task)

        some.__name__ = stage.__name__
        return run(self, some if stage is function else stage, tasks)

    run = Crew.run
    with monkeypatch.context() as patched:
        patched.setattr(Crew, "run", breaking)
        with pytest.raises(OSError, match="stopped"):
            chosen(pool, tmp_path / "out", workers=1, **options)
    kept = chosen(pool, tmp_path / "out", **options)
    assert kept.stats["stages"][function.__name__]["found"] == 2
    assert kept.stats["stages"]["scan"]["found"] == 3
    assert left(tmp_path / "out") == left(tmp_path / "whole")


def test_the_same_command_again_runs_nothing_and_another_budget_scores_nothing(pool, tmp_path):
    chosen(pool, tmp_path / "out", **DEDUP)
    again = chosen(pool, tmp_path / "out", **DEDUP)
    assert all(costs["tasks"] == costs["found"] for costs in again.stats["stages"].values())
    other = chosen(pool, tmp_path / "out", **(DEDUP | {"budget": 0.7}))
    assert all(costs["tasks"] == costs["found"] for costs in other.stats["stages"].values())
    assert len(other.ids) == 420
    chosen(pool, tmp_path / "afresh", **(DEDUP | {"budget": 0.7}))
    assert left(tmp_path / "out") == left(tmp_path / "afresh")


K_CENTER = {"method": "k_center"}
OTHERS = [
    {"seed": 1},
    {"cells": 5},
    {"method": "moderate"},
    K_CENTER,
    K_CENTER | {"quota": "equal"},
    K_CENTER | {"first": 1},
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_other_arguments_take_no_old_part(pool, tmp_path, other):
    chosen(pool, tmp_path / "out", **DEDUP)
    chosen(pool, tmp_path / "out", **(DEDUP | {"method": "k_center"}))
    chosen(pool, tmp_path / "out", **(DEDUP | other))
    chosen(pool, tmp_path / "afresh", **(DEDUP | other))
    assert left(tmp_path / "out") == left(tmp_path / "afresh")


@pytest.mark.parametrize("options", [DEDUP, D2], ids=["semdedup", "d2"])
def test_a_shard_of_other_content_takes_no_old_part(made, pool, tmp_path, options):
    chosen(pool, tmp_path / "out", **options)
    before = left(tmp_path / "out")
    made.rows[:100] = made.rows[100:200][::-1]
    made.parquet(pool)
    chosen(pool, tmp_path / "out", **options)
    chosen(pool, tmp_path / "afresh", **options)
    assert left(tmp_path / "out") == left(tmp_path / "afresh") != before


def test_a_shard_that_is_only_newer_is_only_scanned_again(pool, tmp_path):
    chosen(pool, tmp_path / "out", **DEDUP)
    os.utime(pool / "s1.parquet")
    stages = chosen(pool, tmp_path / "out", **DEDUP).stats["stages"]
    assert {name: costs["tasks"] - costs["found"] for name, costs in stages.items()} == {"scan": 1, "compare": 0}


def test_a_shard_that_changes_while_it_is_read_leaves_no_part(pool, tmp_path, monkeypatch):
    read = cells.nearest

    def touching(rows, centers):
        os.utime(pool / "s1.parquet")
        return read(rows, centers)

    monkeypatch.setattr(cells, "nearest", touching)
    with pytest.raises(ConfigError, match=r"s1.parquet.*nobody writes"):
        chosen(pool, tmp_path / "out", workers=1, **DEDUP)
    made = os.listdir(tmp_path / "out" / "parts")
    assert sum(name.startswith("label-") for name in made) < 3
    assert not [name for name in made if name.startswith(".")]


def test_a_worker_that_is_killed_is_one_line_and_the_same_command_goes_on(pool, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER)
    flag = tmp_path / "flag"
    text = f"name: killer\nscore: {{_target_: killer.score, flag: {flag}}}\n"
    (tmp_path / "m.yaml").write_text(text + "select: {_target_: dataprune.selectors.ranked.top}\n")
    words = ["--input", str(pool), "--method", "m.yaml", "--budget", "100", "--cells", "5", "--output", "out"]
    command = [sys.executable, "-m", "dataprune.pools", *words]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}"}
    first = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert first.returncode == 1
    assert "a worker died while decide bucket" in first.stderr.splitlines()[-1]
    assert "the same command goes on" in first.stderr
    second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "kept 100 of 600" in second.stdout
    assert "scan:" not in second.stdout  # found


SLEEPER = """
import time
from pathlib import Path

def score(features, flag):
    Path(flag).touch()
    time.sleep(600)
"""


def test_workers_end_with_a_driver_that_is_killed(pool, tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    text = f"name: sleeper\nscore: {{_target_: sleeper.score, flag: {tmp_path / 'flag'}}}\n"
    (tmp_path / "m.yaml").write_text(text + "select: {_target_: dataprune.selectors.ranked.top}\n")
    words = ["--input", str(pool), "--method", "m.yaml", "--budget", "100", "--cells", "5", "--output", "out"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}"}
    with subprocess.Popen([sys.executable, "-m", "dataprune.pools", *words], cwd=tmp_path, env=environment) as driver:
        until(lambda: (tmp_path / "flag").exists(), 120)
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        driver.kill()
    assert children
    until(lambda: not any(running(child) for child in children), 30)


def running(process):
    """Whether a process is there; one that has ended may wait for its parent."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(true, seconds):
    """Wait until something is true, or fail."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_selections_do_not_share_an_output(pool, tmp_path):
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(ConfigError, match="no other selection"):
        chosen(pool, tmp_path / "out", **DEDUP)


# uids


def test_uids_leave_in_the_form_they_came(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", **DEDUP)
    wide = np.load(tmp_path / "out" / "uids.npy")
    assert wide.dtype == UID
    assert wide.tolist() == np.sort(parse_uids(made.uids[kept.ids].tolist())).tolist()
    assert pq.read_table(tmp_path / "out" / "uids.parquet")["uid"].to_pylist() == made.uids[kept.ids].tolist()
    assert kept.uids.tolist() == made.uids[kept.ids].tolist()


@pytest.mark.parametrize("uids", [np.arange(600)[::-1] - 5, np.array([f"image {i}" for i in range(600)])])
def test_numbers_and_text_are_uids(made, tmp_path, uids):
    made.uids = uids
    kept = chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", **DEDUP)
    assert kept.uids.tolist() == uids[kept.ids].tolist()
    assert not (tmp_path / "out" / "uids.npy").exists()


@pytest.mark.parametrize("form", ["", "{:032x}", "image {}"], ids=["numbers", "hex", "text"])
def test_a_uid_that_stands_twice_is_refused_with_its_files(made, tmp_path, form):
    uids = np.array([form.format(i) for i in range(600)]) if form else np.arange(600)
    uids[450] = uids[17]
    made.uids = uids
    with pytest.raises(ConfigError) as error:
        chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", **DEDUP)
    assert str(error.value) == f"uid={uids[17]} in s0.parquet (row 17) and s2.parquet (row 50): expected each uid once"


def test_the_fingerprint_tells_names_rows_and_uids_apart(made, pool, tmp_path):
    options = {"method": "random", "budget": 10}

    def fingerprint(folder):
        chosen(folder, tmp_path / "out", **options)
        return json.loads((tmp_path / "out" / "selection.json").read_text())["fingerprint"]

    first = fingerprint(pool)
    shutil.copytree(pool, tmp_path / "elsewhere")
    assert fingerprint(tmp_path / "elsewhere") == first
    (tmp_path / "elsewhere" / "s2.parquet").rename(tmp_path / "elsewhere" / "s3.parquet")
    assert fingerprint(tmp_path / "elsewhere") != first
    made.uids = made.uids[::-1].copy()
    assert fingerprint(made.parquet(pool)) != first


# files of other kinds


def test_arrays_with_files_beside_them_are_shards(made, pool, tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for i, rows in enumerate(np.array_split(np.arange(600), 3)):
        np.save(folder / f"s{i}.npy", made.rows[rows])
        np.save(folder / f"s{i}.uid.npy", parse_uids(made.uids[rows].tolist()))
        np.save(folder / f"s{i}.score.npy", made.scores[rows])
    for options in (DEDUP, D2):
        kept = chosen(folder, tmp_path / "a", **options)
        assert kept.ids.tolist() == chosen(pool, tmp_path / "b", **options).ids.tolist()
        assert (tmp_path / "a" / "uids.npy").read_bytes() == (tmp_path / "b" / "uids.npy").read_bytes()
        assert not (tmp_path / "a" / "uids.parquet").exists()


def test_without_uids_row_numbers_are(made, tmp_path):
    (tmp_path / "pool").mkdir()
    for i in range(2):
        np.save(tmp_path / "pool" / f"{i}.npy", made.wide[300 * i : 300 * i + 300])
    kept = chosen(tmp_path / "pool", tmp_path / "out", **DEDUP)
    assert kept.uids.tolist() == kept.ids.tolist()


def test_metadata_of_datacomp_is_shards(made, pool, tmp_path):
    folder = tmp_path / "metadata"
    folder.mkdir()
    for i, rows in enumerate(np.array_split(np.arange(600), 3)):
        pq.write_table(made.table(rows).drop_columns(["embedding"]), folder / f"s{i}.parquet")
        np.savez(folder / f"s{i}.npz", l14_img=made.rows[rows, :3], l14_txt=made.rows[rows, 3:])
    kept = chosen(folder, tmp_path / "a", embedding="image|text", write=tmp_path / "kept", **D2)
    assert kept.ids.tolist() == chosen(pool, tmp_path / "b", **D2).ids.tolist()
    with np.load(tmp_path / "kept" / "s1.npz") as arrays:
        inside = kept.ids[(kept.ids >= 200) & (kept.ids < 400)]
        assert np.array_equal(arrays["l14_txt"], made.rows[inside, 3:])


def test_lists_of_any_length_that_is_one_are_embeddings(made, pool, tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    for i, rows in enumerate(np.array_split(np.arange(600), 3)):
        plain = pa.array(list(made.rows[rows]), pa.list_(pa.float16()))
        pq.write_table(made.table(rows, embedding=plain), folder / f"s{i}.parquet")
    assert chosen(folder, tmp_path / "a", **DEDUP).ids.tolist() == chosen(pool, tmp_path / "b", **DEDUP).ids.tolist()


# filtered shards


def test_filtered_shards_hold_what_is_kept_and_nothing_of_an_earlier_selection(made, pool, tmp_path):
    folder = tmp_path / "kept"

    def check(kept):
        table = pq.read_table(folder)
        assert table["uid"].to_pylist() == made.uids[kept.ids].tolist()
        assert table.schema.equals(pq.read_table(pool).schema)

    half = {"method": "top", "columns": {"scores": "score"}, "write": folder}
    check(chosen(pool, tmp_path / "out", budget=300, **half))
    check(chosen(pool, tmp_path / "out", budget=1, **half))  # two shards keep nothing
    assert len(list(folder.glob("*.parquet"))) == 1
    check(chosen(pool, tmp_path / "out", budget=300, **half))  # which was written before, and is no longer there
    found = chosen(pool, tmp_path / "out", budget=300, **half).stats["stages"]["filtered"]
    assert found["tasks"] == found["found"] == 3


def test_shards_are_not_written_over_themselves(pool, tmp_path):
    with pytest.raises(ConfigError, match="--write"):
        chosen(pool, tmp_path / "out", write=pool, **DEDUP)


# what cannot work is one line before anything is computed


def broken(made, folder, columns=None, rows=slice(400, 600)):
    made.parquet(folder)
    pq.write_table(made.table(rows, **columns) if columns else made.table(rows), folder / "s2.parquet")
    return folder


@pytest.mark.parametrize(("options", "words"), [
    ({"method": "nothing"}, "--method='nothing'"),
    ({"method": "el2n"}, "--scores"),
    ({"method": "d2_graph", "columns": {"scores": "score"}}, "one that needs no features"),
    ({"method": "label_mapping"}, "picks examples"),
    ({"method": "d2", "columns": {}}, "--scores"),
    ({"budget": 601}, "--budget=601: expected 1 to 600"),
    ({"budget": 0}, "--budget=0"),
    ({"budget": None}, "--budget=None"),
    ({"budget": "many"}, "--budget='many'"),
    ({"method": "k_center", "threshold": 1.0, "budget": None}, "--threshold"),
    ({"gama": 1}, "--set='gama=1'"),
    ({"uid": "name"}, "a column 'name'"),
    ({"embedding": "vector"}, "a column 'vector'"),
    ({"embedding": "label"}, "lists of float16 or float32"),
    ({"method": "top", "columns": {"scores": "quality"}}, "a column 'quality'"),
    ({"method": "top", "columns": {"scores": "uid"}}, "one number a row"),
    ({"memory": "much"}, "--memory='much'"),
    ({"memory": "100M"}, "so much a worker needs"),
    ({"cells": 0}, "--cells=0"),
    ({"cells": 601}, "--cells=601"),
    ({"workers": -1}, "--workers=-1"),
    ({"engine": "spark"}, "--engine='spark'"),
    ({"engine": "no.where"}, "--engine='no.where'"),
    ({"quota": "fair"}, "--quota='fair'"),
])  # fmt: skip
def test_what_cannot_work_is_said_at_once(pool, tmp_path, options, words):
    with pytest.raises(ConfigError) as error:
        chosen(pool, tmp_path / "out", **(DEDUP | options))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").glob("parts/*"))


@pytest.mark.parametrize(("columns", "rows", "words"), [
    (lambda m: {"embedding": pa.array(m.wide[400:, :5].tolist(), pa.list_(pa.float16(), 5))}, slice(400, 600),
     "float16 of width 5 in s2.parquet: expected float16 of width 8, as s0.parquet"),
    (lambda m: {"embedding": pa.array(m.wide[400:].tolist(), pa.list_(pa.float32(), 8))}, slice(400, 600),
     "float32 of width 8 in s2.parquet"),
    (lambda m: {"embedding": pa.array(m.wide[400:].tolist(), pa.list_(pa.float64(), 8))}, slice(400, 600),
     "in s2.parquet: expected lists of float16 or float32"),
    (None, slice(400, 400), "s2.parquet': expected a row at least"),
    (lambda m: {"uid": np.arange(200)}, slice(400, 600), "uid int64 in s2.parquet: expected string"),
    (lambda m: {"uid": pa.array([None] * 200, pa.string())}, slice(400, 600), "200 missing in s2.parquet"),
])  # fmt: skip
def test_a_shard_that_differs_is_named(made, tmp_path, columns, rows, words):
    folder = broken(made, tmp_path / "pool", columns and columns(made), rows)
    with pytest.raises(ConfigError) as error:
        chosen(folder, tmp_path / "out", **DEDUP)
    assert words in str(error.value)
    assert not list((tmp_path / "out").glob("parts/fit-*"))


WRONG = {np.nan: "NaN or inf in rows 17 of s1", np.inf: "NaN or inf in rows 17 of s1", 0: "zeros in rows 17 of s1"}


@pytest.mark.parametrize(("value", "words"), WRONG.items(), ids=str)
def test_embeddings_that_are_no_numbers_or_directions_are_named(made, tmp_path, value, words):
    made.rows[217] = value
    with pytest.raises(ConfigError, match=words):
        chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", **DEDUP)
    assert not list((tmp_path / "out").glob("parts/fit-*"))


def test_a_score_that_is_no_number_is_named(made, tmp_path):
    made.scores[217] = np.nan
    with pytest.raises(ConfigError, match=r"column score=NaN or inf in row 17 of s1.parquet"):
        chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", **D2)


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"--input=.*nothing"):
        chosen(str(tmp_path / "nothing-*.parquet"), tmp_path / "out", **DEDUP)


def test_a_file_that_is_no_parquet_is_named(pool, tmp_path):
    (pool / "s1.parquet").write_bytes(b"no table")
    with pytest.raises(ConfigError, match=r"s1.parquet.*a Parquet file"):
        chosen(pool, tmp_path / "out", **DEDUP)


@pytest.mark.parametrize("engine", ["ray", "dask", "slurm"])
def test_an_engine_that_is_not_installed_says_how_it_is(pool, tmp_path, engine, monkeypatch):
    for module in ("ray", "distributed", "submitit"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'dataprune\[\w"):
        chosen(pool, tmp_path / "out", engine=engine, **DEDUP)


# the command line


def test_the_command_selects_and_mistakes_are_one_line(pool, tmp_path, capsys):
    words = [
        "--input",
        f"{pool}/*.parquet",
        "--method",
        "ccs",
        "--scores",
        "score",
        "--cut",
        "0.1",
        "--set",
        "strata=9",
    ]
    words += ["--engine", THREADS, "--output", str(tmp_path / "out")]
    assert main([*words, "--budget", "0.5"]) == 0
    assert "kept 300 of 600 rows" in capsys.readouterr().out
    assert main([*words, "--budget", "1000"]) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith("--budget=1000: expected 1 to 600")


@pytest.mark.parametrize(
    "method", [["semdedup"], ["k_center"], ["d2", "--scores", "score"], ["top", "--scores", "score"]]
)
def test_an_estimate_says_tasks_memory_and_seconds_and_writes_nothing(pool, tmp_path, capsys, method):
    words = ["--input", str(pool), "--budget", "0.5", "--output", str(tmp_path / "out"), "--method", *method]
    assert main([*words, "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "600 rows in 3 shards" in said
    assert "tasks" in said
    assert "a worker at most" in said
    assert not (tmp_path / "out").exists()


def test_from_python_only_files_and_known_data_sets_are_taken(tmp_path):
    with pytest.raises(ConfigError, match="dataset='dict': expected files"):
        select({}, method="random", budget=3, output=tmp_path)
