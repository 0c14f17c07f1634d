"""Coverage of pools of which only a sample enters the greedy selection."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn import ActiveSampler, DataError, LinearHead
from active_learn.strategies import two_stage
from torch.utils.flop_counter import FlopCounterMode

N, D = 2_000, 8
POOL = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
HEAD = LinearHead(np.eye(3, D))


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_stage, "WHOLE_POOL", 1_000)
    monkeypatch.setattr(two_stage, "SAMPLE", 200)


def sampler(k: int) -> ActiveSampler:
    return ActiveSampler(
        "classification", HEAD, k, strategy="coverage", random_state=0, references=500
    )


def test_what_the_others_would_gain_is_computed_where_it_is_asked_for() -> None:
    with FlopCounterMode(display=False) as few:
        selected = sampler(10).select(POOL, return_indices=True)[1]
    with FlopCounterMode(display=False) as all_of_them:
        ranked = sampler(10).rank(POOL)
    assert ranked.indices[:10].tolist() == selected.tolist()
    assert len(ranked.indices) == N
    assert few.get_total_flops() < all_of_them.get_total_flops() / 3


def test_a_candidate_outside_the_sample_is_checked_too() -> None:
    selected = set(sampler(200).select(POOL, return_indices=True)[1].tolist())
    outside = next(i for i in range(N) if i not in selected)
    broken = POOL.copy()
    broken[outside, 3] = np.nan
    with pytest.raises(DataError, match=f"candidate {outside}"):
        sampler(10).select(broken)
