"""A sweep's configs are composed once for each set of group choices, to what Hydra itself composes."""

import itertools
import os

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

import dataprune.__main__ as entry
from dataprune.checks.config import typed
from dataprune.config import Config
from dataprune.errors import ConfigError
from dataprune.fields import Inexact, exactly
from dataprune.overrides import below_sweeps
from dataprune.sweeps.compose import Composer
from dataprune.sweeps.record import record
from hydra_plugins.dataprune_sweep import Sweeper

TEMPLATES = sorted(path.stem for path in entry.here("multirun_templates").glob("*.yaml"))
SHOWN = 5  # jobs of a template that are composed both ways: first, last, and some between


@pytest.fixture
def loader(monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def jobs_of(loader, *words):
    """The master config of a sweep, and the overrides of its jobs."""
    master = loader.load_configuration("config", list(words), RunMode.MULTIRUN)
    from hydra.core.override_parser.overrides_parser import OverridesParser

    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    overrides = OverridesParser.create(config_loader=loader).parse_overrides([*params, *words])
    (batch,) = Sweeper.split_arguments(overrides, None)
    return master, batch


def plain(config):
    whole = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    for name in ("id", "num"):  # a job's number is the launcher's
        whole["hydra"]["job"].pop(name, None)
    return whole


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_composes_to_what_hydra_composes(loader, template):
    words = [f"+multirun_templates={template}", "source.path=/data", "seed=0,1"]
    master, batch = jobs_of(loader, *words)
    composer, step = Composer(loader, master), max(1, len(batch) // SHOWN)
    for one in itertools.islice(batch, 0, None, step):
        assert plain(composer.compose(one)) == plain(loader.load_sweep_config(master, list(one))), one
    choices = {tuple(w for w in one if not w.startswith(("seed=", "prune_ratio=", "source.path="))) for one in batch}
    assert composer.composed <= len(choices)


def test_values_do_not_stay_from_one_job_to_the_next(loader):
    master, _ = jobs_of(loader, "method=forgetting")
    composer = Composer(loader, master)
    first = typed(composer.compose(["method=forgetting", "seed=3", "pretrain.epochs=7"]))
    second = typed(composer.compose(["method=forgetting", "seed=4"]))
    assert (first.seed, first.pretrain.seed, second.pretrain.seed) == (3, 3, 4)
    assert (first.pretrain.epochs, second.pretrain.epochs) == (7, 12)
    assert composer.composed == 1


def test_a_value_below_a_method_waits_for_the_jobs_that_have_that_method(loader):
    words = ["method=ccs,random", "method.cut.fraction=0.25", "seed=0,1"]
    master, batch = jobs_of(loader, *below_sweeps(words))
    composer = Composer(loader, master)
    assert composer.compose(batch[0]).method.cut.fraction == 0.25
    with pytest.raises(ConfigError, match=r"cut\.fraction=0\.25: expected a key that a job of method=random has"):
        composer.compose(batch[-1])


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (entry.here("conf") / "experiment").glob("*.yaml")))
def test_the_quick_way_to_a_typed_config_gives_what_omegaconf_gives(loader, experiment):
    composed = loader.load_configuration("config", [f"+experiment={experiment}", "source.path=/data"], RunMode.MULTIRUN)
    composed = OmegaConf.masked_copy(composed, [name for name in composed if name != "hydra"])
    slow = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.to_container(composed))
    assert exactly(Config, OmegaConf.to_container(composed, resolve=True)) == OmegaConf.to_object(slow)


@pytest.mark.parametrize("values", [{"seed": "1"}, {"seed": True}, {"sed": 1}, {"prune_ratio": "half"}, {"name": 3}])
def test_what_is_to_be_converted_or_refused_is_omegaconfs(values):
    with pytest.raises(Inexact):
        exactly(Config, values)


def test_a_jobs_folder_holds_what_hydra_would_have_written(loader, tmp_path):
    master, _ = jobs_of(loader, "name='1e-3'")
    config = Composer(loader, master).compose(["name='1e-3'", "seed=7"])
    config.hydra.runtime.output_dir = str(tmp_path)
    record(config, tmp_path)
    HydraConfig.instance().set_config(config)
    there = OmegaConf.load(tmp_path / ".hydra" / "config.yaml")
    own = OmegaConf.create({name: OmegaConf.to_container(config)[name] for name in config if name != "hydra"})
    assert there == own
    assert there.name == "1e-3"
    assert OmegaConf.load(tmp_path / ".hydra" / "overrides.yaml") == ["name='1e-3'", "seed=7"]
    assert OmegaConf.load(tmp_path / ".hydra" / "hydra.yaml").hydra.runtime.output_dir == str(tmp_path)
    assert os.listdir(tmp_path) == [".hydra"]
