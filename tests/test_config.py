"""What an experiment may say, and what of it makes a result what it is."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf.errors import OmegaConfBaseException

import dataprune.__main__ as entry
import dataprune.config
import dataprune.stage_configs
from dataprune.checks.config import typed
from dataprune.config import AugmentConfig, DataConfig, LimitConfig, MethodConfig, RunConfig, SignalsConfig, TrainConfig
from dataprune.errors import ConfigError
from dataprune.identity import from_plain, identity
from dataprune.launch import recipe_of
from dataprune.overrides import check_constants, check_words
from dataprune.stage_configs import AdoptConfig, SelectConfig, StepConfig

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


@pytest.fixture
def job(monkeypatch):
    """The typed config of a job with these words on its command line."""
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))

    def of(*words):
        with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
            return typed(compose("config", list(words)))

    return of


# typed: what is refused


def test_constants_have_ranges_and_take_the_place_of_no_typed_value(job):
    with pytest.raises(ConfigError, match=r"^constants\.window=1: expected 2 or more epochs"):
        job("method=tdds", "constants.window=1")
    for key in ("method.score.window", "+baselines.tdds.score.window"):
        expected = rf"^{key.lstrip('+')}=.*: expected constants\.window=\.\.\., which is 5 here"
        with pytest.raises(ConfigError, match=expected.replace("baselines.tdds", r"baselines\.tdds")):
            check_constants({"window": 5, "early": None}, [f"{key}=3"])
    check_constants({"window": None, "early": None}, ["method.score.window=3"])
    check_constants({"window": 5}, ["method.score.epochs=30", "method=tdds"])


def test_values_arrive_with_their_types(job):
    cfg = job("prune_ratio=0.7", "seed=3", "transfer.label_smoothing=1")
    assert (cfg.prune_ratio, cfg.transfer.seed, cfg.surrogate.seed) == (0.7, 3, 0)
    assert isinstance(cfg.transfer.label_smoothing, float)
    assert isinstance(cfg.baselines["full"], MethodConfig)


@pytest.mark.parametrize("word", ["typo=1", "pretrain.epoch=3", "method.quotas=equal"])
def test_an_unknown_key_is_refused(job, word):
    with pytest.raises(ConfigCompositionException):
        job(word)


@pytest.mark.parametrize("word", ["+typo=1", "+pretrain.epoch=3", "+source.limit.trian=9", "+run.wandb.tag=a"])
def test_an_unknown_key_is_refused_even_when_it_is_added_with_a_plus(job, word):
    key = word.partition("=")[0].rpartition(".")[2].lstrip("+")
    with pytest.raises(OmegaConfBaseException, match=rf"(?s)Key '{key}'.*not in"):
        job(word)


@pytest.mark.parametrize("word", ["seed=soon", "pretrain.epochs=2.5", "source.size=[8]", "run.progress=7.5"])
def test_a_wrong_type_is_refused(job, word):
    with pytest.raises((OmegaConfBaseException, ConfigCompositionException)):
        job(word)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("prune_ratio=1", "prune_ratio=1.0: expected a fraction from 0 to below 1 (0.9 keeps every tenth example)"),
        ("prune_ratio=-0.1", "prune_ratio=-0.1: expected a fraction"),
        ("prune_ratio=nan", "prune_ratio=nan: expected a fraction"),
        ("seed=-1", "seed=-1: expected 0 or more"),
        ("source.limit.train=0", "source.limit.train=0: expected 1 or more"),
        ("transfer.loader=disk", "transfer.loader='disk': expected one of memory, workers"),
        ("surrogate.batch_size=-1", "surrogate.batch_size=-1: expected 0 or more"),
        ("surrogate.record.forward=test", "surrogate.record.forward='test': expected one of none, train, eval"),
        ("transfer.label_smoothing=1.5", "transfer.label_smoothing=1.5: expected 0 to 1"),
        ("pretrain.augment.crop_padding=-1", "pretrain.augment.crop_padding=-1: expected 0 or more pixels"),
        ("run.devices=0", "run.devices=0: expected 1 or more"),
        ("baselines.full.quota=some", "baselines.full.quota='some': expected one of none, proportional, equal"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_key(job, word, text):
    with pytest.raises(ConfigError) as caught:
        job(word)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    "words", [("pretrain.epochs=3", "pretrain.iterations=9"), ("pretrain.epochs=null", "pretrain.iterations=null")]
)
def test_epochs_and_iterations_exclude_one_another(job, words):
    with pytest.raises(ConfigError, match=r"^pretrain\.epochs=(3|None): expected either epochs or pretrain\.it"):
        job(*words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["~pretrain.optimizer._target_"], r"^pretrain\.optimizer=.*: expected a _target_"),
        (["~source.reader._target_"], r"^source\.reader=.*: expected a _target_"),
        (["surrogate.augment.random_resized_crop=[1]"], r"^surrogate\.augment\.random_resized_crop=\[1\.0\]: .*two"),
        (["source.storage=files"], r"^source\.storage='files': .*surrogate\.loader=, pretrain\.loader= \(workers\)"),
        (["target.storage=files"], r"^target\.storage='files': .* said in each recipe, transfer\.loader= \(workers\)"),
        (["surrogate.checkpoint=no.pt"], r"^surrogate\.checkpoint='no\.pt': expected the path of a file"),
        (["source=folder", "source.path=no"], r"^source\.path='no': expected an existing folder or file \(looked in"),
        (["~target"], r"^target=None: expected a target and a transfer recipe, or neither \(target=none\)"),
    ],
)
def test_values_that_contradict_each_other_are_refused(job, words, text):
    with pytest.raises(ConfigError, match=text):
        job(*words)


def test_an_empty_folder_is_no_data_set(job, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="a folder with data in it; this one is empty"):
        job("source=folder", f"source.path={tmp_path / 'empty'}")


def test_a_checkpoint_needs_no_recipe(job, tmp_path):
    (tmp_path / "weights.pt").touch()
    cfg = job(f"surrogate.checkpoint={tmp_path / 'weights.pt'}", "surrogate.epochs=null")
    assert cfg.surrogate.epochs is None


# identity


def test_only_what_differs_from_the_defaults_counts():
    assert identity(TrainConfig()) == {}
    config = TrainConfig(optimizer=SGD, epochs=3, batch_size=128, augment=AugmentConfig(flip=True))
    assert identity(config) == {"optimizer": SGD, "epochs": 3, "augment": {"flip": True}}
    assert identity(DataConfig(name="a", limit=LimitConfig())) == {"name": "a"}
    assert identity(SignalsConfig(arrays=["logits", "features"])) == {}
    assert identity(SignalsConfig(arrays=["logits"])) == {"arrays": ["logits"]}


def test_a_place_is_no_part_of_the_identity():
    here, there = AdoptConfig("a/weights.pt", {"_target_": "x"}), AdoptConfig("b/weights.pt", {"_target_": "x"})
    assert identity(here) == identity(there) == {"model": {"_target_": "x"}}


def test_a_new_option_keeps_the_old_keys_until_it_is_used():
    @dataclass
    class Tomorrow(TrainConfig):
        VERSION: ClassVar[int] = TrainConfig.VERSION
        ema: float = 0.0
        nested: AugmentConfig = field(default_factory=AugmentConfig)

    def key(config):
        return recipe_of("train", config, {"examples": "ab" * 32}).key

    old = key(TrainConfig(optimizer=SGD, epochs=3))
    assert key(Tomorrow(optimizer=SGD, epochs=3)) == old
    assert key(Tomorrow(optimizer=SGD, epochs=3, ema=0.9)) != old


def stage_kinds():
    """The configs of all stages."""
    named = vars(dataprune.config) | vars(dataprune.stage_configs)
    return [kind for kind in named.values() if dataclasses.is_dataclass(kind) and hasattr(kind, "VERSION")]


def test_every_field_has_a_default_or_is_named_by_everybody():
    """Otherwise a new field would change every key: `identity` compares with the default."""
    kinds = stage_kinds()
    assert len(kinds) == 12
    for kind in kinds:
        for f in dataclasses.fields(kind):
            assert (f.default, f.default_factory) != (dataclasses.MISSING, dataclasses.MISSING), f"{kind}.{f.name}"


def test_run_is_in_no_recipe():
    assert not hasattr(RunConfig, "VERSION"), "a stage's config has a VERSION, RunConfig is none"
    for kind in stage_kinds():
        assert all("RunConfig" not in str(f.type) for f in dataclasses.fields(kind)), kind
    run_fields = {f.name for f in dataclasses.fields(RunConfig)}
    assert not run_fields & {f.name for f in dataclasses.fields(TrainConfig)}


def test_a_recipe_survives_json_as_it_is():
    function = {"_target_": "dataprune.selectors.ranked.band", "band": (0.1, 1)}
    config = SelectConfig([StepConfig(function)], method="m", prune_ratio=0.5)
    recipe = recipe_of("select", config, {"examples": "ab"})
    assert recipe.config == json.loads(json.dumps(recipe.config))
    assert recipe.config["steps"][0]["function"]["band"] == [0.1, 1]


# from_plain


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(model={"_target_": "m", "blocks": [1, 2]}, optimizer=SGD, epochs=3, augment=AugmentConfig(4, True)),
        DataConfig("d", {"_target_": "r"}, "here", size=8, limit=LimitConfig(train=9), mean=[0.5], std=[0.1]),
        MethodConfig("m", score={"_target_": "s"}, arrays={"a": "features"}),
        SelectConfig([StepConfig({"_target_": "x"}, filled=["budget"])], method="m", prune_ratio=0.25, weighted=True),
        RunConfig(threads=2, workers=0),
    ],
    ids=lambda c: type(c).__name__,
)
def test_a_worker_gets_the_config_that_was_written_for_it(config):
    plain = json.loads(json.dumps(dataclasses.asdict(config)))
    assert from_plain(type(config), plain) == config


def test_a_worker_refuses_a_config_of_another_version():
    with pytest.raises(OmegaConfBaseException, match="ema"):
        from_plain(TrainConfig, dataclasses.asdict(TrainConfig()) | {"ema": 0.9})


def test_no_transfer_beside_a_target_is_told_before_hydra_stumbles_over_it():
    with pytest.raises(ConfigError, match=r"^transfer=None: expected target=none"):
        check_words(["transfer=null", "seed=1"])
    check_words(["transfer=pets", "seed=1"])
