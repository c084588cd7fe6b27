"""What a published network had that timm's has not goes with its weights into the adopted one."""

from pathlib import Path

import pytest

from dataprune.checkpoints.conversion import convert
from dataprune.errors import ConfigError
from dataprune.stages.adopt import TIMM, built_for

HERE = Path(__file__).parents[1] / "reference" / "sparse"


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("g_rigl_torch.pth", {"maxpool": "tf_same"}),
        ("g_rigl_tf.npz", {"maxpool": "tf_same"}),
        ("g_mobilenet_acdc.ckpt", {"act_layer": "relu"}),
        ("g_sparseml.pth", {}),
    ],
)
def test_the_network_is_built_as_its_authors_built_it(name, needs):
    found = convert(HERE / name, "pretrain.checkpoint")
    model = {"_target_": TIMM, "name": "of that kind"}
    assert built_for(model, found, "pretrain") == model | needs
    for key in needs:
        with pytest.raises(ConfigError, match=rf"^pretrain\.model\.{key}='other': expected {needs[key]}"):
            built_for(model | {key: "other"}, found, "pretrain")
