"""The batch size that 'auto' finds, on a clock that the model turns."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler
from active_learn.models.callable_model import CallableModel
from active_learn.models.torch_module import TorchModule

ROWS = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)


def sizes_run(
    monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], rows: object = ROWS
) -> list[int]:
    """Return the sizes of the batches of a model that takes some seconds for n rows."""
    clock, sizes = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def model(batch: object) -> tuple[np.ndarray, np.ndarray]:
        h = np.asarray(batch)
        sizes.append(len(h))
        clock[0] += seconds(len(h))
        return h[:, :2], h

    CallableModel(model)(rows)
    return sizes


def test_auto_grows_while_rows_get_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sizes_run(monkeypatch, lambda n: 1 + 1e-6 * n)
    assert sizes[0] == 64
    assert max(sizes) == 2048
    assert sizes[:7] == [64, 64, 64, 128, 128, 128, 256]
    assert len(sizes) < 40  # instead of 313


def test_auto_goes_back_where_rows_get_no_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    # A batch costs as much as 64 rows, and beyond 256 rows memory is slow.
    sizes = sizes_run(monkeypatch, lambda n: 64 + n + (n if n > 256 else 0))
    assert max(sizes) == 512
    assert sizes.count(512) == 3
    assert sizes[-2] == 256


def test_short_calls_grow_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # 64 rows take 0.1 ms; other work makes the calls that follow slower than their rows.
    sizes = sizes_run(monkeypatch, lambda n: 1e-4 if n == 64 else 2e-6 * n)
    assert sizes[:7] == [64, 64, 64, 128, 128, 128, 256]
    assert max(sizes) == 1024  # takes 2 ms


def test_samples_of_many_sizes_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(sizes_run(monkeypatch, lambda n: 1.0, list(ROWS[:2000]))) == 64


def test_a_given_number_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = CallableModel(lambda batch: (batch[:, :2], batch), batch_size=100)
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)
    adapter(ROWS)
    assert adapter.batch_size == 100


def test_outputs_lie_in_place_whatever_the_batches() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    logits = TorchModule(module)(ROWS).logits
    torch.testing.assert_close(logits, module(torch.from_numpy(ROWS)).detach())
    ranked = ActiveSampler("classification", module, 20, strategy="margin").rank(ROWS)
    margin = (logits.softmax(dim=1)[:, 0] - 0.5).abs()
    assert set(ranked.indices[:20].tolist()) == set(margin.topk(20, largest=False).indices.tolist())
