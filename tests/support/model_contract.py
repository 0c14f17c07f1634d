"""What every kind of model promises: derive a test class that makes a model and samples."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from active_learn.errors import DataError, ModelError, ParameterError
from active_learn.models import ModelOutput, adapt
from torch import nn

N_SAMPLES = 7


class Contract:
    """One suite for all kinds; a subclass says how to build its kind and what it computes."""

    n_outputs = 3

    def build(self) -> Any:
        """Build the model with fixed weights."""
        raise NotImplementedError

    def samples(self) -> Any:
        """Give N_SAMPLES samples, different from each other."""
        raise NotImplementedError

    def expected(self, model: Any, samples: Any) -> np.ndarray:
        """Compute the logits by the plain way of this kind of model, one sample at a time."""
        raise NotImplementedError

    def broken(self) -> Any:
        """Build the model with NaN in its head."""
        raise NotImplementedError

    def adapt(self, model: Any, **options: Any) -> Any:
        return adapt(model, **options)

    @pytest.fixture(autouse=True)
    def _seeded(self):
        torch.manual_seed(0)

    def test_gives_the_models_logits(self):
        model = self.build()
        output = self.adapt(model)(self.samples())
        np.testing.assert_allclose(
            output.logits, self.expected(model, self.samples()), rtol=1e-4, atol=1e-5
        )

    def test_output_is_two_float32_matrices(self):
        output = self.adapt(self.build())(self.samples())
        assert isinstance(output, ModelOutput)
        assert output.logits.shape == (N_SAMPLES, self.n_outputs)
        assert output.embedding.ndim == 2
        assert len(output.embedding) == N_SAMPLES
        assert output.logits.dtype == output.embedding.dtype == torch.float32
        assert not output.logits.requires_grad
        assert not output.embedding.requires_grad

    def test_head_reproduces_the_logits(self):
        adapter = self.adapt(self.build())
        output = adapter(self.samples())
        again = output.embedding @ adapter.weight.T + adapter.bias
        torch.testing.assert_close(again, output.logits, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("batch_size", [1, 2, 3, N_SAMPLES, 100])
    def test_batch_size_changes_nothing(self, batch_size):
        model = self.build()
        whole = self.adapt(model)(self.samples())
        parts = self.adapt(model, batch_size=batch_size)(self.samples())
        torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts.embedding, whole.embedding, rtol=1e-4, atol=1e-5)

    def test_samples_stay_in_order_as_a_list(self):
        adapter = self.adapt(self.build())
        samples = list(self.samples())
        forward, backward = adapter(samples), adapter(samples[::-1])
        torch.testing.assert_close(backward.logits.flip(0), forward.logits, rtol=1e-4, atol=1e-5)

    def test_auto_halves_when_memory_runs_out(self, monkeypatch):
        adapter = self.adapt(self.build())
        forward = adapter._forward
        sizes = []

        def forward_in_small_memory(samples):
            sizes.append(len(samples))
            if len(samples) > 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(samples)

        expected = adapter(self.samples())
        monkeypatch.setattr(adapter, "_forward", forward_in_small_memory)
        output = adapter(self.samples())
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
        assert max(sizes[-3:]) <= 2
        assert adapter.batch_size == 2

    def test_given_batch_size_is_not_changed_behind_the_back(self, monkeypatch):
        adapter = self.adapt(self.build(), batch_size=4)

        def forward_without_memory(samples):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(adapter, "_forward", forward_without_memory)
        with pytest.raises(ModelError, match=r"batch_size=4.*'auto'"):
            adapter(self.samples())

    def test_a_single_sample_without_memory_is_an_error(self, monkeypatch):
        adapter = self.adapt(self.build())

        def forward_without_memory(samples):
            raise MemoryError

        monkeypatch.setattr(adapter, "_forward", forward_without_memory)
        with pytest.raises(ModelError, match="single sample"):
            adapter(self.samples())

    def test_nan_is_an_error(self):
        with pytest.raises(ModelError, match="NaN or infinity in the logits of sample 0"):
            self.adapt(self.broken())(self.samples())

    def test_no_samples_is_an_error(self):
        with pytest.raises(DataError, match="at least one"):
            self.adapt(self.build())([])

    def test_samples_of_no_kind_are_an_error(self):
        with pytest.raises(DataError, match="expected a tensor, an array, a list"):
            self.adapt(self.build())(object())

    @pytest.mark.parametrize("batch_size", [0, -1, 2.5, "big", True])
    def test_batch_size_of_no_sense_is_an_error(self, batch_size):
        with pytest.raises(ParameterError, match="batch_size"):
            self.adapt(self.build(), batch_size=batch_size)

    def test_global_random_state_is_left_alone(self):
        adapter = self.adapt(self.build())
        samples = self.samples()
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        adapter(samples)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])
        assert random.getstate() == before[2]

    def test_an_adapter_passes_through(self):
        adapter = self.adapt(self.build())
        assert self.adapt(adapter) is adapter


class ModuleContract(Contract):
    """What holds for every kind that is a PyTorch module inside."""

    def module(self, model: Any) -> nn.Module:
        return model

    def head(self, module: nn.Module) -> nn.Linear:
        raise NotImplementedError

    def broken(self):
        model = self.build()
        with torch.no_grad():
            self.head(self.module(model)).weight[0, 0] = float("nan")
        return model

    def test_modes_are_restored_part_by_part(self):
        model = self.build()
        module = self.module(model)
        module.train()
        next(iter(module.children())).eval()
        before = [part.training for part in module.modules()]
        self.adapt(model)(self.samples())
        assert [part.training for part in module.modules()] == before

    def test_dropout_is_off(self):
        model = self.build()
        self.module(model).train()
        adapter = self.adapt(model)
        first, second = adapter(self.samples()), adapter(self.samples())
        assert torch.equal(first.logits, second.logits)

    def test_modes_and_hooks_are_restored_after_a_failure(self):
        model = self.broken()
        module = self.module(model)
        module.train()
        with pytest.raises(ModelError):
            self.adapt(model)(self.samples())
        assert module.training
        assert not any(part._forward_hooks for part in module.modules())

    def test_weights_are_read_anew(self):
        model = self.build()
        adapter = self.adapt(model)
        before = adapter(self.samples())
        with torch.no_grad():
            self.head(self.module(model)).weight.mul_(2.0)
        after = adapter(self.samples())
        torch.testing.assert_close(after.embedding, before.embedding)
        assert not torch.allclose(after.logits, before.logits)

    def test_a_named_layer_is_taken(self):
        model = self.build()
        head = self.head(self.module(model))
        name = next(n for n, part in self.module(model).named_modules() if part is head)
        found = self.adapt(model)(self.samples())
        for layer in (name, head):
            chosen = self.adapt(model, layer=layer)(self.samples())
            torch.testing.assert_close(chosen.logits, found.logits)
            torch.testing.assert_close(chosen.embedding, found.embedding)

    def test_a_wrong_layer_is_an_error(self):
        with pytest.raises(ModelError, match="its linear layers: "):
            self.adapt(self.build(), layer="no.such.layer")

    def test_half_precision(self):
        model = self.build()
        self.module(model).to(torch.bfloat16)
        output = self.adapt(model)(self.samples())
        assert output.logits.dtype == torch.float32
        expected = self.expected(model, self.samples())
        np.testing.assert_allclose(output.logits, expected, rtol=0.1, atol=0.1)
