"""Particulars of PyTorch modules and plain callables; the common promises are in contract/."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn.errors import DataError, ModelError, ParameterError
from active_learn.models import adapt
from torch import nn
from torch_models import Ending, classify


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


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
