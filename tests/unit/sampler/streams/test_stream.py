"""Selection from pipes: rates held, exact numbers, nothing that depends on batches."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, BudgetError, DataError, LinearHead, ParameterError
from active_learn.strategies import strategies
from active_learn.streams.rate_control import RateController
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

RNG = np.random.default_rng(0)
N = 2000
STEADY = RNG.normal(size=(N, 12)).astype(np.float32)
SHIFTED = np.concatenate([STEADY[: N // 2], 0.3 * STEADY[N // 2 :] + 1]).astype(np.float32)
GROWING = STEADY * np.linspace(0.2, 5, N, dtype=np.float32)[:, None]
LONG = np.concatenate([STEADY, RNG.normal(size=(N, 12)).astype(np.float32)])
HEAD = LinearHead(0.3 * RNG.normal(size=(4, 12)))
STREAMED = [
    *("aopt", "auto", "bait", "coverage", "entropy", "least_confidence", "margin", "random"),
    "vessal",
]


def sampler(budget: int | float = 0.1, **arguments: object) -> ActiveSampler:
    return ActiveSampler("classification", HEAD, budget, **{"random_state": 0, **arguments})


def indices(stream: Iterator[tuple[np.ndarray, int]]) -> list[int]:
    return [index for _, index in stream]


@pytest.mark.parametrize("strategy", STREAMED)
@pytest.mark.parametrize("stream", [STEADY, SHIFTED, GROWING], ids=["steady", "shift", "growth"])
def test_the_rate_is_held_under_drift(strategy: str, stream: np.ndarray) -> None:
    for rate in (0.02, 0.1):
        kept = len(list(sampler(rate, strategy=strategy).select(iter(stream))))
        tolerance = max(0.05 * rate * N, 2 * np.sqrt(N * rate * (1 - rate)))
        assert abs(kept - rate * N) <= tolerance


@pytest.mark.parametrize("strategy", STREAMED)
def test_a_number_is_reached_exactly(strategy: str) -> None:
    for k in (1, 30, 250):
        chosen = sampler(k, strategy=strategy).select(iter(STEADY[:250]), total=250)
        assert len(list(chosen)) == k


@pytest.mark.parametrize("strategy", ["aopt", "bait", "margin", "vessal"])
def test_choices_do_not_depend_on_how_the_stream_came_in_batches(strategy: str) -> None:
    chosen = []
    for batch_size in (64, 1, 7, 500):
        one = sampler(strategy=strategy, batch_size=batch_size)
        chosen.append(indices(one.select(iter(STEADY[:600]), return_indices=True)))
    assert chosen[0]
    assert all(other == chosen[0] for other in chosen)


def test_samples_come_as_they_were_and_in_order() -> None:
    pairs = list(sampler().select((row for row in STEADY), return_indices=True))
    positions = [index for _, index in pairs]
    assert positions == sorted(set(positions))
    assert all(np.array_equal(row, STEADY[index]) for row, index in pairs)


def test_a_further_pipe_continues_the_stream() -> None:
    whole = indices(sampler().select(iter(STEADY), return_indices=True))
    two = sampler()
    first = indices(two.select(iter(STEADY[:777]), return_indices=True))
    assert two.seen == 777
    assert first + indices(two.select(iter(STEADY[777:]), return_indices=True)) == whole


def test_data_loaders_are_taken_apart() -> None:
    expected = list(sampler().select(iter(torch.from_numpy(STEADY))))
    loader = DataLoader(TensorDataset(torch.from_numpy(STEADY), torch.arange(N)), batch_size=50)
    chosen = list(sampler().select(loader))
    assert len(chosen) == len(expected)
    for (row, target), same in zip(chosen, expected, strict=True):
        assert torch.equal(row, same)
        assert np.array_equal(row.numpy(), STEADY[int(target)])


def test_iterable_datasets_are_pipes() -> None:
    class Rows(IterableDataset):
        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter(torch.from_numpy(STEADY))

    assert len(list(sampler().select(Rows()))) == len(list(sampler().select(iter(STEADY))))


def test_lines_of_a_file_reach_the_model_without_their_end() -> None:
    seen: list[str] = []

    def model(lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
        seen.extend(lines)
        embedding = np.array([[len(line), line.count("a"), 1.0] for line in lines])
        return embedding @ np.array([[0.1, 1, 0], [0.2, -1, 0]]).T, embedding

    lines = io.StringIO("".join(f"{'ab' * (i % 7)}a {i}\n" for i in range(200)))
    chosen = list(
        ActiveSampler("classification", model, 20, random_state=0).select(lines, total=200)
    )
    assert len(chosen) == 20
    assert set(chosen) <= set(seen)
    assert not any("\n" in line for line in seen)


def test_only_one_batch_is_read_ahead() -> None:
    read = 0

    def rows() -> Iterator[np.ndarray]:
        nonlocal read
        for row in STEADY:
            read += 1
            yield row

    stream = sampler(0.2, batch_size=16).select(rows(), return_indices=True)
    for _, index in stream:
        assert read <= index + 16


def test_rare_samples_are_let_through_more_often() -> None:
    rng = np.random.default_rng(1)
    rare = rng.random(N) < 0.05
    stream = np.where(rare[:, None], rng.normal(size=(N, 12)), np.eye(12)[0])
    stream = (stream + 0.05 * rng.normal(size=(N, 12))).astype(np.float32)
    kept = indices(sampler(0.05, strategy="vessal").select(iter(stream), return_indices=True))
    assert rare[kept].mean() > 3 * 0.05


def test_what_is_held_is_bounded(tmp_path: object) -> None:
    one = sampler(0.5, max_conditioned=40, strategy="aopt")
    sizes = []
    for start in range(0, N, 500):
        list(one.select(iter(STEADY[start : start + 500])))
        one.save(f"{tmp_path}/state")
        with np.load(f"{tmp_path}/state") as state:
            assert len(state["stream.known_logits"]) <= 40 + 64
            sizes.append(len(state["stream.references_logits"]))
    assert sizes[-1] == sizes[-2] == 1000


class CountedWork(TorchDispatchMode):
    """Counts the operations on tensors, and the numbers that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if not func.is_view:  # a view touches no numbers
            self.operations += 1
            tensors, _ = tree_flatten((args, kwargs, result))
            self.numbers += sum(t.numel() for t in tensors if isinstance(t, torch.Tensor))
        return result


def test_the_work_of_a_sample_does_not_grow_with_what_is_kept() -> None:
    one = sampler(0.5, strategy="aopt")
    work = []
    for start in (0, 1152, 2304):
        list(one.select(iter(LONG[start : start + 1024])))  # the reservoir is full after 1,000
        with CountedWork() as counted:
            kept = len(list(one.select(iter(LONG[start + 1024 : start + 1152]))))
        work.append((counted.operations / kept, counted.numbers / kept))
    few, _, many = work  # about 550 samples are known, then 1,700
    assert many[0] < 1.2 * few[0]
    assert many[1] < 2 * few[1]


def test_labels_that_come_between_two_samples_count_at_once() -> None:
    one = sampler(0.5, seed_fisher=True, strategy="aopt")
    kept = 0
    for row in one.select(iter(STEADY[:500])):
        kept += 1
        if kept % 50 == 0:
            one.update(row[None])
    assert 200 < kept < 300


def test_conditioning_on_labeled_data_avoids_it() -> None:
    stream = np.eye(12, dtype=np.float32)[np.arange(N) % 12]
    known = np.eye(12, dtype=np.float32)[:6].repeat(100, axis=0)
    for strategy in ("aopt", "vessal"):
        one = sampler(0.02, labeled_data=known, seed_fisher=True, strategy=strategy)
        kept = np.array(indices(one.select(iter(stream), return_indices=True)))
        kept = kept[kept >= 128]  # until then there are no scores to compare with
        assert (kept % 12 >= 6).mean() > 0.9


def test_update_conditions_the_stream_in_progress() -> None:
    stream = np.eye(12, dtype=np.float32)[np.arange(N) % 12]
    one = sampler(0.02, seed_fisher=True, strategy="aopt")
    list(one.select(iter(stream[:240])))
    one.update(np.eye(12, dtype=np.float32)[:6].repeat(100, axis=0))
    kept = np.array(indices(one.select(iter(stream[:600]), return_indices=True)))
    assert (kept % 12 >= 6).mean() > 0.9


def test_what_a_pipe_cannot_give_is_refused_before_it_is_read() -> None:
    pipe = iter(STEADY)
    with pytest.raises(ParameterError, match="precompute_covariance on a pipe"):
        sampler(precompute_covariance=True).select(pipe)
    with pytest.raises(BudgetError, match="total="):
        sampler(10).select(pipe)
    with pytest.raises(BudgetError, match="total=5"):
        sampler(10).select(pipe, total=5)
    with pytest.raises(BudgetError, match="rate"):
        sampler(0.1).select(pipe, total=100)
    with pytest.raises(ParameterError, match="leave it out"):
        sampler(10).select(STEADY, total=100)
    for strategy in set(strategies()) - set(STREAMED):
        with pytest.raises(ParameterError, match="no stream form") as refused:
            sampler(strategy=strategy).select(pipe)
        named = {name for name in strategies() if repr(name) in str(refused.value)}
        assert named == {strategy, *STREAMED}
    for no_samples in ("text", {"a": 1}, 5):
        with pytest.raises(DataError):
            sampler().select(no_samples)
    assert np.array_equal(next(pipe), STEADY[0])


def test_a_stream_that_ends_early_says_so() -> None:
    with pytest.raises(BudgetError, match=r"after 100 of total=5000"):
        list(sampler(50).select(iter(STEADY[:100]), total=5000))


def test_nan_is_refused_by_its_position_in_the_stream() -> None:
    stream = STEADY[:200].copy()
    stream[150, 2] = np.nan
    with pytest.raises(DataError, match="150"):
        list(sampler().select(iter(stream)))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 60),
    rate=st.floats(0.01, 0.99),
    power=st.sampled_from([0.0, 1.0, 8.0]),
    zeros=st.integers(0, 30),
)
def test_probabilities_average_to_the_rate_over_the_window(
    seed: int, size: int, rate: float, power: float, zeros: int
) -> None:
    scores = np.random.default_rng(seed).random(size) ** power
    scores[: min(zeros, size)] = 0
    controller = RateController(rate)
    controller.use(scores)
    p = np.array([controller.probability(score) for score in scores])
    assert ((p >= 0) & (p <= 1)).all()
    assert p.mean() == pytest.approx(rate, rel=1e-6)
    assert (np.diff(p[np.argsort(scores)]) >= -1e-12).all()
