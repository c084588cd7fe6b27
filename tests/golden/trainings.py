"""The recipes of the golden trainings, and the changes of behaviour that must show in what they give."""

from collections.abc import Callable
from typing import Any

from dataprune.config import AdversarialConfig, AugmentConfig, RecordConfig, TrainConfig
from tests.golden.inputs import CNN

SGD = {"_target_": "torch.optim.SGD", "lr": 0.2, "momentum": 0.9, "weight_decay": 0.1}
SCHEDULES = "dataprune.training.schedules"
# each function of a training in one of these, and no two where one would do
TRAININGS = {
    # batch norm, crops, flips, a schedule, dynamics of the training forward, weights of a subset, smoothing
    "weighted": TrainConfig(
        model=CNN,
        optimizer=SGD,
        schedule={"_target_": f"{SCHEDULES}.cosine", "warmup_epochs": 1},
        epochs=2,
        batch_size=8,
        augment=AugmentConfig(crop_padding=2, flip=True),
        record=RecordConfig("train", probabilities=True),
        label_smoothing=0.1,
        eval_every=1,
        seed=1,
    ),
    # a fresh subset each epoch, no decay of biases, a moving momentum, clipping, dynamics of a clean pass
    "fresh": TrainConfig(
        model={"_target_": "dataprune.models.networks.resnet", "width": 2, "blocks": [1, 1]},
        optimizer=SGD,
        schedule={"_target_": f"{SCHEDULES}.multistep", "epochs": [1]},
        momentum={"_target_": f"{SCHEDULES}.cyclic_momentum", "peak_epoch": 1},
        iterations=5,
        batch_size=6,
        record=RecordConfig("eval"),
        clip_norm=0.5,
        decay_bias_and_norm=False,
        sampler={"_target_": "dataprune.dynamic.RS2", "ratio": 0.5},
        seed=2,
    ),
    # a sampler that weighs by the losses it has observed
    "infobatch": TrainConfig(
        model=CNN,
        optimizer=SGD,
        schedule={"_target_": f"{SCHEDULES}.cosine"},
        epochs=3,
        batch_size=8,
        sampler={"_target_": "dataprune.dynamic.InfoBatch", "ratio": 0.5},
        seed=5,
    ),
    # one that chooses inside a batch, and one that looks at what it leaves out
    "chosen": TrainConfig(
        model=CNN | {"norm": "group"},
        optimizer=SGD,
        epochs=2,
        batch_size=8,
        sampler={"_target_": "dataprune.dynamic.RhoLoss", "ratio": 0.5},
        seed=6,
    ),
    "watched": TrainConfig(
        model=CNN,
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.01},
        epochs=6,
        batch_size=8,
        augment=AugmentConfig(crop_padding=1),
        sampler={"_target_": "dataprune.dynamic.IES", "threshold": 0.02, "average": 1},
        seed=7,
    ),
    # a head on a frozen backbone that comes in, whose features are computed once
    "probe": TrainConfig(optimizer=SGD, epochs=2, batch_size=8, trainable="head", seed=3),
    # random crops of files in growing resolution, attacked
    "files": TrainConfig(
        model=CNN | {"norm": "group"},
        optimizer={"_target_": "torch.optim.Adam", "lr": 0.01},
        schedule={"_target_": f"{SCHEDULES}.cyclic", "peak_epoch": 1},
        epochs=2,
        batch_size=8,
        augment=AugmentConfig(flip=True, random_resized_crop=[0.3, 1.0]),
        resolution={"low": 6, "high": 8, "start": 0, "end": 1},
        adversarial=AdversarialConfig(0.05, 2),
        loader="workers",
        seed=4,
    ),
}
CHANGES: dict[str, tuple[str, Callable[[TrainConfig], dict[str, Any]]]] = {  # of one training each
    "another seed": ("weighted", lambda c: {"seed": c.seed + 1}),
    "another schedule": ("weighted", lambda c: {"schedule": {}}),
    "no flips": ("weighted", lambda c: {"augment": AugmentConfig(crop_padding=2)}),
    "no crops": ("weighted", lambda c: {"augment": AugmentConfig(flip=True)}),
    "no smoothing": ("weighted", lambda c: {"label_smoothing": 0.0}),
    "one seed more of fresh subsets": ("fresh", lambda c: {"seed": c.seed + 1}),
    "decay of biases": ("fresh", lambda c: {"decay_bias_and_norm": True}),
    "still momentum": ("fresh", lambda c: {"momentum": {}}),
    "no clipping": ("fresh", lambda c: {"clip_norm": None}),
    "less dropped": ("infobatch", lambda c: {"sampler": c.sampler | {"ratio": 0.3}}),
    "no sampler": ("infobatch", lambda c: {"sampler": {}}),
    "more of a batch": ("chosen", lambda c: {"sampler": c.sampler | {"ratio": 0.25}}),
    "nothing settled": ("watched", lambda c: {"sampler": c.sampler | {"threshold": 0}}),
    "another head": ("probe", lambda c: {"seed": c.seed + 1}),
    "no attack": ("files", lambda c: {"adversarial": AdversarialConfig()}),
    "one resolution": ("files", lambda c: {"resolution": {}}),
}
