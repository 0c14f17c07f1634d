"""Which layer of a module of PyTorch is the last, and what may follow it."""

from __future__ import annotations

import pytest
import torch
from active_learn.errors import ModelError
from active_learn.models import adapt
from torch import nn
from torch_models import Ending, Tokens, assert_linear, classify


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "end",
    [
        lambda z: z,
        lambda z: z.softmax(-1),
        lambda z: z.log_softmax(-1),
        torch.sigmoid,
        torch.sigmoid_,
        nn.functional.logsigmoid,
        lambda z: (z, torch.zeros(1)),
        lambda z: {"logits": z, "loss": None},
    ],
    ids=["none", "softmax", "log_softmax", "sigmoid", "in place", "logsigmoid", "tuple", "mapping"],
)
def test_what_may_follow_the_last_layer(end):
    module, x = Ending(end), torch.randn(6, 5)
    output = classify(module, x)
    torch.testing.assert_close(output.logits, module.logits(x))


@pytest.mark.parametrize("end", [torch.tanh, torch.tanh_])
def test_another_ending_needs_the_layer_named(end):
    module, x = Ending(end), torch.randn(6, 5)
    with pytest.raises(ModelError, match=r"last linear layer that ran is 'head'.*layer="):
        classify(module, x)
    torch.testing.assert_close(classify(module, x, layer="head").logits, module.logits(x))


def test_outputs_of_no_known_kind():
    with pytest.raises(ModelError, match="the model returns str"):
        classify(Ending(lambda z: "three"), torch.randn(2, 5))
    with pytest.raises(ModelError, match=r"output has shape \(2, 3, 2\)"):
        classify(Ending(lambda z: torch.stack([z, z], dim=2)), torch.randn(2, 5))


def test_a_head_used_twice_counts_with_its_last_call():
    class Refine(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(4, 4)
            self.alias = self.shared

        def forward(self, x):
            return self.alias(torch.tanh(self.shared(x)))

    module, x = Refine(), torch.randn(6, 4)
    output = classify(module, x)
    with torch.no_grad():
        torch.testing.assert_close(output.embedding, torch.tanh(module.shared(x)))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("flat", [True, False])
def test_a_convolution_of_one_pixel_is_a_linear_layer(dimensions, bias, flat):
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = getattr(nn, f"Conv{dimensions}d")(2, 6, 3, padding=1)
            self.head = getattr(nn, f"Conv{dimensions}d")(6, 3, 1, bias=bias)

        def pooled(self, x):
            return torch.relu(self.body(x)).flatten(2).mean(dim=2)

        def forward(self, x):
            h = self.pooled(x)[(...,) + (None,) * dimensions]
            z = self.head(h)
            return z.flatten(1) if flat else z

    module, x = Squeezed(), torch.randn(20, 2, *[5] * dimensions)
    assert_linear(module, x, lambda x: module.pooled(x).detach())


def test_a_convolution_that_is_averaged_over_the_pixels():
    head = nn.Conv2d(6, 3, 1)
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), head, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    x = torch.randn(20, 2, 8, 8)
    output = assert_linear(module, x)
    with torch.no_grad():
        pooled = module[:2](x).mean(dim=(2, 3))
    torch.testing.assert_close(output.embedding, pooled, rtol=1e-4, atol=1e-5)


def test_a_convolution_of_several_pixels_is_none():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError, match="no linear layer ran"):
        classify(module, torch.randn(6, 2, 5, 5))


def test_an_exported_convolution():
    module = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 3, 1), nn.Flatten()
    ).eval()
    x = torch.randn(9, 2, 5, 5)
    size = torch.export.Dim("n", min=2)
    program = torch.export.export(module, (x,), dynamic_shapes=({0: size},))
    for exported in (program, program.run_decompositions()):
        output = classify(exported, x)
        torch.testing.assert_close(output.logits, module(x).detach())
        assert output.embedding.shape == (9, 6)


@pytest.mark.parametrize(
    "end",
    [
        lambda z: z.mean(dim=1),
        lambda z: z.mean(dim=1).softmax(dim=-1),
        lambda z: z.sum(dim=1) / z.shape[1],
        lambda z: nn.functional.adaptive_avg_pool1d(z.transpose(1, 2), 1)[:, :, 0],
    ],
)
def test_a_head_on_every_token_that_is_averaged(end):
    module, x = Tokens(end).eval(), torch.randn(20, 4, 5)
    output, z = classify(module, x), module.head(torch.tanh(x)).mean(dim=1).detach()
    torch.testing.assert_close(output.logits, z, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(output.embedding, torch.tanh(x).mean(dim=1))
    named = classify(module, x, layer="head")
    torch.testing.assert_close(named.logits, output.logits)


def test_a_maximum_over_tokens_is_not_linear():
    with pytest.raises(ModelError, match="is not the output of a linear layer"):
        classify(Tokens(lambda z: z.amax(dim=1)), torch.randn(20, 4, 5))


class Heads(nn.Module):
    """Several heads on different features, as distilled models have."""

    def __init__(self, combine, n_heads=2, bias=True):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(5, 3, bias=bias) for _ in range(n_heads))
        self.norms = nn.ModuleList(nn.LayerNorm(5) for _ in range(n_heads))
        self.combine = combine

    def forward(self, x):
        inputs = [norm(x + i * x**2) for i, norm in enumerate(self.norms)]
        return self.combine([head(h) for head, h in zip(self.heads, inputs, strict=True)])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_heads", [2, 3])
@pytest.mark.parametrize("combine", [lambda z: sum(z) / len(z), sum], ids=["mean", "sum"])
def test_several_heads_are_one_layer_on_all_their_inputs(combine, n_heads, bias):
    module = Heads(combine, n_heads, bias)
    output = assert_linear(module, torch.randn(20, 5))
    assert output.embedding.shape == (20, 5 * n_heads)


def test_a_mean_of_heads_under_a_softmax():
    module, x = Heads(lambda z: (sum(z) / 2).softmax(dim=-1)), torch.randn(20, 5)
    logits = classify(module, x).logits
    torch.testing.assert_close(logits.softmax(dim=-1), module(x).detach())


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_temperature_is_part_of_the_layer(n_outputs):
    class Calibrated(Ending):
        def __init__(self):
            super().__init__(lambda z: z / self.temperature, n_outputs)
            self.temperature = nn.Parameter(torch.tensor([1.7]))

    module, x = Calibrated(), torch.randn(20, 5)
    output = assert_linear(module, x, batch_sizes=("auto", 7))
    assert output.embedding.shape == (20, 4)
    # The last batch of a single sample has the number that was found before.
    x = torch.randn(22, 5)
    torch.testing.assert_close(classify(module, x, batch_size=7).logits, module(x).detach())


@pytest.mark.parametrize(
    "end",
    [
        lambda z: z / z.norm(dim=1, keepdim=True),
        lambda z: z.exp(),
        lambda z: -z,
        lambda z: z * torch.tensor([1.0, 2.0, 3.0]),
    ],
    ids=["normalized", "exponential", "negative", "by column"],
)
@pytest.mark.parametrize("batch_size", [1, 64])
def test_what_only_looks_like_a_temperature_is_refused(end, batch_size):
    with pytest.raises(ModelError, match="is not the output of a linear layer"):
        classify(Ending(end), torch.randn(20, 5), batch_size=batch_size)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_distilled_vision_transformers():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.DeiTConfig(
        **sizes, intermediate_size=24, image_size=16, patch_size=8, num_labels=3
    )
    model = transformers.DeiTForImageClassificationWithTeacher(config).eval()
    images = torch.randn(9, 3, 16, 16)
    output = classify(model, images)
    torch.testing.assert_close(output.logits, model(images).logits.detach(), rtol=1e-4, atol=1e-6)
    assert output.embedding.shape == (9, 32)


def test_of_two_heads_the_one_that_makes_the_output():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.auxiliary = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x):
            main = self.main(x)
            return main, self.auxiliary(x)

    module, x = TwoHeads(), torch.randn(6, 5)
    adapter = adapt(module)
    adapter(x)
    assert torch.equal(adapter.weight, module.main.weight)
    auxiliary = adapt(module, layer=module.auxiliary)
    auxiliary(x)
    assert torch.equal(auxiliary.weight, module.auxiliary.weight)


def test_a_head_without_a_module_of_its_own():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.classes = nn.Linear(5, 4), nn.Embedding(3, 4)

        def forward(self, x):
            return nn.functional.linear(torch.relu(self.body(x)), weight=self.classes.weight)

    module, x = Tied(), torch.randn(9, 5)
    adapter = adapt(module, batch_size=4)
    output = adapter(x)
    with torch.no_grad():
        torch.testing.assert_close(output.logits, module(x))
    assert torch.equal(adapter.weight, module.classes.weight)
