"""Pools: whatever holds the candidates, every method of the interface answers the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from active_learn import DataError, LinearHead, ModelError
from active_learn.inputs import pool as pool_module
from active_learn.inputs.containers import is_pool
from active_learn.inputs.pool import EmbeddingPool, LazyPool, OutputPool, Pool, open_pool
from active_learn.inputs.samples import Samples
from active_learn.models import adapt
from active_learn.streams.iterables import is_pipe
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
HEAD = LinearHead(RNG.normal(size=(3, 5)), RNG.normal(size=3))
H = RNG.normal(size=(50, 5)).astype(np.float32)


def in_memory(h: np.ndarray) -> Pool:
    return open_pool(Samples(list(h)), HEAD, device=CPU)


def embeddings(h: np.ndarray) -> Pool:
    return open_pool(Samples(h), HEAD, device=CPU)


def embeddings_after_outputs(h: np.ndarray) -> Pool:
    pool = embeddings(h)
    pool.outputs()
    return pool


def lazy(h: np.ndarray) -> Pool:
    return LazyPool(h.__getitem__, len(h), HEAD, device=CPU)


Open = Callable[[np.ndarray], Pool]
every_pool = pytest.mark.parametrize(
    "opened", [in_memory, embeddings, embeddings_after_outputs, lazy], ids=lambda f: f.__name__
)


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "EMBEDDING_ROWS", 16)


def test_what_holds_the_candidates_depends_on_the_samples() -> None:
    assert isinstance(in_memory(H), OutputPool)
    assert isinstance(embeddings(H), EmbeddingPool)


def linear(weight: torch.Tensor = HEAD.weight) -> torch.nn.Linear:
    module = torch.nn.Linear(5, 3)
    module.weight.data, module.bias.data = weight, HEAD.bias
    return module


def opened_by(module: torch.nn.Module, samples: object = H) -> Pool:
    return open_pool(Samples(samples), adapt(module), device=CPU)


def test_one_linear_layer_is_a_head_of_what_it_is_given() -> None:
    adapter = adapt(linear())
    pool = open_pool(Samples(H), adapter, device=CPU)
    assert isinstance(pool, EmbeddingPool)
    assert torch.equal(pool.outputs().logits, HEAD(H).logits)
    assert pool.outputs().embedding.data_ptr() == H.ctypes.data  # no copy
    assert (adapter.layer_name, adapter.sizes) == ("''", (5, 3))
    assert torch.equal(adapter.weight, HEAD.weight)


def test_the_weights_are_those_of_each_selection() -> None:
    module = linear(HEAD.weight.clone())
    adapter = adapt(module)
    before = open_pool(Samples(H), adapter, device=CPU)
    with torch.no_grad():
        module.weight.mul_(2)
    after = open_pool(Samples(H), adapter, device=CPU)
    assert torch.equal(before.outputs().logits, HEAD(H).logits)
    assert torch.equal(after.outputs().logits, module(torch.from_numpy(H)).detach())


def test_what_is_more_than_a_linear_layer_runs() -> None:
    hooked, bent = linear(), linear(torch.full((3, 5), torch.nan))
    hooked.register_forward_hook(lambda *_: None)
    assert isinstance(opened_by(hooked), OutputPool)
    assert isinstance(opened_by(torch.nn.Sequential(linear())), OutputPool)
    assert isinstance(opened_by(linear(), list(H)), OutputPool)
    with pytest.raises(ModelError, match="NaN or infinity in the logits of sample 0"):
        opened_by(bent)
    with pytest.raises(ModelError, match="failed on a batch"):
        opened_by(linear(), H[:, :4])


@every_pool
def test_the_outputs_are_those_of_the_model(opened: Open) -> None:
    expected, pool = HEAD(H), opened(H)
    assert len(pool) == 50
    assert pool.device == CPU
    whole = pool.outputs()
    torch.testing.assert_close(whole.logits, expected.logits)
    assert torch.equal(whole.embedding, expected.embedding)


@every_pool
@pytest.mark.parametrize("rows", [[0], [3, 4, 20], [40, 2, 2, 17]])
def test_take_keeps_the_order_of_the_indices(opened: Open, rows: list[int]) -> None:
    pool = opened(H)
    for indices in (np.array(rows, dtype=np.int64), torch.tensor(rows, dtype=torch.int64)):
        output = pool.take(indices)
        assert torch.equal(output.embedding, torch.from_numpy(H[rows]))
        torch.testing.assert_close(output.logits, HEAD(H).logits[rows])


@every_pool
@pytest.mark.parametrize("with_logits", [True, False])
def test_blocks_cover_the_pool_in_order(opened: Open, with_logits: bool) -> None:
    blocks = list(opened(H).blocks(with_logits))
    assert [rows.start for rows, _ in blocks] == [0, 16, 32, 48]
    assert blocks[-1][0].stop == 50
    assert torch.equal(torch.cat([output.embedding for _, output in blocks]), torch.from_numpy(H))
    logits = torch.cat([output.logits for _, output in blocks])
    if with_logits:
        torch.testing.assert_close(logits, HEAD(H).logits)
    else:
        assert logits.shape == (50, 0)


@every_pool
def test_norms_come_in_growing_blocks(opened: Open) -> None:
    blocks = list(opened(H).norms(growing_from=4))
    assert [rows.start for rows, _ in blocks] == [0, 4, 12, 28, 44]
    norms = torch.cat([norms for _, norms in blocks])
    torch.testing.assert_close(norms, torch.from_numpy(H).norm(dim=1))


@every_pool
def test_the_scale_is_the_root_mean_square_norm(opened: Open) -> None:
    assert opened(H).scale() == pytest.approx(np.sqrt((H**2).sum(axis=1).mean()), rel=1e-6)
    assert opened(0 * H).scale() == 1.0


@every_pool
@pytest.mark.parametrize(
    "read",
    [
        lambda pool: pool.take(np.arange(50)),
        lambda pool: list(pool.blocks()),
        lambda pool: list(pool.blocks(with_logits=False)),
        lambda pool: list(pool.norms(8)),
        lambda pool: pool.scale(),
        lambda pool: pool.outputs(),
    ],
    ids=["take", "blocks", "embeddings", "norms", "scale", "outputs"],
)
def test_nan_is_refused_wherever_it_is_read(opened: Open, read: Callable[[Pool], object]) -> None:
    bad = H.copy()
    bad[37, 1] = np.nan
    with pytest.raises(DataError, match="candidate 37 holds NaN"):
        read(opened(bad))


@every_pool
def test_an_empty_pool_is_refused(opened: Open) -> None:
    with pytest.raises(DataError, match="the pool is empty"):
        opened(H[:0])


def test_a_lazy_pool_reads_ascending_positions_and_only_what_is_new() -> None:
    asked: list[list[int]] = []

    def read(rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return H[rows]

    pool = LazyPool(read, 50, HEAD, device=CPU)
    pool.take(np.array([9, 3, 9]))
    pool.take(np.array([3]))
    pool.take(np.array([4]))
    assert asked == [[3, 9], [4]]


class Endless(IterableDataset):
    def __iter__(self) -> object:
        return iter(H)


TENSORS = TensorDataset(torch.from_numpy(H))


@pytest.mark.parametrize(
    ("samples", "pool"),
    [
        (H, True),
        (torch.from_numpy(H), True),
        (list(H), True),
        (tuple(H), True),
        (TENSORS, True),
        (DataLoader(TENSORS), False),
        (Endless(), False),
        (iter(H), False),
        ((row for row in H), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_a_pool_is_not_a_pipe(samples: object, pool: bool) -> None:
    assert is_pool(samples) is pool
    assert is_pipe(samples) is not pool
    if pool:
        assert len(Samples(samples)) == 50
    else:
        with pytest.raises(DataError, match="expected a tensor, an array, a list or a Dataset"):
            Samples(samples)
