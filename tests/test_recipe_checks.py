"""What is wrong with the numbers of a recipe is one line with its key, before anything is indexed or trained."""

from dataclasses import replace

import pytest

from dataprune.checks.recipes import check_recipe
from dataprune.config import TrainConfig
from dataprune.errors import ConfigError

SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("surrogate.optimizer.lr=-1", "surrogate.optimizer.lr=-1: expected a number above 0"),
        ("surrogate.optimizer.lr=fast", "surrogate.optimizer.lr='fast': expected a number above 0"),
        ("pretrain.optimizer.lr=0", "pretrain.optimizer.lr=0: expected a number above 0"),
        ("transfer.optimizer.lr=nan", "transfer.optimizer.lr=nan: expected a number above 0"),
        ("transfer.optimizer.lr=null", "transfer.optimizer.lr=None: expected a number above 0"),
        ("pretrain.optimizer.momentum=1.5", "pretrain.optimizer.momentum=1.5: expected a number from 0 to below 1"),
        ("pretrain.optimizer.weight_decay=-1e-4", "pretrain.optimizer.weight_decay=-0.0001: expected a number, 0 or"),
        ("+pretrain.schedule.end=-0.5", "pretrain.schedule={'end': -0.5}: expected 0 or more at every step"),
        ("+pretrain.schedule.end=low", "pretrain.schedule.end='low': expected a number"),
        (
            "+transfer.schedule.warmup_start=-1",
            "transfer.schedule={'warmup_start': -1, 'warmup_epochs': 1}: exp",
        ),
        ("transfer.augment.random_resized_crop=[0.5,0.1]", "transfer.augment.random_resized_crop=[0.5, 0.1]: expected"),
        ("transfer.augment.random_resized_crop=[0,2]", "transfer.augment.random_resized_crop=[0.0, 2.0]: expected"),
    ],
)
def test_a_number_that_no_training_can_use_is_refused_before_anything_runs(jobs, word, text):
    more = ["+transfer.schedule.warmup_epochs=1"] if "warmup" in word else []
    with pytest.raises(ConfigError) as caught:
        jobs.run(word, *more)
    assert str(caught.value).startswith(text)
    assert not jobs.store.exists()


def test_a_momentum_that_leaves_its_range_is_refused(jobs):
    cyclic = "{_target_: dataprune.training.schedules.cyclic_momentum, high: 1.2}"
    with pytest.raises(ConfigError, match=r"^surrogate\.momentum=.*expected 0 to 1 at every step; it gives 1\.2 in"):
        jobs.run(f"++surrogate.momentum={cyclic}")


def test_a_resolution_that_falls_is_refused():
    recipe = TrainConfig(optimizer=SGD, epochs=3, resolution={"low": 64, "high": 32, "start": 0, "end": 2})
    with pytest.raises(ConfigError, match=r"^pretrain\.resolution="):
        check_recipe(recipe, "pretrain")
    check_recipe(replace(recipe, resolution={"low": 32, "high": 64, "start": 0, "end": 2}), "pretrain")


def test_a_batch_is_shared_out_evenly_or_refused():
    recipe = TrainConfig(optimizer=SGD, epochs=3, batch_size=100)
    check_recipe(recipe, "pretrain")
    recipe.processes = 8
    with pytest.raises(ConfigError, match=r"^pretrain\.batch_size=100: expected a multiple of pretrain\.processes=8"):
        check_recipe(recipe, "pretrain")


def test_a_checkpoint_of_the_transfer_is_refused(jobs, tmp_path):
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ConfigError, match=r"^transfer\.checkpoint=.*: expected null"):
        jobs.run(f"transfer.checkpoint={tmp_path / 'weights.pt'}")
    assert not jobs.store.exists()


def test_an_optimizer_and_a_schedule_of_the_users_are_not_asked(jobs, tmp_path, monkeypatch):
    (tmp_path / "my_schedule.py").write_text("def falls(step, steps, per_epoch, lr):\n    return 0 * -lr\n")
    monkeypatch.syspath_prepend(tmp_path)
    jobs.run("method=full", "target=none", "pretrain.schedule={_target_: my_schedule.falls}")


# names of targets

OTHER = ["+target@others.small=digits", "others.small.reader.shots=3"]


def test_two_targets_of_one_name_are_refused(jobs):
    with pytest.raises(ConfigError, match=r"^others\.small\.name='digits': expected a name of its own: target\.name"):
        jobs.config(*OTHER)
    more = ["others.small.name=few", "+target@others.tiny=digits", "others.tiny.name=few"]
    with pytest.raises(ConfigError, match=r"^others\.tiny\.name='few': expected a name of its own: others\.small"):
        jobs.config(*OTHER, *more)


def test_another_target_called_like_the_target_cannot_take_its_place(jobs):
    words = ["+target@others.digits=digits", "others.digits.name=few", "others.digits.reader.shots=3"]
    with pytest.raises(ConfigError, match=r"^others='digits': expected another key"):
        jobs.config("method=label_mapping", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+model@transfer.model=cnn"], r"^transfer\.model=.*expected null"),
        (["pretrain.head=reuse"], r"^pretrain\.head='reuse': expected fresh"),
        (["pretrain.frozen_bn=false"], r"^pretrain\.frozen_bn=False: expected true, or pretrain\.trainable=head"),
        (["surrogate.subset=kept.npz"], r"^surrogate\.subset='kept\.npz': expected null"),
        (["transfer.adversarial.epsilon=0.01"], r"^transfer\.adversarial\.epsilon=0\.01: expected 0"),
        (["method.combine=max"], r"^method\.combine='max': expected mean"),
        (["evaluate.half=first", "target=none"], r"^evaluate\.half='first': expected all"),
        (["run.influence.models=5"], r"^run\.influence\.models=5: expected null"),
    ],
)
def test_a_value_that_would_be_ignored_is_refused(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words)
