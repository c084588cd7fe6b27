"""Weights of other programs: which prefixes go, what has no classifier, what is refused."""

import pytest
import torch

from dataprune.checkpoints.fitting import fitted
from dataprune.errors import ConfigError
from dataprune.models.networks import build

MODEL = {"_target_": "dataprune.models.networks.cnn", "width": 4, "depth": 1}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build(MODEL, {"kind": "image", "channels": 3}, 5)


def named(network, form):
    """The network's tensors under the names that another program gives them."""
    return {form.format(name.removeprefix("backbone.")): t for name, t in network.state_dict().items()}


def body(network):
    return {name: t for name, t in network.state_dict().items() if name.startswith("backbone.")}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("form", ["{}", "module.{}", "module.model.{}", "model.network.{}"])
def test_prefixes_that_all_names_share_go(network, form):
    state = {(name.replace("head.", "last_layer.")): t for name, t in named(network, form).items()}
    same(fitted(state, network, "checkpoint"), network.state_dict())


def test_a_layer_that_normalises_images_goes(network):
    state = named(network, "module.model.{}")
    state |= {"module.normalizer.new_mean": torch.zeros(3, 1, 1), "module.normalizer.new_std": torch.ones(3, 1, 1)}
    same(fitted(state, network, "checkpoint"), network.state_dict())
    state["module.normalizer.weight"] = torch.zeros(7, 7)
    with pytest.raises(ConfigError, match="checkpoint="):
        fitted(state, network, "checkpoint")


def test_of_moco_the_query_encoder_counts_without_its_projection(network):
    query = {f"module.encoder_q.{name.removeprefix('backbone.')}": t for name, t in body(network).items()}
    state = query | {name.replace("_q.", "_k."): t + 1 for name, t in query.items() if t.is_floating_point()}
    state |= {f"module.encoder_q.fc.{i}.weight": torch.ones(3, 3) for i in (0, 2)}
    state |= {"module.queue": torch.ones(2, 9), "module.queue_ptr": torch.zeros(1)}
    same(fitted(state, network, "checkpoint"), body(network))
    with pytest.raises(ConfigError, match=r"1 unknown \['module.decoder'\]|1 unknown \['decoder'\]"):
        fitted(state | {"module.decoder": torch.ones(1)}, network, "checkpoint")


def test_a_backbone_alone_has_no_classifier(network):
    same(fitted({f"module.{name}": t for name, t in body(network).items()}, network, "checkpoint"), body(network))


def test_two_layers_without_a_place_are_not_one_classifier(network):
    state = named(network, "{}")
    state["old.weight"] = state.pop("head.weight")
    with pytest.raises(ConfigError, match=r"1 tensors missing .* 1 unknown \['old.weight'\]"):
        fitted({name.removeprefix("backbone."): t for name, t in state.items()}, network, "checkpoint")


def test_features_of_a_model_without_a_classifier_serve_and_its_logits_are_refused(jobs):
    (row,) = jobs.run("method=full")
    trained = torch.load(jobs.store / "train" / row["keys"]["model"] / "model.pt")
    path = jobs.folder / "moco.pth"
    query = {k.replace("backbone.", "module.encoder_q."): t for k, t in trained.items() if not k.startswith("head.")}
    torch.save({"state_dict": query | {"module.queue": torch.ones(2)}}, path)
    words = [f"surrogate.checkpoint={path}"]
    (found,) = jobs.run("method=feature_mapping_clusters", "method.clusters.number=9", *words)
    model = torch.load(jobs.store / "adopt" / found["keys"]["surrogate"] / "model.pt")
    assert not model["head.weight"].any()
    same({k: t for k, t in model.items() if k[0] == "b"}, {k: t for k, t in trained.items() if k[0] == "b"})
    with pytest.raises(ConfigError, match=r"method\.score\.target_predictions=.*has no classifier"):
        jobs.run("method=label_mapping", *words)
    with pytest.raises(ConfigError, match=r"method\.select\.ties=.*has no classifier"):
        jobs.run("method=feature_mapping", *words)
