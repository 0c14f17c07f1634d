"""Particulars of PyTorch modules and plain callables; the common promises are in contract/."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn.errors import DataError, ModelError, ParameterError
from active_learn.models import adapt
from torch import nn


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def classify(module, samples, **options):
    return adapt(module, **options)(samples)


class Ending(nn.Module):
    """A linear layer and whatever comes after it."""

    def __init__(self, end, n_outputs=3):
        super().__init__()
        self.body = nn.Linear(5, 4)
        self.head = nn.Linear(4, n_outputs)
        self.end = end

    def forward(self, x):
        return self.end(self.head(torch.relu(self.body(x))))

    def logits(self, x):
        with torch.no_grad():
            return self.head(torch.relu(self.body(x)))


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


def assert_linear(module, x, embedding=None, batch_sizes=("auto", 7, 1)):
    """Check that the module's outputs are read, and are linear in the embedding that is read."""
    module.eval()
    with torch.no_grad():
        expected = torch.as_tensor(module(x)).reshape(len(x), -1)
    for batch_size in batch_sizes:
        adapter = adapt(module, batch_size=batch_size)
        output = adapter(x)
        torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-5)
        linear = output.embedding @ adapter.weight.T + adapter.bias
        torch.testing.assert_close(linear, expected, rtol=1e-4, atol=1e-5)
        if embedding is not None:
            torch.testing.assert_close(output.embedding, embedding(x), rtol=1e-4, atol=1e-5)
    return output


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


class Tokens(nn.Module):
    """A head on every token, and what is made of the results."""

    def __init__(self, end):
        super().__init__()
        self.head, self.end = nn.Linear(5, 3), end

    def forward(self, x):
        return self.end(self.head(torch.tanh(x)))


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


def test_a_layer_that_does_not_run():
    module = Ending(lambda z: z)
    module.unused = nn.Linear(2, 2)
    with pytest.raises(ModelError, match="layer 'unused' did not run"):
        classify(module, torch.randn(2, 5), layer="unused")


@pytest.mark.parametrize("n_samples", [1, 4])
def test_a_regressor_may_squeeze_its_output(n_samples):
    module, x = Ending(lambda z: z.squeeze(), n_outputs=1), torch.randn(n_samples, 5)
    output = adapt(module)(x)
    torch.testing.assert_close(output.logits, module.logits(x))


def test_a_model_without_a_linear_layer():
    with pytest.raises(ModelError, match=r"no linear layer ran"):
        classify(nn.Flatten(), torch.randn(3, 4))


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


def test_an_exported_program():
    module, x = Ending(lambda z: z.softmax(-1)).eval(), torch.randn(6, 5)
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    for exported in (program, program.module()):
        output = classify(exported, x)
        torch.testing.assert_close(output.logits, module.logits(x))


def test_wrappers_are_taken_off():
    module, x = Ending(lambda z: z), torch.randn(6, 5)
    for wrapped in (nn.DataParallel(module), torch.compile(module, backend="eager")):
        torch.testing.assert_close(classify(wrapped, x).logits, module.logits(x))


def test_a_normalized_weight_is_the_one_in_force():
    module = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    adapter = adapt(module)
    output = adapter(torch.randn(6, 5))
    torch.testing.assert_close(output.embedding @ adapter.weight.T + adapter.bias, output.logits)


def test_a_layer_that_does_more_than_its_weight_says_is_refused():
    class LowRank(nn.Linear):
        def forward(self, x):
            return super().forward(x) + x.sum(dim=1, keepdim=True)

    with pytest.raises(ModelError, match="does not reproduce the logits of layer"):
        classify(LowRank(5, 3), torch.randn(6, 5))


@pytest.mark.parametrize("size", [5, 500])
def test_a_module_of_float64(size):
    """Its logits are float64 and are cut to float32, so they are held to that precision."""
    module = nn.Sequential(nn.Linear(5, size), nn.ReLU(), nn.Linear(size, 3)).double()
    x = torch.randn(300, 5)
    with torch.no_grad():
        expected = module(x.double()).float()
    torch.testing.assert_close(classify(module, x).logits, expected)


def test_weights_without_values_are_refused():
    with torch.device("meta"):
        module = Ending(lambda z: z)
    with pytest.raises(ModelError, match=r"'body.weight' of the model is on the meta device"):
        classify(module, torch.randn(6, 5))


def test_rows_with_labels_give_the_input_only():
    module, x = Ending(lambda z: z), torch.randn(6, 5)
    rows = [(row, 1) for row in x]
    torch.testing.assert_close(classify(module, rows).logits, module.logits(x))


def test_models_of_several_inputs():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(7, 3)

        def forward(self, left, right):
            return self.head(torch.cat([left, right], dim=1))

    module, left, right = Both(), torch.randn(6, 3), torch.randn(6, 4)
    expected = classify(module, (left, right)).logits
    as_mapping = {"left": left, "right": right}
    as_rows = [{"left": a, "right": b} for a, b in zip(left, right, strict=True)]
    as_pairs = [(a, b, "label") for a, b in zip(left, right, strict=True)]
    for samples in (as_mapping, as_rows, [pair[:2] for pair in as_pairs]):
        torch.testing.assert_close(classify(module, samples, batch_size=4).logits, expected)
    with pytest.raises(DataError, match="different numbers of rows"):
        classify(module, (left, right[:5]))


def test_integers_reach_an_embedding_as_integers():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, ids):
            return self.head(self.words(ids).mean(dim=1))

    assert classify(Tokens(), np.arange(12).reshape(4, 3) % 10).logits.shape == (4, 3)


def test_a_memory_map_is_not_written_to(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    module = Ending(lambda z: z)
    module.body = nn.Sequential(nn.ReLU(inplace=True), module.body)
    classify(module, mapped)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), values)


def test_more_samples_than_a_window(monkeypatch):
    monkeypatch.setattr("active_learn.models.batched.WINDOW", 10)
    module, x = Ending(lambda z: z), torch.randn(37, 5)
    torch.testing.assert_close(classify(module, x, batch_size=4).logits, module.logits(x))


def test_the_sample_with_nan_is_named():
    x = torch.randn(300, 5)
    x[211, 0] = float("nan")
    with pytest.raises(ModelError, match="sample 211"):
        classify(Ending(lambda z: z), x)


def test_samples_that_do_not_fit():
    module = Ending(lambda z: z)
    with pytest.raises(ModelError, match=r"failed on a batch \(\(3, 7\) float32\)"):
        classify(module, torch.randn(3, 7))
    with pytest.raises(DataError, match=r"give \(model, tokenizer\)"):
        classify(module, ["a text", "another"])
    with pytest.raises(DataError, match="different shapes"):
        classify(module, [torch.randn(5), torch.randn(4)])


def test_a_device_that_is_not_there():
    with pytest.raises(ParameterError, match="device 'cuda:99' cannot be used"):
        adapt(nn.Linear(2, 2), device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_device_is_restored():
    module, x = Ending(lambda z: z), torch.randn(6, 5)
    output = classify(module, x, device="cuda")
    assert output.logits.is_cuda
    assert module.head.weight.device.type == "cpu"
    torch.testing.assert_close(output.logits.cpu(), module.logits(x), rtol=1e-3, atol=1e-3)


def test_things_that_are_no_model():
    with pytest.raises(ModelError, match="type int is not known"):
        adapt(3)


class TestCallable:
    def test_logits_must_be_linear_in_the_embedding(self):
        rng = np.random.default_rng(0)
        x, weight = rng.normal(size=(200, 6)), rng.normal(size=(3, 6))

        def probabilities(batch):
            return torch.softmax(torch.as_tensor(batch @ weight.T), dim=1), batch

        with pytest.raises(ModelError, match=r"not linear in its embedding.*before softmax"):
            classify(probabilities, x)

    def test_a_head_of_its_own_is_checked(self):
        rng = np.random.default_rng(0)
        true_weight = rng.normal(size=(3, 6))

        class Scorer:
            def __init__(self, weight, bias):
                self.weight, self.bias = weight, bias

            def __call__(self, batch):
                return batch @ true_weight.T, batch

        x = rng.normal(size=(20, 6))
        adapter = adapt(Scorer(true_weight, None))
        np.testing.assert_allclose(adapter(x).logits, x @ true_weight.T, rtol=1e-4)
        np.testing.assert_allclose(adapter.weight, true_weight, rtol=1e-6)
        with pytest.raises(ModelError, match="does not reproduce the logits of the callable"):
            classify(Scorer(true_weight, np.ones(3)), x)

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (np.zeros((4, 2)), "returns ndarray"),
            ((np.zeros(4), np.zeros((4, 2))), r"logits of 4 samples have shape \(4,\)"),
            ((np.zeros((4, 2)), np.zeros((3, 2))), r"embedding of 4 samples have shape \(3, 2\)"),
        ],
    )
    def test_returns_of_the_wrong_form(self, returned, message):
        with pytest.raises(ModelError, match=message):
            classify(lambda batch: returned, np.zeros((4, 5)))

    def test_its_own_failure_is_told(self):
        def fails(batch):
            raise KeyError("no such column")

        with pytest.raises(ModelError, match=r"the callable failed.*no such column") as caught:
            classify(fails, np.zeros((4, 5)))
        assert isinstance(caught.value.__cause__, KeyError)
