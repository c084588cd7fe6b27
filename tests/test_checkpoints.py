"""Checkpoints of other programs: weights and masks to the bit, nothing guessed, nothing left over, nothing run.

The files in tests/reference/sparse have random weights in the layouts of the published ones; g_expected.npz has what
is in them, by independent writers.
"""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from dataprune.checkpoints import inspect, load
from dataprune.checkpoints.__main__ import main
from dataprune.errors import ConfigError

HERE = Path(__file__).parent / "reference" / "sparse"
META = json.loads((HERE / "g_meta.json").read_text())
GOOD = [name for name, meta in META.items() if "expect_error" not in meta]
DENSE = "g_dense_torchvision.pth"


def network(meta, classes=None):
    classes = classes or meta["num_classes"]
    if meta["arch"] == "mobilenetv1":
        make = timm.models.efficientnet._gen_mobilenet_v1
        return make("mobilenetv1_100", meta["multiplier"], num_classes=classes, act_layer="relu")
    return timm.create_model("resnet50", layers=meta["layers"], channels=meta["channels"], num_classes=classes)


@pytest.fixture(scope="module")
def expected():
    with np.load(HERE / "g_expected.npz") as archive:
        return dict(archive)


def tensors(name=DENSE):
    there = torch.load(HERE / name, weights_only=True)
    return there.get("model_state_dict", there.get("state_dict", there.get("model", there)))


@pytest.mark.parametrize(
    ("name", "weights"), [*((name, "trained") for name in GOOD), ("g_lth_prune.pth.tar", "ticket")]
)
def test_weights_and_masks_of_every_format_are_exact(name, weights, expected):
    meta, model = META[name], network(META[name])
    masks, report = load(HERE / name, model, weights=weights), inspect(HERE / name, weights=weights)
    state = model.state_dict()
    wanted = meta["ticket_tensors" if weights == "ticket" else "tensors"]
    assert state.keys() == wanted.keys()
    for tensor, key in wanted.items():
        np.testing.assert_array_equal(state[tensor].numpy(), expected[key], err_msg=tensor)
    assert masks.keys() == meta["masks"].keys()
    for weight, key in meta["masks"].items():
        bits = np.unpackbits(expected[key])[: masks[weight].size].astype(bool)
        np.testing.assert_array_equal(masks[weight].ravel(), bits, err_msg=weight)
        assert not state[weight].numpy()[~masks[weight]].any()
    for figure in ("format", "arch", "interpolation", "backbone", "all_prunable", "per_layer"):
        assert report[figure] == meta[figure], figure
    assert report["needs"].get("maxpool", "torch") == meta["maxpool"]
    assert not report["unknown"]


@pytest.mark.parametrize("name", [name for name in META if "expect_error" in META[name]])
def test_bad_files_are_refused_in_one_line(name, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"^checkpoint=.*(layer1\.0\.conv2\.weight missing|15537 numbers)") as caught:
        load(HERE / name, network(META[DENSE]))
    assert "\n" not in str(caught.value)
    assert main(["convert", str(HERE / name), str(tmp_path / "out.pth")]) == 1
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_everything_has_a_place_in_the_report():
    report = inspect(HERE / "g_str_native.pth")
    assert report["dropped"]["conv1.sparseThreshold"].startswith("threshold")
    assert report["made"].keys() == {"fc.weight", "fc.bias"}
    assert {"optimizer", "best_acc1"} <= set(report["beside"])
    assert report["says"]["arch"] == "ResNet50"
    (conv,) = [row for row in inspect(HERE / "g_rigl_tf.npz")["tensors"] if row["name"] == "conv1.weight"]
    assert conv["from"] == "resnet_model/initial_conv/weights"
    assert conv["shape"] == [64, 3, 7, 7]
    assert "init_weight" not in inspect(HERE / "g_lth_prune.pth.tar")["dropped"]
    assert inspect(HERE / "g_lth_prune.pth.tar", weights="trained")["dropped"]["init_weight"]


BROKEN = {
    "a layer is missing": (lambda s: s.pop("layer1.0.conv2.weight"), "1 tensors missing"),
    "there is a second head": (lambda s: s.update({"head.weight": s["fc.weight"]}), "1 unknown"),
    "a layer is there twice": (lambda s: s.update({"module.conv1.weight": s["conv1.weight"]}), r"conv1\.weight twice"),
    "a weight is NaN": (
        lambda s: s["fc.weight"].view(-1).__setitem__(3, float("nan")),
        r"NaN or infinity in fc\.weight",
    ),
    "a weight is infinite": (lambda s: s["bn1.bias"].__setitem__(0, float("inf")), "NaN or infinity in bn1.bias"),
    "another shape": (lambda s: s.update({"conv1.weight": s["conv1.weight"][:, :1]}), r"conv1\.weight \[64, 1, 7, 7\]"),
    "a mask of another shape": (
        lambda s: s.update({"fc._weight_mask": torch.ones(3, 3), "fc._layer.weight": s.pop("fc.weight")}),
        r"mask \[3, 3\] of fc\.weight",
    ),
    "a mask that is not 0 or 1": (
        lambda s: s.update({"fc._weight_mask": s["fc.weight"] * 0 + 0.5, "fc._layer.weight": s.pop("fc.weight")}),
        r"fc\._weight_mask with other values",
    ),
    "a mask of a batch norm": (
        lambda s: s.update({"bn1._weight_mask": torch.ones(64), "fc._layer.weight": s.pop("fc.weight")}),
        r"masks of bn1\.weight",
    ),
    "a wrapped weight and a bare one": (
        lambda s: s.update({"fc._layer.weight": s["fc.weight"]}),
        r"fc\.weight and fc\._layer\.weight",
    ),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_what_does_not_fit_is_an_error_with_its_name_and_the_network_is_as_it_was(change, said, tmp_path):
    state, model = dict(tensors()), network(META[DENSE])
    change(state)
    torch.save({"state_dict": state}, tmp_path / "broken.pth")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path / "broken.pth", model)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_another_number_of_classes_another_network_and_another_format_are_refused():
    with pytest.raises(ConfigError, match=r"fc\.weight \[10, 64\] for \[7, 64\]"):
        load(HERE / "g_sparseml.pth", network(META[DENSE], classes=7))
    with pytest.raises(ConfigError, match="tensors missing"):
        load(HERE / "g_sparseml.pth", network(META["g_mobilenet_amc.pth"]))
    with pytest.raises(ConfigError, match=r"^checkpoint\.format='str': expected sparseml"):
        load(HERE / "g_sparseml.pth", network(META[DENSE]), format="str")


def test_a_density_that_is_not_the_claimed_one_is_refused():
    load(HERE / "g_sparseml.pth", network(META[DENSE]), density=0.104)
    with pytest.raises(ConfigError, match=r"^density=0\.2: expected 0\.1000"):
        load(HERE / "g_sparseml.pth", network(META[DENSE]), density=0.2)


def test_names_that_a_format_has_no_place_for_are_named(tmp_path):
    state = dict(tensors("g_sparseml.pth")) | {"sections.0.0.extra.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "more.pth")
    assert inspect(tmp_path / "more.pth")["unknown"] == ["sections.0.0.extra.weight"]
    with pytest.raises(ConfigError, match=r"1 unknown \['sections\.0\.0\.extra\.weight'\]"):
        load(tmp_path / "more.pth", network(META[DENSE]))
    assert main(["convert", str(tmp_path / "more.pth")]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["more.pth"]


class Bomb:
    """A pickle that runs a command, or makes as many bytes as it says."""

    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


@pytest.mark.parametrize("bomb", [Bomb(os.system, ("touch ran",)), Bomb(bytearray, (10**11,))], ids=["runs", "fills"])
def test_a_pickle_bomb_does_nothing(bomb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": dict(tensors()), "optimizer": bomb}, "new.pth")
    torch.save({"state_dict": dict(tensors()), "optimizer": bomb}, "old.pth", _use_new_zipfile_serialization=False)
    Path("plain.pkl").write_bytes(pickle.dumps(bomb))
    for name in ("new.pth", "old.pth", "plain.pkl"):
        with pytest.raises(ConfigError, match=r"^checkpoint=") as caught:
            inspect(name)
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_classes_of_the_training_program_are_not_needed_in_either_form(tmp_path):
    there = torch.load(HERE / "g_str_native.pth", weights_only=True) | {"optimizer": Path("a")}
    for new in (True, False):
        torch.save(there, tmp_path / "file.pth", _use_new_zipfile_serialization=new)
        assert inspect(tmp_path / "file.pth")["format"] == "str"


@pytest.mark.parametrize("name", ["g_dense_torchvision.pth", "g_rigl_tf.npz"])
def test_a_flipped_bit_and_a_cut_file_are_seen(name, tmp_path):
    content = bytearray((HERE / name).read_bytes())
    (tmp_path / f"cut{name}").write_bytes(content[: len(content) // 2])
    content[len(content) // 2] ^= 4
    (tmp_path / f"flipped{name}").write_bytes(content)
    for path in tmp_path.iterdir():
        with pytest.raises(ConfigError, match=r"^checkpoint="):
            inspect(path)


def test_archives_that_reach_outside_or_unpack_to_much_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "outside.npz", "w") as archive:
        archive.writestr("../../evil.npy", b"x")
    with pytest.raises(ConfigError, match=r"lie inside it, not '\.\./\.\./evil\.npy'"):
        inspect(tmp_path / "outside.npz")
    np.savez_compressed(tmp_path / "large.npz", **{"resnet_model/initial_conv/weights": np.zeros(2**24)})
    with pytest.raises(ConfigError, match="many times its size"):
        inspect(tmp_path / "large.npz")
    torch.save({"conv.weight": torch.zeros(1).expand(2**20, 2**20)}, tmp_path / "wide.pth")
    with pytest.raises(ConfigError, match="many times the file's size"):
        inspect(tmp_path / "wide.pth")


def test_a_layer_without_weights_is_told_and_refused_only_where_no_shortcut_is(tmp_path, caplog):
    state = dict(tensors())
    state["layer1.0.conv2.weight"].zero_()
    torch.save(state, tmp_path / "empty.pth")
    load(tmp_path / "empty.pth", network(META[DENSE]))
    assert "no weight is left in layer1.0.conv2.weight" in caplog.text
    state["layer1.0.downsample.0.weight"].zero_()
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ConfigError, match=r"^checkpoint=no weight in layer1\.0\.conv2\.weight, layer1\.0\.downsample"):
        load(tmp_path / "cut.pth", network(META[DENSE]))


@pytest.mark.parametrize(("claim", "good", "bad"), [("sparsity", 0.9, 0.8), ("density", 0.1, 0.9)])
def test_what_a_file_claims_of_its_density_is_held_against_its_weights(claim, good, bad, tmp_path):
    there = torch.load(HERE / "g_sparseml.pth", weights_only=True)
    torch.save(there | {claim: good}, tmp_path / "good.pth")
    torch.save(there | {claim: bad}, tmp_path / "bad.pth")
    load(tmp_path / "good.pth", network(META[DENSE]))
    with pytest.raises(ConfigError, match=r"^checkpoint: density="):
        load(tmp_path / "bad.pth", network(META[DENSE]))


def test_a_whole_network_is_read_from_a_file_that_is_trusted_alone(tmp_path):
    torch.save(network(META[DENSE]), tmp_path / "whole.pth")
    with pytest.raises(ConfigError, match=r"^checkpoint="):
        load(tmp_path / "whole.pth", network(META[DENSE]))
    assert load(tmp_path / "whole.pth", network(META[DENSE]), trust=True)


@pytest.mark.parametrize("name", ["g_acdc_wrapped.ckpt", "g_rigl_tf.npz", "g_mobilenet_str.pth"])
def test_a_converted_file_is_read_as_the_original(name, tmp_path, capsys):
    out, (first, second) = tmp_path / "out.pth", (network(META[name]), network(META[name]))
    assert main(["convert", str(HERE / name), str(out)]) == 0
    before, after = load(HERE / name, first), load(out, second)
    assert all(np.array_equal(before[weight], after[weight]) for weight in before)
    assert all(torch.equal(t, second.state_dict()[n]) for n, t in first.state_dict().items())
    there, then = inspect(HERE / name), inspect(out)
    assert [there[key] for key in ("needs", "arch", "backbone")] == [then[key] for key in ("needs", "arch", "backbone")]
    assert json.loads((tmp_path / "out.pth.report.json").read_text())["sha256"] == there["sha256"]
    capsys.readouterr()
    assert main(["inspect", str(out)]) == 0
    assert "backbone: density" in capsys.readouterr().out
    assert main(["convert", str(out), str(out)]) == 1
