"""Regions that overlap: both are learned where their labels differ, and flat ones as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.errors import StateError
from active_learn.heads import NestedTaggingHead, TaggingHead, load_head, save_heads
from active_learn.heads.overlaps import join_runs
from active_learn.ragged import RaggedArray
from active_learn_backend.labeling.exact_text import ExactText
from active_learn_backend.labeling.regions import ScoredRegion
from active_learn_backend.learning.encoders.ngrams import TextEncoder
from active_learn_backend.learning.heads.overlapping_regions import layered_tags, relations_in
from active_learn_backend.learning.heads.region_heads import find_regions, fit_region_head
from active_learn_backend.learning.quality.region_proposals import _pieces
from active_learn_backend.learning.regions.kinds import WordEncoder, Words
from active_learn_backend.learning.regions.parts import PartsOfTasks, in_memory

NAMES = ("group", "place", "person")
CITIES = ("Oslo", "Bergen", "Turku", "Vaasa", "Malmo", "Aarhus")
PEOPLE = ("Anna", "Bo", "Cleo", "Dan", "Eva", "Finn")
KIND = Words()
Regions = list[list[Any]]


def sentences(
    count: int, seed: int, relation: str | None = "within"
) -> tuple[list[str], list[Regions]]:
    """Texts with a group that bears the name of a city, a city alone, and a person.

    Labeled is also, ``within`` the group, the city; or the group that is named after a city
    altogether as a place, which is the ``same`` span; or, ``crossing`` its end, where it meets.
    """
    rng, texts, truth = np.random.default_rng(seed), [], []
    for at in range(count):
        home, other = rng.choice(CITIES, 2, replace=False)
        group = f"University of {home}" if at % 2 else f"{home} Chess Club"
        person = rng.choice(PEOPLE)
        text = f"the {group} Hall met {person} in {other} today"
        regions = [[text.index(one), text.index(one) + len(one), name]
                   for one, name in ((group, "group"), (person, "person"), (f"in {other}", "place"))
                   ]  # fmt: skip
        regions[2][0] += 3
        start, end = regions[0][:2]
        last = text.rindex(" ", 0, end) + 1  # word of the group
        further = {
            "within": [text.index(home), text.index(home) + len(home), "place"],
            "same": [start, end, "place"] if at % 2 else None,
            "crossing": [last, end + len(" Hall"), "place"],
        }.get(relation or "")
        regions += [further] if further else []
        texts.append(text)
        truth.append(sorted(regions))
    return texts, truth


def parts_of(texts: list[str]) -> PartsOfTasks:
    parts = WordEncoder(TextEncoder()).encode([ExactText(text) for text in texts])
    return in_memory(parts, parts[0].features.shape[1])


def fit(tasks: PartsOfTasks, truth: list[Regions], former: Any = None) -> Any:
    return fit_region_head(
        NAMES, KIND, tasks[np.arange(len(truth))], truth, round=1, former=former, encoder="e"
    )


def found_by(head: Any, tasks: PartsOfTasks) -> list[Regions]:
    return [[list(one[:3]) for one in each.regions] for each in find_regions(head, KIND, tasks)]


@pytest.mark.parametrize("relation", ["within", "same", "crossing"])
def test_both_regions_that_overlap_are_found(relation: str) -> None:
    texts, truth = sentences(60, 1, relation)
    head = fit(parts_of(texts), truth)
    assert isinstance(head, NestedTaggingHead)
    assert head.metadata.relations == (relation,)
    others, expected = sentences(40, 2, relation)
    found = found_by(head, parts_of(others))
    assert np.mean([one == other for one, other in zip(found, expected, strict=True)]) > 0.9


def test_flat_regions_are_learned_as_before() -> None:
    texts, truth = sentences(40, 1, None)
    tasks = parts_of(texts)
    head = fit(tasks, truth)
    assert isinstance(head, TaggingHead)
    once = [sentences(40, 1)[1][0], *truth[1:]]  # may be a slip of the hand
    assert relations_in(once[0]) == {"within"}
    assert isinstance(fit(tasks, once), TaggingHead)


def test_training_starts_from_the_head_of_the_last_round_whichever_it_was() -> None:
    texts, truth = sentences(40, 1)
    flat = sentences(40, 1, None)[1]
    tasks = parts_of(texts)
    cold = fit(tasks, truth)
    for former in (cold, fit(tasks, flat)):
        again = fit(tasks, truth, former)
        assert found_by(again, tasks) == found_by(cold, tasks)
    assert isinstance(fit(tasks, flat, cold), TaggingHead)


def test_of_each_word_the_less_sure_head_counts() -> None:
    texts, truth = sentences(40, 1)
    tasks = parts_of(texts)
    head = fit(tasks, truth)
    read = tasks[np.arange(5)]
    ragged = RaggedArray(read.rows, read.offsets)
    flat = head.flat_probabilities(ragged)
    np.testing.assert_allclose(flat.sum(axis=1), 1, atol=1e-5)
    both = [one.flat_probabilities(ragged) for one in (head.outer, head.inner)]
    margin = [np.diff(np.sort(one, axis=1)[:, -2:], axis=1)[:, 0] for one in (flat, *both)]
    np.testing.assert_allclose(margin[0], np.minimum(*margin[1:]))
    again, answers = head.tag_parts(ragged)
    np.testing.assert_array_equal(again, flat)
    assert all(any(run.tag == 2 for run in one.runs) for one in answers)


def test_a_nested_head_is_kept(tmp_path: Path) -> None:
    texts, truth = sentences(30, 1)
    tasks = parts_of(texts)
    head = fit(tasks, truth)
    save_heads(tmp_path, {"label": head})
    again = load_head(tmp_path, 1)
    assert isinstance(again, NestedTaggingHead)
    assert again.metadata == head.metadata
    assert found_by(again, tasks) == found_by(head, tasks)
    assert not again.without_weights().weight.any()
    short = NestedTaggingHead.__new__(NestedTaggingHead)
    short.metadata, short.weight, short.bias, short.round = (
        head.metadata,
        head.weight[:-1],
        head.bias,
        2,
    )
    save_heads(tmp_path, {"label": short})
    with pytest.raises(StateError, match="is no head of this version"):
        load_head(tmp_path, 2)


@pytest.mark.parametrize(
    ("regions", "relations", "outer", "inner"),
    [
        ([], set(), "....", "...."),
        ([[0, 5, "b"], [5, 9, "a"]], set(), "bba.", "bba."),
        ([[2, 9, "a"], [5, 9, "b"]], {"within"}, ".aa.", ".ab."),
        ([[0, 9, "a"], [0, 5, "b"], [2, 5, "c"]], {"within"}, "aaa.", "bca."),
        ([[0, 9, "a"], [0, 5, "a"]], set(), "aaa.", "aaa."),  # of one label
        ([[0, 5, "b"], [0, 5, "a"]], {"same"}, "aa..", "bb.."),
        ([[0, 5, "b"], [2, 9, "a"]], {"crossing"}, "bba.", "baa."),
        ([[0, 5, "a"], [2, 9, "a"]], set(), "aaa.", "aaa."),
        ([[0, 5, "a"], [0, 5, "?"]], {"same"}, "aa..", "aa.."),  # of no label of the config
    ],
)
def test_regions_that_overlap_are_two_layers(
    regions: Regions, relations: set[str], outer: str, inner: str
) -> None:
    assert relations_in(regions) == relations
    places = np.array([[0, 1], [2, 4], [5, 9], [10, 12]])
    both = layered_tags(KIND, regions, ("a", "b", "c"), places)
    assert ["".join(".abc"[tag] for tag in tags) for tags in both] == [outer, inner]


def test_borders_of_segments_that_cross_a_little_are_rough() -> None:
    assert relations_in([[0.0, 5.1, "a"], [5.0, 9.0, "b"]]) == set()
    assert relations_in([[0.0, 5.0, "a"], [4.0, 9.0, "b"]]) == {"crossing"}


def test_what_is_unlike_all_that_was_labeled_is_not_proposed() -> None:
    """The inner head counts only where it lies to a run of the outer one as regions were seen."""
    outer = [(0, 3, 1, 0.9), (6, 8, 2, 0.5)]
    within, same, crossing, apart = (1, 2, 2, 0.8), (0, 3, 2, 0.8), (2, 7, 2, 0.8), (4, 5, 2, 0.8)
    inner = [same, within, crossing, apart]
    assert join_runs(outer, inner, ["within"]) == [outer[0], within, outer[1]]
    assert join_runs(outer, inner, ["same"]) == [outer[0], same, outer[1]]
    # The rest of what crosses is not proposed beside it.
    assert join_runs(outer, inner, ["crossing"]) == [outer[0], crossing]


def test_of_two_labels_of_a_span_the_first_of_the_config_counts_for_one_head() -> None:
    places = np.array([[0, 3]])
    for names in (("a", "b"), ("b", "a")):
        assert KIND.tags([[0, 3, "a"], [0, 3, "b"]], names, places).tolist() == [1]


def test_the_page_shows_a_word_in_two_regions_with_both_labels() -> None:
    text = ExactText("the University of Oslo met Anna")
    regions = [
        ScoredRegion(4, 22, "group", 0.9),
        ScoredRegion(18, 22, "place", 0.8),
        ScoredRegion(27, 31, "person", 0.7),
    ]
    assert [(one.text, one.label, one.score) for one in _pieces(text, regions, 24)] == [
        ("the ", "", 0.0),
        ("University of ", "group", 0.9),
        ("Oslo", "group + place", 0.8),
        (" m", "", 0.0),
        ("\u2026", "", 0.0),
    ]
