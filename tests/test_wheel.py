"""The wheel works alone: conf/ and the templates ship inside it."""

import os
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.conftest import ROOT, TINY


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (path,) = folder.glob("dataprune-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter with the wheel installed; its dependencies are borrowed from the running one."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = venv / "lib" / version / "site-packages"
    # a line in a .pth file adds the folder without reading the .pth files in it: the editable install stays out
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    executable = venv / "bin" / "python"
    run(str(executable), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    return str(executable)


def test_the_wheel_holds_code_configs_and_templates_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "dataprune/conf/config.yaml" in names
    assert "dataprune/multirun_templates/demo_grid.yaml" in names
    assert "dataprune/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"dataprune", "hydra_plugins"}
    assert [name for name in names if name.startswith("hydra_plugins")] == ["hydra_plugins/dataprune_sweep.py"]


def test_an_installed_wheel_runs_from_any_folder(python, tmp_path):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DATAPRUNE_ROOT")}
    where = run(python, "-c", "import dataprune; print(dataprune.__file__)", cwd=tmp_path, env=clean).stdout
    assert "installed" in where
    text = run(python, "-m", "dataprune", "--help", cwd=tmp_path, env=clean).stdout
    assert "+experiment=demo" in text
    words = [*TINY, "method=label_mapping", "surrogate.epochs=1"]
    ran = run(python, "-m", "dataprune", *words, cwd=tmp_path, env=clean)
    assert "label_mapping" in ran.stdout
    assert (tmp_path / "store" / "rows").is_dir()
    words = [word for word in TINY if not word.startswith("transfer")]
    run(python, "-m", "dataprune", "-m", *words, "target=none", "method=random,full", cwd=tmp_path, env=clean)
    hydra = run(python, "-m", "dataprune", "+multirun_templates=demo_grid", "--cfg", "hydra", cwd=tmp_path, env=clean)
    assert "random_classes" in hydra.stdout
