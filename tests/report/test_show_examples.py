"""Examples on a page are shown by their codec: pictures in one montage, texts a line each."""

import numpy as np
import pytest
from PIL import Image

from dataprune.config import DataConfig, LimitConfig
from dataprune.report.page import Page
from dataprune.report.selections import show_examples


class Written:
    """A codec of texts, as far as a report needs one."""

    def show(self, item):
        return " | ".join(item)


class Texts:
    classes, labels, codec = ["no", "yes"], np.array([1, 0]), Written()
    items = (("a film", "good <i>"), ("another", "bad"))


def test_texts_stand_a_line_each_with_class_and_score(tmp_path):
    page = Page(tmp_path)
    show_examples(page, Texts(), np.array([1, 0]), np.array([0.25, 0.5]), "kept")
    text = "".join(page.parts)
    assert text.index("another | bad") < text.index("a film | good &lt;i&gt;")
    assert "<td>no<td>0.5<" in text
    assert not page.pictures


@pytest.mark.parametrize("kept", [True, False])
def test_pictures_are_shown_whatever_the_loader_and_said_when_they_are_gone(tmp_path, dataset, kept):
    for split in ("train", "test"):
        for i in range(2):
            path = tmp_path / "root" / split / f"c{i}" / f"{i}.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (9, 6), (80 * i, 0, 0)).save(path)
    reader = {"_target_": "dataprune.data.folder.read"}
    config = DataConfig("d", reader, str(tmp_path / "root"), size=4, limit=LimitConfig())
    examples = dataset(config, tmp_path / "data", kept=kept)["train"]
    page = Page(tmp_path)
    show_examples(page, examples, np.arange(2), None, "kept")
    assert [path.name for path in page.pictures] == ["kept.png"]
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    show_examples(page, examples, np.arange(2), None, "pruned")
    assert "They are not shown" in page.parts[-1]
    assert len(page.pictures) == 1
