"""Ridge heads hold the contract of heads; so do the heads of several controls."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler
from active_learn.errors import DataError, StateError
from active_learn.heads import (
    TrainedHead,
    fit_head,
    head_name,
    load_head,
    load_heads,
    round_of_head,
    save_heads,
    saved_heads,
)
from active_learn.heads.files import head_path, write_file
from active_learn.heads.random_cosines import RandomCosines
from active_learn.heads.ridge import _Ridge
from active_learn.models import EmbeddingHead, LinearHead
from head_contract import OFFERED, HeadContract, blobs, rewrite
from safetensors.numpy import save as save_tensors
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict


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
