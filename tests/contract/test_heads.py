"""What every trained head promises, and what is particular to each kind."""

from __future__ import annotations

import hashlib
import json
import pickle
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
    head_name,
    hyperparameters,
    load_head,
    load_heads,
    prune_heads,
    round_of_head,
    save_heads,
    saved_heads,
)
from active_learn.heads.files import head_path, write_file
from active_learn.heads.hyperparameters import choose_hyperparameters
from active_learn.heads.logistic import Link, LogisticProblem
from active_learn.heads.random_cosines import RandomCosines
from active_learn.heads.ridge import _Ridge
from active_learn.models import EmbeddingHead, LinearHead
from safetensors.numpy import save as save_tensors
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

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


class TestSeveralHeads:
    """Heads of one round for several tasks of a model are one file."""

    def heads(self, round: int = 3) -> dict[str, TrainedHead]:
        rows, places = blobs(60)
        given: dict[str, tuple[Any, tuple[str, ...], list[Any]]] = {
            "colour/metadata": ("classification", OFFERED, [OFFERED[place] for place in places]),
            "größe": ("regression", (), [float(place) for place in places]),
        }
        heads = {}
        for name, (kind, offered, labels) in given.items():
            head = fit_head(kind, offered, rows, labels, round=round, encoder="e")
            assert head is not None
            heads[name] = head
        return heads

    def test_they_are_read_by_name_as_they_were_written(self, tmp_path: Path) -> None:
        heads = self.heads()
        save_heads(tmp_path, heads)
        assert saved_heads(tmp_path) == [3]
        assert len(list(tmp_path.iterdir())) == 1
        read = load_heads(tmp_path, 3)
        assert read.keys() == heads.keys()
        for name, head in heads.items():
            assert (read[name].metadata, read[name].round) == (head.metadata, 3)
            np.testing.assert_array_equal(read[name].weight, head.weight)
        assert load_head(tmp_path, 3).problem_type == "classification"

    def test_a_head_that_was_saved_alone_has_no_name(self, tmp_path: Path) -> None:
        head = self.heads()["größe"]
        head.save(tmp_path)
        assert load_heads(tmp_path, 3)[""].metadata == head.metadata

    def test_a_file_of_a_version_that_knew_one_head_is_read(self, tmp_path: Path) -> None:
        head = self.heads()["größe"]
        metadata = head.metadata.model_dump_json()
        digest = hashlib.sha256(metadata.encode())
        for tensor in (head.weight, head.bias):
            digest.update(str(tensor.shape).encode())
            digest.update(tensor.tobytes())
        texts = {"metadata": metadata, "digest": digest.hexdigest()}
        tensors = {"weight": head.weight, "bias": head.bias}
        head_path(tmp_path, 3).write_bytes(save_tensors(tensors, metadata=texts))
        assert load_heads(tmp_path, 3)[""].metadata == head.metadata

    def test_a_head_of_another_name_is_a_damage(self, tmp_path: Path) -> None:
        save_heads(tmp_path, self.heads())
        path = head_path(tmp_path, 3)
        path.write_bytes(path.read_bytes().replace("größe".encode(), "grösze".encode()))
        with pytest.raises(StateError, match="trains a new one"):
            load_heads(tmp_path, 3)


@pytest.mark.parametrize("round", [0, 1, 12, 999_999_999])
def test_a_name_stands_for_one_round(round: int) -> None:
    assert round_of_head(head_name(round)) == round
    assert head_path(Path("folder"), round).stem == head_name(round)


@pytest.mark.parametrize(
    "name",
    ["", "latest", "head-", "head-x", "head-1x", "head--1", "head-01", "head-1\n", "al-3", "head-٣",
     "HEAD-3", "head-1234567890", "../head-1"],
)  # fmt: skip
def test_other_names_are_no_heads(name: str) -> None:
    assert round_of_head(name) is None


class TestMultinomial(HeadContract):
    problem_type = "classification"

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rows, places = blobs(n, seed=seed)
        return rows, [OFFERED[place] for place in places]

    def nothing_to_tell_apart(self) -> list[Any]:
        return ["red", "red", "red"]

    @pytest.mark.parametrize(("n", "d"), [(20, 40), (90, 12), (40, 12)])
    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_it_is_the_penalized_optimum(self, n: int, d: int, class_weight: Any) -> None:
        """In fewer coordinates than features or not, and weighted, as scikit-learn finds it."""
        rows, places = blobs(n, d)
        keep = np.flatnonzero((places > 0) | (np.arange(n) % 2 == 0))
        rows, labels = rows[keep], [OFFERED[place] for place in places[keep]]
        head = fit_head("classification", OFFERED, rows, labels, round=1, class_weight=class_weight)
        assert head is not None
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        model = LogisticRegression(
            C=head.metadata.hyperparameters.inverse_penalty / spread,
            class_weight=None if class_weight == "none" else "balanced",
            max_iter=5000,
            tol=1e-8,
        ).fit(rows, labels)
        columns = [list(model.classes_).index(name) for name in head.classes]
        logits = (rows @ head.weight.T + head.bias).astype(np.float64)
        expected = model.decision_function(rows)[:, columns]
        centered = [values - values.mean(axis=1, keepdims=True) for values in (logits, expected)]
        np.testing.assert_allclose(*centered, atol=0.03)

    def test_two_classes_are_two_rows(self) -> None:
        rows, labels = self.data(30)
        pair = [at for at, label in enumerate(labels) if label != "blue"]
        head = fit_head("classification", OFFERED, rows[pair], [labels[at] for at in pair], round=1)
        assert head is not None
        assert head.classes == ("red", "green")
        np.testing.assert_allclose(head.weight[0], -head.weight[1], atol=1e-4)

    def test_classes_are_those_seen_as_offered_and_labels_not_offered_are_left_out(self) -> None:
        rows, labels = self.data(30)
        head = fit_head("classification", ("blue", "red"), rows, labels, round=1)
        assert head is not None
        assert head.classes == ("blue", "red")
        kept = [at for at, label in enumerate(labels) if label != "green"]
        alone = fit_head(
            "classification", ("blue", "red"), rows[kept], [labels[at] for at in kept], round=1
        )
        assert alone is not None
        np.testing.assert_array_equal(head.weight, alone.weight)

    def test_classes_may_grow(self) -> None:
        rows, labels = self.data(60)
        pair = [at for at, label in enumerate(labels) if label != "blue"]
        former = fit_head(
            "classification", OFFERED, rows[pair], [labels[at] for at in pair], round=1
        )
        assert former is not None
        grown = fit_head("classification", OFFERED, rows, labels, round=2, former=former)
        assert grown is not None
        assert grown.classes == ("red", "green", "blue")
        assert grown.losses(rows, labels).mean() < 0.2

    def test_losses_are_errors(self) -> None:
        rows, labels = self.data(30)
        head = self.fit(90)
        expected = [
            float(answer.label != label)
            for answer, label in zip(head.predict(rows), labels, strict=True)
        ]
        assert head.losses(rows, labels).tolist() == expected
        assert head.losses(rows, ["never heard of"] * 30).tolist() == [1.0] * 30

    @pytest.mark.parametrize("n", [60, 150, 400])
    def test_calibration_makes_the_score_the_share_of_right_answers(self, n: int) -> None:
        images, truth = load_digits(return_X_y=True)
        order = np.random.default_rng(1).permutation(len(truth))
        images, names = images[order].astype(np.float32), [str(digit) for digit in truth[order]]
        offered = [str(digit) for digit in range(10)]
        head = fit_head("classification", offered, images[:n], names[:n], round=1)
        assert head is not None
        answers = head.predict(images[n:])
        right = 1 - head.losses(images[n:], names[n:])
        after = np.mean([answer.score for answer in answers])
        assert after == pytest.approx(right.mean(), abs=0.06)
        raw = images[n:] @ head.weight.T + head.bias
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        before = (raw.max(axis=1) / raw.sum(axis=1)).mean()
        assert abs(after - right.mean()) < max(abs(before - right.mean()), 0.02)

    def test_scores_are_probabilities_and_the_temperature_changes_no_answer(self) -> None:
        rows, _ = self.data(60, seed=4)
        head = self.fit()
        answers = head.predict(rows)
        assert all(1 / 3 <= answer.score <= 1 for answer in answers if answer.score is not None)
        raw = (rows @ head.weight.T + head.bias).argmax(axis=1)
        assert [answer.label for answer in answers] == [head.classes[k] for k in raw]

    def test_few_labels_are_left_at_the_defaults(self) -> None:
        assert self.fit(11).metadata.hyperparameters.n_labels == 0
        assert self.fit(12).metadata.hyperparameters.n_labels == 12

    def test_labels_drawn_at_random_make_a_head_that_knows_it(self) -> None:
        """Without anything to learn the score falls to about what guessing gives."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(200, 12)).astype(np.float32)
        names = [OFFERED[place] for place in rng.integers(0, 4, 200)]
        head = fit_head("classification", OFFERED, rows[:100], names[:100], round=1)
        assert head is not None
        assert np.mean([answer.score for answer in head.predict(rows[100:])]) < 0.4


class TestOneVsRest(HeadContract):
    problem_type = "multilabel"

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rows, places = blobs(n, seed=seed)
        sets = (["red"], ["red", "green"], [])
        return rows, [sets[place] for place in places]

    def nothing_to_tell_apart(self) -> list[Any]:
        return [["red", "blue"], ["blue", "red"], ["red", "blue"]]

    def test_an_answer_is_the_labels_that_are_more_likely_than_not(self) -> None:
        head, (rows, _) = self.fit(), self.data(40, seed=2)
        shares = head.label_probabilities(rows)
        assert shares.shape == (40, len(OFFERED))
        for answer, row in zip(head.predict(rows), shares, strict=True):
            assert answer.label == [one for one, p in zip(OFFERED, row, strict=True) if p >= 0.5]
            assert answer.score == pytest.approx(np.maximum(row, 1 - row).min())

    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_each_label_is_its_own_penalized_optimum(self, class_weight: Any) -> None:
        rows, labels = self.data(50)
        head = self.fit(50, class_weight=class_weight)
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        model = LogisticRegression(
            C=head.metadata.hyperparameters.inverse_penalty / spread,
            class_weight=None if class_weight == "none" else "balanced",
            max_iter=5000,
            tol=1e-8,
        )
        for column, name in enumerate(("red", "green")):
            model.fit(rows, [name in label for label in labels])
            logits = rows @ head.weight[column] + head.bias[column]
            np.testing.assert_allclose(logits, model.decision_function(rows), atol=0.03)

    def test_a_label_that_no_task_has_is_improbable_and_one_that_all_have_is_sure(self) -> None:
        rows, labels = self.data(30)
        head = fit_head(
            "multilabel", OFFERED, rows, [[*label, "blue"] for label in labels], round=1
        )
        assert head is not None
        assert not head.weight[2:].any()
        odds = 1 / (1 + np.exp(-head.bias[2:]))
        np.testing.assert_allclose(odds, [31 / 32, 1 / 32], rtol=1e-4)
        assert all("blue" in answer.label for answer in head.predict(rows))

    def test_answers_are_in_the_order_of_the_config(self) -> None:
        rows, labels = self.data(60)
        head = fit_head("multilabel", ("green", "red"), rows, labels, round=1)
        assert head is not None
        assert ["green", "red"] in [answer.label for answer in head.predict(rows)]

    def test_the_score_is_that_of_the_least_certain_label(self) -> None:
        rows, _ = self.data(20, seed=5)
        head = self.fit()
        odds = 1 / (1 + np.exp(-head.outputs(rows)))
        expected = np.maximum(odds, 1 - odds).min(axis=1)
        np.testing.assert_allclose(
            [answer.score for answer in head.predict(rows)], expected, rtol=1e-5
        )

    def test_losses_are_shares_of_wrong_labels(self) -> None:
        rows, _ = self.data(3)
        head = self.fit(90)
        answers = [answer.label for answer in head.predict(rows)]
        assert answers == [["red"], ["red", "green"], []]
        truth = [["blue"], ["red", "green"], ["green", "not offered"]]
        assert head.losses(rows, truth).tolist() == [0.5, 0.0, 0.25]


class TestBentRidge(HeadContract):
    """Regression where the label is no linear function of the embedding."""

    problem_type = "regression"
    offered = ()

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rng = np.random.default_rng(seed)
        place = rng.uniform(-2, 2, n)
        rows = np.outer(place, np.random.default_rng(99).normal(size=12))
        rows += 0.02 * rng.normal(size=rows.shape)
        return rows.astype(np.float32), list(5 + place**2 + 0.05 * rng.normal(size=n))

    def nothing_to_tell_apart(self) -> list[Any]:
        return [3.0]

    def test_it_bends_where_labels_left_out_say_so(self) -> None:
        rows, labels = self.data(200, seed=1)
        assert self.fit(39).cosines is None
        assert self.fit(60).losses(rows, labels).mean() < 0.1
        rows, labels = TestRidge().data(200)
        head = fit_head("regression", (), rows, labels, round=1)
        assert head is not None
        assert head.cosines is None

    def test_its_errors_are_those_of_regressions_without_each_label(self) -> None:
        rows, labels = self.data(40)
        features = RandomCosines(12, 4.0)(rows).astype(float)
        problem = _Ridge(RandomCosines(12, 4.0)(rows), np.array(labels))
        model = Ridge(alpha=problem.spread / 100)
        held_out = cross_val_predict(model, features, labels, cv=LeaveOneOut())
        np.testing.assert_allclose(
            problem.leave_one_out(100.0), np.square(held_out - labels), rtol=1e-2, atol=1e-6
        )

    def test_the_cosines_are_the_same_for_ever(self) -> None:
        found = RandomCosines(2, 3.0)(np.array([[1, -2], [30, 4]], np.float32))
        assert found.shape == (2, 256)
        expected = [[-0.0800387, -0.0715831, 0.0447092], [0.0835757, 0.013866, 0.0456264]]
        np.testing.assert_allclose(found[:, :3], expected, atol=1e-6)

    def test_a_head_from_before_heads_could_bend_is_read(self, tmp_path: Path) -> None:
        rows, labels = self.data(30)
        head = fit_head("regression", (), rows, labels, round=3)
        assert head is not None
        metadata = json.loads(head.metadata.model_dump_json())
        del metadata["n_features"], metadata["hyperparameters"]["width"]
        write_file(head_path(tmp_path, 3), {"": (json.dumps(metadata), head.weight, head.bias)})
        again = load_head(tmp_path, 3)
        assert again.metadata == head.metadata
        np.testing.assert_array_equal(again.outputs(rows), head.outputs(rows))

    def test_a_saved_head_answers_as_before(self, tmp_path: Path) -> None:
        head, (rows, _) = self.fit(60), self.data(20, seed=3)
        head.save(tmp_path)
        again = load_head(tmp_path, 3)
        assert (again.n_features, again.cosines) == (12, head.cosines)
        np.testing.assert_array_equal(again.outputs(rows), head.outputs(rows))
        assert again.reads("", 12)

    @pytest.mark.parametrize(
        "metadata",
        [{"n_features": None}, {"n_features": 0}, {"hyperparameters": {"inverse_penalty": 1.0}}],
    )
    def test_cosines_that_do_not_fit_are_a_store_error(
        self, tmp_path: Path, metadata: dict[str, Any]
    ) -> None:
        self.fit(60).save(tmp_path)
        rewrite(head_path(tmp_path, 3), metadata=metadata)
        with pytest.raises(StateError, match="the next round trains a new one"):
            load_head(tmp_path, 3)

    def test_the_ranking_is_that_of_the_embeddings(self) -> None:
        head, (rows, _) = self.fit(60), self.data(50, seed=2)
        assert head.cosines is not None
        orders = [
            ActiveSampler("regression", model, 5, labeled_data=rows[:9], seed_fisher=True)
            .rank(rows[9:], 20)
            .indices.tolist()
            for model in (head.sampler_model(), LinearHead.untrained(1, 12))
        ]
        assert orders[0] == orders[1]

    def test_beside_another_head_it_is_read_by_the_sampler(self) -> None:
        head, (rows, _) = self.fit(60), self.data(50, seed=2)
        both = EmbeddingHead.side_by_side([LinearHead.untrained(2, 12), head.sampler_model()])
        both = pickle.loads(pickle.dumps(both))  # as it goes to workers
        np.testing.assert_allclose(both(rows).logits[:, 2:], head.outputs(rows), atol=1e-6)
        outputs = [("classification", 2), ("regression", 1)]
        sampler = ActiveSampler(outputs, both, 5, labeled_data=rows[:9])
        assert len(sampler.rank(rows[9:], 5).indices) == 5


class TestRidge(HeadContract):
    problem_type = "regression"
    offered = ()

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(n, 12)).astype(np.float32)
        slopes = np.random.default_rng(99).normal(size=12)
        return rows, list(rows @ slopes + 5 + 0.5 * rng.normal(size=n))

    def nothing_to_tell_apart(self) -> list[Any]:
        return [3.0]

    @pytest.mark.parametrize("n", [8, 60])
    def test_it_is_the_penalized_optimum_of_the_least_leave_one_out_error(self, n: int) -> None:
        rows, labels = self.data(n)
        head = self.fit(n)
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        errors = {}
        for inverse in np.logspace(-3, 3, 13):
            model = Ridge(alpha=spread / inverse)
            held_out = cross_val_predict(model, rows.astype(float), labels, cv=LeaveOneOut())
            errors[float(inverse)] = np.square(held_out - labels).mean()
        # scikit-learn's alpha would follow the spread of each fold; ours is that of all rows.
        assert head.metadata.hyperparameters.inverse_penalty == min(errors, key=lambda c: errors[c])
        model = Ridge(alpha=spread / head.metadata.hyperparameters.inverse_penalty).fit(
            rows, labels
        )
        np.testing.assert_allclose(head.outputs(rows)[:, 0], model.predict(rows), atol=1e-3)

    def test_the_noise_is_estimated(self) -> None:
        assert self.fit(2000).metadata.noise_variance == pytest.approx(0.25, rel=0.1)
        assert self.fit(40).metadata.noise_variance == pytest.approx(0.25, rel=0.6)

    def test_labels_that_are_all_the_same_are_a_constant_without_noise(self) -> None:
        rows, _ = self.data(10)
        head = fit_head("regression", (), rows, [4.0] * 10, round=1)
        assert head is not None
        assert [answer.label for answer in head.predict(rows)] == pytest.approx([4.0] * 10)
        assert head.metadata.noise_variance == pytest.approx(0)

    def test_answers_keep_within_the_bounds_and_have_no_score(self) -> None:
        rows, labels = self.data(40)
        head = fit_head("regression", (), rows, labels, round=1, bounds=(4, 6))
        assert head is not None
        answers = head.predict(rows * 10)
        assert {answer.label for answer in answers} >= {4.0, 6.0}
        assert all(4 <= answer.label <= 6 and answer.score is None for answer in answers)

    def test_losses_are_absolute_errors(self) -> None:
        rows, _ = self.data(2)
        head = self.fit()
        low, high = (answer.label for answer in head.predict(rows))
        assert head.losses(rows, [low - 1, high + 2]) == pytest.approx([1, 2])

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_labels_that_are_no_numbers_are_refused(self, bad: float) -> None:
        rows, labels = self.data(5)
        with pytest.raises(DataError, match="labels hold NaN"):
            fit_head("regression", (), rows, [*labels[:4], bad], round=1)


def test_overconfidence_does_not_decide_on_the_penalty() -> None:
    """The penalty follows the likelihood at the best temperature, by scikit-learn's logits too."""
    rows, places = blobs(120)
    targets = np.eye(3, dtype=np.float32)[places]
    chosen = choose_hyperparameters(LogisticProblem(rows, targets, "softmax"), 0)
    assert chosen.inverse_penalty in (1.0, 10.0, 100.0)
    flipped = places.copy()
    flipped[::4] = (flipped[::4] + 1) % 3  # a quarter of the labels wrong: shrink more, not less
    noisy = choose_hyperparameters(
        LogisticProblem(rows, np.eye(3, dtype=np.float32)[flipped], "softmax"), 0
    )
    assert noisy.inverse_penalty <= chosen.inverse_penalty
    assert noisy.temperature > chosen.temperature


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_a_fold_without_the_rare_class_leaves_no_nan(link: Link) -> None:
    """One label of a class among 20: the fold that holds it out is trained on the other alone."""
    rows = np.random.default_rng(3).normal(size=(20, 6)).astype(np.float32)
    targets = np.zeros((20, 2), np.float32)
    targets[:, 0], targets[0] = 1, (0, 1)
    with np.errstate(all="raise"):
        chosen = choose_hyperparameters(LogisticProblem(rows, targets, link), 0)
    assert np.isfinite(chosen.temperature)
    weight, bias = LogisticProblem(rows, targets, link).solve(1.0, rows=np.arange(1, 20))
    assert (weight == 0).all()
    assert bias[0] > bias[1]
    assert np.isfinite(bias[0])


def test_with_enough_rows_held_out_the_other_folds_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, places = blobs(600)
    problem = LogisticProblem(rows, np.eye(3, dtype=np.float32)[places], "softmax")
    full = choose_hyperparameters(problem, 0)
    trained: list[int] = []
    solve = LogisticProblem.solve

    def counted(self: LogisticProblem, *arguments: Any, **options: Any) -> Any:
        trained.append(len(options["rows"]))
        return solve(self, *arguments, **options)

    monkeypatch.setattr(LogisticProblem, "solve", counted)
    monkeypatch.setattr(hyperparameters, "ENOUGH_ROWS", 200)
    saved = choose_hyperparameters(problem, 0)
    assert trained == [400] * 3
    assert saved.n_labels == 600
    assert saved.temperature == pytest.approx(full.temperature, rel=0.3)
