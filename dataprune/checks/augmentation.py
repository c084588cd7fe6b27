"""Checks of what a recipe says about decoding and changing images, as far as they need no data."""

import importlib.util
from typing import Any

from dataprune.augmentation import DECODING, RAND, rand_words
from dataprune.config import AugmentConfig, TrainConfig
from dataprune.errors import ConfigError

LOADERS = ("workers", "dali")  # that decode at every epoch


def check_augmentation(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for random changes that no loader can make, or that contradict the rest of the recipe."""
    augment, key = recipe.augment, f"{role}.augment"
    check_colors(augment, key)
    if recipe.decoder != "auto" and recipe.loader != "workers":
        raise ConfigError(f"{role}.decoder", recipe.decoder, f"auto, or {role}.loader=workers: only it has a choice")
    if recipe.loader == "dali":
        check_dali(recipe, role)
    if augment.mixes:
        check_mixed(recipe, role)
    if augment.repeats > 1 and recipe.sampler:
        raise ConfigError(f"{key}.repeats", augment.repeats, f"1: {role}.sampler chooses each epoch's examples")


def check_colors(augment: AugmentConfig, key: str) -> None:
    """Raise a ConfigError for a jitter or a policy that is written as no loader reads it."""
    if (jitter := augment.color_jitter) is not None and not _is_jitter(jitter):
        what = "[brightness, contrast, saturation, hue]: numbers, 0 or more, hue at most 0.5"
        raise ConfigError(f"{key}.color_jitter", jitter, what)
    policy = augment.auto_augment
    if policy not in (None, "imagenet") and not RAND.fullmatch(str(policy)):
        raise ConfigError(f"{key}.auto_augment", policy, "imagenet, or a RandAugment in timm's words: rand-m9-mstd0.5")


def _is_jitter(jitter: list[float]) -> bool:
    return len(jitter) == 4 and all(value >= 0 for value in jitter) and jitter[3] <= 0.5


def check_mixed(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for what looks at single examples in a step in which there are only mixed ones."""
    name = "mixup" if recipe.augment.mixup else "cutmix"
    key, value = f"{role}.augment.{name}", getattr(recipe.augment, name)
    if recipe.adversarial.epsilon:
        raise ConfigError(key, value, f"0: {role}.adversarial attacks the image of one label")
    if recipe.sampler:
        raise ConfigError(key, value, f"0: {role}.sampler observes the losses of single examples, and a step has none")
    if recipe.record.forward == "train" and recipe.record.view == "train":
        instead = f"{role}.record.view=clean, or {role}.record.forward=eval"
        raise ConfigError(key, value, f"0, or {instead}: recorded are single examples, and a step has mixed ones")


def has_dali() -> bool:
    """Whether DALI is installed."""
    return importlib.util.find_spec("nvidia") is not None and importlib.util.find_spec("nvidia.dali") is not None


def check_dali(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError where DALI is not installed, or cannot do what the recipe asks for."""
    if not has_dali():
        raise ConfigError(f"{role}.loader", "dali", "memory or workers, or the extra: pip install 'dataprune[dali]'")
    policy = recipe.augment.auto_augment
    if policy is None or policy == "imagenet":
        return
    said = rand_words(policy)
    if said.get("p") != 1 or not said.keys() <= {"m", "n", "p", "inc"} or said.get("m", 10) > 10:
        expected = f"rand-m9-n2-p1-inc1 with other numbers (m to 10), or {role}.loader=workers"
        why = "DALI applies every operation (p1), at one strength"
        raise ConfigError(f"{role}.augment.auto_augment", policy, f"{expected}: {why}")


def check_changes(recipe: TrainConfig, role: str, channels: int, side: int) -> None:
    """Raise a ConfigError for changes that the recipe's loader does not make, or that images of so many channels, the
    shorter of whose sides has so many pixels, do not admit."""
    nothing = {"random_erasing": "0"}
    changes: list[tuple[str, Any, str, tuple[str, ...]]] = [
        (f"augment.{name}", getattr(recipe.augment, name), nothing.get(name, "null"), LOADERS) for name in DECODING
    ]
    changes.append(("resolution", dict(recipe.resolution), "{}", LOADERS))
    changes.append(("augment.crop_padding", recipe.augment.crop_padding, "0", ("memory",)))
    for name, value, off, loaders in changes:
        if value and recipe.loader not in loaders:
            wanted = " or ".join(f"{role}.loader={loader}" for loader in loaders)
            raise ConfigError(f"{role}.{name}", value, f"{off}, or {wanted}: only with it")
    for name in ("color_jitter", "auto_augment"):
        if (value := getattr(recipe.augment, name)) is not None and channels != 3:
            raise ConfigError(f"{role}.augment.{name}", value, "null: it is about colours, and these images are grey")
    if recipe.augment.crop_padding >= side:
        expected = f"0 to {side - 1}: below the side of the images"
        raise ConfigError(f"{role}.augment.crop_padding", recipe.augment.crop_padding, expected)
