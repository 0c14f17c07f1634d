"""The tagging head: what it learns, how it decodes, how it is kept."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.errors import DataError, StateError
from active_learn.heads import (
    Run,
    TaggingHead,
    fit_head,
    fit_tagging_head,
    load_heads,
    save_heads,
    tagging,
)
from active_learn.heads.files import head_path, write_file
from active_learn.heads.logistic import LogisticProblem
from active_learn.heads.transitions import Counts, best_tags, runs_of
from active_learn.ragged import RaggedArray

LABELS = ("person", "place")


def tasks(n: int, seed: int = 0, noise: float = 0.3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sequences of 2 to 9 parts, tags in runs, around a center for each tag."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(3, 6))
    parts, tags = [], []
    for _ in range(n):
        one = np.repeat(rng.integers(0, 3, 5), rng.integers(1, 4, 5))[: rng.integers(2, 10)]
        tags.append(one)
        rows = centers[one] + noise * rng.normal(size=(len(one), 6))
        parts.append(rows.astype(np.float32))
    return parts, tags


def fitted(n: int = 40, noise: float = 0.3, **options: Any) -> TaggingHead:
    parts, tags = tasks(n, noise=noise)
    head = fit_tagging_head(LABELS, parts, tags, **{"round": 3} | options)
    assert head is not None
    return head


class TestLearning:
    def test_it_finds_the_tags_of_other_tasks(self) -> None:
        parts, tags = tasks(30, seed=1)
        answers = fitted().decode(parts)
        assert np.mean(np.concatenate([one.tags for one in answers]) == np.concatenate(tags)) > 0.95

    def test_probabilities_are_those_of_all_classes_of_the_config(self) -> None:
        parts, _ = tasks(5, seed=1)
        shares = fitted().probabilities([*parts, np.zeros((0, 6), np.float32)])
        assert [one.shape for one in shares] == [(len(one), 3) for one in parts] + [(0, 3)]
        assert np.allclose(np.concatenate(shares).sum(axis=1), 1, atol=1e-6)

    def test_a_label_without_examples_is_not_answered(self) -> None:
        parts, tags = tasks(20)
        head = fit_tagging_head(
            ("person", "never", "place"), parts, [t + (t > 1) for t in tags], round=1
        )
        assert head is not None
        shares = np.concatenate(head.probabilities(parts))
        assert (shares[:, 2] == 0).all()
        assert (shares[:, 3] > 0.5).any()
        assert {2} & {run.tag for answer in head.decode(parts) for run in answer.runs} == set()

    def test_parts_that_are_all_in_regions_are_learned_too(self) -> None:
        parts, tags = tasks(20)
        head = fit_tagging_head(LABELS, parts, [np.maximum(one, 1) for one in tags], round=1)
        assert head is not None
        assert (np.concatenate(head.probabilities(parts))[:, 0] == 0).all()
        assert all((one.tags > 0).all() for one in head.decode(parts))

    def test_there_is_nothing_to_learn_without_a_region(self) -> None:
        parts, tags = tasks(20)
        assert fit_tagging_head(LABELS, parts, [one * 0 for one in tags], round=1) is None
        assert fit_tagging_head(LABELS, [], [], round=1) is None

    def test_parts_whose_tag_is_not_known_are_left_out(self) -> None:
        parts, tags = tasks(20)
        rng = np.random.default_rng(0)
        hidden = [np.where(rng.random(len(one)) < 0.3, -1, one) for one in tags]
        far = [
            np.where((h < 0)[:, None], 1e4, p).astype(np.float32)
            for h, p in zip(hidden, parts, strict=True)
        ]
        zero = [
            np.where((h < 0)[:, None], 0, p).astype(np.float32)
            for h, p in zip(hidden, parts, strict=True)
        ]
        heads = [fit_tagging_head(LABELS, rows, hidden, round=1) for rows in (far, zero)]
        assert heads[0] is not None
        assert heads[1] is not None
        assert np.allclose(heads[0].weight, heads[1].weight, atol=1e-4)

    def test_training_goes_on_from_the_former_head(self, monkeypatch: pytest.MonkeyPatch) -> None:
        former = fitted()
        parts, tags = tasks(44)
        steps: list[int] = []
        solve = LogisticProblem.solve

        def count(self: Any, *args: Any, start: Any = None, **options: Any) -> Any:
            steps.append(0 if start is None else 1)
            return solve(self, *args, start=start, **options)

        monkeypatch.setattr(LogisticProblem, "solve", count)
        warm = fit_tagging_head(LABELS, parts, tags, round=4, former=former)
        assert steps == [1]  # and no folds: what they chose is kept
        cold = fit_tagging_head(LABELS, parts, tags, round=4)
        assert steps[1:] == [0, 1] * 3 + [0]  # two penalties a fold, then the head
        assert warm is not None
        assert cold is not None
        assert warm.metadata.strength == former.metadata.strength
        shares = [np.concatenate(head.probabilities(parts)) for head in (warm, cold)]
        assert np.abs(shares[0] - shares[1]).max() < 0.01

    def test_a_former_head_of_other_labels_and_parts(self) -> None:
        parts, tags = tasks(20)
        head = fit_tagging_head(("place", "animal"), parts, tags, round=4, former=fitted())
        assert head is not None
        assert head.classes == ("", "place", "animal")
        wide = [np.hstack([one, one]) for one in parts]
        head = fit_tagging_head(LABELS, wide, tags, round=4, former=fitted())
        assert head is not None
        assert head.n_features == 12


class TestDecoding:
    def test_tags_are_the_best_of_all(self) -> None:
        rng = np.random.default_rng(0)
        sizes = [4, 1, 0, 5, 3]
        offsets = np.cumsum([0, *sizes])
        shares = rng.dirichlet(np.ones(3), offsets[-1])
        tags = rng.integers(0, 3, offsets[-1])
        transitions = Counts.of(tags, offsets, 3).transitions()
        found = best_tags(shares, offsets, transitions, 0.6)
        for start, stop in itertools.pairwise(offsets):
            p = np.log(shares[start:stop])

            def value(way: tuple[int, ...], p: np.ndarray = p) -> float:
                inner = sum(transitions.step[a, b] for a, b in itertools.pairwise(way))
                first = transitions.start[way[0]] if way else 0.0
                return p[range(len(way)), list(way)].sum() + 0.6 * (first + inner)

            best = max(itertools.product(range(3), repeat=stop - start), key=value)
            assert tuple(found[start:stop]) == best

    def test_blocks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        head = fitted()
        parts, _ = tasks(50, seed=2, noise=2.0)
        whole = [one.tags.tolist() for one in head.decode(parts)]
        monkeypatch.setattr("active_learn.heads.transitions.CELLS", 1)
        monkeypatch.setattr(tagging, "BLOCK_PARTS", 7)
        assert [one.tags.tolist() for one in head.decode(parts)] == whole

    def test_transitions_are_counted_within_tasks(self) -> None:
        tags = np.array([0, 1, 1, 2, -1, 2, 0])
        counts = Counts.of(tags, np.array([0, 3, 3, 7]), 3)
        assert counts.starts.tolist() == [1, 0, 1]
        assert counts.pairs.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]

    def test_runs_end_with_their_task(self) -> None:
        tags = np.array([1, 1, 0, 2, 2, 1, 1])
        assert runs_of(tags, np.array([0, 1, 1, 5, 7])).tolist() == [
            [0, 1, 1], [1, 2, 1], [3, 5, 2], [5, 7, 1],
        ]  # fmt: skip

    def test_a_run_has_the_mean_probability_of_its_parts(self) -> None:
        head = fitted()
        parts, _ = tasks(10, seed=3)
        for rows, shares, answer in zip(
            parts, head.probabilities(parts), head.decode(parts), strict=True
        ):
            assert len(answer.tags) == len(rows)
            covered = np.zeros(len(rows), np.int64)
            for run in answer.runs:
                assert isinstance(run, Run)
                covered[run.start : run.stop] = run.tag
                assert run.score == pytest.approx(shares[run.start : run.stop, run.tag].mean())
            assert covered.tolist() == answer.tags.tolist()

    def test_transitions_help_where_regions_are_long(self) -> None:
        """Parts that say little, in regions that are long: the neighbors say more."""
        rng = np.random.default_rng(0)
        tags = [np.repeat(rng.integers(0, 3, 4), 5) for _ in range(90)]
        centers = rng.normal(size=(3, 6))
        parts = [(centers[t] + 2 * rng.normal(size=(len(t), 6))).astype(np.float32) for t in tags]
        head = fit_tagging_head(LABELS, parts[:60], tags[:60], round=1)
        apart = fit_tagging_head(LABELS, parts[:60], tags[:60], round=1, sequential=False)
        assert head is not None
        assert apart is not None
        assert (head.metadata.strength, apart.metadata.strength) == (0.6, 0.0)
        right = [
            np.mean(
                [(a.tags == t).mean() for a, t in zip(h.decode(parts[60:]), tags[60:], strict=True)]
            )
            for h in (head, apart)
        ]
        assert right[0] > right[1] + 0.1


class TestFiles:
    def test_it_is_read_as_it_was_written_beside_another_head(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        other = fit_head("classification", ["a", "b"], rows, ["a", "b"] * 10, round=3)
        head = fitted(encoder="words 1")
        assert other is not None
        save_heads(tmp_path, {"spans": head, "topic": other})
        again = load_heads(tmp_path, 3)["spans"]
        assert isinstance(again, TaggingHead)
        assert again.metadata == head.metadata
        assert again.reads("words 1", 6)
        assert not again.reads("words 2", 6)
        assert again.version == "head-3"
        parts, _ = tasks(9, seed=4, noise=2.0)
        for one, two in zip(head.decode(parts), again.decode(parts), strict=True):
            assert one.tags.tolist() == two.tags.tolist()
            assert one.runs == two.runs

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"classes": ["", "person", "stranger"]}, "do not fit the labels"),
            ({"starts": [1, 2]}, "transitions do not fit"),
            ({"strength": -1}, "greater than or equal to 0"),
        ],
    )
    def test_a_changed_file_is_refused(
        self, tmp_path: Path, change: dict[str, Any], says: str
    ) -> None:
        head = fitted()
        text = json.dumps(json.loads(head.metadata.model_dump_json()) | change)
        write_file(head_path(tmp_path, 3), {"": (text, head.weight, head.bias)})
        with pytest.raises(StateError, match=says):
            load_heads(tmp_path, 3)

    def test_weights_that_do_not_fit_are_refused(self) -> None:
        head = fitted()
        with pytest.raises(DataError, match=r"expected \(3, features\)"):
            TaggingHead(head.metadata, head.weight[:2], head.bias, 3)
        with pytest.raises(DataError, match=r"expected \(3,\)"):
            TaggingHead(head.metadata, head.weight, head.bias[:2], 3)
        with pytest.raises(DataError, match="NaN or infinity"):
            TaggingHead(head.metadata, head.weight * np.nan, head.bias, 3)


class TestErrors:
    def test_tags_that_do_not_fit_the_parts(self) -> None:
        parts, tags = tasks(3)
        with pytest.raises(DataError, match="one tag for each part"):
            fit_tagging_head(LABELS, parts, tags[:2], round=1)
        with pytest.raises(DataError, match="expected -1 to 1"):
            fit_tagging_head(LABELS[:1], parts, [one * 0 + 2 for one in tags], round=1)

    def test_parts_that_are_no_numbers_of_one_width(self) -> None:
        parts, tags = tasks(3)
        with pytest.raises(DataError, match="NaN or infinity"):
            fit_tagging_head(LABELS, [one * np.nan for one in parts], tags, round=1)
        with pytest.raises(DataError, match="task 1 has parts of shape"):
            RaggedArray.of([parts[0], parts[1][:, :2]])
        with pytest.raises(DataError, match="to fit the head"):
            fitted().decode([one[:, :2] for one in parts])

    def test_offsets_that_do_not_fit(self) -> None:
        for offsets in ([0, 2], [1, 3], [0, 2, 1, 3], []):
            with pytest.raises(DataError, match="do not fit 3 parts"):
                RaggedArray(np.zeros((3, 2)), offsets)
