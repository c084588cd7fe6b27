"""Same key, other content? Every way in which one experiment could be taken for another, tried through the pipeline."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dataprune import callables, launch
from dataprune.callables import code_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.store import DamagedResult, Store
from dataprune.subset import Subset

PICTURES = ["method=random", "target=none", "source=folder", "source.size=8", "pretrain.epochs=1"]
PICTURES += ["run.workers=0"]


def pictures(root, seed=0, n=6, noise=False, suffix="png", below=""):
    """An ImageFolder of two classes: dark and light squares, or noise of the same names and sizes."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", n), ("test", 2)):
        for label, value in (("dark", 40), ("light", 200)):
            for i in range(count):
                path = root / split / label / below / f"{i}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                drawn = rng.integers(0, 255, (8, 8, 3)) if noise else value + rng.integers(0, 20, (8, 8, 3))
                Image.fromarray(drawn.astype(np.uint8)).save(path)
    return root


def digest(jobs, row, role="source"):
    return next(r for r in Store(jobs.store).results() if r.key == row["keys"][role]).digest


def built(row):
    return set(row["keys"]) - set(row["cost"]["shared"])


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes a module of the user's, as seen by a fresh process: nothing of an earlier version is remembered."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(text, name="my_own_code"):
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        code_of.cache_clear()
        callables._seen_once.cache_clear()
        launch.MATCHED.clear()
        return name

    yield write
    for name in [name for name in sys.modules if name.startswith("my_")]:
        sys.modules.pop(name)
    code_of.cache_clear()
    callables._seen_once.cache_clear()


@pytest.mark.parametrize("loader", ["memory", "workers"])
def test_other_pixels_under_the_same_names_are_another_data_set(jobs, tmp_path, loader):
    a, b = pictures(tmp_path / "a"), pictures(tmp_path / "b", noise=True)
    (one,) = jobs.run(*PICTURES, f"pretrain.loader={loader}", f"source.path={a}")
    (two,) = jobs.run(*PICTURES, f"pretrain.loader={loader}", f"source.path={b}")
    assert digest(jobs, one) != digest(jobs, two)
    assert {"model", "source_result"} <= built(two)
    assert one["identity"] != two["identity"]


def test_a_row_names_each_way_in_which_its_pictures_are_decoded(jobs, tmp_path):
    a = pictures(tmp_path / "a", suffix="jpg")
    loaders = ["surrogate.loader=workers", "surrogate.decoder=torchvision", "pretrain.loader=workers"]
    (row,) = jobs.run(*PICTURES, "method=loss", "surrogate.epochs=1", f"source.path={a}", *loaders)
    assert row["config"]["source"]["codec"]["decoder"] == "torchvision", "as it would be of DALI on a CPU or a GPU"
    assert "decoder" not in row["config"]["source"]["workers"]["codec"]


def test_who_names_the_decoder_that_is_used_anyway_trains_nothing_again(jobs, tmp_path):
    words = [*PICTURES, f"source.path={pictures(tmp_path / 'a')}", "pretrain.loader=workers"]
    (one,) = jobs.run(*words)
    (two,) = jobs.run(*words, "pretrain.decoder=pillow")
    assert built(two) == set()
    assert two["row"] == one["row"]


def test_a_copy_elsewhere_is_the_same_data_set(jobs, tmp_path):
    a = pictures(tmp_path / "a")
    (one,) = jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers")
    shutil.copytree(a, tmp_path / "b")
    (two,) = jobs.run(*PICTURES, f"source.path={tmp_path / 'b'}", "pretrain.loader=workers")
    assert built(two) == {"source"}, "its files are looked at; nothing is trained again"
    assert one["identity"] == two["identity"]
    assert one["row"] == two["row"]


def test_a_picture_rewritten_in_place_is_noticed_even_with_its_old_time_and_size(jobs, tmp_path):
    a = pictures(tmp_path / "a", suffix="bmp")  # of one size whatever it shows
    (one,) = jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers")
    victim = a / "train" / "dark" / "3.bmp"
    before = victim.stat()
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(victim)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (victim.stat().st_size, victim.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    (two,) = jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers")
    assert digest(jobs, one) != digest(jobs, two)


def test_a_file_three_folders_down_is_noticed(tmp_path):
    from dataprune.config import IndexConfig
    from dataprune.data.content import stamp

    deep = tmp_path / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    config = IndexConfig({"_target_": "dataprune.data.folder.read"}, str(tmp_path))
    states = [stamp(config, "source")]
    (deep / "new.jpg").write_bytes(b"1")
    states.append(stamp(config, "source"))
    (deep / "new.jpg").write_bytes(b"2")
    states.append(stamp(config, "source"))
    assert len(set(states)) == 3


def test_files_that_have_not_changed_are_not_read_again(jobs, tmp_path, monkeypatch):
    from dataprune.stages import index

    a = pictures(tmp_path / "a")
    for path in [*a.rglob("*.png")]:  # as if they had lain there for a minute
        os.utime(path, ns=(path.stat().st_atime_ns, time.time_ns() - 60 * 10**9))
    monkeypatch.setattr("dataprune.data.content.SETTLED", -(10**9) * 3600)
    jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers")
    read = []
    monkeypatch.setattr(index, "_problem", lambda encoded: read.append(encoded) or "")
    (a / "train" / "dark" / "2.png").write_bytes((a / "train" / "dark" / "1.png").read_bytes())
    (row,) = jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers")
    assert len(read) == 1
    assert "source" in built(row)


def test_the_same_content_has_one_fingerprint_in_files_in_memory_and_in_parquet(jobs, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    a = pictures(tmp_path / "a")
    (tmp_path / "p").mkdir()
    for split in ("train", "test"):
        files = [f for label in ("dark", "light") for f in sorted((a / split / label).iterdir())]
        labels = [int(f.parent.name == "light") for f in files]
        table = pa.table({"image": [f.read_bytes() for f in files], "label": labels})
        pq.write_table(
            table.replace_schema_metadata({"class_names": "dark,light"}), tmp_path / "p" / f"{split}.parquet"
        )
    words = [
        [f"source.path={a}", "pretrain.loader=workers"],
        [f"source.path={a}", "pretrain.loader=memory"],
        ["source=parquet", f"source.path={tmp_path / 'p'}"],
    ]
    rows = [jobs.run(*PICTURES, *more)[0] for more in words]
    prints = {Examples(jobs.store / "index" / row["keys"]["source"], "train").fingerprint for row in rows}
    assert len(prints) == 1
    kept = jobs.store / "select" / rows[0]["keys"]["subset"] / "export" / "subset.npz"
    Subset.load(kept, prints.pop())  # is not refused
    assert rows[0]["config"]["source"]["content"] == rows[2]["config"]["source"]["content"]


def test_declared_content_never_passes_for_content_that_was_read(jobs, tmp_path):
    a = pictures(tmp_path / "a")
    full, declared = (
        jobs.run(*PICTURES, f"source.path={a}", "pretrain.loader=workers", f"source.content={how}")[0]
        for how in ("full", "stat")
    )
    fingerprint = Examples(jobs.store / "index" / declared["keys"]["source"], "train").fingerprint
    assert fingerprint.startswith("stat:")
    assert digest(jobs, full) != digest(jobs, declared)


def test_another_size_decodes_but_does_not_read_and_hash_again(jobs, tmp_path):
    a = pictures(tmp_path / "a")
    (one,) = jobs.run(*PICTURES, f"source.path={a}")
    (two,) = jobs.run(*PICTURES, f"source.path={a}", "source.size=6")
    assert "source" not in built(two)
    assert "subset" not in built(two), "what is kept does not rest on pixels"
    assert {"source_pixels", "model"} <= built(two)
    assert one["identity"] != two["identity"]


@pytest.mark.parametrize("loader", ["memory", "workers"])
def test_pictures_that_break_off_are_named_before_anything_is_trained(jobs, tmp_path, loader):
    a = pictures(tmp_path / "a", suffix="jpg", n=8)
    for i in range(6):
        path = a / "train" / "light" / f"{i}.jpg"
        path.write_bytes(path.read_bytes()[:-8])
        Image.open(path).verify()  # which is what passes them
    expected = r"6 unreadable images in train \(train/light/0\.jpg.*4\.jpg\).*remove or replace"
    with pytest.raises(ConfigError, match=expected):
        jobs.run(*PICTURES, f"source.path={a}", f"pretrain.loader={loader}")
    assert not list(jobs.store.glob("index/*"))


def test_a_reader_without_files_is_asked_in_every_driver(jobs, mine):
    text = """
import numpy as np
from dataprune.data.examples import Dataset, Split
VALUE = {value}
def read():
    images = np.full((8, 8, 8, 1), VALUE, np.uint8); images[::2] = 9
    labels = np.arange(8) % 2
    return Dataset(["a", "b"], {{"train": Split(images, labels), "test": Split(images, labels)}})
"""
    mine(text.format(value=5))
    config = jobs.config("method=random", "target=none")
    config.source.reader = {"_target_": "my_own_code.read"}
    from dataprune import pipeline

    (one,) = pipeline.job(config)
    mine(text.format(value=6))
    (two,) = pipeline.job(config)
    assert digest(jobs, one) != digest(jobs, two)


SCORE = "def mine(labels):\n    {doc}\n    return {sign} labels.astype('float32')\n"


def test_an_edited_score_scores_again_and_a_comment_does_not(jobs, mine):
    words = ["method=forgetting", "target=none"]

    def run():
        config = jobs.config(*words)
        config.method.score = {"_target_": "my_own_code.mine"}
        from dataprune import pipeline

        return pipeline.job(config)[0]

    mine(SCORE.format(sign="", doc='"""Rank by label."""'))
    one = run()
    mine(SCORE.format(sign="", doc="# only a remark"))
    two = run()
    mine(SCORE.format(sign="-", doc=""))
    three = run()
    assert one["keys"] == two["keys"]
    assert built(two) == set()
    assert {"scores", "subset", "model"} <= built(three)
    assert len({row["identity"] for row in (one, two, three)}) == 2, "rows of edited code are not averaged"


NETWORK = """
from torch import nn
class Net(nn.Module):
    num_features = 4
    def __init__(self, in_channels, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
    def forward(self, x):
        return {how}(self.conv(x).mean((2, 3)))
"""


def test_an_edited_network_trains_again_also_where_it_is_transferred(jobs, mine):
    def run():
        config = jobs.config("method=random")
        config.pretrain.model = {"_target_": "my_own_code.Net"}
        from dataprune import pipeline

        return pipeline.job(config)[0]

    mine(NETWORK.format(how="nn.functional.relu"))
    run()
    mine(NETWORK.format(how="nn.functional.silu"))
    assert {"model", "source_result", "adapted", "target_result"} <= built(run())


def test_code_that_changes_while_a_job_waits_is_refused(jobs, mine, tmp_path):
    from dataprune.config import RunConfig
    from dataprune.stage_configs import ScoreConfig

    mine("def mine(n):\n    return [1.0]\n")
    config = ScoreConfig({"_target_": "my_own_code.mine"})
    recipe = launch.recipe_of("score", config, {})
    (tmp_path / "work" / "scratch").mkdir(parents=True)
    launch.write_task(tmp_path / "work", launch.task_of(recipe, config, {}, RunConfig()))
    mine("def mine(n):\n    return [2.0]\n")  # as a worker process would import it, an hour later
    with pytest.raises(ConfigError, match=r"my_own_code\.mine.*has changed since"):
        launch.run_task(tmp_path / "work")


def test_a_network_that_a_store_brings_is_built_only_if_the_job_names_it(jobs):
    (row,) = jobs.run("method=random")
    path = jobs.store / "train" / row["keys"]["model"] / "network.json"
    store = Store(jobs.store)
    result = next(r for r in store.results() if r.key == row["keys"]["model"])
    description = json.loads(path.read_text()) | {"model": {"_target_": "subprocess.Popen", "args": "x"}}
    path.write_text(json.dumps(description))
    from dataprune.stage_calls import check_named

    with pytest.raises(ConfigError, match=r"subprocess\.Popen.*this job's config names"):
        check_named([result], {"dataprune.models.networks.cnn"})


def test_what_the_environment_says_of_ranks_changes_nothing(jobs):
    """A job inside torchrun, Slurm or another launcher trains on all examples."""
    environment = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}
    environment |= {"SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_ID": "7"}
    words = ["method=random", "target=none", "baselines=none", "run.report=false", "run.threads=1"]
    words += ["source.reader.per_class=6", "source.reader.test_per_class=2", "pretrain.epochs=1"]
    digests = []
    for name, more in (("plain", {}), ("inside", environment)):
        (jobs.folder / name).mkdir()
        jobs.command(*words, f"run.store={jobs.folder / name / 'store'}", **more)
        (model,) = Store(jobs.folder / name / "store").root.glob("train/*/manifest.json")
        digests.append(json.loads(model.read_text())["digest"])
    assert digests[0] == digests[1]


def test_a_manifest_tells_with_what_a_result_was_made(jobs):
    (row,) = jobs.run("method=random", "run.threads=1", "run.accelerator=cpu")
    manifest = json.loads((jobs.store / "train" / row["keys"]["model"] / "manifest.json").read_text())
    assert {"torch", "numpy", "timm", "dataprune", "python"} <= manifest["versions"].keys()
    assert manifest["device"].startswith("CPU")
    assert (manifest["threads"], manifest["processes"], manifest["cuda"]) == (1, 1, None)
    assert manifest["config"]["label_smoothing"] == 0.0, "defaults too"
    assert manifest["run"]["threads"] == 1
    assert "dataprune" in manifest["commits"]
    assert 0 < manifest["device_s"] <= manifest["seconds"] + 0.1


@pytest.mark.parametrize("name", ["recipe.json", "manifest.json"])
def test_every_byte_of_the_records_of_a_result_counts(jobs, name):
    (row,) = jobs.run("method=random", "target=none")
    path = jobs.store / "evaluate" / row["keys"]["source_result"] / name
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 60, replace=False):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        if bytes(flipped).split() == whole.split():
            continue  # white space for white space
        path.write_bytes(bytes(flipped))
        try:
            same = json.loads(bytes(flipped)) == json.loads(whole)
        except ValueError:
            same = False
        if not same:
            with pytest.raises(DamagedResult, match=str(path.parent)):
                jobs.run("method=random", "target=none")
    path.write_bytes(whole)
    jobs.run("method=random", "target=none")


def test_a_row_that_was_changed_is_named(jobs):
    (row,) = jobs.run("method=random", "target=none")
    path = jobs.store / "rows" / f"{row['row']}.json"
    path.write_text(path.read_text().replace('"source_top1": ', '"source_top1": 1'))
    with pytest.raises(DamagedResult, match=path.name):
        Store(jobs.store).rows()


def test_methods_without_a_surrogate_have_one_row_whatever_the_surrogate(jobs):
    names = set()
    for words in ([], ["surrogate.epochs=2"], ["surrogate.seed=7"], ["signals.batch_size=64"]):
        names |= {row["row"] for row in jobs.run("method=random", "baselines=none", *words)}
    assert len(names) == 1
    assert len(list(jobs.store.glob("rows/*.json"))) == 1


def test_constants_recipes_and_surrogates_set_rows_apart_and_seeds_do_not(jobs):
    base = ["method=forgetting", "target=none"]
    rows = [
        jobs.run(*base, *words)[0]
        for words in (
            [],
            ["method.score.never_learned=zero"],
            ["surrogate.epochs=4"],
            ["pretrain.epochs=1"],
            ["prune_ratio=0.6"],
        )
    ]
    assert len({row["identity"] for row in rows[:4]}) == 4
    assert rows[4]["identity"] == rows[0]["identity"], "the ratio is the axis"
    ccs = [jobs.run("method=ccs", "target=none", f"prune_ratio={ratio}")[0] for ratio in (0.5, 0.7)]
    assert "cut" not in ccs[0]["keys"]
    assert "cut" in ccs[1]["keys"]
    assert ccs[0]["identity"] == ccs[1]["identity"], "also where a cut begins"
    (other,) = jobs.run(*base, "seed=3", "surrogate.seed=4")
    assert other["identity"] == rows[0]["identity"]
    assert other["seeds"] == {"surrogate.seed": 4, "pretrain.seed": 3}, "its selector draws nothing"


def test_a_ready_model_cannot_stand_for_a_pruned_one(jobs):
    (row,) = jobs.run("method=full", "target=none")
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    words = ["target=none", f"pretrain.checkpoint={weights}"]
    (adopted,) = jobs.run("method=full", *words)
    assert adopted["metrics"] == row["metrics"]
    assert adopted["identity"] != row["identity"]
    with pytest.raises(ConfigError, match=r"pretrain\.checkpoint=.*method=random trains on a part.*pretrain\.subset"):
        jobs.run("method=random", *words)


def test_a_ready_model_with_its_subset_is_said_to_be_claimed(jobs):
    (row,) = jobs.run("method=random", "target=none")
    kept = jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz"
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    words = ["target=none", f"pretrain.checkpoint={weights}", f"pretrain.subset={kept}"]
    (claimed,) = jobs.run("method=random", *words)
    assert claimed["claimed"]
    assert not row["claimed"]
    with pytest.raises(
        ConfigError, match=r"pretrain\.subset=.* of them kept here: expected the .* examples that random"
    ):
        jobs.run("method=random", *words, "seed=1")


def test_more_surrogates_of_one_seed_are_none_of_the_next_seed(jobs):
    rows = [jobs.run("method=el2n_runs", "target=none", "method.runs=2", f"surrogate.seed={s}")[0] for s in (0, 1)]
    surrogates = [{key for role, key in row["keys"].items() if role.startswith("surrogate")} for row in rows]
    assert len(surrogates[0]) == len(surrogates[1]) == 2
    assert not surrogates[0] & surrogates[1]


WRAP = "def wrap(in_channels, inner):\n    return inner\n"
INNER = NETWORK + "\ndef make():\n    return Net(1)\n"


def test_the_code_of_a_network_inside_a_network_counts_where_its_weights_are_ready(jobs, mine):
    from dataprune.callables import codes_of

    spec = {"_target_": "my_own_code.wrap", "inner": {"_target_": "my_own_code_2.make"}}
    mine(WRAP)
    mine(INNER.format(how="nn.functional.relu"), "my_own_code_2")
    before = codes_of(spec)
    mine(INNER.format(how="nn.functional.silu"), "my_own_code_2")
    after = codes_of(spec)
    assert set(before) == {"my_own_code.wrap", "my_own_code_2.make"}
    assert before["my_own_code_2.make"] != after["my_own_code_2.make"]


def test_a_helper_that_is_edited_after_it_was_imported_is_told(mine, tmp_path):
    """What a process has imported stays what it was: another function that uses it must not pass for the new code."""
    mine("VALUE = 1\n", "my_helper")
    mine("from my_helper import VALUE\ndef one():\n    return VALUE\n")
    mine("from my_helper import VALUE\ndef two():\n    return VALUE\n", "my_own_code_2")
    first = code_of("my_own_code.one")
    (tmp_path / "code" / "my_helper.py").write_text("VALUE = 2\n")
    from dataprune.callables import read_code

    assert code_of("my_own_code.one") == first
    assert code_of("my_own_code_2.two") != read_code("my_own_code_2.two"), "so the stage refuses to run"


READER = """
import pathlib
from dataprune.data import folder
from dataprune.data.examples import Dataset
def listed(path):
    return folder.read(pathlib.Path(path).read_text().strip())
"""


def test_pictures_that_lie_where_nobody_watches_are_refused(jobs, mine, tmp_path):
    from dataprune import pipeline

    mine(READER)
    (tmp_path / "list.txt").write_text(str(pictures(tmp_path / "a")))
    config = jobs.config(*PICTURES, f"source.path={tmp_path / 'list.txt'}")
    config.source.reader = {"_target_": "my_own_code.listed"}
    with pytest.raises(ConfigError, match=r"^source\.path=.*expected a folder that holds the images too"):
        pipeline.job(config)
    glyphs = jobs.config("method=random", "target=none")
    glyphs.source.path = str(tmp_path)
    with pytest.raises(ConfigError, match=r"^source\.path=.*the reader takes no path"):
        pipeline.job(glyphs)


def test_a_link_that_leads_elsewhere_is_noticed(tmp_path):
    from dataprune.config import IndexConfig
    from dataprune.data.content import stamp

    a = pictures(tmp_path / "a")
    shutil.rmtree(a / "test")
    shutil.copytree(a / "train", a / "val")
    config = IndexConfig({"_target_": "dataprune.data.folder.read"}, str(a))
    states = []
    for folder in ("train", "val"):
        (a / "test").symlink_to(a / folder)
        states.append(stamp(config, "source"))
        (a / "test").unlink()
    states.append(stamp(config, "source"))
    assert len(set(states)) == 3
    (a / "train" / "loop").symlink_to(a)  # and a link to a folder above ends
    stamp(config, "source")


def test_a_damaged_index_teaches_the_next_one_nothing(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("dataprune.data.content.SETTLED", -(10**9) * 3600)
    a = pictures(tmp_path / "a")
    words = [*PICTURES, f"source.path={a}", "pretrain.loader=workers"]
    (one,) = jobs.run(*words)
    content = jobs.store / "index" / one["keys"]["source"] / "train" / "content.npy"
    right = content.read_bytes()
    content.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    (a / "train" / "dark" / "README").write_text("new")
    (two,) = jobs.run(*words)
    assert two["keys"]["source"] != one["keys"]["source"]
    assert (jobs.store / "index" / two["keys"]["source"] / "train" / "content.npy").read_bytes() == right


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (r"+method.select.shift=\${oc.env:HOME}", r"without \$\{\.\.\.\}"),
        ("+method.select.table={1: 0.5}", "text for names"),
        ("signals.split=test", r"^signals\.split='test': expected train: method=loss selects from that split"),
    ],
)
def test_what_would_reach_a_function_as_something_else_is_refused(jobs, word, text):
    with pytest.raises(ConfigError, match=text):
        jobs.run("method=loss", "target=none", word)


def test_a_claimed_subset_is_never_shown_as_all_examples(jobs):
    (row,) = jobs.run("method=random", "target=none")
    kept = jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz"
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    words = ["target=none", f"pretrain.checkpoint={weights}", f"pretrain.subset={kept}"]
    for more in (["method=full"], ["method=random", "prune_ratio=0"]):
        with pytest.raises(ConfigError, match=r"^pretrain\.subset=.*(show a pruned model|the row would say full)"):
            jobs.run(*words, *more)


def test_what_comes_out_the_same_is_one_line_and_what_does_not_is_two(jobs):
    (a,), (b,) = (jobs.run("method=random", f"evaluate.batch_size={size}") for size in (512, 64))
    assert a["row"] == b["row"], "how many at a time makes no difference"
    (a,), (b,) = (jobs.run("method=scratch", f"source.reader.per_class={n}") for n in (6, 7))
    assert a["identity"] == b["identity"], "it never sees the source"


def test_a_selector_that_misses_its_budget_is_said(jobs, mine, caplog):
    from dataprune import pipeline

    mine("def everything(scores, budget):\n    return list(range(len(scores)))\n")
    config = jobs.config("method=forgetting", "target=none")
    config.method = replace(config.method, select={"_target_": "my_own_code.everything"}, arrays={})
    (row,) = pipeline.job(config)
    assert row["kept"] == 372
    assert "my_own_code.everything keeps 372 of 372, its budget was 186 (prune_ratio=0.5)" in caplog.text


def test_a_list_of_classes_is_one_experiment_at_the_ratio_that_it_removes(jobs):
    words = ["method=handpicked", "method.select.classes=[3,5]", "target=none"]
    (a,), (b,) = (jobs.run(*words, f"prune_ratio={ratio}") for ratio in (0.5, 0.7))
    assert a["row"] == b["row"]
    assert a["prune_ratio"] == round(1 - 2 / 62, 4)
