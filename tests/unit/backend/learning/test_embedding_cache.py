"""The index of the embedding cache, and what the cache reads in blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from active_learn_backend.learning.embedding import cache as cache_module
from active_learn_backend.learning.embedding import key_index
from active_learn_backend.learning.embedding.cache import EmbeddingCache
from active_learn_backend.learning.embedding.key_index import KEY_BYTES, KeyIndex, read_keys
from hypothesis import given, settings
from hypothesis import strategies as st

# Few different bytes, zeros among them, in front and behind: what a string type might cut off.
KEYS = st.lists(st.sampled_from([0, 1, 255]), min_size=KEY_BYTES, max_size=KEY_BYTES).map(bytes)


@settings(max_examples=200)
@given(keys=st.lists(KEYS, unique=True), others=st.lists(KEYS), cuts=st.lists(st.integers(0, 40)))
def test_the_index_finds_what_a_dict_finds(
    keys: list[bytes], others: list[bytes], cuts: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "LATELY", 3)  # so that keys are sorted in again and again
        index = KeyIndex()
        ends = [*sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
        for start, end in zip([0, *ends], ends, strict=False):
            index.append(read_keys(b"".join(keys[start:end])))
    assert len(index) == len(keys)
    expected = {key: row for row, key in enumerate(keys)}
    asked = [*keys, *others]
    found = index.find(read_keys(b"".join(asked)))
    assert found.tolist() == [expected.get(key, -1) for key in asked]


def test_keys_that_share_their_first_half_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_index, "LATELY", 0)
    keys = [bytes(8) + bytes([at]) * 8 for at in range(9)]
    index = KeyIndex()
    index.append(read_keys(b"".join(keys[:5])))
    index.append(read_keys(b"".join(keys[5:8])))
    assert index.find(read_keys(b"".join(keys))).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1]


def test_blocks_are_bounded_and_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "BLOCK", 4)
    keys = [f"{number:032x}" for number in range(10)]
    vectors = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float16)
    cache = EmbeddingCache(tmp_path, 3)
    cache.add(keys, vectors.astype(np.float32))
    for order in (list(range(10)), [9, 1, 5, 5, 0], [4, 3, 2, 1], [0, 1, 2, 3, 4, 6]):
        blocks = list(cache.blocks([keys[at] for at in order]))
        assert [len(block) for block in blocks][:-1] == [4] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate(blocks), vectors[order])
    with pytest.raises(ValueError, match="read-only"):
        next(cache.blocks(keys))[0] = 1  # a mapped row: nobody may write into the cache
    with pytest.raises(KeyError):
        next(cache.blocks([keys[0], "f" * 32]))
    assert list(cache.blocks([])) == []
