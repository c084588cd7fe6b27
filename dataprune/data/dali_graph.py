"""What DALI computes for a batch: encoded images in; training views, clean views and ids out.

The views are those of `images.Images`, `pixels.View` and `changes.Changes`. DALI draws by itself and has its own
AutoAugment, RandAugment (each operation is applied) and contrast (about 128, not about the picture's mean).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import log
from typing import Any

import numpy as np

from dataprune.augmentation import rand_words
from dataprune.data.changes import Changes
from dataprune.data.images import Images

RATIO = [3 / 4, 4 / 3]  # of the sides of a random crop
ATTEMPTS = 10  # to fit one into the picture
ERASED = [0.02, 1 / 3]  # share of the area, as timm's RandomErasing
STRETCHED = [log(0.3), log(1 / 0.3)]  # log of height / width of what is erased
STRENGTHS = 11  # of RandAugment: m = 0 to 10

Node = Any  # of DALI's graph
Source = Iterable[tuple[list[np.ndarray], np.ndarray]]  # batches of encoded images and ids int32 (b, 1)


@dataclass(frozen=True)
class Look:
    """What is made of an encoded image. size: side in pixels of the training view. area, flip, changes: of it, as
    `images.Draw` takes them. twice: the clean view too, of the same decoded picture."""

    codec: Images
    channels: int
    size: int
    gpu: bool
    area: list[float] | None = None
    flip: bool = False
    changes: Changes | None = None
    twice: bool = False


def pipeline(look: Look, source: Source | tuple[list[str], np.ndarray], batch_size: int, **words: Any) -> Any:
    """Return a built pipeline whose batches are training views float32 (b, c, h, w), clean views (if `look.twice`) and
    ids int32 (b, 1) on the CPU, in the order of the source.

    source: batches of encoded images, or files and their ids. words: num_threads, device_id, seed of the pipeline.
    """
    from nvidia.dali import pipeline_def

    policy = look.changes is not None and look.changes.policy is not None
    made = pipeline_def(lambda: graph(look, source), batch_size=batch_size, enable_conditionals=policy, **words)()
    made.build()
    return made


def graph(look: Look, source: Source | tuple[list[str], np.ndarray]) -> tuple[Node, ...]:
    """Return the outputs; called while a pipeline is built."""
    from nvidia.dali import fn

    if isinstance(source, tuple):
        files, ids = source
        encoded, labels = fn.readers.file(files=files, labels=ids.tolist(), pad_last_batch=True, name="files")
    else:
        encoded, labels = fn.external_source(source=source, num_outputs=2)
    whole = look.twice or look.area is None
    picture = decoded(look, encoded) if whole else None
    seen = clean(look, picture, encoded, look.size) if look.area is None else cropped(look, picture, encoded)
    views = [finished(look, changed(look, seen), random=True)]
    if look.twice:
        views.append(finished(look, clean(look, picture, encoded, look.codec.size), random=False))
    return (*views, labels)


def decoded(look: Look, encoded: Node) -> Node:
    """Pixels uint8 (h, w, c) of the whole picture; rotation tags are ignored."""
    from nvidia.dali import fn

    return fn.decoders.image(encoded, **_decoding(look, fn.decoders.image))


def cropped(look: Look, picture: Node | None, encoded: Node) -> Node:
    """A random part at the training's size; without the whole picture only that part is decoded."""
    from nvidia.dali import fn

    words = {"random_area": look.area, "random_aspect_ratio": RATIO, "num_attempts": ATTEMPTS}
    size = [look.size, look.size]
    if picture is not None:
        return fn.random_resized_crop(picture, size=size, **words, **_filter(look))
    words |= _decoding(look, fn.decoders.image_random_crop)
    return fn.resize(fn.decoders.image_random_crop(encoded, **words), size=size, **_filter(look))


def clean(look: Look, picture: Node, encoded: Node, size: int | None) -> Node:
    """The view of a clean pass, where `pixels.View` has it, to the pixel, as a square of this size."""
    from nvidia.dali import fn, math, types

    shape = fn.peek_image_shape(encoded, dtype=types.INT32, **_as_stored(fn.peek_image_shape))
    picture, sides = _resized(look, picture, [shape[0], shape[1]])
    picture, sides = _centre(look, picture, sides)
    if look.codec.view.crop == size:
        return picture
    square = fn.cast(math.min(*sides), dtype=types.FLOAT)
    start = fn.stack(*((fn.cast(side, dtype=types.FLOAT) - square) / 2 for side in sides))
    return fn.resize(picture, size=[size, size], roi_start=start, roi_end=start + square, **_filter(look))


def _resized(look: Look, picture: Node, sides: list[Node]) -> tuple[Node, list[Node]]:
    """The picture of these sides (h, w) after the view's resize, and its sides then."""
    from nvidia.dali import fn, math, types

    resize, short = look.codec.view.resize, math.min(*sides)
    if resize is not None:
        if isinstance(resize, tuple):
            picture = fn.resize(picture, size=list(resize), **_filter(look))
            sides = [side * 0 + pixels for side, pixels in zip(sides, resize, strict=True)]
        else:
            sides = [(side * resize) // short for side in sides]
            wanted = fn.cast(fn.stack(*sides), dtype=types.FLOAT)
            picture = fn.resize(picture, size=wanted, **_filter(look))
    return picture, sides


def _centre(look: Look, picture: Node, sides: list[Node]) -> tuple[Node, list[Node]]:
    """What the view's crop leaves of the picture of these sides (h, w), and its sides then."""
    from nvidia.dali import fn, math

    crop = look.codec.view.crop
    if isinstance(crop, int):
        start = fn.stack(*(_half(side - crop) for side in sides))
        picture = fn.slice(picture, start=start, shape=[crop, crop], axes=[0, 1])
        sides = [side * 0 + crop for side in sides]
    elif crop is not None:
        over, under = Fraction(crop).limit_denominator(1000).as_integer_ratio()  # DALI computes in float32
        side = math.max((math.min(*sides) * over) // under, 1)
        start = fn.stack(*((whole - side) // 2 for whole in sides))
        picture = fn.slice(picture, start=start, shape=fn.stack(side, side), axes=[0, 1])
        sides = [side, side]
    return picture, sides


def changed(look: Look, picture: Node) -> Node:
    """A policy and colour jitter, in this order."""
    from nvidia.dali import fn
    from nvidia.dali.auto_aug import auto_augment, rand_augment

    changes, shape = look.changes or Changes(), (look.size, look.size)
    if changes.policy == "imagenet":
        picture = auto_augment.auto_augment_image_net(picture, shape=shape)
    elif changes.policy is not None:
        said = rand_words(changes.policy)
        n, m, rises = int(said.get("n", 2)), int(said.get("m", 10)), bool(said.get("inc", 0))
        picture = rand_augment.rand_augment(picture, n, m, STRENGTHS, shape=shape, monotonic_mag=rises)
    if changes.jitter is not None:
        *factors, hue = changes.jitter
        drawn = [fn.random.uniform(range=[max(0.0, 1 - factor), 1 + factor]) for factor in factors]
        words = dict(zip(("brightness", "contrast", "saturation"), drawn, strict=True))
        picture = fn.color_twist(picture, hue=fn.random.uniform(range=[-360 * hue, 360 * hue]), **words)
    return picture


def finished(look: Look, picture: Node, *, random: bool) -> Node:
    """Normalised, float32 (c, h, w); mirrored and erased where that is asked for."""
    from nvidia.dali import fn, types

    assert look.codec.mean is not None
    assert look.codec.std is not None
    mean, std = ([255 * value for value in values] for values in (look.codec.mean, look.codec.std))
    words = {"mirror": fn.random.coin_flip()} if random and look.flip else {}
    words |= {"mean": mean, "std": std, "dtype": types.FLOAT, "output_layout": "CHW"}
    picture = fn.crop_mirror_normalize(picture, **words)
    if not random or look.changes is None or not look.changes.erasing:
        return picture
    start, sides = _erased(look.changes.erasing)
    return fn.erase(picture, anchor=start, shape=sides, normalized=True, axis_names="HW", fill_value=0.0)


def _erased(probability: float) -> tuple[Node, Node]:
    """Where a rectangle begins and how large it is, of 1; of size 0 where nothing is erased."""
    from nvidia.dali import fn, math, types

    hit = fn.cast(fn.random.coin_flip(probability=probability), dtype=types.FLOAT)
    area, stretch = fn.random.uniform(range=ERASED), math.exp(fn.random.uniform(range=STRETCHED))
    sides = [hit * math.min(math.sqrt(share), 1.0) for share in (area * stretch, area / stretch)]
    starts = [fn.random.uniform(range=[0.0, 1.0]) * (1.0 - side) for side in sides]
    return fn.stack(*starts), fn.stack(*sides)


def _decoding(look: Look, operator: Any) -> dict[str, Any]:
    """How a decoder decodes."""
    from nvidia.dali import types

    words = {"device": "mixed" if look.gpu else "cpu", "output_type": types.RGB if look.channels == 3 else types.GRAY}
    return words | {"jpeg_fancy_upsampling": True} | _as_stored(operator)


def _as_stored(operator: Any) -> dict[str, bool]:
    """That rotation tags are ignored, where an operator knows of them: those of DALI 1 do not."""
    asks = "adjust_orientation" in operator.__doc__  # which is made of the operator's schema
    return {"adjust_orientation": False} if asks else {}


def _filter(look: Look) -> dict[str, Any]:
    """How a picture is resized."""
    from nvidia.dali import types

    how = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}[look.codec.filter.interpolation]
    return {"interp_type": how, "antialias": look.codec.filter.antialias}


def _half(number: Node) -> Node:
    """Half of a whole number, a half rounded to the even one, as Python rounds."""
    floor = number // 2
    return floor + (number - 2 * floor) * (floor - 2 * (floor // 2))
