"""A result exists exactly when it is complete, is found by what it is made of, and is built by one process."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dataprune.store import DamagedResult, Recipe, Store, read_lines, write_json
from dataprune.store import results as module

RECIPE = Recipe("train", 1, {"epochs": 3, "optimizer": {"lr": 0.1}}, {"examples": "ab" * 32})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def build(store, recipe=RECIPE, files=None, facts=None):
    """Build a result of these files: name -> text."""
    with store.building(recipe, say=print) as work:
        for name, text in (files or {"model.pt": "weights"}).items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        return store.commit(recipe, facts or {})


# identity


def test_the_key_of_a_recipe_stays_what_it_is():
    """If this fails, the identity function has changed, and every store in the world is built anew."""
    assert RECIPE.key == "45eace9845aed9af"
    assert replace(RECIPE, config={"optimizer": {"lr": 0.1}, "epochs": 3}).key == RECIPE.key, "order does not count"
    assert str(RECIPE) == f"train {RECIPE.key[:8]}"


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "score"},
        {"version": 2},
        {"config": {"epochs": 4}},
        {"inputs": {"examples": "cd" * 32}},
        {"code": {"mine.function": "ab" * 8}},
    ],
)
def test_every_part_of_a_recipe_counts(change):
    assert replace(RECIPE, **change).key != RECIPE.key


def test_a_digest_is_that_of_names_and_contents(tmp_path):
    def digest(name, **files):
        return build(Store(tmp_path / name), files={k.replace("_", "/", 1): v for k, v in files.items()}).digest

    one = digest("1", a="x", b="y")
    assert digest("2", b="y", a="x") == one
    assert digest("3", a="x", b="z") != one
    assert digest("4", a="x", c="y") != one
    assert digest("5", a="x") != one
    assert digest("6", a="x", b="y", log_a="l", export_b="e", scratch_c="s") == one


def test_log_is_unchecked_export_is_checked_and_scratch_is_gone(store):
    result = build(store, files={"a": "x", "log/out.txt": "l", "export/root.txt": "e", "scratch/last.ckpt": "c"})
    assert set(result.manifest["files"]) == {"a", "export/root.txt"}
    assert not result.has("scratch")
    (result / "log" / "out.txt").write_text("grown")
    store.find(RECIPE)
    (result / "export" / "root.txt").write_text("elsewhere")
    with pytest.raises(DamagedResult, match=r"export/root\.txt"):
        store.find(RECIPE)


def test_what_a_kill_in_the_middle_of_a_write_left_does_not_count(tmp_path):
    whole, killed = (
        build(Store(tmp_path / "1")),
        build(Store(tmp_path / "2"), files={"model.pt": "weights", ".a.1": "h"}),
    )
    assert whole.digest == killed.digest


# commit


def test_a_result_tells_what_it_is(store):
    result = build(store, facts={"steps": 7})
    found = store.find(RECIPE)
    assert found == result
    assert found.path == store.root / "train" / RECIPE.key
    assert (found.key, found.facts, found / "model.pt") == (RECIPE.key, {"steps": 7}, found.path / "model.pt")
    assert found.recipe["config"] == RECIPE.config
    assert found.has("model.pt")
    assert not found.has("other.pt")
    assert list(store.results()) == [found]


def test_there_is_nothing_before_the_manifest(store):
    with store.building(RECIPE, say=print) as work:
        (work / "model.pt").write_text("weights")
        assert store.find(RECIPE) is None
        assert list(store.results()) == []
        assert not store.home(RECIPE).exists()
        store.commit(RECIPE, {})
    assert store.find(RECIPE)
    assert not work.exists()


def test_a_stage_that_fails_leaves_its_work_and_no_result(store):
    def stage(work):
        (work / "scratch" / "last.ckpt").write_text("epoch 3")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), store.building(RECIPE, say=print) as work:
        stage(work)
    assert store.find(RECIPE) is None
    with store.building(RECIPE, say=print) as again:
        assert (again / "scratch" / "last.ckpt").read_text() == "epoch 3"


def test_what_a_removal_left_half_done_does_not_stop_the_next_build(store):
    result = build(store, files={"a": "x", "b": "y"})
    for name in ("manifest.json", "a"):
        (result / name).unlink()
    assert store.find(RECIPE) is None
    build(store, files={"a": "x"})
    assert {p.name for p in result.path.iterdir()} == {"a", "recipe.json", "manifest.json"}


def test_seconds_of_all_attempts_add_up_without_the_pause_between(store, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    with store.building(RECIPE, say=print) as work:
        (work / "scratch" / "last.ckpt").touch()
        for path in work.rglob("*"):
            os.utime(path, (1030, 1030))  # its last sign of life; then it is killed
    clock[0] = 9000.0
    with store.building(RECIPE, say=print):
        clock[0] = 9012.0
        assert store.commit(RECIPE, {}).seconds == 42


# damage


def flip(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (flip, r"has changed since it was written \(its SHA-256 differs\)"),
        (cut, "has 6 bytes, not 7"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_helps(store, harm, text):
    result = build(store)
    harm(result / "model.pt")
    command = f"python -m dataprune.store --root {store.root} remove train/{RECIPE.key}"
    with pytest.raises(DamagedResult, match=rf"{result / 'model.pt'} {text}\. Remove the result.*{command}$"):
        store.find(RECIPE)
    assert Store(store.root, verify=False).find(RECIPE)


def test_a_file_that_is_whole_is_read_once_a_process(store, monkeypatch):
    build(store, files={"a": "x", "b": "y"})
    read = []
    describe = module.describe
    monkeypatch.setattr(module, "describe", lambda path: read.append(path.name) or describe(path))
    for _ in range(3):
        store.find(RECIPE)
    assert sorted(read) == ["a", "b"]
    os.utime(store.home(RECIPE) / "a")
    Store(store.root).find(RECIPE)
    assert sorted(read) == ["a", "a", "b"]


def test_a_huge_file_is_compared_by_size_alone(store, monkeypatch):
    result = build(store)
    flip(result / "model.pt")
    size = os.stat_result
    stat = Path.stat

    def huge(path, **words):
        there = stat(path, **words)
        return size([*there[:6], 2**30 + 1, *there[7:]]) if path.name == "model.pt" else there

    monkeypatch.setattr(Path, "stat", huge)
    with pytest.raises(DamagedResult, match=f"has {2**30 + 1} bytes, not 7"):
        store.find(RECIPE)
    manifest = json.loads((result / "manifest.json").read_text())
    manifest["files"]["model.pt"]["bytes"] = 2**30 + 1
    write_json(result / "manifest.json", module.signed(manifest, result.recipe))
    assert store.find(RECIPE), "the changed byte goes unseen"


# why_missed


def test_a_miss_says_what_differs_from_the_nearest_result(store):
    assert store.why_missed(RECIPE) == "first of its kind"
    build(store)
    far = replace(RECIPE, config={"epochs": 9, "optimizer": {"lr": 1.0, "momentum": 0.9}}, version=2)
    build(store, far)
    near = replace(RECIPE, config={"epochs": 4, "optimizer": {"lr": 0.1}}, inputs={"examples": "cd" * 32})
    assert store.why_missed(near) == "differs in config.epochs=4 (was 3), inputs.examples=cdcdcdcd (was abababab)"
    other = replace(RECIPE, config={"epochs": 3, "optimizer": {"lr": 0.1}, "clip": 1})
    assert store.why_missed(other) == "differs in config.clip=1 (was None)"
    many = replace(RECIPE, config=dict.fromkeys("abcdef", 1))
    assert store.why_missed(many).endswith("config.d=1 (was None) and 4 more")
    assert store.why_missed(replace(RECIPE, stage="score")) == "first of its kind"


# several processes

BUILDER = """
    import sys, time
    from pathlib import Path
    from dataprune.store import Recipe, Store
    store, name, hold = Store(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    recipe = Recipe("train", 1, {"epochs": 3, "optimizer": {"lr": 0.1}}, {"examples": "ab" * 32})
    with store.building(recipe, say=lambda text: print(text, flush=True)) as work:
        if work is None:
            print("found", store.find(recipe).facts["by"], flush=True)
        else:
            print("building", *sorted(p.name for p in (work / "scratch").glob("*.ckpt")), flush=True)
            (work / "scratch" / f"{name}.ckpt").touch()
            while hold and not (store.root / "go").exists():
                time.sleep(0.01)
            store.commit(recipe, {"by": name})
"""


def builder(store, name, hold):
    """A process that builds RECIPE; one that holds waits for the file `go` before it commits."""
    program = textwrap.dedent(BUILDER)
    words = [sys.executable, "-c", program, str(store.root), name, str(int(hold))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_of_two_processes_one_builds_and_the_other_waits_and_finds(store):
    first = builder(store, "first", hold=True)
    assert first.stdout.readline() == "building\n"
    second = builder(store, "second", hold=False)
    line = second.stdout.readline()
    assert line.startswith("waiting for ")
    assert f":{first.pid}, which has been building it since " in line
    (store.root / "go").touch()
    assert second.communicate(timeout=20)[0] == "found first\n"
    first.communicate(timeout=20)
    assert store.find(RECIPE).facts == {"by": "first"}


def test_a_killed_builder_frees_the_lock_and_its_work_is_gone_on_with(store):
    first = builder(store, "first", hold=True)
    first.stdout.readline()
    second = builder(store, "second", hold=False)
    assert second.stdout.readline().startswith("waiting for ")
    while not (store.work(RECIPE) / "scratch" / "first.ckpt").exists():
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=20)
    assert second.communicate(timeout=20)[0] == "building first.ckpt\n"
    assert store.find(RECIPE).facts == {"by": "second"}


# small files


def test_rows_are_filed_by_name_and_replaced(store):
    assert store.rows() == []
    store.write_row("b", {"x": 1})
    store.write_row("a", {"x": 2})
    store.write_row("b", {"x": 3})
    assert store.rows() == [{"x": 2, "row": "a"}, {"x": 3, "row": "b"}]


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        write_json(path, {"x": 2, "y": object()})
    assert json.loads(path.read_text()) == {"x": 1}


def test_a_half_line_is_not_read(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_lines(path) == []
    path.write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert read_lines(path) == [{"epoch": 0}, {"epoch": 1}]
    path.write_text('{"epoch": 0}\n{"epoch": 1}')
    assert read_lines(path) == [{"epoch": 0}]
