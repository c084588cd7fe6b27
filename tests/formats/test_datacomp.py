"""DataComp metadata folders and uid files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.datacomp import UID, parse_uids, read, read_uids, write_uids
from dataprune.selectors.datacomp import datacomp

REFERENCE = Path(__file__).parents[1] / "reference" / "datacomp_d2.npz"


def write_shards(folder, uids, scores, image, text, sizes):
    stops = np.cumsum(sizes)
    for number, (start, stop) in enumerate(zip(stops - sizes, stops, strict=True)):
        table = {"uid": uids[start:stop].tolist(), "clip_l14_similarity_score": scores[start:stop]}
        pq.write_table(pa.table(table), folder / f"{number:08d}.parquet")
        np.savez(folder / f"{number:08d}.npz", l14_img=image[start:stop], l14_txt=text[start:stop])


def few(folder, sizes=(3, 2)):
    rng, n = np.random.default_rng(0), sum(sizes)
    uids = np.array([f"{i:032x}" for i in range(n)])
    image, text = (rng.random((n, 4)).astype(np.float16) for _ in range(2))
    write_shards(folder, uids, np.arange(n) / 10, image, text, np.array(sizes))
    return image, text


@pytest.mark.parametrize("name", ["img_text_k1", "img_k5"])
def test_from_metadata_folder_to_the_authors_uid_file(name, tmp_path):
    with np.load(REFERENCE) as file:
        case = {key.split("/")[1]: file[key] for key in file.files if key.startswith(f"{name}/")}
    rows = (case["uids"], case["clip_scores_raw"], case["l14_img"], case["l14_txt"])
    write_shards(tmp_path, *rows, case["shard_sizes"])
    pool = read(tmp_path, tmp_path / "work", features=str(case["feature_type"]))
    assert (pool.uids == case["uids_u8u8"]).all()
    budget = int(float(case["fraction"]) * len(pool.scores))
    rules = {"k": int(case["k"]), "gamma": float(case["gamma"]), "order": "lazy"}
    picks = datacomp(pool.scores, budget, features=pool.features, **rules)
    write_uids(tmp_path / "out.npy", pool.uids[picks])
    assert (read_uids(tmp_path / "out.npy") == case["out_uids"]).all()


def test_rows_stand_in_shard_name_order_and_features_are_a_float16_map(tmp_path):
    image, text = few(tmp_path)
    pool = read(tmp_path, tmp_path / "work")
    assert isinstance(pool.features, np.memmap)
    assert pool.features.dtype == np.float16
    assert (pool.features == np.hstack([image, text])).all()
    assert pool.uids["f1"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(pool.scores, np.arange(5) / 10, rtol=1e-6)
    assert (read(tmp_path, tmp_path / "work", features="text").features == text).all()


def test_a_uid_is_two_numbers_of_16_hexadecimal_digits():
    assert parse_uids(["0123456789abcdef" + "0" * 15 + "A"]).tolist() == [(0x0123456789ABCDEF, 10)]
    assert parse_uids([]).dtype == UID


@pytest.mark.parametrize("text", ["abc", "g" * 32, " " * 32, None])
def test_a_wrong_uid_is_shown_with_its_row(text):
    with pytest.raises(ConfigError, match=r"uids=.* in rows 1: expected 32 hexadecimal digits"):
        parse_uids(["0" * 32, text])


def test_uid_files_are_sorted_and_checked(tmp_path):
    uids = parse_uids(["f" * 32, "0" * 32, "0" * 31 + "1"])
    write_uids(tmp_path / "out.npy", uids)
    assert (read_uids(tmp_path / "out.npy") == uids[[1, 2, 0]]).all()
    with pytest.raises(ConfigError, match=r"ends in \.npy"):
        write_uids(tmp_path / "out.txt", uids)
    with pytest.raises(ConfigError, match=r"uids=int64 of shape"):
        write_uids(tmp_path / "out.npy", np.arange(3))


def test_faults_of_a_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"path=.*a folder of DataComp metadata"):
        read(tmp_path, tmp_path / "work")
    image, _ = few(tmp_path)
    with pytest.raises(ConfigError, match=r"features='audio'"):
        read(tmp_path, tmp_path / "work", features="audio")
    with pytest.raises(ConfigError, match=r"a column 'clip_b32'; it has uid, clip_l14"):
        read(tmp_path, tmp_path / "work", score="clip_b32")
    second = tmp_path / "00000001.npz"
    np.savez(second, l14_img=image[:1], l14_txt=image[:1])
    with pytest.raises(ConfigError, match=r"l14_img of .*: expected shape \(2, width\)"):
        read(tmp_path, tmp_path / "work")
    np.savez(second, l14_img=image[:2])
    with pytest.raises(ConfigError, match=r"an array 'l14_txt'; it has l14_img"):
        read(tmp_path, tmp_path / "work")
    second.unlink()
    with pytest.raises(ConfigError, match=r"00000001\.npz with its embeddings beside it"):
        read(tmp_path, tmp_path / "work")
