"""Every YAML file composes, and every `_target_` in it exists and takes its constants."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import dataprune.__main__ as entry
from dataprune.checks import augmentation
from dataprune.checks import job as checks
from dataprune.checks.config import typed
from dataprune.checks.job import check_functions
from dataprune.errors import ConfigError

CONF = entry.here("conf")
NEEDS_PATH = {"parquet", "folder", "text_files", "file_lists", "webdataset", "coop", "named_lists", "svhn"}  # readers
FROM_FILES = {
    "external", "influence", "influence_reverse", "influence_examples", "influence_examples_reverse", "handpicked_file",
    "handpicked_wordnet", "subset_file", "registered",
}  # fmt: skip


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """And a machine that serves every recipe: some train in float16, which only GPUs can."""
    monkeypatch.setattr(checks, "on_gpu", lambda cfg: True)
    monkeypatch.setattr(augmentation, "has_dali", lambda: True)
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").touch()


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def paths_of(cfg, tmp_path):
    """Overrides that name existing files wherever the config wants some."""
    data = {g: cfg[g].reader._target_.split(".")[-2] for g in ("source", "target") if cfg[g] and cfg[g].reader}
    paths = [f"{g}.path={tmp_path / 'data'}" for g, reader in data.items() if reader in NEEDS_PATH]
    # its content is looked at when a job runs, not before
    paths += [f"{g}.codec.tokenizer=words.json" for g, reader in data.items() if reader == "text_files"]
    if not cfg.source.reader:  # a ready network instead
        paths.append(f"pretrain.checkpoint={tmp_path / 'data' / 'train.parquet'}")
    if cfg.method.name in FROM_FILES:
        paths.append(f"method.path={tmp_path / 'data' / 'train.parquet'}")
    return paths


def test_the_defaults_are_a_good_job():
    check_functions(typed(composed()))


@pytest.mark.parametrize("method", options("method"))
def test_every_method_is_complete(method, tmp_path):
    np.save(tmp_path / "scores.npy", np.zeros(3))
    path = [f"method.path={tmp_path / 'scores.npy'}"] if method in FROM_FILES else []
    if method == "d2_precomputed":
        path = [f"method.neighbors.{name}={tmp_path / 'scores.npy'}" for name in ("neighbors", "distances")]
    recorded = ["surrogate.epochs=200", "surrogate.record.probabilities=true", "surrogate.snapshots=[20]"]
    cfg = typed(composed(f"method={method}", *recorded, *path))
    check_functions(cfg)
    assert cfg.method.name == method, "a method is called as its file"


@pytest.mark.parametrize("place", ["surrogate", "pretrain", "transfer"])
@pytest.mark.parametrize("recipe", options("train"))
def test_every_recipe_fits_every_place(recipe, place):
    there = composed(f"train@{place}={recipe}")
    if place == "surrogate" and there.surrogate.solver is not None:
        with pytest.raises(ConfigError, match=r"surrogate\.record"):  # which is asked for its dynamics
            check_functions(typed(there))
    else:
        check_functions(typed(there))


@pytest.mark.parametrize("model", options("model"))
def test_every_model_is_a_function_that_exists(model):
    check_functions(typed(composed(f"model@surrogate.model={model}", f"model@pretrain.model={model}")))


def test_every_source_can_be_a_target():
    assert set(options("source")) <= set(options("target"))


DATA_SETS = [f"{group}={option}" for group in ("source", "target") for option in options(group) if option != "none"]


@pytest.mark.parametrize("word", DATA_SETS)
def test_every_data_set_is_read_by_a_function_that_exists(word, tmp_path):
    check_functions(typed(composed(word, *paths_of(composed(word), tmp_path))))


@pytest.mark.parametrize("run", options("run"))
def test_run_changes_no_result(run):
    with_run, without = composed(f"run={run}"), composed()
    for cfg in (with_run, without):
        OmegaConf.set_struct(cfg, False)
        del cfg["run"]
    assert with_run == without


@pytest.mark.parametrize("baselines", options("baselines"))
def test_every_set_of_baselines_composes(baselines):
    check_functions(typed(composed(f"baselines={baselines}")))


def test_target_none_takes_the_transfer_away():
    cfg = typed(composed("target=none"))
    assert cfg.target is None
    assert cfg.transfer is None


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_is_a_lab_note_that_composes(experiment, tmp_path):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    assert f"+experiment={experiment}" in text, "its command stands at the top"
    word = f"+experiment={experiment}"
    check_functions(typed(composed(word, *paths_of(composed(word), tmp_path))))


TEMPLATES = sorted(entry.here("multirun_templates").glob("*.yaml"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda p: p.stem)
def test_every_template_composes_and_sweeps(template, tmp_path):
    assert f"+multirun_templates={template.stem}" in template.read_text(), "its command stands at the top"
    word = f"+multirun_templates={template.stem}"
    check_functions(typed(composed(word, *paths_of(composed(word), tmp_path))))
    assert OmegaConf.load(template).hydra.sweeper.params


def test_help_explains_every_group(capfd):
    text = (CONF / "hydra" / "help" / "dataprune.yaml").read_text()
    groups = {p.name for p in CONF.iterdir() if p.is_dir()} - {"hydra", "pool"}  # of `python -m dataprune.pools`
    for group in groups | {"multirun_templates"}:
        assert f"\n  {group}" in text or f"\n  +{group}" in text, group
