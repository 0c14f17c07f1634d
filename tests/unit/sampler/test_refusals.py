"""What is given by mistake is refused in one line that says what to give instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from active_learn import (
    ActiveSampler,
    DataError,
    LinearHead,
    ModelError,
    ParameterError,
    StateError,
)
from sklearn.linear_model import LogisticRegression
from torch import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(3, 4)), RNG.normal(size=3))


class Failing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the first line\nand a trace of many more")


def failing(batch: Any) -> Any:
    raise ValueError("the first line\nand a trace of many more")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Failing(), r"the model failed on a batch .*: the first line$"),
        (failing, "the callable failed: the first line$"),
        (nn.Linear, "the model is the class Linear; give an instance of it"),
        (LogisticRegression().fit(X, np.arange(30) % 3), r"LinearHead \(model.coef_, model.inter"),
    ],
    ids=["module", "callable", "class", "scikit-learn"],
)
def test_models(model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        ActiveSampler("classification", model, 5).select(X)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            sp.csr_array(X).reshape(1, -1).tocoo().reshape(120),
            r"sparse of shape \(120,\); expected",
        ),
        (
            (X, np.zeros(30)),
            "candidates are a tuple of samples and labels; give the samples",
        ),
        ((pd.DataFrame(X), [0] * 30), "a tuple of samples and labels"),
        ({"a", "b"}, "candidates are a set, which has no order; give a list"),
        (frozenset([1, 2]), "a set, which has no order"),
    ],
    ids=["sparse of one dimension", "arrays", "tables", "set", "frozen set"],
)
@pytest.mark.parametrize("budget", [2, 0.5])
def test_candidates(samples: Any, message: str, budget: float) -> None:
    with pytest.raises(DataError, match=message):
        ActiveSampler("classification", HEAD, budget).select(samples)


def test_labels_beside_labeled_data() -> None:
    with pytest.raises(DataError, match=r"labeled data are a tuple .* LabeledData\(samples, targe"):
        ActiveSampler("regression", LinearHead(np.ones((1, 4))), 5, labeled_data=(X, X[:, 0]))
    two = ActiveSampler("classification", HEAD, 5, labeled_data=(X[0], X[1])).problem.labeled
    assert np.array_equal(two.embedding, X[:2])


def test_pairs_of_embedding_and_label_are_read_as_of_a_dataset() -> None:
    expected = ActiveSampler("classification", HEAD, 5, random_state=0).rank(X).indices
    for rows in (list(X), list(torch.from_numpy(X))):
        pairs = [(row, 1) for row in rows]
        found = ActiveSampler("classification", HEAD, 5, random_state=0).rank(pairs).indices
        assert np.array_equal(found, expected)


def test_a_view_of_memory_is_an_array() -> None:
    expected = ActiveSampler("classification", HEAD, 5, random_state=0).select(X)
    found = ActiveSampler("classification", HEAD, 5, random_state=0).select(memoryview(X))
    assert np.array_equal(found, expected)


def test_outputs_of_other_sizes_than_the_models_are_refused_at_once() -> None:
    sampler = ActiveSampler([("classification", 2), ("regression", 2)], HEAD, 5)
    for pool in (X, iter(X)):
        with pytest.raises(DataError, match=r"gives 3 logits; expected 2 \+ 2, those of its out"):
            list(sampler.select(pool, total=None if pool is X else 30))


def test_a_layer_of_a_head() -> None:
    with pytest.raises(ParameterError, match="layer= names a linear layer of a PyTorch module"):
        ActiveSampler("classification", HEAD, 5, layer="head")


@pytest.mark.parametrize("n", [0, -1, 1.5, "x"])
def test_rows_of_a_table_of_reasons(n: Any) -> None:
    ranking = ActiveSampler("classification", HEAD, 5, random_state=0).rank(X)
    for show in (ranking.table, ranking.records):
        with pytest.raises(ParameterError, match="expected a whole number of at least 1"):
            show(n)


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    sampler = ActiveSampler("classification", HEAD, 5)
    with pytest.raises(StateError, match=r"there is no folder .*missing; make it first"):
        sampler.save(tmp_path / "missing" / "state.npz")
