"""`python -m dataprune.store`: list, show, verify, remove, gc."""

import json
import os
import re

import pytest
from filelock import FileLock

from dataprune.store import Recipe, Store
from dataprune.store.__main__ import main

OLD = 1_000_000.0  # a time long ago


@pytest.fixture
def store(tmp_path):
    """Two trainings and a subset; a row refers to the subset and to the first training."""
    store = Store(tmp_path / "store")
    made = [build(store, "train", 1), build(store, "train", 2), build(store, "select", 1)]
    store.write_row("a", {"keys": {"model": made[0].key, "subset": made[2].key}})
    return store


def build(store, stage, seed):
    recipe = Recipe(stage, 1, {"seed": seed})
    with store.building(recipe, say=print) as work:
        (work / "model.pt").write_text(f"weights of {seed}")
        return store.commit(recipe, {"steps": seed})


@pytest.fixture
def keep(store, capsys):
    """Run a command on the store: (exit code, what it printed, what it complained)."""

    def command(*words):
        code = main(["--root", str(store.root), *words])
        return code, *capsys.readouterr()

    return command


def names(store):
    return [f"{r.path.parent.name}/{r.key}" for r in store.results()]


def test_list_has_a_line_for_each_result(store, keep):
    code, out, _ = keep("list")
    *lines, total = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == names(store)
    assert lines[0].endswith("steps=1")
    assert total == f"0.0 MB in {store.root}, 1 rows"


def test_show_prints_recipe_and_manifest(store, keep):
    name = names(store)[0]
    code, out, _ = keep("show", name)
    shown = json.loads(out)
    assert code == 0
    assert shown["path"] == str(store.root / name)
    assert shown["recipe"]["stage"] == "select"
    assert list(shown["manifest"]["files"]) == ["model.pt"]


def test_a_result_may_be_called_by_the_first_digits_of_its_key(store, keep):
    for name in names(store):
        stage, key = name.split("/")
        for word in (key[:6], f"{stage}/{key[:6]}", name):
            code, out, _ = keep("show", word)
            assert (code, json.loads(out)["path"]) == (0, str(store.root / name))


def test_the_stage_in_a_name_counts(store, keep):
    key = names(store)[0].removeprefix("select/")
    code, out, complaint = keep("remove", f"train/{key[:8]}")
    assert (code, out) == (1, "")
    assert complaint == f"train/{key[:8]}: no such result; `list` shows what is there\n"
    assert len(names(store)) == 3


def test_a_name_that_fits_several_is_refused_with_all_of_them(store, keep):
    code, _, complaint = keep("show", "train/")
    assert code == 1
    assert complaint.startswith("train/: several results begin so: ")
    assert all(name in complaint for name in names(store) if name.startswith("train/"))


def test_verify_reads_everything_and_names_what_is_damaged(store, keep):
    assert keep("verify")[:2] == (0, "3 of 3 results are whole\n")
    hurt, whole = names(store)[1:]
    (store.root / hurt / "model.pt").write_text("weights of x")
    code, out, _ = keep("verify")
    assert code == 1
    assert re.search(rf"{hurt}/model\.pt has changed .*remove {hurt}\n2 of 3 results are whole\n$", out)
    assert keep("verify", whole)[:2] == (0, "1 of 1 results are whole\n")
    assert keep("verify", hurt)[0] == 1


def test_remove_takes_all_that_are_named_or_none(store, keep):
    one, two, three = names(store)
    code, out, complaint = keep("remove", one, "train/no")
    assert (code, out) == (1, "")
    assert complaint.startswith("train/no: no such result")
    assert names(store) == [one, two, three]
    assert keep("remove", one, two)[:2] == (0, f"removed {one}\nremoved {two}\n")
    assert names(store) == [three]
    assert keep("remove", three, three)[0] == 0, "named twice"
    assert names(store) == []


def test_gc_says_what_would_go_and_deletes_only_when_told(store, keep):
    unused = next(n for n in names(store) if store.root.joinpath(n, "model.pt").read_text() == "weights of 2")
    code, out, _ = keep("gc", "--hours", "0")
    assert (code, out) == (0, f"would remove {unused} 0.0 MB\nadd --yes to delete\n")
    assert len(names(store)) == 3
    assert keep("gc", "--hours", "0", "--yes")[:2] == (0, f"removed {unused} 0.0 MB\n")
    assert len(names(store)) == 2
    assert keep("gc", "--hours", "0")[:2] == (0, "")


def test_gc_spares_what_a_running_job_may_still_want(store, keep):
    assert keep("gc", "--yes")[:2] == (0, "")


def test_gc_takes_work_that_nobody_holds_and_that_is_a_day_old(store, keep):
    keep("gc", "--hours", "0", "--yes")
    for name in ("fresh", "old", "held"):
        (store.root / "work" / name / "scratch").mkdir(parents=True)
        (store.root / "work" / name / "scratch" / "last.ckpt").touch()
        if name != "fresh":
            for path in [store.root / "work" / name, *(store.root / "work" / name).rglob("*")]:
                os.utime(path, (OLD, OLD))
    with FileLock(store.root / "locks" / "held.lock"):
        assert keep("gc", "--hours", "0", "--yes")[:2] == (0, "removed work/old 0.0 MB\n")
    assert sorted(p.name for p in (store.root / "work").iterdir()) == ["fresh", "held"]


def test_a_store_that_is_not_there_is_said(tmp_path, capsys):
    assert main(["--root", str(tmp_path / "no"), "list"]) == 1
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["--root", str(tmp_path / "empty"), "list"]) == 0


def test_no_command_and_help_are_those_of_argparse(capsys):
    for words, code in (([], 2), (["--help"], 0), (["paint"], 2)):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == code
    assert "verify" in capsys.readouterr().out


def test_verify_reads_recipes_manifests_and_rows_too(tmp_path, capsys):
    """A figure that has changed in a manifest or in a row is damage like a changed file."""
    store = Store(tmp_path)
    recipe = Recipe("score", 1, {})
    with store.building(recipe, say=print) as work:
        (work / "scores.npy").write_bytes(b"1")
        result = store.commit(recipe, {"n": 10})
    row = store.write_row("a", {"kept": 10, "keys": {}})
    assert main(["--root", str(tmp_path), "verify"]) == 0
    for path in (result / "manifest.json", row):
        there = path.read_text()
        path.write_text(there.replace("10", "11"))
        assert main(["--root", str(tmp_path), "verify"]) == 1
        said = capsys.readouterr()
        assert path.name in said.out + said.err
        path.write_text(there)
