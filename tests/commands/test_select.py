"""`python -m dataprune.select` as a user meets it: arrays on disk, files of other programs; and mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprune.data.examples import Examples
from dataprune.formats.datacomp import read_uids
from dataprune.select import main
from dataprune.selectors.coverage import k_center
from dataprune.selectors.graph import knn, message_passing, message_passing_per_class
from dataprune.selectors.ranked import drop_hardest, per_class, top
from dataprune.selectors.strata import stratified
from dataprune.streams import stream
from dataprune.subset import Subset

N = 120


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    """A user's folder of arrays, which is the working directory."""
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    made = {
        "features": rng.normal(size=(N, 6)).astype(np.float32),
        "scores": rng.random(N).astype(np.float32),
        "labels": rng.integers(0, 3, N),
        "p_mean": rng.random(N).astype(np.float32),
    }
    for name, array in made.items():
        np.save(f"{name}.npy", array)
    return made


def select(*words):
    assert main([*map(str, words)]) == 0
    return Subset.load("subset.npz")


def refused(capsys, *words):
    """The one line that a mistake prints."""
    assert main([*map(str, words)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_d2_as_the_readme_has_it(arrays, capsys):
    subset = select("features.npy", "scores.npy", "--method", "d2", "--prune-ratio", 0.7, "-o", "subset.npz")
    picks = message_passing(arrays["scores"], 36, features=arrays["features"], k=5, gamma=0.1)
    assert subset.ids.tolist() == np.sort(picks).tolist()
    said = capsys.readouterr().out
    assert "message_passing_per_class(k=5, gamma=0.1)" in said
    assert "labels: no --labels, so all 120 examples are one class" in said
    assert "cut: none; in a job d2 leaves out the hardest 10% by area_under_margin (--cut-scores)" in said
    assert "kept 36 of 120 at prune_ratio 0.7 in" in said


def test_labels_constants_and_a_cut_reach_the_selector(arrays):
    words = ["--labels", "labels.npy", "--set", "k=3", "--set", "gamma=0.5", "--cut-scores", "p_mean.npy"]
    subset = select("scores.npy", "features.npy", "--method", "d2", "--prune-ratio", 0.8, *words)
    pool = drop_hardest(arrays["p_mean"], 0.2)
    parts = (arrays[name][pool] for name in ("scores", "features", "labels"))
    picks = message_passing_per_class(*parts, 24, k=3, gamma=0.5)
    assert subset.ids.tolist() == pool[picks].tolist()


def test_neighbours_of_a_file_take_the_place_of_features(arrays):
    """As faiss writes them, the row itself first; with a cut, and of rows in another order."""
    distances, neighbors = knn(arrays["features"], 6)
    itself = np.hstack([np.arange(N)[:, None], neighbors])
    np.save("neighbors.npy", itself)
    np.save("distances.npy", np.hstack([np.zeros((N, 1), np.float32), distances]))
    words = ["scores.npy", "--method", "d2_precomputed", "--prune-ratio", 0.7, "--cut", 0.25]
    words += ["--array", "neighbors=neighbors.npy", "--array", "distances=distances.npy"]
    subset = select(*words)
    left = drop_hardest(arrays["scores"], 0.25)
    given = {"distances": distances[left], "neighbors": neighbors[left], "ids": left}
    picks = message_passing(arrays["scores"][left], 36, **given, k=5, gamma=0.1, graph="directed")
    assert subset.ids.tolist() == np.sort(left[picks]).tolist()
    rows = np.random.default_rng(1).permutation(N)
    place = np.argsort(rows)
    np.save("neighbors.npy", place[itself[rows]])
    np.save("distances.npy", np.load("distances.npy")[rows])
    np.save("rows.npy", rows)
    assert select(*words, "--array", "ids=rows.npy").ids.tolist() == subset.ids.tolist()


def test_ccs_cuts_by_its_own_score_unless_told_otherwise(arrays, capsys):
    for words, cut in (([], 0.3), (["--cut", "0"], 0.0), (["--cut", "0.5"], 0.5)):
        subset = select("scores.npy", "--method", "ccs", "--prune-ratio", 0.9, "--seed", 3, *words)
        pool = drop_hardest(arrays["scores"], cut)
        picks = stratified(arrays["scores"][pool], 12, stream(3, "select"))
        assert subset.ids.tolist() == pool[picks].tolist()
        assert ("the hardest" in capsys.readouterr().out) == (cut > 0)


def test_k_center_needs_features_alone_and_keeps_the_order_of_picks(arrays):
    subset = select("features.npy", "--method", "k_center", "--prune-ratio", 0.9, "--set", "first=7")
    assert subset.order.tolist() == k_center(arrays["features"], 12, first=7).tolist()


def test_quotas_need_no_scores(arrays):
    subset = select("features.npy", "--method", "herding", "--prune-ratio", 0.75, "--labels", "labels.npy")
    sizes = np.bincount(arrays["labels"])
    assert abs(np.bincount(arrays["labels"][subset.ids]) - sizes / 4).max() <= 1


def test_weights_and_whole_classes_are_kept_too(arrays):
    words = ["--labels", "labels.npy", "--prune-ratio", 0.5]
    subset = select("features.npy", "--method", "craig", *words)
    assert subset.weights.sum() == N
    np.save("per_class.npy", np.array([1, 9, 4]))
    subset = select("per_class.npy", "--method", "feature_mapping", *words)
    assert subset.classes.tolist() == [1, 2]
    assert subset.ids.tolist() == np.flatnonzero(arrays["labels"] > 0).tolist()
    assert subset.n == N


def test_another_array_is_given_by_its_parameter(arrays, capsys):
    assert "p_mean=None: expected --array p_mean=FILE.npy: float32 (n,)" in refused(
        capsys, "scores.npy", "--method", "dual", "--prune-ratio", 0.5
    )
    subset = select("scores.npy", "--method", "dual", "--prune-ratio", 0.5, "--array", "p_mean=p_mean.npy")
    assert len(subset.ids) == 60


def test_what_orders_ties_is_asked_for_and_not_required(arrays, capsys):
    np.save("scores.npy", np.zeros(N, np.float32))
    words = ["scores.npy", "--method", "forgetting", "--prune-ratio", 0.9]
    subset = select(*words)
    out, err = capsys.readouterr()
    assert "ties: none; in a job forgetting has 1 - p_mean" in out
    assert "warning: 12 of the 12 kept are the lowest ids of 120 examples with score 0" in err
    assert subset.ids.tolist() == list(range(12))
    assert select(*words, "--array", "ties=p_mean.npy").order.tolist() == top(arrays["p_mean"], 12).tolist()


def test_the_header_says_what_made_it(arrays):
    words = ["scores.npy", "--method", "ccs", "--prune-ratio", 0.9, "--seed", 4]
    assert select(*words).header.items() >= {"method": "ccs", "prune_ratio": 0.9, "seed": 4}.items()
    assert select("scores.npy", "--method", "forgetting", "--prune-ratio", 0.5, "--seed", 4).header["seed"] == 0
    assert select(*words, "--fingerprint", "mine").fingerprint == "mine"


def test_the_fingerprint_is_that_of_the_arrays(arrays):
    words = ["scores.npy", "--method", "forgetting", "--prune-ratio", 0.5]
    first, again = select(*words).fingerprint, select(*words).fingerprint
    assert first == again
    assert len(first) == 64
    for changed in (np.where(np.arange(N) == N - 1, 2, arrays["scores"]), arrays["scores"].astype(np.float64)):
        np.save("scores.npy", changed)
        assert select(*words).fingerprint != first


def test_a_method_of_one_s_own(arrays):
    top_of = "select: {_target_: dataprune.selectors.ranked.top}"
    wrapper = f"select: {{_target_: dataprune.selectors.ranked.per_class, quota: equal, {top_of}}}"
    for yaml in (f"name: mine\nquota: equal\n{top_of}\n", f"name: mine\n{wrapper}\n"):
        Path("mine.yaml").write_text(yaml)
        subset = select("scores.npy", "--method", "mine.yaml", "--prune-ratio", 0.9, "--labels", "labels.npy")
        assert set(subset.ids) == set(per_class(arrays["scores"], arrays["labels"], 12, quota="equal"))


MISTAKES = [
    (["features.npy", "--method", "full"], "--method='full': expected a method with a selector: area_under_margin,"),
    (["features.npy", "--method", "nope"], "--method='nope': expected a YAML file, or one of area_under_margin, "),
    (["features.npy", "--method", "ccs"], "scores=None: expected a file with one axis (n,), higher = kept first"),
    (["scores.npy", "--method", "k_center"], "features=None: expected a file with two axes (n, d)"),
    (["scores.npy", "--method", "random_classes"], "--labels=None: expected a file: random_classes keeps the examples"),
    (
        ["scores.npy", "--method", "el2n", "--prune-ratio", "90"],
        "prune_ratio=90.0: expected a fraction from 0 to below",
    ),
    (["scores.npy", "--method", "band", "--set", "skip=3"], "method.select.skip=3: expected one of the constants of"),
    (
        ["scores.npy", "--method", "band", "--set", "skip_hardest=3"],
        "method.select.skip_hardest=3: expected a fraction",
    ),
    (["scores.npy", "--method", "band", "--set", "budget=3"], "--set='budget=3': expected constant=value"),
    (["scores.npy", "--method", "band", "--array", "x=p_mean.npy"], "--array='x': expected a parameter of"),
    (
        ["scores.npy", "--method", "band", "--set", "skip_hardest=a"],
        "--set skip_hardest='a': expected a number, such as",
    ),
    (["scores.npy", "--method", "dual", "--array", "p_mean=nan.npy"], "p_mean=array of shape (3,): expected 120 rows"),
    (["scores.npy", "--method", "list.yaml"], "list.yaml=a list: expected keys and values"),
    (["scores.npy", "--method", "bad.yaml"], "bad.yaml=no YAML: expected keys and values"),
    (["scores.npy", "--method", "ccs", "--cut", "0.8"], "method.cut.fraction=0.8: expected a fraction that leaves"),
    (
        ["scores.npy", "--method", "el2n", "--cut-scores", "p_mean.npy"],
        "expected --cut FRACTION beside it: el2n has no",
    ),
    (["scores.npy", "p_mean.npy", "--method", "el2n"], "p_mean.npy=a second file of scores: expected one with"),
    (["scores.npy", "few.npy", "--method", "d2"], "features=20 rows: expected 120, as scores has"),
    (["nan.npy", "--method", "el2n"], "scores=NaN or inf at ids 2: expected finite numbers"),
    (["text.npy", "--method", "el2n"], "text.npy=no array: expected an .npy file of numbers"),
    (["gone.npy", "--method", "el2n"], "No such file or directory: 'gone.npy'"),
    (["scores.npy", "--method", "el2n", "-o", "kept.npy"], "--output='kept.npy': expected a name that ends in .npz"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_mistake_is_one_line(arrays, capsys, words, message):
    np.save("few.npy", arrays["features"][:20])
    np.save("nan.npy", np.array([0, 1, np.nan]))
    Path("text.npy").write_text("0.1\n0.2\n")
    Path("list.yaml").write_text("- 1\n")
    Path("bad.yaml").write_text("name: {\n")
    ratio = [] if "--prune-ratio" in words else ["--prune-ratio", "0.5"]
    assert message in refused(capsys, *words, *ratio)
    assert not Path("subset.npz").exists()


def test_the_command_line_exits_with_2_on_bad_usage_and_stays_light(arrays):
    def command(code):
        return subprocess.run([sys.executable, *code], capture_output=True, text=True, check=False)

    ran = command(["-m", "dataprune.select", "scores.npy", "--method", "el2n"])
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    ran = command(["-m", "dataprune.select", "scores.npy", "--method", "ccs", "--prune-ratio", "2"])
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    code = "import sys; from dataprune.select import main\n"
    code += "main('features.npy scores.npy --method d2 --prune-ratio 0.7'.split())\n"
    code += "print({'torch', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert command(["-c", code]).stdout.splitlines()[-1] == "set()"


def test_help_of_every_command_has_examples(capsys):
    for words in (["--help"], ["export", "--help"], ["import", "--help"], ["datacomp", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            main(words)
        assert "examples:\n  python -m dataprune.select" in capsys.readouterr().out


def test_it_selects_what_a_job_selects(jobs, monkeypatch, capsys):
    (row,) = jobs.run("method=d2", "prune_ratio=0.7", "target=none")
    monkeypatch.chdir(jobs.store)
    keys = row["keys"]
    words = [f"signals/{keys['signals']}/features.npy", f"score/{keys['scores']}/scores.npy", "--method", "d2"]
    words += ["--prune-ratio", "0.7", "--cut-scores", f"score/{keys['cut']}/scores.npy"]
    mine = select(*words, "--index", f"index/{keys['source']}")
    fingerprint = Examples(jobs.store / "index" / keys["source"], "train").fingerprint
    theirs = Subset.load(f"select/{keys['subset']}/export/subset.npz", fingerprint)
    assert mine.ids.tolist() == theirs.ids.tolist()
    assert (mine.fingerprint, mine.header) == (fingerprint, theirs.header)

    assert main(["export", "subset.npz", "kept.csv", "--index", f"index/{keys['source']}"]) == 0
    assert Path("kept.csv").read_text().count("\n") == len(mine.ids) + 1
    (other,) = jobs.run("method=full", "target=none", "source.reader.per_class=4", "pretrain.epochs=1")
    message = refused(capsys, "export", "subset.npz", "x.csv", "--index", f"index/{other['keys']['source']}")
    assert "subset='subset.npz': expected a subset of this data set" in message


@pytest.fixture
def listed(arrays):
    """A file list of the same 120 examples and a subset of 12 of them."""
    lines = [f"/n0{label}/img {i}.JPEG {label}\n" for i, label in enumerate(arrays["labels"])]
    Path("file_list.txt").write_text("".join(lines))
    Path("names.txt").write_text("".join(f"n0{label}/img {i}.JPEG\n" for i, label in enumerate(arrays["labels"])))
    return lines, select("scores.npy", "--method", "forgetting", "--prune-ratio", 0.9)


@pytest.mark.parametrize("whole", [["--list", "file_list.txt"], ["--names", "names.txt", "--labels", "labels.npy"]])
def test_a_file_list_goes_out_and_comes_in(listed, whole):
    lines, subset = listed
    assert main(["export", "subset.npz", "kept_file_list.txt", *whole]) == 0
    assert Path("kept_file_list.txt").read_text() == "".join(lines[i] for i in subset.ids)
    assert main(["import", "kept_file_list.txt", "-o", "back.npz", "--fingerprint", "mine", *whole]) == 0
    back = Subset.load("back.npz", "mine")
    assert (back.ids.tolist(), back.n) == (subset.ids.tolist(), N)


def test_ids_and_tables_go_out_and_ids_come_in(listed):
    _, subset = listed
    for name in ("kept.npy", "kept.txt", "kept.indices"):
        assert main(["export", "subset.npz", name]) == 0
        assert main(["import", name, "-o", "back.npz", "--list", "file_list.txt"]) == 0
        assert Subset.load("back.npz").ids.tolist() == subset.ids.tolist()
    assert torch.load("kept.indices").tolist() == subset.ids.tolist()
    assert main(["export", "subset.npz", "kept.lst", "--as", "images", "--names", "names.txt", "--below", "/"]) == 0
    assert main(["export", "subset.npz", "kept.csv", "--list", "file_list.txt"]) == 0
    names = [row.split(",")[1] for row in Path("kept.csv").read_text().splitlines()[1:]]
    assert names == Path("kept.lst").read_text().splitlines()


CONVERSIONS = [
    (["export", "subset.npz", "x.npy", "--fingerprint", "cd" * 32], "expected a subset of this data set (cdcdcdcd)"),
    (["export", "subset.npz", "x.csv", "--names", "short.txt"], "a subset of 3 examples, not of 120"),
    (
        ["export", "subset.npz", "x.csv", "--names", "short.txt", "--labels", "labels.npy"],
        "--names=3 names: expected 120",
    ),
    (["export", "subset.npz", "x.csv", "--labels", "p_mean.npy"], "p_mean.npy=array of float32: expected integer"),
    (["export", "subset.npz", "x_file_list.txt"], "--list=None: expected the file list of the whole data set"),
    (
        ["export", "subset.npz", "x.txt", "--as", "images"],
        "--names=None: expected a file with the name of each example",
    ),
    (["export", "subset.npz", "x.npy", "--as", "uids", "--names", "names.txt"], "expected 32 hexadecimal digits"),
    (
        ["export", "subset.npz", "x.npy", "--as", "parquet"],
        "--as='parquet': expected ids | file-list | images | uids | c",
    ),
    (["export", "subset.npz", "x.bin"], "--as=None: expected one of ids, file-list, images, uids, csv: x.bin does not"),
    (["export", "scores.npy", "x.npy"], "subset='scores.npy': expected a file with ids and header"),
    (
        ["import", "ids.npy", "--n", "120"],
        "--fingerprint=None: expected --index, --list or --fingerprint: ids mean noth",
    ),
    (["import", "ids.npy", "--fingerprint", "mine"], "--n=None: expected the number of examples of the whole data set"),
    (["import", "ids.npy", "--list", "file_list.txt", "--n", "9"], "--n=9: expected 120, as the data set has"),
    (["import", "ids.npy", "--list", "file_list.txt"], "ids.npy=5 more than once: expected every id once"),
    (["import", "ids.csv", "--list", "file_list.txt"], "--as='csv': expected ids, file-list or uids"),
]


@pytest.mark.parametrize(("words", "message"), CONVERSIONS, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_conversion_that_cannot_be_is_one_line(listed, capsys, words, message):
    Path("short.txt").write_text("a\nb\nc\n")
    np.save("ids.npy", [5, 2, 5])
    before = Path("subset.npz").read_bytes()
    assert message in refused(capsys, *words)
    assert not list(Path.cwd().glob("x*"))
    assert Path("subset.npz").read_bytes() == before


def test_uids_of_a_subset_go_out_by_name(arrays):
    Path("names.txt").write_text("".join(f"{i:032x}\n" for i in range(N)))
    subset = select("scores.npy", "--method", "forgetting", "--prune-ratio", 0.9)
    assert main(["export", "subset.npz", "uids.npy", "--as", "uids", "--names", "names.txt"]) == 0
    assert read_uids("uids.npy")["f1"].tolist() == subset.ids.tolist()
    words = ["import", "uids.npy", "--as", "uids", "--names", "names.txt", "--fingerprint", "mine"]
    assert main([*words, "-o", "back.npz"]) == 0
    with np.load("back.npz") as file:
        assert json.loads(str(file["header"]))["n"] == N
