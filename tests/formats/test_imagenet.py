"""ReaL's label sets and 21K's mapping file."""

import json

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.imagenet import read_mapping, read_real, real_metrics, write_mapping
from dataprune.select import main

NAMES = [f"val/n01/ILSVRC2012_val_0000000{i}.JPEG" for i in (3, 1, 2)]


def test_the_number_in_the_name_tells_the_entry_and_empty_lists_do_not_count():
    best = np.array([[7, 1], [0, 5], [4, 2]])
    found = real_metrics(best, NAMES, [[5, 9], [], [7]])
    assert found == {"real_top1": 1 / 2, "real_top5": 1.0, "real_n": 2}


def test_the_number_is_found_in_names_of_hugging_face():
    name = "ILSVRC2012_val_00000002_n01751748.JPEG"
    assert real_metrics(np.array([[3]]), [name], [[1], [3]])["real_top1"] == 1


@pytest.mark.parametrize(
    "name", ["n01/x.JPEG", "ILSVRC2012_val_00000004.JPEG", "ILSVRC2012_val_00000000.JPEG", "val_1/a.png"]
)
def test_a_name_without_a_number_of_the_list_is_an_error(name):
    with pytest.raises(ConfigError, match=r"real=image '.*': expected names with a number of 1 to 3"):
        real_metrics(np.array([[3]]), [name], [[1], [3], []])


def test_images_of_which_none_has_labels_have_no_share():
    with pytest.raises(ConfigError, match="no labels for any of 1 images"):
        real_metrics(np.array([[3]]), NAMES[:1], [[], [], []])


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1, 2]", '[["a"]]', "[[-1]]"])
def test_a_file_of_another_kind_is_refused(tmp_path, text):
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(ConfigError, match=r"real='.*real\.json': expected"):
        read_real(tmp_path / "real.json")


def test_label_sets_are_read_as_they_stand(tmp_path):
    (tmp_path / "real.json").write_text(json.dumps([[1], [], [2, 3]]))
    assert read_real(tmp_path / "real.json") == [[1], [], [2, 3]]


def test_a_mapping_is_written_as_dyn_unc_reads_it_and_comes_back(tmp_path):
    write_mapping(tmp_path / "map.txt", ["n04", "n01", "n02", "n03"], ["n04", "n02"])
    assert (tmp_path / "map.txt").read_text() == "1.000000000000000000e+00\n3.000000000000000000e+00\n"
    assert read_mapping(tmp_path / "map.txt", 4).tolist() == [1, 3]
    with pytest.raises(ConfigError, match=r"expected distinct columns of 0 to 2.*3 outputs"):
        read_mapping(tmp_path / "map.txt", 3)
    with pytest.raises(ConfigError, match="1 classes that are not there: n09"):
        write_mapping(tmp_path / "map.txt", ["n04"], ["n09", "n04"])


@pytest.mark.parametrize("text", ["1\n1\n", "0.5\n", "cat\n", ""])
def test_a_mapping_that_cannot_be_is_refused(tmp_path, text):
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"classes_file='.*map\.txt'"):
        read_mapping(tmp_path / "map.txt", 4)


def test_the_command_writes_the_mapping_of_two_folders(tmp_path, capsys):
    for name in ("large/n01", "large/n02", "large/lists", "small/n02"):
        (tmp_path / name).mkdir(parents=True)
    assert main(["mapping", str(tmp_path / "large"), str(tmp_path / "small"), "-o", str(tmp_path / "map.txt")]) == 0
    assert read_mapping(tmp_path / "map.txt", 2).tolist() == [1]
    assert "1 of 2 classes" in capsys.readouterr().out
    assert main(["mapping", str(tmp_path / "gone"), str(tmp_path / "small")]) == 1
