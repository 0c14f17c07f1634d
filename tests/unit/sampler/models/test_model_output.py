"""ModelOutput: length, rows, devices, joining."""

from __future__ import annotations

import pytest
import torch
from active_learn import ModelOutput

OUTPUT = ModelOutput(torch.arange(12.0).view(6, 2), torch.arange(18.0).view(6, 3))


def same(one: ModelOutput, other: ModelOutput) -> bool:
    return torch.equal(one.logits, other.logits) and torch.equal(one.embedding, other.embedding)


def test_the_length_is_that_of_the_batch() -> None:
    assert len(OUTPUT) == 6
    assert len(OUTPUT[:0]) == 0


@pytest.mark.parametrize("rows", [slice(1, 4), torch.tensor([5, 0, 5]), torch.arange(6) > 3])
def test_rows_are_those_of_both_tensors(rows: slice | torch.Tensor) -> None:
    some = OUTPUT[rows]
    assert torch.equal(some.logits, OUTPUT.logits[rows])
    assert torch.equal(some.embedding, OUTPUT.embedding[rows])


def test_a_single_sample_has_one_row() -> None:
    assert OUTPUT[4].logits.tolist() == [[8.0, 9.0]]
    assert OUTPUT[-1].embedding.shape == (1, 3)
    with pytest.raises(IndexError):
        OUTPUT[6]


def test_cat_joins_what_slices_and_iteration_split() -> None:
    assert same(ModelOutput.cat([OUTPUT[:2], OUTPUT[2:2], OUTPUT[2:]]), OUTPUT)
    assert same(ModelOutput.cat(OUTPUT[row] for row in range(6)), OUTPUT)


def test_to_moves_both_tensors() -> None:
    moved = OUTPUT.to(torch.device("meta"))
    assert moved.logits.device.type == moved.embedding.device.type == "meta"
    assert same(OUTPUT.to(torch.device("cpu")), OUTPUT)
