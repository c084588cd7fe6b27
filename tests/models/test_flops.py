"""FLOPs by hand and by the counter, and that counting leaves no trace; None where they are not known, never 0."""

from functools import partial

import pytest
import torch
from torch import nn

from dataprune.models import flops
from dataprune.models.networks import Network, cnn, resnet
from dataprune.training.adversarial import attack_images


class Named(nn.Module):
    """A plain module, called with inputs by name as our networks are."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, **inputs):
        return self.inner(*inputs.values())


def counted(count, network, shape, *attack):
    name = "features" if isinstance(network, Network) and len(shape) == 1 else "image"
    return count(network if isinstance(network, Network) else Named(network), {name: torch.empty(shape)}, *attack)


forward_flops, step_flops = partial(counted, flops.forward_flops), partial(counted, flops.step_flops)


def convolution(side, c_in, c_out, kernel=3, groups=1):
    """Of one forward pass that gives side x side pixels: two a multiplication."""
    return 2 * side * side * c_out * (c_in // groups) * kernel * kernel


# by hand


def test_a_linear_layer_takes_two_a_weight_and_half_of_its_backward_where_nobody_wants_its_input_s_gradient():
    layer = nn.Linear(7, 3)
    assert forward_flops(layer, (7,)) == 2 * 7 * 3
    assert step_flops(layer, (7,)) == 2 * (2 * 7 * 3)
    assert step_flops(nn.Sequential(nn.Linear(5, 7), layer), (5,)) == 2 * (2 * 5 * 7) + 3 * (2 * 7 * 3)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_convolution_s_gradients_take_as_much_as_its_forward_each_grouped_or_not(groups):
    """torch's own formula counts the gradient of a depthwise layer's weights once a channel too often."""
    first, second = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=groups)
    network = nn.Sequential(first, second, nn.Flatten(), nn.Linear(8 * 36, 3))
    one, two, head = convolution(6, 4, 8, 1), convolution(6, 8, 8, groups=groups), 2 * 8 * 36 * 3
    assert forward_flops(network, (4, 6, 6)) == one + two + head
    assert step_flops(network, (4, 6, 6)) == 2 * one + 3 * (two + head)


def test_a_transposed_convolution_is_counted_by_what_comes_in():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Flatten(), nn.Linear(600, 2))
    one, two, head = convolution(5, 3, 4, 1), 2 * 25 * 4 * 6 * 4, 2 * 600 * 2
    assert forward_flops(network, (3, 5, 5)) == one + two + head
    assert step_flops(network, (3, 5, 5)) == 2 * one + 3 * (two + head)


def test_a_resnet_is_the_sum_of_its_layers():
    network = Network(resnet(3, width=4, blocks=(1, 1)), 10)
    stem = convolution(8, 3, 4)
    rest = 2 * convolution(8, 4, 4) + convolution(4, 4, 8) + convolution(4, 8, 8) + convolution(4, 4, 8, 1)
    assert forward_flops(network, (3, 8, 8)) == stem + rest + 2 * 8 * 10
    assert step_flops(network, (3, 8, 8)) == 2 * stem + 3 * (rest + 2 * 8 * 10)


def test_the_resnet_of_the_cifar_papers_takes_its_published_number():
    """0.56 G multiplications and additions for one image of 32 pixels."""
    assert forward_flops(Network(resnet(3), 10), (3, 32, 32)) / 2 == pytest.approx(0.5557e9, rel=1e-3)


# what a step does


def test_a_frozen_backbone_goes_forward_and_its_head_backward():
    network = Network(cnn(1, width=4, depth=2), 5)
    forward, head = forward_flops(network, (1, 8, 8)), 2 * 8 * 5
    network.freeze_backbone()
    assert step_flops(network, (1, 8, 8)) == forward + head
    assert step_flops(network, (8,)) == 2 * head, "features that were computed before: the head alone"
    assert forward_flops(network, (8,)) == head


class NoGradient(nn.Module):
    """A backbone that keeps itself out of the graph."""

    def __init__(self):
        super().__init__()
        self.inner, self.num_features = cnn(1, width=4, depth=2), 8

    def forward(self, x):
        with torch.no_grad():
            return self.inner(x)


def test_what_runs_without_gradients_has_no_backward():
    network = Network(NoGradient(), 5)
    assert step_flops(network, (1, 8, 8)) == forward_flops(network, (1, 8, 8)) + 2 * 8 * 5


class Auxiliary(nn.Module):
    """A second branch while it trains."""

    def __init__(self):
        super().__init__()
        self.main, self.second = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.main(x) + self.second(x) if self.training else self.main(x)


@pytest.mark.parametrize("training", [True, False])
def test_a_step_is_in_train_mode_and_a_clean_pass_in_eval_mode(training):
    network = Auxiliary().train(training)
    assert step_flops(network, (6,)) == 2 * 2 * 36
    assert forward_flops(network, (6,)) == 36


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_it_does_not_matter_what_the_caller_is_doing(context):
    network = Network(cnn(1, width=4), 5)
    expected = forward_flops(network, (1, 8, 8)), step_flops(network, (1, 8, 8))
    with context():
        assert (forward_flops(network, (1, 8, 8)), step_flops(network, (1, 8, 8))) == expected


@pytest.mark.parametrize("steps", [1, 3])
def test_an_attack_of_k_steps_takes_k_passes_forward_and_back_to_the_pixels(steps):
    network = Network(cnn(1, width=4, depth=2), 5)
    attack = partial(attack_images, epsilon=0.1, steps=steps, mean=torch.zeros(1), std=torch.ones(1))
    forward, step = forward_flops(network, (1, 8, 8)), step_flops(network, (1, 8, 8))
    assert step_flops(network, (1, 8, 8), attack) == step + steps * 2 * forward


# never 0


class Tokens(nn.Module):
    """(b, 3, 8) through `layer`, the first place into a head."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(8, 2)

    def forward(self, x):
        out = self.layer(x, x, x) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return self.head((out[0] if isinstance(out, tuple) else out)[:, 0])


ATTENTION = 3 * 2 * 8 * (4 * 8) + 2 * (2 * 3 * 3 * 8)  # projections of three tokens; scores, and values by them


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.MultiheadAttention(8, 2, batch_first=True), ATTENTION),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ATTENTION + 3 * 2 * (2 * 8 * 16)),
        (nn.LSTM(8, 8, batch_first=True), 3 * 4 * 2 * (8 * 8 + 8 * 8)),
        (nn.GRU(8, 8, batch_first=True), 3 * 3 * 2 * (8 * 8 + 8 * 8)),
    ],
)
def test_fused_layers_count_in_full_or_are_unknown(layer, expected):
    """On real tensors in eval mode these are one operation without a formula, and the head alone would count."""
    head = 2 * 8 * 2
    for network in (Tokens(layer).eval(), Tokens(layer).train()):
        assert forward_flops(network, (3, 8)) in (None, expected + head)
        step = step_flops(network, (3, 8))
        assert step is None or step > 2 * expected


class Distances(nn.Module):
    """A head on distances to prototypes: an operation that multiplies and has no formula."""

    def __init__(self):
        super().__init__()
        self.body, self.prototypes = nn.Linear(8, 30), nn.Parameter(torch.randn(4, 30))

    def forward(self, x):
        return -torch.cdist(self.body(x), self.prototypes)


class Peeking(nn.Module):
    """Looks at values, which are not there."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x):
        return self.layer(x if x.sum().item() > 0 else -x)


class Scaled(nn.Module):
    """Has weights and does nothing that is counted."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return x * self.scale


@pytest.mark.parametrize("network", [Distances(), Peeking(), Scaled(), nn.LazyLinear(3)])
def test_what_cannot_be_counted_is_unknown(network):
    assert forward_flops(network, (8,)) is None
    assert step_flops(network, (8,)) is None


# no trace


class Drawing(nn.Module):
    """Draws, and normalises."""

    def __init__(self):
        super().__init__()
        self.inner, self.num_features, self.calls = cnn(1, width=4), 16, 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x) * (torch.rand(1, device=x.device) + torch.rand(1).to(x.device)) * nn.Dropout(0.5)(x).mean()


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_and_the_generator_as_they_were(training):
    network = Network(Drawing(), 5).train(training)
    network(image=torch.randn(2, 1, 8, 8)).sum().backward()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    gradients, generator = [p.grad.clone() for p in network.parameters()], torch.get_rng_state()
    assert forward_flops(network, (1, 8, 8)) > 0
    assert step_flops(network, (1, 8, 8)) > 0
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(p.grad, old) for p, old in zip(network.parameters(), gradients, strict=True))
    assert {m.training for m in network.modules()} == {training}
    assert network.backbone.calls == 1
    assert {p.device.type for p in network.parameters()} == {"cpu"}


def test_shared_weights_stay_shared():
    body = nn.Linear(6, 6)
    assert step_flops(nn.Sequential(body, body), (6,)) == 2 * 72 + 3 * 72
