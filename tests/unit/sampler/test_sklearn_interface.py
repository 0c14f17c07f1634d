"""scikit-learn's conventions: get_params, set_params, clone, a repr; and what a pickle holds."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, LinearHead, ModelOutput, ParameterError
from active_learn.sklearn_interface import Parameters
from sklearn.base import clone
from torch import nn

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(80, 6)).astype(np.float32)
LABELED = RNG.normal(size=(15, 6)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(3, 6)), RNG.normal(size=3))


def make(**arguments: object) -> ActiveSampler:
    defaults = {"labeled_data": LABELED, "seed_fisher": True, "random_state": 0}
    return ActiveSampler("classification", HEAD, 10, **{**defaults, **arguments})


def indices(sampler: ActiveSampler) -> list[int]:
    return sampler.rank(POOL, 40).indices.tolist()


class Deep:
    """A callable model that says when it runs."""

    def __init__(self) -> None:
        self.ran = 0

    def __call__(self, batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        self.ran += len(batch)
        output = HEAD(batch)
        return output.logits, output.embedding


# get_params


def test_get_params_returns_every_argument_of_the_constructor() -> None:
    sampler = make(strategy="bait", ridge=0.5, rank=2, side="fisher", device="cpu")
    arguments = inspect.signature(ActiveSampler).parameters
    own = {"ridge": 0.5, "side": "fisher"}
    assert set(sampler.get_params()) == set(arguments) - {"strategy_parameters"} | set(own)
    assert sampler.get_params().items() >= own.items()
    for name, value in {"budget": 10, "strategy": "bait", "rank": 2, "device": "cpu"}.items():
        assert sampler.get_params()[name] == value
    assert sampler.get_params(deep=False) == sampler.get_params(deep=True)
    assert sampler.get_params()["model"] is HEAD
    assert sampler.get_params()["labeled_data"] is LABELED


def test_what_get_params_returns_builds_the_same_sampler() -> None:
    sampler = make(strategy="aopt", gamma=2.0, references=30)
    assert indices(ActiveSampler(**sampler.get_params())) == indices(sampler)


def test_a_change_of_what_get_params_returned_changes_nothing() -> None:
    sampler = make()
    sampler.get_params()["budget"] = 70
    assert sampler.budget == sampler.get_params()["budget"] == 10


def test_labels_of_an_update_are_in_the_parameters() -> None:
    sampler = make(labeled_data=LABELED[:5])
    sampler.update(LABELED[5:])
    labeled = sampler.get_params()["labeled_data"]
    assert isinstance(labeled, ModelOutput)
    assert len(labeled) == 15
    assert indices(clone(sampler)) == indices(sampler) == indices(make())


def test_outputs_of_labeled_samples_do_without_the_model() -> None:
    model = Deep()
    sampler = ActiveSampler("classification", model, 10, labeled_data=HEAD(LABELED))
    sampler.update(HEAD(LABELED[:0]))
    assert model.ran == 0
    assert len(sampler.get_params()["labeled_data"]) == 15


# set_params


def test_set_params_equals_a_new_sampler() -> None:
    sampler = make(strategy="margin")
    assert sampler.set_params() is sampler
    assert sampler.set_params(strategy="aopt", gamma=1.5, budget=20) is sampler
    assert indices(sampler) == indices(make(strategy="aopt", gamma=1.5).set_params(budget=20))
    assert sampler.budget == 20
    assert len(sampler.select(POOL)) == 20
    assert sampler.get_params()["labeled_data"] is LABELED


def test_another_strategy_begins_with_its_own_defaults() -> None:
    sampler = make(strategy="bait", rank=2, side="fisher", ridge=0.5)
    sampler.set_params(strategy="logdet")
    assert "side" not in sampler.get_params()
    assert sampler.get_params()["rank"] == 1
    assert indices(sampler) == indices(make(strategy="logdet"))


def test_the_seed_stays_unless_it_is_set() -> None:
    sampler = make(strategy="random", random_state=None)
    before = indices(sampler)
    assert indices(sampler.set_params(budget=12)) == before
    assert indices(sampler.set_params(random_state=0)) == indices(make(strategy="random"))


def test_the_model_runs_over_labeled_samples_again_only_for_another_model() -> None:
    model = Deep()
    sampler = ActiveSampler("classification", model, 10, labeled_data=list(LABELED))
    assert model.ran == 15
    sampler.set_params(budget=20, strategy="margin")
    assert model.ran == 15
    other = Deep()
    sampler.set_params(model=other)
    assert (model.ran, other.ran) == (15, 15)


def test_outputs_of_an_earlier_model_are_not_taken_for_those_of_another() -> None:
    sampler = make()
    sampler.update(LABELED)
    with pytest.raises(ParameterError, match="set labeled_data together with the model"):
        sampler.set_params(model=LinearHead(np.ones((3, 6))))
    other = LinearHead(RNG.normal(size=(3, 6)))
    sampler.set_params(model=other, labeled_data=LABELED)
    expected = ActiveSampler(
        "classification", other, 10, labeled_data=LABELED, seed_fisher=True, random_state=0
    )
    assert indices(sampler) == indices(expected)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    sampler = make(strategy="aopt")
    with pytest.raises(ParameterError, match="'wings' is unknown; the sampler takes") as refused:
        sampler.set_params(budget=50, wings=2)
    for name in [*inspect.signature(ActiveSampler).parameters, "gamma", "ridge", "references"]:
        assert name == "strategy_parameters" or name in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ParameterError, match="'gamma' is unknown"):
        sampler.set_params(strategy="margin", gamma=2.0)


@pytest.mark.parametrize(
    "bad", [{"budget": 0}, {"strategy": "best"}, {"gamma": -1.0}, {"problem_type": "ranking"}]
)
def test_a_value_that_cannot_be_used_changes_nothing(bad: dict[str, object]) -> None:
    sampler = make(strategy="aopt")
    before, params = indices(sampler), sampler.get_params()
    with pytest.raises(ParameterError):
        sampler.set_params(max_conditioned=4, **bad)
    assert sampler.get_params() == params
    assert indices(sampler) == before


def test_a_stream_in_progress_keeps_its_parameters() -> None:
    sampler = make()
    sampler.set_params(budget=0.2)
    next(sampler.select(iter(POOL)))
    with pytest.raises(ParameterError, match="a stream is in progress"):
        sampler.set_params(budget=0.3)


# clone, pickle, repr


@pytest.mark.parametrize("strategy", ["auto", "bait", "margin"])
def test_a_clone_selects_the_same(strategy: str) -> None:
    sampler = make(strategy=strategy)
    twin = clone(sampler)
    assert twin is not sampler
    assert twin.get_params().keys() == sampler.get_params().keys()
    assert indices(twin) == indices(sampler)
    twin.set_params(budget=3)
    twin.update(LABELED)
    assert sampler.budget == 10
    assert len(sampler.problem.labeled) == 15


def test_a_clone_shares_the_model() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    sampler = ActiveSampler("classification", model, 10)
    assert clone(sampler).get_params()["model"] is model


def test_a_clone_by_copies_works_where_scikit_learn_is_older(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to 1.2 a class could not say how it is cloned."""
    monkeypatch.delattr(Parameters, "__sklearn_clone__")
    sampler = make(strategy="aopt", gamma=2.0)
    assert indices(clone(sampler)) == indices(sampler)


@pytest.mark.parametrize("updated", [False, True])
def test_a_pickled_sampler_carries_outputs_of_labeled_samples_only(updated: bool) -> None:
    samples = [np.asarray(row, dtype=object).astype(np.float32) for row in LABELED]
    sampler = make(labeled_data=samples)
    if updated:
        sampler.update(samples[:3])
    there = pickle.loads(pickle.dumps(sampler))
    assert isinstance(there.get_params()["labeled_data"], ModelOutput)
    assert (sampler.get_params()["labeled_data"] is samples) is not updated
    expected = indices(sampler)
    for one in (there, clone(there), there.set_params(progress=False)):
        assert indices(one) == expected


def test_the_repr_shows_what_is_set() -> None:
    assert repr(make(strategy="aopt", gamma=2.0)) == (
        "ActiveSampler(problem_type='classification', model=LinearHead(<3 x 6 weights>), "
        "budget=10, seed_fisher=True, labeled_data=<15 samples>, strategy='aopt', "
        "random_state=0, gamma=2.0)"
    )
    model = nn.Linear(6, 3)
    plain = repr(ActiveSampler("regression", model, 0.5, layer=model))
    expected = "problem_type='regression', model=<Linear>, budget=0.5, layer=<Linear>"
    assert plain == f"ActiveSampler({expected})"


def test_the_repr_shows_the_layer_that_was_found() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    sampler = ActiveSampler("classification", model, 5)
    assert "model=<Sequential>" in repr(sampler)
    sampler.select(torch.from_numpy(POOL))
    assert "model=<Sequential: layer '2'>" in repr(sampler)


def test_the_repr_names_a_model_and_what_stands_beside_it() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = transformers.ViTConfig(**sizes, intermediate_size=8, image_size=8, patch_size=8)
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 8, "width": 8})
    shown = repr(ActiveSampler("classification", (model, processor), 5))
    assert f"model=<ViTForImageClassification, {type(processor).__name__}>" in shown


def test_a_notebook_shows_the_settings_and_what_was_found() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    sampler = ActiveSampler("classification", model, 5, labeled_data=LABELED, strategy="aopt")
    shown = sampler._repr_html_()
    for name, value in {
        "strategy": "&#x27;aopt&#x27;",
        "seed_fisher": "False",
        "layer": "&#x27;2&#x27;",
        "embedding size": 4,
        "classes": 3,
        "labeled samples": 15,
        "model": "&lt;Sequential: layer &#x27;2&#x27;&gt;",
    }.items():
        assert f"<tr><td>{name}</td><td>{value}</td></tr>" in shown
    assert shown.count("<td>layer</td>") == 1
    head = LinearHead(np.ones((1, 6)))
    assert "<td>outputs</td><td>1</td>" in ActiveSampler("regression", head, 5)._repr_html_()


def test_torch_is_imported_when_a_sampler_is_made() -> None:
    """Also no other library that takes seconds to import."""
    code = """
import sys
from active_learn import ActiveLearnError, ActiveSampler, Ranking
import active_learn.validation
heavy = {"torch", "scipy", "sklearn", "onnx", "onnxruntime", "transformers", "pandas"}
print(*heavy & {*sys.modules})
ActiveSampler("classification", lambda batch: None, 1)
print("torch" in sys.modules, "sklearn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["", "True False", ""]
