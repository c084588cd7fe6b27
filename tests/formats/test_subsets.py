"""Subsets in the files of other programs: what is written, what is read back, what is refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.formats import subsets as f
from dataprune.formats.datacomp import parse_uids
from dataprune.subset import Subset

HERE = "ab" * 32
NAMES = ["train/n01/a.JPEG", "train/n01/b c.JPEG", "train/n02/a.JPEG", "train/n02/z.JPEG"]
LABELS = np.array([0, 0, 1, 1])
LINES = [b"/n01/a.JPEG 0\n", b"/n01/b c.JPEG 0\n", b"/n02/a.JPEG 1\n", b"/n02/z.JPEG 1\n"]


def of(*ids, n=4, **more):
    return Subset(np.array(ids, np.int64), n, HERE, **more)


@pytest.mark.parametrize("name", ["kept.npy", "kept.txt", "kept.indices"])
def test_ids_come_back_from_every_form(tmp_path, name):
    f.write_ids(of(0, 2, 3), tmp_path / name)
    back = f.read_ids(tmp_path / name, 4, HERE)
    assert back.ids.tolist() == [0, 2, 3]
    assert (back.ids.dtype, back.n, back.fingerprint) == (np.int64, 4, HERE)
    assert back.header == {"method": "imported", "prune_ratio": 0.25, "file": name}


def test_forms_are_what_their_readers_expect(tmp_path):
    for name in ("kept.npy", "kept.txt", "kept.indices"):
        f.write_ids(of(1, 3), tmp_path / name)
    tensor = torch.load(tmp_path / "kept.indices", weights_only=True)
    assert (tensor.tolist(), tensor.dtype) == ([1, 3], torch.int64)
    assert (tmp_path / "kept.txt").read_bytes() == b"1\n3\n"
    assert np.load(tmp_path / "kept.npy").dtype == np.int64


def test_a_foreign_list_is_a_set(tmp_path):
    np.save(tmp_path / "kept.npy", np.array([3, 0, 2], np.int32))
    assert f.read_ids(tmp_path / "kept.npy", 4, HERE).ids.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([0, 2, 2, 1, 1], r"kept\.npy=1, 2 more than once: expected every id once"),
        ([0, 4, -1], r"kept\.npy=-1, 4: expected ids of 0 to 3"),
        ([0.0, 1.0], r"kept\.npy=array of float64: expected ids: whole numbers"),
        ([True, False, True, True], r"array of bool: expected ids: whole numbers \(of a mask: its flatnonzero\)"),
        ([[0], [1]], r"array of shape \(2, 1\): expected shape \(k\)"),
        (np.empty(0, np.int64), r"at least one id"),
    ],
)
def test_ids_that_cannot_be_are_refused(tmp_path, ids, text):
    np.save(tmp_path / "kept.npy", ids)
    with pytest.raises(ConfigError, match=text):
        f.read_ids(tmp_path / "kept.npy", 4, HERE)


def test_files_that_hold_no_ids_are_refused(tmp_path):
    (tmp_path / "kept.txt").write_text("0\n/n01/a.JPEG 0\n")
    (tmp_path / "kept.npy").write_text("0\n1\n")
    for name, text in (("kept.txt", "'/n01/a.JPEG': expected one id a line"), ("kept.npy", "numpy.save writes it")):
        with pytest.raises(ConfigError, match=text):
            f.read_ids(tmp_path / name, 4, HERE)
    for call in (lambda: f.read_ids("kept.bin", 4, HERE), lambda: f.write_ids(of(1), tmp_path / "kept.bin")):
        with pytest.raises(ConfigError, match=r"a name that ends in \.npy, \.txt or \.indices"):
            call()


def test_a_file_list_keeps_order_and_bytes(tmp_path):
    lines = [b"/n01/a.JPEG 0\r\n", "/n01/\u00e9 b.JPEG 0\n".encode("latin-1"), b"/n02/a.JPEG 1\n", b"/n02/z.JPEG  1"]
    (tmp_path / "all.txt").write_bytes(b"".join(lines))
    with open(tmp_path / "all.txt", "rb") as whole:
        f.write_file_list(of(0, 1, 3), tmp_path / "kept.txt", whole)
    assert (tmp_path / "kept.txt").read_bytes() == lines[0] + lines[1] + lines[3]


def test_file_list_lines_are_made_of_names_and_labels(tmp_path):
    assert list(f.lines_of(NAMES, LABELS, below="train")) == LINES
    assert next(f.lines_of(NAMES, LABELS)) == b"/train/n01/a.JPEG 0\n"
    f.write_file_list(of(1), tmp_path / "kept.txt", f.lines_of(NAMES, LABELS, "train/"))
    assert (tmp_path / "kept.txt").read_bytes() == LINES[1]


def test_a_file_list_is_read_by_path_in_any_order(tmp_path):
    (tmp_path / "kept.txt").write_bytes(LINES[3].replace(b"\n", b"\r\n") + LINES[1] + b"\n")
    back = f.read_file_list(tmp_path / "kept.txt", LINES, HERE)
    assert (back.ids.tolist(), back.n) == ([1, 3], 4)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([LINES[0], b"/n02/a.JPEG 0\n"], r"label 0 for /n02/a\.JPEG: expected 1, as in the list of the whole"),
        ([LINES[0], b"/n09/x.JPEG 0\n"], r"1 unknown files: /n09/x\.JPEG: expected files of the data set"),
        ([LINES[0], LINES[1], LINES[0]], r"/n01/a\.JPEG more than once: expected every file once"),
        ([b"/n01/a.JPEG\n"], r"a line '/n01/a\.JPEG': expected /<class folder>/<file> <label>"),
        ([b"/n01/a.JPEG zero\n"], r"expected /<class folder>/<file> <label>"),
        ([LINES[0], b"\n", LINES[1]], r"lines=blank line 2: expected one line an example"),
    ],
)
def test_file_lists_that_cannot_be_are_refused(tmp_path, lines, text):
    (tmp_path / "kept.txt").write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match=text):
        f.read_file_list(tmp_path / "kept.txt", LINES, HERE)


@pytest.mark.parametrize("lines", [LINES[:3], [*LINES, LINES[0]]])
def test_the_list_of_another_data_set_leaves_the_old_file_alone(tmp_path, lines):
    (tmp_path / "kept.txt").write_text("old")
    with pytest.raises(ConfigError, match=r"lines=\d lines: expected 4, one an example"):
        f.write_file_list(of(1), tmp_path / "kept.txt", lines)
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "old"


def test_an_image_list_holds_relative_paths(tmp_path):
    f.write_image_list(of(1, 3), tmp_path / "kept.txt", NAMES, below="train")
    assert (tmp_path / "kept.txt").read_text() == "n01/b c.JPEG\nn02/z.JPEG\n"
    with pytest.raises(ConfigError, match=r"below='val': expected a folder that all names lie in; train/n01/b c"):
        f.write_image_list(of(1), tmp_path / "kept.txt", NAMES, below="val")
    with pytest.raises(ConfigError, match="names=3 names: expected 4"):
        f.write_image_list(of(1), tmp_path / "kept.txt", NAMES[:3])
    with pytest.raises(ConfigError, match="a name of one line"):
        f.write_image_list(of(1), tmp_path / "kept.txt", ["a", "b\nc", "d", "e"])


def test_a_table_has_the_columns_that_are_known(tmp_path):
    weights = np.array([0.5, 2], np.float32)
    subset = of(1, 2, weights=weights)
    f.write_csv(subset, tmp_path / "all.csv", names=NAMES, labels=LABELS, classes=["dog, big", "cat"])
    text = 'id,name,class,weight\n1,train/n01/b c.JPEG,"dog, big",0.5\n2,train/n02/a.JPEG,cat,2.0\n'
    assert (tmp_path / "all.csv").read_text() == text
    f.write_csv(of(3), tmp_path / "few.csv", labels=LABELS)
    assert (tmp_path / "few.csv").read_text() == "id,class\n3,1\n"


def test_uids_come_back(tmp_path):
    uids = parse_uids([f"{i:032x}" for i in (7, 3, 9, 1)])
    f.write_uids(of(0, 1), tmp_path / "uids.npy", uids)
    assert np.load(tmp_path / "uids.npy")["f1"].tolist() == [3, 7], "sorted, as the resharder wants them"
    assert f.read_uids(tmp_path / "uids.npy", uids, HERE).ids.tolist() == [0, 1]
    with pytest.raises(ConfigError, match="2 uids for 1 examples: expected distinct uids of the data set's 2"):
        f.read_uids(tmp_path / "uids.npy", uids[1:3], HERE)


def test_without_tensor_files_torch_stays_out(tmp_path):
    code = "import sys, numpy as np; from dataprune.subset import Subset; from dataprune.formats import subsets as f\n"
    code += "s = Subset(np.array([1]), 3, 'x'); f.write_ids(s, 'a.npy'); f.write_csv(s, 'a.csv', names='abc')\n"
    code += "f.write_image_list(s, 'a.txt', 'abc'); print({'torch', 'pyarrow', 'pandas'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
