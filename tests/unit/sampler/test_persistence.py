"""Saving and loading: resumed streams, damaged files, interrupted writes."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from active_learn import ActiveSampler, LinearHead, StateError
from active_learn.heads import fit_head

RNG = np.random.default_rng(0)
STREAM = RNG.normal(size=(900, 10)).astype(np.float32)
HEAD = LinearHead(0.4 * RNG.normal(size=(3, 10)))


def sampler(**arguments: object) -> ActiveSampler:
    defaults = {"budget": 0.1, "random_state": 0}
    return ActiveSampler("classification", HEAD, **{**defaults, **arguments})


def indices(one: ActiveSampler, stream: np.ndarray) -> list[int]:
    return [index for _, index in one.select(iter(stream), return_indices=True)]


@pytest.mark.parametrize("strategy", ["aopt", "bait", "margin", "random", "vessal"])
@pytest.mark.parametrize("n_labeled", [0, 30])
@pytest.mark.parametrize("stop", [2, 40])
def test_a_resumed_stream_goes_on_as_if_never_stopped(
    tmp_path: Path, strategy: str, n_labeled: int, stop: int
) -> None:
    labeled = RNG.normal(size=(n_labeled, 10))
    arguments = {"labeled_data": labeled, "seed_fisher": True, "strategy": strategy}
    whole = indices(sampler(**arguments), STREAM)
    first = sampler(**arguments)
    stream = first.select(iter(STREAM), return_indices=True)
    start = [index for _, index in islice(stream, stop)]
    first.save(tmp_path / "state.npz")
    resumed = ActiveSampler.load(tmp_path / "state.npz", HEAD)
    assert resumed.seen == start[-1] + 1
    assert start + indices(resumed, STREAM[resumed.seen :]) == whole


@pytest.mark.parametrize("strategy", ["aopt", "bait", "margin", "vessal"])
def test_a_stream_goes_on_under_a_head_that_was_trained_on(tmp_path: Path, strategy: str) -> None:
    """Also on more classes; afterwards it is the stream of the new head, known and references."""
    labeled = RNG.normal(size=(20, 10))
    first = sampler(labeled_data=labeled, seed_fisher=True, strategy=strategy, budget=0.2)
    list(first.select(iter(STREAM[:300])))
    first.save(tmp_path / "state")
    grown = LinearHead(0.4 * np.random.default_rng(1).normal(size=(5, 10)))
    resumed = ActiveSampler.load(tmp_path / "state", grown)
    assert resumed.seen == 300
    kept = [index for _, index in resumed.select(iter(STREAM[300:]), return_indices=True)]
    assert 80 < len(kept) < 160  # the rate is held: 120 were due
    assert min(kept) >= 300
    resumed.save(tmp_path / "later")
    with np.load(tmp_path / "later") as file:
        for name in file.files:
            if name.endswith("embedding"):
                logits = file[name.removesuffix("embedding") + "logits"]
                expected = file[name] @ grown.weight.numpy().T
                assert np.allclose(logits, expected, atol=1e-4)


def test_a_stream_of_several_outputs_goes_on_with_more_classes(tmp_path: Path) -> None:
    first = ActiveSampler(
        [("classification", 3), ("regression", 1)],
        LinearHead.side_by_side([HEAD, LinearHead(HEAD.weight[:1])]),
        0.2,
        random_state=0,
    )
    list(first.select(iter(STREAM[:300])))
    first.save(tmp_path / "state")
    grown = LinearHead(0.4 * np.random.default_rng(1).normal(size=(6, 10)))
    outputs = [("classification", 5), ("regression", 1)]
    resumed = ActiveSampler.load(tmp_path / "state", grown, problem_type=outputs)
    kept = [index for _, index in resumed.select(iter(STREAM[300:]), return_indices=True)]
    assert resumed.seen == 900
    assert 80 < len(kept) < 160
    with pytest.raises(StateError, match=r"gives 6 logits; expected 3 \+ 1"):
        ActiveSampler.load(tmp_path / "state", grown)


def test_a_stream_goes_on_where_the_head_bends(tmp_path: Path) -> None:
    first = ActiveSampler("regression", LinearHead(HEAD.weight[:1]), 0.2, random_state=0)
    list(first.select(iter(STREAM[:300])))
    first.save(tmp_path / "state")
    rows = np.asarray(STREAM[:200], np.float32)
    bent = fit_head("regression", (), rows, list(10 * rows[:, 0] ** 2), round=1)
    assert bent is not None
    assert bent.cosines is not None
    resumed = ActiveSampler.load(tmp_path / "state", bent.sampler_model())
    kept = [index for _, index in resumed.select(iter(STREAM[300:]), return_indices=True)]
    assert resumed.seen == 900
    assert 80 < len(kept) < 160


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    first = sampler(labeled_data=STREAM[:20])
    first.save(tmp_path / "state")
    with pytest.raises(StateError, match="embeddings of size 10, the head reads 4"):
        ActiveSampler.load(tmp_path / "state", LinearHead(np.ones((3, 4))))


def test_an_exact_number_is_reached_across_a_save(tmp_path: Path) -> None:
    first = sampler(budget=50)
    some = list(islice(first.select(iter(STREAM), total=900), 20))
    first.save(tmp_path / "state")
    resumed = ActiveSampler.load(tmp_path / "state", HEAD)
    assert len(some) + len(list(resumed.select(iter(STREAM[resumed.seen :]), total=900))) == 50


def test_labeled_data_and_arguments_survive(tmp_path: Path) -> None:
    one = sampler(
        budget=7, strategy="bait", rank=2, side="fisher", labeled_data=STREAM[:20], seed_fisher=True
    )
    one.save(tmp_path / "state")
    again = ActiveSampler.load(tmp_path / "state", HEAD)
    ranking, expected = again.rank(STREAM), one.rank(STREAM)
    assert np.array_equal(ranking.indices, expected.indices)
    assert np.array_equal(ranking.novelty, expected.novelty)


def test_the_file_holds_no_pickle(tmp_path: Path) -> None:
    sampler(labeled_data=STREAM[:5]).save(tmp_path / "state")
    with np.load(tmp_path / "state", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)
        assert json.loads(file["meta"].tobytes())["version"] == 1


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut short"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(StateError, match="save it again"):
        ActiveSampler.load(path, HEAD)


def test_foreign_missing_and_later_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state at"):
        ActiveSampler.load(tmp_path / "nothing", HEAD)
    np.savez(tmp_path / "foreign.npz", x=np.ones(3))
    with pytest.raises(StateError):
        ActiveSampler.load(tmp_path / "foreign.npz", HEAD)
    meta = json.dumps({"format": "active_learn state", "version": 99}).encode()
    np.savez(tmp_path / "later.npz", meta=np.frombuffer(meta, np.uint8))
    with pytest.raises(StateError, match="version 99"):
        ActiveSampler.load(tmp_path / "later.npz", HEAD)
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "pickle.npz", meta=objects)
    with pytest.raises(StateError):
        ActiveSampler.load(tmp_path / "pickle.npz", HEAD)


def test_a_state_that_lacks_an_array_is_refused(tmp_path: Path) -> None:
    one = sampler(labeled_data=STREAM[:5])
    one.save(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz") as file:
        arrays = {name: file[name] for name in file.files if name != "labeled.embedding"}
    np.savez(tmp_path / "state.npz", **arrays)
    with pytest.raises(StateError, match="fit together"):
        ActiveSampler.load(tmp_path / "state.npz", HEAD)


def test_an_interrupted_save_leaves_the_earlier_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    sampler(labeled_data=STREAM[:5]).save(path)
    before = path.read_bytes()

    def interrupt(file: object, **arrays: object) -> None:
        file.write(b"half a")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sampler(labeled_data=STREAM[:9]).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
