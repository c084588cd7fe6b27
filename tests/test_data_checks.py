"""What is known once the data are indexed is told before the first training, mistakes in the transfer too."""

import numpy as np
import pytest
import torch
from PIL import Image

from dataprune.config import AugmentConfig, TrainConfig
from dataprune.errors import ConfigError
from tests import conftest


@pytest.fixture
def folder(tmp_path):
    """folder(name, classes): an image folder of noise with these classes, 12 pixels a side."""

    def of(name, *classes, side=12):
        rng = np.random.default_rng(0)
        for split, count in (("train", 4), ("test", 2)):
            for label in classes:
                (tmp_path / name / split / label).mkdir(parents=True)
                for i in range(count):
                    pixels = rng.integers(0, 255, (side, side), np.uint8)
                    Image.fromarray(pixels).save(tmp_path / name / split / label / f"{i}.png")
        return tmp_path / name

    return of


def refused(jobs, text, *words):
    """The job is refused with this text, and nothing has been trained."""
    # another source or network does not take all overrides of a tiny job
    unfit = tuple(f"{key}." for key in ("source", "pretrain.model") if any(f"{key}=" in word for word in words))
    tiny = [word for word in conftest.TINY if not word.startswith(unfit)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "TINY", tiny)
        with pytest.raises(ConfigError, match=text):
            jobs.run(*words)
    assert not (jobs.store / "train").exists()


@pytest.mark.parametrize("group", ["source", "target"])
def test_one_class_is_nothing_to_learn(jobs, folder, group):
    refused(
        jobs,
        rf"^{group}=data of one class: expected two classes or more",
        f"{group}=folder",
        f"{group}.path={folder('one', 'a')}",
    )


def test_an_old_head_with_too_few_outputs_is_told_before_the_source_is_trained(jobs, folder):
    words = ["source=folder", f"source.path={folder('two', 'a', 'b', side=8)}", "method=random", "transfer.head=reuse"]
    refused(jobs, r"^transfer\.head='reuse': expected fresh: 2 outputs for the 10 classes of target", *words)


def test_a_batch_that_a_subset_cannot_fill_is_told_before_the_surrogate_is_trained(jobs):
    words = ["method=forgetting", "prune_ratio=0.8", "pretrain.drop_last=true", "pretrain.batch_size=128"]
    refused(jobs, r"^pretrain\.batch_size=128: expected at most 74, the examples that are trained on, or", *words)


def test_classes_that_the_source_has_not_are_told_before_the_source_is_trained(jobs, folder):
    words = ["source=folder", f"source.path={folder('two', '1', 'b', side=8)}", "method=random"]
    refused(jobs, r"^transfer\.head=9 classes that the source has not, such as 0, 2", *words, "transfer.head=matched")


def test_a_matched_head_begins_with_the_rows_of_its_classes(jobs, folder, monkeypatch):
    """As a model of ImageNet-21K that goes on with ImageNet-1K."""
    monkeypatch.setattr(conftest, "TINY", [word for word in conftest.TINY if not word.startswith("source.")])
    (row,) = jobs.run(
        *("source=folder", f"source.path={folder('many', 'a', 'b', 'c', 'd', side=8)}", "method=full"),
        *("target=folder", f"target.path={folder('few', 'b', 'd', side=8)}", "transfer.head=matched"),
        *("transfer.optimizer.lr=1e-30", "transfer.epochs=1"),
    )
    heads = {role: torch.load(jobs.store / "train" / row["keys"][role] / "model.pt") for role in ("model", "adapted")}
    for name in ("head.weight", "head.bias"):
        assert torch.equal(heads["adapted"][name], heads["model"][name][[1, 3]])


@pytest.mark.parametrize("role", ["surrogate", "pretrain", "transfer"])
@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("augment.random_resized_crop", "[0.1,1]", "expected null, or .*loader=workers"),
        ("augment.crop_padding", "8", "expected 0 to 7: below the side"),
        ("resolution", "{low: 8, high: 8, start: 0, end: 1}", r"expected \{\}"),
    ],
)
def test_changes_that_these_images_do_not_allow_are_told_for_every_role(jobs, role, key, value, text):
    plus = "++" if key == "resolution" else ""
    refused(
        jobs, rf"^{role}\.{key}=.*{text}".replace("{}", r"\{\}"), f"{plus}{role}.{key}={value}", "method=forgetting"
    )


def test_padding_needs_images_in_memory(jobs, folder):
    words = ["target=folder", f"target.path={folder('two', 'a', 'b')}", "transfer.loader=workers", "target.size=8"]
    words += ["target.channels=1", "run.workers=0", "transfer.augment.crop_padding=2"]
    refused(jobs, r"^transfer\.augment\.crop_padding=2: expected 0, or transfer\.loader=memory", *words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["model@pretrain.model=timm", "pretrain.model.name=vit_tiny_patch16_224"],
            r"^source\.size=images of 8 x 8 pixels: expected a size that pretrain\.model \(vit_tiny_patch16_224\)",
        ),
        (["pretrain.model.depth=5"], r"^source\.size=images of 8 x 8 pixels: expected a size that pretrain\.model"),
        (
            ["model@pretrain.model=timm", "pretrain.model.name=no_such_net"],
            r"^pretrain\.model\.name='no_such_net': expected a timm model",
        ),
        (["pretrain.model.norm=some"], r"^pretrain\.model\.norm='some': expected one of batch"),
    ],
)
def test_a_network_that_these_images_do_not_fit_is_told_before_the_surrogate_is_trained(jobs, words, text):
    refused(jobs, text, "method=forgetting", *words)


def test_a_network_too_deep_for_the_targets_images_is_told_before_the_source_is_trained(jobs, folder):
    words = ["source=folder", f"source.path={folder('large', 'a', 'b', side=32)}", "pretrain.model.depth=5"]
    refused(jobs, r"^target\.size=images of 8 x 8 pixels: expected a size that pretrain\.model", *words)


def test_a_checkpoint_that_does_not_fit_is_told_before_the_surrogate_is_trained(jobs, tmp_path):
    torch.save({"backbone.w": torch.zeros(2)}, tmp_path / "weights.pt")
    words = ["method=forgetting", "target=none", f"pretrain.checkpoint={tmp_path / 'weights.pt'}"]
    with pytest.raises(ConfigError, match=r"^pretrain\.checkpoint="):
        jobs.run(*words)
    assert not (jobs.store / "train").exists()


def test_a_job_that_finds_everything_builds_no_network(jobs, monkeypatch):
    (first,) = jobs.run("method=forgetting", "target=none")
    monkeypatch.setattr("dataprune.checks.networks._check_shape", None)
    (again,) = jobs.run("method=forgetting", "target=none")
    assert again["keys"] == first["keys"]


def test_the_check_of_networks_draws_no_random_numbers(jobs):
    """Otherwise a job whose first training was found would go on with other numbers than one that trains it."""
    from dataprune.checks.networks import _forward

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    codec, input = {"_target_": "dataprune.data.images.Images"}, {"kind": "image", "channels": 1}
    for device in ("meta", "cpu"):
        cnn = {"_target_": "dataprune.models.networks.cnn", "width": 4}
        _forward(cnn, codec, input | {"height": 8, "width": 8}, device)
    assert torch.equal(torch.rand(4), expected)


def test_a_mistake_of_a_baseline_is_told_before_the_method_trains(jobs):
    """Two classes of 62 are enough for the method; so few examples do not suffice for the random ones beside it."""
    words = ["method=random_classes", "prune_ratio=0.97", "baselines=standard"]
    refused(jobs, r"^prune_ratio=0\.97: expected 0\.8333 or less", *words)


def test_a_mistake_of_another_target_is_told_before_the_first_one_is_served(jobs, folder):
    words = ["+target@others.big=folder", f"others.big.path={folder('big', *'abcdefghijkl', side=8)}"]
    words += ["source=folder", f"source.path={folder('source', *'abcdefghijk', side=8)}", "others.big.name=big"]
    refused(jobs, "fresh: 11 outputs for the 12 classes", "method=random", "transfer.head=reuse", *words)


def test_a_recipe_says_nothing_of_its_images_where_it_does_not_change_them():
    from dataprune.checks.data import check_images

    header = {"codec": {"_target_": "dataprune.data.images.Images"}}
    header["input"] = {"kind": "image", "channels": 1, "height": 8, "width": 8}
    for loader in ("memory", "workers"):
        check_images(TrainConfig(augment=AugmentConfig(flip=True), loader=loader), "pretrain", header)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["surrogate.drop_last=true", "surrogate.batch_size=373"], r"^surrogate\.batch_size=373: expected at most 372"),
        (["pretrain.drop_last=true", "pretrain.batch_size=187"], r"^pretrain\.batch_size=187: expected at most 186"),
        (["transfer.batch_size=0", "transfer.processes=3"], r"^transfer\.batch_size=0: expected a multiple of 3 "),
        (["transfer.batch_size=0", "transfer.accumulate=3"], r"^transfer\.batch_size=0: expected a multiple of 3 "),
    ],
)
def test_batches_that_the_examples_do_not_admit_are_told_before_the_surrogate_is_trained(jobs, words, text):
    refused(jobs, text, "method=forgetting", *words)


def test_a_sampler_s_share_that_fills_no_batch_is_told(jobs):
    words = ["method=rs2", "prune_ratio=0.8", "pretrain.drop_last=true"]
    refused(jobs, r"^pretrain\.batch_size=80: expected at most 74, ", *words, "pretrain.batch_size=80")


def test_columns_of_a_reused_head_are_not_those_of_a_scratch_model(jobs, tmp_path):
    (tmp_path / "columns.txt").write_text("\n".join(map(str, range(40, 50))))
    words = ["transfer.head=reuse", "evaluate.about=target", f"evaluate.classes_file={tmp_path / 'columns.txt'}"]
    text = r"^evaluate\.classes_file=.*: expected distinct columns of 0 to 9"
    refused(jobs, text, "method=scratch", *words)
