"""`python -m dataprune.select datacomp`: from a metadata folder of several shards to the authors' uid file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprune.formats.datacomp import read_uids
from dataprune.select import main
from dataprune.selectors.budget import budget

GOLDEN = Path(__file__).parents[1] / "reference" / "datacomp_d2.npz"


def metadata(folder, case):
    """A DataComp metadata folder; shards are written last first, so that listing order is not name order."""
    folder.mkdir()
    stops = np.cumsum(case["shard_sizes"])
    for number in reversed(range(len(stops))):
        rows = slice(stops[number] - case["shard_sizes"][number], stops[number])
        table = {"uid": case["uids"][rows].tolist(), "clip_l14_similarity_score": case["clip_scores_raw"][rows]}
        pq.write_table(pa.table(table), folder / f"{number:08d}.parquet")
        np.savez(folder / f"{number:08d}.npz", l14_img=case["l14_img"][rows], l14_txt=case["l14_txt"][rows])


def golden(name):
    with np.load(GOLDEN) as file:
        return {key.split("/")[1]: file[key] for key in file.files if key.startswith(f"{name}/")}


@pytest.mark.parametrize("name", ["img_text_k1", "img_k5"])
def test_datacomp_writes_the_authors_uid_file(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    case = golden(name)
    metadata(tmp_path / "metadata", case)
    words = [f"--{key}={case[key]}" for key in ("k", "gamma", "fraction")]
    words += ["--features", str(case["feature_type"]), "--order", "lazy", "-o", "uids.npy"]
    assert main(["datacomp", "metadata", *words]) == 0
    assert (read_uids("uids.npy") == case["out_uids"]).all()
    said = capsys.readouterr().out
    assert "neighbours: exact" in said
    assert f"kept {len(case['out_uids'])} of 450 pairs" in said
    assert {p.name for p in tmp_path.iterdir()} == {"metadata", "uids.npy"}, "embeddings leave no file behind"


def test_the_lab_note_holds_the_published_values_and_gives_way_to_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = golden("img_text_k1")  # k=1, gamma=1.0, fraction 0.3, image|text
    metadata(tmp_path / "metadata", case)
    words = ["datacomp", "metadata", "--config", "d2_datacomp_small"]
    assert main([*words, "--order", "lazy"]) == 0
    assert (read_uids("uids.npy") == case["out_uids"]).all()
    assert main(words) == 0
    assert len(read_uids("uids.npy")) == budget(0.7, 450)
    assert main([*words, "--fraction", "0.7", "--index", "cells", "--work", "embeddings"]) == 0
    assert len(read_uids("uids.npy")) == 315
    assert np.load("embeddings/features.npy", mmap_mode="r").shape == (450, 32)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["metadata", "--fraction", "30"], "--fraction=30.0: expected the share of the pairs to keep"),
        (["metadata", "-o", "uids.txt"], "--output='uids.txt': expected a name that ends in .npy"),
        (["metadata", "--k", "0"], "k=0: expected"),
        (["metadata", "--score", "clip_b32"], "a column 'clip_b32'; it has uid, clip_l14_similarity_score"),
        (["metadata", "--index", "ivfpq"], "for index='ivfpq'"),
        (["empty"], "a folder of DataComp metadata"),
        (["metadata", "--config", "nope"], "--config='nope': expected a YAML file, or one of d2_datacomp_small"),
        (["metadata", "--config", "typo.yaml"], "typo.yaml.neighbours=3: expected one of features, fraction, gamma"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_datacomp_mistake_is_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    metadata(tmp_path / "metadata", golden("img_text_k1"))
    Path("empty").mkdir()
    Path("typo.yaml").write_text("neighbours: 3\n")
    assert main(["datacomp", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert {p.name for p in tmp_path.iterdir()} == {"metadata", "empty", "typo.yaml"}
