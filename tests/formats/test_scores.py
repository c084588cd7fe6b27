"""Score files of other programs: every form gives the same scores, and a file that does not fit is refused."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from dataprune import pipeline
from dataprune.errors import ConfigError
from dataprune.formats.scores import read_class_scores, read_scores

N = 6
SCORES = np.array([0.5, -1.25, 3.0, 0.0, 2.5, 7.0], np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])
NAMES = [f"train/n0{c}/n0{c}_{i}.JPEG" for i, c in enumerate(LABELS)]
BASES = [name.rsplit("/", 1)[1] for name in NAMES]
ORDER = np.random.default_rng(0).permutation(N)  # of the rows in a file


def read(path, **words):
    return read_scores(str(path), NAMES, LABELS, **words)


def table(path, **columns):
    frame = pd.DataFrame(columns).iloc[ORDER]
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


def lines(path, words, separator):
    path.write_text("".join(f"{words[i]}{separator}{SCORES[i]}\n" for i in ORDER))
    return path


# every form


def ids_csv(path):
    return table(path / "s.csv", id=range(N), score=SCORES)


def names_csv(path):
    return table(path / "s.csv", name=BASES, score=SCORES)


def ids_and_names_parquet(path):
    return table(path / "s.parquet", id=range(N), label=LABELS, name=NAMES, score=SCORES)


def tabs(path):
    frame = pd.DataFrame({"id": range(N), "score": SCORES}).iloc[ORDER]
    frame.to_csv(path / "s.tsv", index=False, sep="\t")
    return path / "s.tsv"


def bare_ids(path):
    return lines(path / "s.csv", range(N), ",")


def bare_names(path):
    """As the published tables for ImageNet: file name and score."""
    return lines(path / "s.txt", BASES, " ")


def bare_names_in_other_folders(path):
    return lines(path / "s.csv", [f"/data/imagenet/{base}" for base in BASES], ",")


def array(path):
    np.save(path / "s.npy", SCORES.astype(np.float64))
    return path / "s.npy"


def archive(path):
    np.savez(path / "s.npz", score=SCORES, other=np.zeros((2, 2)))
    return path / "s.npz"


def archive_with_ids(path):
    np.savez(path / "s.npz", id=ORDER, score=SCORES[ORDER])
    return path / "s.npz"


def names_in_json(path):
    (path / "s.json").write_text(json.dumps({BASES[i]: float(SCORES[i]) for i in ORDER}))
    return path / "s.json"


def names_in_a_pickle(path):
    (path / "s.pickle").write_bytes(pickle.dumps({BASES[i]: SCORES[i] for i in ORDER}))
    return path / "s.pickle"


def tensors(path):
    (path / "s.pickle").write_bytes(pickle.dumps({"targets": torch.tensor(LABELS), "el2n": torch.from_numpy(SCORES)}))
    return path / "s.pickle"


def saved_by_torch(path):
    torch.save({"score": torch.from_numpy(SCORES), "forgetting": torch.zeros(N)}, path / "s.pt")
    return path / "s.pt"


def one_tensor(path):
    torch.save(torch.from_numpy(SCORES), path / "s.pt")
    return path / "s.pt"


FORMS = [ids_csv, names_csv, ids_and_names_parquet, tabs, bare_ids, bare_names, bare_names_in_other_folders, array]
FORMS += [archive, archive_with_ids, names_in_json, names_in_a_pickle, tensors, saved_by_torch, one_tensor]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_scores_in_id_order(tmp_path, form):
    scores = read(form(tmp_path))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, SCORES)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_scores_of_which_the_lowest_are_kept_are_negated(tmp_path, form):
    np.testing.assert_array_equal(read(form(tmp_path), higher_is_kept=False), -SCORES)


def test_headers_have_the_names_that_one_gives_them(tmp_path):
    path = table(tmp_path / "s.csv", sample_id=range(N), aum=SCORES, el2n=-SCORES)
    np.testing.assert_array_equal(read(path, id_column="sample_id", column="el2n"), -SCORES)
    path = table(tmp_path / "s.csv", filename=BASES, aum=SCORES)
    np.testing.assert_array_equal(read(path, name_column="filename"), SCORES)


def test_the_key_of_ccs_dictionary_is_chosen(tmp_path):
    content = {"targets": torch.tensor(LABELS, dtype=torch.int32), "forgetting": torch.arange(N, dtype=torch.int32)}
    content["accumulated_margin"] = torch.from_numpy(SCORES)
    (tmp_path / "data-score.pickle").write_bytes(pickle.dumps(content))
    assert read(tmp_path / "data-score.pickle", column="forgetting").tolist() == list(range(N))
    with pytest.raises(ConfigError, match=r"^column=None: expected one of forgetting, accumulated_margin$"):
        read(tmp_path / "data-score.pickle")


def test_a_file_name_of_digits_is_a_name_where_the_header_says_so(tmp_path):
    names = ["007", "1_0", "NA"]
    (tmp_path / "s.csv").write_text("name,score\nNA,3\n1_0,2\n007,1\n")
    assert read_scores(tmp_path / "s.csv", names, np.zeros(3, int)).tolist() == [1, 2, 3]


def test_one_file_name_in_several_folders_is_told_by_its_folder(tmp_path):
    names = ["a/1.png", "b/1.png"]
    path = tmp_path / "s.csv"
    path.write_text("name,score\nb/1.png,2\na/1.png,1\n")
    assert read_scores(path, names, np.zeros(2, int)).tolist() == [1, 2]
    path.write_text("name,score\n1.png,2\n2.png,1\n")
    with pytest.raises(ConfigError, match=r"unknown names 1\.png, 2\.png; missing names a/1\.png, b/1\.png"):
        read_scores(path, names, np.zeros(2, int))


# what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,score\n0,1\n1,1\n2,1\n", r"with missing ids 3, 4, 5: expected one score for each example of the source"),
        ("id,score\n" + "".join(f"{i},1\n" for i in [0, 1, 1, 2, 3, 3, 4, 5]), "with doubled ids 1, 3: "),
        ("id,score\n" + "".join(f"{i},1\n" for i in range(-1, 20)), "with unknown ids -1, 6, 7, 8, 9 and 10 more"),
        ("name,score\nx.png,1\n", r"unknown names x\.png; missing names n00_0\.JPEG, .* and 1 more"),
        ("id,score\n0.5,1\n", r"with id 0\.5: expected ids of 0 to 5"),
        ("id,score\nx,1\n", "with id 'x': expected ids of 0 to 5"),
        ("score\n1\n2\n3\n4\n5\n6\n", "a column 'id' or 'name' .*it has score"),
        ("a,b,c\n1,2,3\n", "column=None: expected one of a, b, c"),
        ("1,2,3\n", "begins with '1,2,3': expected a line of headers, or two columns"),
        ("", "without a line: expected a line of headers"),
        ("id,score\n0,1,1,1\n0,1\n", "with 4 columns in row 1: expected 2 columns"),
        ("id,score\n" + "".join(f"{i},{'x' if i == 2 else 1}\n" for i in range(N)), "'score' with 'x' in row 2"),
        ("id,score\n" + "".join(f"{i},{'nan' if i > 3 else 1}\n" for i in range(N)), "NaN or inf at ids 4, 5: "),
        ("id,score\n" + "".join(f"{i},{1e60 if i == 1 else 1}\n" for i in range(N)), "NaN or inf at ids 1: "),
        ("id,score\n" + "".join(f"{i},{'' if i == 1 else 1}\n" for i in range(N)), "'score' with '' in row 1"),
    ],
)
def test_a_table_that_does_not_fit_names_what_is_wrong(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "s.csv")


def test_a_name_that_several_examples_have_is_no_key(tmp_path):
    (tmp_path / "s.csv").write_text("name,score\na,1\n")
    with pytest.raises(ConfigError, match="names=a of several examples: expected a table by id"):
        read_scores(tmp_path / "s.csv", ["a", "a"], np.zeros(2, int))


def test_ids_whose_names_are_others_are_of_another_data_set(tmp_path):
    path = table(tmp_path / "s.csv", id=range(N), name=BASES[1:] + BASES[:1], score=SCORES)
    with pytest.raises(ConfigError, match=r"other names at ids 0, 1, 2, 3, 4 and 1 more: .* a file of another one"):
        read(path)


def test_targets_that_are_others_are_of_another_data_set(tmp_path):
    content = {"targets": torch.tensor([0, 0, 1, 1, 2, 0]), "el2n": torch.from_numpy(SCORES)}
    (tmp_path / "s.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match="other targets at ids 5: "):
        read(tmp_path / "s.pickle")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(5), r"^path=array of shape \(5,\): expected shape \(6\)"),
        (np.zeros((6, 1)), r"^path=array of shape \(6, 1\)"),
        (np.array(list("abcdef")), "with <U1: expected numbers"),
        (np.array([0, 1, 2, np.nan, 4, 5]), "NaN or inf at ids 3"),
        (np.array([None] * 6), "an array of numbers as numpy.save writes it"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(tmp_path, values, message):
    np.save(tmp_path / "s.npy", values, allow_pickle=True)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path / "s.npy")


def test_an_entry_of_another_length_is_refused(tmp_path):
    np.savez(tmp_path / "s.npz", score=np.zeros(5))
    with pytest.raises(ConfigError, match="with 5 scores: expected 6, one an example"):
        read(tmp_path / "s.npz")


def test_scores_that_tdds_has_sorted_are_refused(tmp_path):
    np.save(tmp_path / "score_win10_ep30.npy", np.sort(SCORES))
    with pytest.raises(
        ConfigError, match=r"ascending order: .*fixed\[numpy\.load\('data_mask_win10_ep30\.npy'\)\] = s"
    ):
        read(tmp_path / "score_win10_ep30.npy")


# the pipeline


def job(jobs, path, *words):
    (row,) = jobs.run("method=external", f"method.path={path}", "target=none", "pretrain.epochs=1", *words)
    return row


def kept(jobs, row):
    return np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy")


def test_a_job_keeps_the_highest_scores_of_a_file_and_trains_no_surrogate(jobs):
    scores = np.random.default_rng(0).permutation(372).astype(np.float32)
    pd.DataFrame({"id": range(372), "score": scores}).to_csv(jobs.folder / "s.csv", index=False)
    row = job(jobs, jobs.folder / "s.csv")
    assert row["method"] == "external"
    assert "surrogate" not in row["keys"]
    assert set(scores[kept(jobs, row)]) == set(range(186, 372))
    lowest = job(jobs, jobs.folder / "s.csv", "method.score.higher_is_kept=false")
    assert set(scores[kept(jobs, lowest)]) == set(range(186))


def test_the_content_of_the_file_counts_and_not_its_place(jobs):
    np.save(jobs.folder / "a.npy", np.arange(372.0))
    first = job(jobs, jobs.folder / "a.npy")
    (jobs.folder / "a.npy").rename(jobs.folder / "b.npy")
    moved = job(jobs, jobs.folder / "b.npy")
    assert moved["keys"] == first["keys"]
    assert moved["row"] == first["row"]
    np.save(jobs.folder / "b.npy", -np.arange(372.0))
    changed = job(jobs, jobs.folder / "b.npy")
    assert changed["keys"]["scores"] != first["keys"]["scores"]
    assert changed["row"] != first["row"]
    assert not set(kept(jobs, changed)) & set(kept(jobs, first))


def test_score_and_cut_can_be_columns_of_one_file(jobs):
    """As CCS: leave the hardest out by one score, then spread over the other."""
    pd.DataFrame({"id": range(372), "el2n": range(372), "aum": range(372)}).to_csv(jobs.folder / "s.csv", index=False)
    with_cut = jobs.config("method=ccs", "prune_ratio=0.7", "target=none", "pretrain.epochs=1")
    with_cut.method.path = str(jobs.folder / "s.csv")
    reader = {"_target_": "dataprune.formats.scores.read_scores"}
    with_cut.method.score = reader | {"column": "el2n"}
    with_cut.method.cut.score = reader | {"column": "aum"}
    (row,) = pipeline.job(with_cut)
    assert kept(jobs, row).max() < 372 - 37, "a tenth of the highest is cut off"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=external"], r"^method\.path=None: expected the file that .*read_scores reads"),
        (["method=external", "method.path=no.csv"], r"^method\.path='no\.csv': expected the file that .*\(looked in"),
        (["method=random", "method.path=no.csv"], r"^method\.path='no\.csv': expected null: no score function of rand"),
        (
            ["method=external", "+method.score.path=a.csv"],
            r"^method\.score\.path='a\.csv': expected it as method\.path",
        ),
    ],
)
def test_a_path_is_asked_for_where_it_is_read(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words)
    assert not jobs.store.exists()


def test_a_file_that_does_not_fit_leaves_no_result(jobs):
    np.save(jobs.folder / "a.npy", np.arange(5.0))
    with pytest.raises(ConfigError, match=r"^method\.path=array of shape \(5,\): expected shape \(372\)"):
        job(jobs, jobs.folder / "a.npy")
    assert not (jobs.store / "score").exists()
    (jobs.folder / "a.csv").write_text("id,a,b\n0,1,2\n")
    with pytest.raises(ConfigError, match=r"^method\.score\.column=None: expected one of a, b"):
        job(jobs, jobs.folder / "a.csv")


def test_class_scores_are_read_or_averaged_over_targets(tmp_path):
    np.save(tmp_path / "mean.npy", np.array([1, np.nan, -2]))
    np.save(tmp_path / "all.npy", np.array([[1, np.nan, -2], [3, np.nan, 0.0]]))
    assert read_class_scores(tmp_path / "mean.npy", 3).tolist() == [1, 0, -2]
    assert read_class_scores(tmp_path / "all.npy", 3).tolist() == [2, 0, -1]


def test_class_scores_of_another_source_are_refused(tmp_path):
    np.save(tmp_path / "mean.npy", np.zeros(4))
    with pytest.raises(ConfigError, match=r"shape \(4,\): expected numbers of shape \(3,\)"):
        read_class_scores(tmp_path / "mean.npy", 3)
    with pytest.raises(ConfigError, match=r"path='scores\.csv'"):
        read_class_scores("scores.csv", 3)
