"""What `make` deletes: never weeks of training under the name that everybody types."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder, *words):
    command = ["make", "-f", str(ROOT / "Makefile"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def folder(tmp_path):
    for name in ("store/train/ab/manifest.json", "store/rows/1.json", "outputs/x", ".venv/x"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_clean_keeps_the_store(folder):
    make(folder, "clean")
    assert [p.name for p in folder.iterdir()] == ["store"]


def test_clean_store_says_what_it_deletes(folder):
    assert "deleting ./store: 1 results, 1 rows, " in make(folder, "clean-store")
    assert sorted(p.name for p in folder.iterdir()) == [".venv", "outputs"]
    assert "there is no ./store here" in make(folder, "clean-store")


def test_help_lists_both(folder):
    shown = make(folder, "help")
    assert "make clean  " in shown
    assert "make clean-store" in shown
