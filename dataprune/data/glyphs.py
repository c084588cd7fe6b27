"""Glyphs: characters 0-9 A-Z a-z drawn from the fonts that ship inside matplotlib, in the format of the UCI digits.

A source data set that needs no download: 62 classes, of which ten look like the target `digits` and a few more nearly
do (o, O, l, I, S, Z, b). The framing of the UCI digits matters: crop to the bounding box, scale into 32x32 keeping the
aspect, make binary, count the dark pixels of each 4x4 block. With another framing the digits are matched to M and W.
"""

import string
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataprune.data.examples import Dataset, Split

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
FONTS = (  # the text fonts; symbol and size variants of the same families are left out
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-BoldOblique", "-Oblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-BoldOblique", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-BoldItalic", "-Italic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "BolIta", "Italic")),
    *("cmr10", "cmss10", "cmtt10", "cmb10", "cmti10"),
)
CANVAS = 96  # pixels a side while drawing


def read(per_class: int = 160, test_per_class: int = 20, seed: int = 0) -> Dataset:
    """Draw `per_class` training and `test_per_class` test images of each character, 8x8 with values 0 to 16.

    Font, shear, rotation, stroke threshold and the order of the examples are drawn by `seed`. The order matters: ids
    break ties, and ids sorted by class would make whole classes win them.
    """
    rng = np.random.default_rng(seed)
    fonts = _fonts()
    images, labels, names = [], [], []
    for label, character in enumerate(CHARACTERS):
        for _ in range(per_class + test_per_class):
            font = int(rng.integers(len(fonts)))
            images.append(_draw(character, fonts[font], rng))
            labels.append(label)
            names.append(f"{character} {FONTS[font]}")
    drawn, targets = np.stack(images)[..., None], np.array(labels, np.int64)
    is_train = np.arange(len(targets)) % (per_class + test_per_class) < per_class
    train, test = rng.permutation(np.flatnonzero(is_train)), rng.permutation(np.flatnonzero(~is_train))
    splits = {
        name: Split(drawn[ids], targets[ids], [names[i] for i in ids])
        for name, ids in (("train", train), ("test", test))
    }
    return Dataset(list(CHARACTERS), splits, maximum=16)


def _fonts() -> list[ImageFont.FreeTypeFont]:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [ImageFont.truetype(str(folder / f"{name}.ttf"), 64) for name in FONTS]


def _draw(character: str, font: ImageFont.FreeTypeFont, rng: np.random.Generator) -> np.ndarray:
    """One glyph as uint8 (8, 8)."""
    canvas = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(canvas).text((CANVAS / 2, CANVAS / 2), character, fill=255, font=font, anchor="mm")
    shear, angle = rng.uniform(-0.3, 0.3), rng.uniform(-15, 15)
    middle = CANVAS / 2
    canvas = canvas.transform(
        canvas.size, Image.Transform.AFFINE, (1, shear, -shear * middle, 0, 1, 0), Image.Resampling.BILINEAR
    )
    canvas = canvas.rotate(angle, Image.Resampling.BILINEAR)
    # a blurred stroke cut at a random level is a thinner or a thicker pen
    soft = canvas.resize((CANVAS // 4, CANVAS // 4), Image.Resampling.BOX).resize(canvas.size, Image.Resampling.BICUBIC)
    ink = np.asarray(soft) > rng.uniform(60, 150)
    return as_uci_digit(ink)


def as_uci_digit(ink: np.ndarray) -> np.ndarray:
    """The preprocessing of the UCI digits: bool (h, w) ink -> uint8 (8, 8), dark pixels of each 4x4 block of 32x32."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if len(rows) == 0:
        return np.zeros((8, 8), np.uint8)
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = 32 / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    scaled = Image.fromarray(cut.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    page = np.zeros((32, 32), np.uint8)
    top, left = (32 - height) // 2, (32 - width) // 2
    page[top : top + height, left : left + width] = np.asarray(scaled) >= 128
    return page.reshape(8, 4, 8, 4).sum((1, 3)).astype(np.uint8)
