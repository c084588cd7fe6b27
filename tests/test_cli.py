"""The command line as a user meets it: help, mistakes, sweeps, own methods, any working directory."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, TINY

MISTAKES = [
    (["+typo=1"], "Key 'typo' not in 'Config'"),
    (["+method.typo=1"], "Key 'typo' not in 'MethodConfig'"),
    (["prune_ratio=90"], "prune_ratio=90.0: expected a fraction from 0 to below 1"),
    (["prune_ratio=abc"], "Value 'abc' of type 'str' could not be converted to Float"),
    (["run.devices=0"], "run.devices=0: expected 1 or more"),
    (["run.logger=paper"], "run.logger='paper': expected one of csv, wandb"),
    (["pretrain.iterations=5"], "expected either epochs or pretrain.iterations, and not both"),
    (["method=forgetting", "method.score._target_=dataprune.nope"], "expected a function that exists"),
    (
        ["method=forgetting", "+method.score.never=1"],
        "expected one of the constants of dataprune.scores.dynamics.forgetting",
    ),
    (["method=dynamic_uncertainty", "method.score.window=20"], "method.score.window=20: expected 2 to 2 (3 epochs"),
    (["method=label_mapping", "target=none"], "expected a target to take it from"),
    (["source=parquet"], "source.path=None: expected the folder or file"),
    (["source=parquet", "source.path=/nowhere/at/all"], "source.path='/nowhere/at/all': expected an existing folder"),
    (
        ["source=folder", "source.path=empty"],
        "source.path='empty': expected a folder with data in it; this one is empty",
    ),
    (["method=nope"], "Could not find 'method/nope'"),
    (
        ["train@transfer=finetune", "target=none"],
        "train@transfer='finetune': expected no transfer recipe beside target=n",
    ),
    (
        ["target=[digits,glyphs]"],
        "target=[digits,glyphs]: expected one option; one subset for several targets: target=digits "
        "+target@others.glyphs=glyphs",
    ),
    (
        ["method=[random,forgetting]"],
        "expected one option; a job for each of them: --multirun method=random,for",
    ),
]


def test_help_teaches_groups_and_commands(jobs):
    text = jobs.command("--help").stdout
    for words in (
        "python -m dataprune --multirun +experiment=demo",
        "method ",
        "+multirun_templates",
        "prune_ratio: 0.5",
    ):
        assert words in text


def test_help_and_config_do_not_import_torch(jobs):
    code = "import sys; sys.argv[1:] = ['--cfg', 'job', '--resolve']; from dataprune.__main__ import main\n"
    code += "try: main()\nfinally: print('torch' in sys.modules, 'pytorch_lightning' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "False False"
    assert "_target_: dataprune.data.glyphs.read" in ran.stdout


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_mistake_is_one_line_and_a_failure(jobs, words, message):
    (jobs.folder / "empty").mkdir()
    own_data = any(word.startswith(("target=", "source=")) for word in words)
    tiny = [] if own_data else TINY
    ran = jobs.command(*tiny, *words, check=False)
    assert ran.returncode != 0
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (jobs.folder / "store" / "train").exists()


def test_the_stack_trace_is_there_for_who_wants_it(jobs):
    ran = jobs.command("prune_ratio=90", check=False, HYDRA_FULL_ERROR="1")
    assert "Traceback" in ran.stderr


METHOD = """
import numpy as np

def brightness(features, labels):
    return features.sum(1) + labels
"""
YAML = """
name: brightest
score: {_target_: my_methods.brightness}
select: {_target_: dataprune.selectors.ranked.top}
"""


def test_a_user_s_own_method_needs_one_function_and_one_yaml(jobs):
    (jobs.folder / "my_methods.py").write_text(METHOD)
    (jobs.folder / "myconf" / "method").mkdir(parents=True)
    (jobs.folder / "myconf" / "method" / "brightest.yaml").write_text(YAML)
    jobs.command("--config-dir", "myconf", *TINY, "method=brightest", "run.report=false")
    (row,) = (json.loads(p.read_text()) for p in (jobs.folder / "store" / "rows").iterdir())
    assert row["method"] == "brightest"
    assert row["kept"] == 186


SHADOWS = ("random", "numpy", "filelock", "hydra", "dataclasses")


@pytest.mark.parametrize("start", ["-m", "script"])
@pytest.mark.parametrize("program", ["dataprune", "dataprune.select"])
def test_a_file_in_the_folder_does_not_stand_for_a_library(jobs, program, start):
    for name in SHADOWS:
        (jobs.folder / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    (jobs.folder / "my_own.py").write_text("def wish(moon): return moon\n")
    words = ["method=forgetting", "method.score._target_=my_own.wish", "~method.score.never_learned", *TINY]
    if program == "dataprune.select":
        np.save(jobs.folder / "scores.npy", np.arange(4.0))
        words = ["scores.npy", "--method", "own.yaml", "--prune-ratio", "0.5"]
        (jobs.folder / "own.yaml").write_text("name: own\nselect: {_target_: my_own.wish}\n")
    code = f"import runpy; runpy.run_module({program!r}, run_name='__main__', alter_sys=True)"
    (jobs.folder / "bin").mkdir()  # as an installed command does, which has its own folder before all others
    (jobs.folder / "bin" / "program.py").write_text(code)
    how = ["-m", program] if start == "-m" else ["bin/program.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *how, *words]
    ran = subprocess.run(command, cwd=jobs.folder, env=environment, capture_output=True, text=True, check=False)
    assert "the wrong module" not in ran.stderr
    assert "moon" in ran.stderr, "the user's own module is found all the same"


def test_an_array_that_nobody_produces_is_refused_with_the_table(jobs):
    (jobs.folder / "my_methods.py").write_text("def wish(moon): return moon\n")
    words = ["method=forgetting", "method.score._target_=my_methods.wish", "~method.score.never_learned"]
    ran = jobs.command(*TINY, *words, check=False)
    assert "method.score.moon='moon': expected a constant, or one of these arrays" in ran.stderr
    assert "p_true" in ran.stderr
    assert "target_predictions" in ran.stderr


def test_a_sweep_shares_reports_and_goes_on_after_a_bad_job(jobs):
    ran = jobs.command("-m", *TINY, "method=random,label_mapping", "prune_ratio=0.5,0.97", check=False)
    assert ran.returncode == 1, "0.97 leaves fewer examples than classes"
    assert "prune_ratio=0.97: expected 0.8333 or less" in ran.stderr
    (report,) = (jobs.folder / "outputs").rglob("report.html")
    assert len(json.loads((report.parent / "0" / "rows.json").read_text())) == 1
    text = report.read_text()
    assert "label_mapping" in text
    assert not re.search(r"(src|href)=.?http|url\(.?http|<script", text), "self-contained: nothing is fetched"
    for name in ("table.csv", "accuracy_by_ratio_glyphs_digits_cnn_depth_3_norm_batch_width_4_head.png"):
        assert (report.parent / name).exists()
    assert f"report: {report.relative_to(jobs.folder)}" in ran.stdout


def test_templates_are_found_from_anywhere(jobs):
    ran = jobs.command("+multirun_templates=demo_grid", "--cfg", "hydra", "-p", "hydra.sweeper.params")
    assert "label_mapping" in ran.stdout


def test_outputs_go_to_the_working_directory_never_into_the_package(jobs):
    before = {p for p in (ROOT / "dataprune").rglob("*") if "__pycache__" not in p.parts}
    jobs.command(*TINY, "method=random", "run.report=false")
    assert {"outputs", "store"} <= set(os.listdir(jobs.folder))
    assert {p for p in (ROOT / "dataprune").rglob("*") if "__pycache__" not in p.parts} == before
