"""What every head promises: derive a test class that names its problem type."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler
from active_learn.errors import DataError, StateError
from active_learn.heads import (
    Head,
    TrainedHead,
    fit_head,
    load_head,
    prune_heads,
    round_of_head,
    saved_heads,
)
from active_learn.heads.files import head_path, write_file
from safetensors.numpy import save as save_tensors

OFFERED = ("red", "green", "blue", "none of these")


def blobs(n: int, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around three centres, and the centre of each; the fourth label is never used."""
    rng = np.random.default_rng(seed)
    places = np.arange(n) % 3
    centers = np.random.default_rng(99).normal(size=(3, d))
    return (centers[places] + rng.normal(size=(n, d))).astype(np.float32), places


def rewrite(path: Path, **changes: Any) -> None:
    """Write a saved head anew with other parts and a right digest, as an attacker could."""
    head = load_head(path.parent, round_of_head(path.stem) or 0)
    metadata = json.loads(head.metadata.model_dump_json()) | changes.pop("metadata", {})
    parts = {"weight": head.weight, "bias": head.bias} | changes
    write_file(path, {"": (json.dumps(metadata), parts["weight"], parts["bias"])})


class HeadContract:
    """Promises of every kind of head."""

    problem_type: Any
    offered: tuple[str, ...] = OFFERED

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        raise NotImplementedError

    def nothing_to_tell_apart(self) -> list[Any]:
        raise NotImplementedError

    def fit(self, n: int = 60, **options: Any) -> TrainedHead:
        rows, labels = self.data(n)
        options = {"round": 3} | options
        head = fit_head(self.problem_type, self.offered, rows, labels, **options)
        assert head is not None
        return head

    def test_it_learns(self) -> None:
        rows, labels = self.data(90, seed=1)
        head = self.fit(90)
        order = np.random.default_rng(0).permutation(len(labels))
        by_chance = head.losses(rows, [labels[at] for at in order]).mean()
        assert head.losses(rows, labels).mean() < 0.5 * by_chance

    def test_it_says_what_it_is(self) -> None:
        head = self.fit()
        assert isinstance(head, Head)
        assert head.problem_type == self.problem_type
        assert (head.version, head.n_features) == ("head-3", 12)
        assert head.labels_offered == self.offered

    def test_the_sampler_takes_it(self) -> None:
        head = self.fit()
        rows, _ = self.data(50, seed=2)
        sampler = ActiveSampler(self.problem_type, head.sampler_model(), 5, labeled_data=rows[:9])
        assert len(set(sampler.rank(rows[9:], 5).indices)) == 5

    def test_the_sampler_sees_the_outputs_that_answers_come_from(self) -> None:
        head = self.fit()
        rows, _ = self.data(10, seed=2)
        logits = head.sampler_model()(rows).logits.numpy()
        np.testing.assert_allclose(logits, head.outputs(rows), rtol=1e-4, atol=1e-5)

    def test_no_head_before_there_is_something_to_tell_apart(self) -> None:
        labels = self.nothing_to_tell_apart()
        rows, _ = self.data(len(labels))
        assert fit_head(self.problem_type, self.offered, rows, labels, round=1) is None
        assert fit_head(self.problem_type, self.offered, rows[:0], [], round=1) is None

    def test_two_labels_are_enough(self) -> None:
        assert self.fit(2).predict(self.data(2)[0])

    def test_it_is_deterministic(self) -> None:
        first, second = self.fit(random_state=5), self.fit(random_state=5)
        assert first.metadata == second.metadata
        np.testing.assert_array_equal(first.weight, second.weight)

    def test_a_warm_start_ends_where_a_cold_one_does(self) -> None:
        former = self.fit(56)
        warm = self.fit(60, former=former)
        assert warm.metadata.hyperparameters == former.metadata.hyperparameters
        cold = former.refit(*self.data(60))
        assert cold is not None
        np.testing.assert_allclose(warm.weight, cold.weight, atol=0.02 * np.abs(cold.weight).max())

    def test_what_folds_chose_is_kept_until_a_quarter_more_labels(self) -> None:
        former = self.fit(40)
        assert former.metadata.hyperparameters.n_labels == 40
        assert self.fit(50, former=former).metadata.hyperparameters.n_labels == 40
        assert self.fit(51, former=former).metadata.hyperparameters.n_labels == 51

    def test_a_former_head_that_does_not_fit_is_passed_over(self) -> None:
        rows, labels = self.data(40)
        other = fit_head(self.problem_type, self.offered, rows[:, :5], labels, round=1)
        assert self.fit(40, former=other).metadata.hyperparameters.n_labels == 40

    @pytest.mark.parametrize("rows", [np.full((4, 3), np.nan), np.zeros((3, 3)), np.zeros(4)])
    def test_embeddings_that_make_no_sense_are_refused(self, rows: np.ndarray) -> None:
        with pytest.raises(DataError):
            fit_head(self.problem_type, self.offered, rows, self.data(4)[1], round=1)

    def test_the_scale_of_the_embeddings_does_not_matter(self) -> None:
        rows, labels = self.data(60)
        small = fit_head(self.problem_type, self.offered, rows / 1000, labels, round=3)
        assert small is not None
        np.testing.assert_allclose(small.outputs(rows / 1000), self.fit().outputs(rows), atol=0.05)

    def test_rows_that_are_all_the_same_are_no_error(self) -> None:
        rows, labels = self.data(20)
        head = fit_head(self.problem_type, self.offered, np.ones_like(rows), labels, round=1)
        assert head is not None
        assert np.isfinite(head.outputs(rows)).all()

    def test_no_vectors_no_answers(self) -> None:
        head, nothing = self.fit(), np.empty((0, 12), np.float32)
        assert head.predict(nothing) == []
        assert head.losses(nothing, []).shape == (0,)

    # -- on disk ------------------------------------------------------------------------------

    def test_a_saved_head_is_the_same(self, tmp_path: Path) -> None:
        head = self.fit()
        head.save(tmp_path / "heads")
        again = load_head(tmp_path / "heads", 3)
        assert type(again) is type(head)
        assert again.metadata == head.metadata
        assert again.predict(self.data(20)[0]) == head.predict(self.data(20)[0])
        assert self.fit(64, former=again).metadata.hyperparameters == head.metadata.hyperparameters

    def test_old_heads_go_but_for_those_in_use(self, tmp_path: Path) -> None:
        for number in (1, 2, 10, 11):
            self.fit(round=number).save(tmp_path)
        (tmp_path / "head-x.safetensors").touch()
        assert saved_heads(tmp_path) == [11, 10, 2, 1]
        prune_heads(tmp_path, 1, also=(2,))
        assert saved_heads(tmp_path) == [11, 2]

    def test_a_damaged_file_is_a_store_error(self, tmp_path: Path) -> None:
        self.fit().save(tmp_path)
        path = head_path(tmp_path, 3)
        whole = path.read_bytes()
        huge = struct.pack("<Q", 2**63) + whole[8:]
        long = struct.pack("<Q", len(whole)) + whole[8:]
        for data in (
            b"",
            whole[:7],
            whole[:20],
            whole[:-4],
            b"\xff" * 64,
            huge,
            long,
            whole + b"0",
        ):
            path.write_bytes(data)
            with pytest.raises(StateError, match="the next round trains a new one"):
                load_head(tmp_path, 3)
        with pytest.raises(StateError, match="head-4"):
            load_head(tmp_path, 4)
        path.unlink()
        path.mkdir()
        with pytest.raises(StateError):
            load_head(tmp_path, 3)

    def test_any_flipped_bit_is_found(self, tmp_path: Path) -> None:
        head = self.fit(12)
        head.save(tmp_path)
        path = head_path(tmp_path, 3)
        whole = path.read_bytes()
        for bit in np.random.default_rng(0).permutation(8 * len(whole))[:400]:
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            try:
                again = load_head(tmp_path, 3)
            except StateError:
                continue
            # Blanks in the header carry nothing.
            assert again.metadata == head.metadata
            np.testing.assert_array_equal(again.weight, head.weight)
            np.testing.assert_array_equal(again.bias, head.bias)

    @pytest.mark.parametrize(
        "changes",
        [
            {"weight": np.full((4, 12), np.nan, np.float32)},
            {"bias": np.full(3, np.inf, np.float32)},
            {"weight": np.zeros((7, 12), np.float32)},
            {"weight": np.zeros((3, 0), np.float32)},
            {"bias": np.zeros((3, 1), np.float32)},
            {"weight": np.zeros((3, 12), np.float64)},
            {"metadata": {"problem_type": "mind reading"}},
            {"metadata": {"classes": ["a"]}},
            {"metadata": {"classes": 7}},
            {"metadata": {"hyperparameters": {"temperature": float("nan")}}},
            {"metadata": {"hyperparameters": {"temperature": 0.0}}},
            {"metadata": {"config": {}}},
            {"metadata": {"surprise": 1}},
        ],
    )
    def test_a_hostile_file_is_a_store_error(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        self.fit().save(tmp_path)
        rewrite(head_path(tmp_path, 3), **changes)
        with pytest.raises(StateError, match="the next round trains a new one"):
            load_head(tmp_path, 3)

    def test_a_head_of_an_earlier_format_is_refused_in_words(self, tmp_path: Path) -> None:
        """Its fields were named description, recipe and choice."""
        head = self.fit()
        now = json.loads(head.metadata.model_dump_json())
        before = {"recipe": now.pop("config"), "choice": now.pop("hyperparameters")} | now
        path = head_path(tmp_path, 3)
        tensors = {"weight": head.weight, "bias": head.bias}
        texts = {"description": json.dumps(before), "digest": "a digest of that time"}
        path.write_bytes(save_tensors(tensors, metadata=texts))
        with pytest.raises(StateError, match=r"an earlier version .* trains a new one"):
            load_head(tmp_path, 3)
        write_file(path, {"": (json.dumps(before), head.weight, head.bias)})
        with pytest.raises(StateError, match=r"no head of this version .* trains a new one"):
            load_head(tmp_path, 3)
        assert saved_heads(tmp_path) == [3]  # until it is pruned
        head.save(tmp_path)
        assert load_head(tmp_path, 3).metadata == head.metadata

    def test_metadata_nested_without_end_is_a_store_error(self, tmp_path: Path) -> None:
        head = self.fit()
        write_file(head_path(tmp_path, 3), {"": ("[" * 100_000, head.weight, head.bias)})
        with pytest.raises(StateError):
            load_head(tmp_path, 3)
