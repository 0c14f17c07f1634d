"""The demo of named entities: its texts, its judge, and what it says of the proposals."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.heads import fit_tagging_head
from active_learn_backend.demo import entities, report
from active_learn_backend.demo.annotator import Submission
from active_learn_backend.demo.evaluation import LearningCurve
from active_learn_backend.demo.options import parse
from active_learn_backend.demo.proposals import Worth, entity_curve, exact_f1, worth
from active_learn_backend.demo.subjects import EntityTexts
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import ExactText
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.learning.regions.kinds import WordEncoder, Words
from PIL import Image

ACTIVE = LearningCurve((10, 20), (0.2, 0.4), "F1", (600.0, 1200.0))
PLAIN = LearningCurve((10, 20, 30), (0.1, 0.3, 0.41), "F1", (300.0, 590.0, 905.0))


@pytest.fixture(scope="module")
def sentences() -> entities.Sentences:
    return entities.load(pool=600)


def test_the_texts_bear_their_licence_and_their_entities(sentences: entities.Sentences) -> None:
    told = files("active_learn_backend.demo").joinpath("data", "LICENSE-wikigold.txt").read_text()
    assert "CC BY 4.0" in told
    assert sorted([*sentences.pool, *sentences.held_out]) == list(range(900))
    assert not np.array_equal(entities.load(600, seed=1).pool, sentences.pool)
    first = sentences.texts[0]
    assert [first[start:end] for start, end, _ in sentences.spans[0]] == [
        "010", "Japanese", "The Mad Capsule Markets",
    ]  # fmt: skip
    for text, spans in zip(sentences.texts, sentences.spans, strict=True):
        assert all(text[start:end] == text[start:end].strip() != "" for start, end, _ in spans)
        assert {label for *_, label in spans} <= set(entities.LABELS)


def test_the_backend_reads_the_marks_of_the_annotator(sentences: entities.Sentences) -> None:
    (control,) = parse_label_config(entities.LABEL_CONFIG).regions
    subject = EntityTexts(600, 0)
    task = {"data": {"text": sentences.texts[0], "sentence": 0}}
    result = subject.answer(task)
    assert control.read(result) == [list(span) for span in sentences.spans[0]]
    assert entities.spans_of(result) == set(sentences.spans[0])


def test_the_curve_is_the_backends_head_on_the_first_labels(
    sentences: entities.Sentences,
) -> None:
    labeled = sentences.pool[:25].tolist()
    curve = entity_curve(sentences, labeled, step=20)
    assert (curve.labels, curve.metric) == ((20, 25), "F1")
    words = sum(len(sentences.texts[at].split()) for at in labeled)
    marked = sum(len(sentences.spans[at]) for at in labeled)
    assert curve.seconds[-1] == pytest.approx(0.32 * words + 4.75 * marked)

    encoder, kind = WordEncoder(TextEncoder()), Words()
    parts = encoder.encode([ExactText(sentences.texts[at]) for at in labeled[:20]])
    tags = [
        kind.tags(sentences.spans[at], entities.LABELS, one.places)
        for at, one in zip(labeled, parts, strict=False)
    ]
    head = fit_tagging_head(entities.LABELS, [one.features for one in parts], tags, round=1)
    assert head is not None
    rest = sentences.held_out.tolist()
    found = []
    for one in encoder.encode([ExactText(sentences.texts[at]) for at in rest]):
        (tagging,) = head.decode([one.features])
        found.append(
            {tuple(it[:3]) for it in kind.regions(tagging.runs, entities.LABELS, one.places)}
        )
    right = sum(len(one & set(sentences.spans[at])) for one, at in zip(found, rest, strict=True))
    both = sum(len(one) + len(sentences.spans[at]) for one, at in zip(found, rest, strict=True))
    assert 0 < curve.quality[0] < 1
    assert curve.quality[0] == pytest.approx(2 * right / both)


def test_an_f1_counts_borders_and_label() -> None:
    truth: list[set[Any]] = [{(0, 3, "PER"), (5, 8, "LOC")}, set()]
    assert exact_f1([{(0, 3, "PER"), (5, 9, "LOC")}, set()], truth) == 0.5
    assert exact_f1([set(), set()], [set(), set()]) == 1.0


def test_proposals_are_held_against_the_truth(sentences: entities.Sentences) -> None:
    right, other = sentences.spans[0][0], (1, 2, "PER")

    def served(at: int, spans: list[Any] | None) -> Submission:
        rows = [] if spans is None else [{"result": entities.marks(sentences.texts[at], spans)}]
        task = {"data": {"sentence": at}, "predictions": rows}
        return Submission(task, [], None, 0.0)

    tasks = [served(0, [right, other]), served(1, []), served(2, None)]
    found = worth(sentences, [(at, one.task) for at, one in enumerate(tasks)])
    words = sum(len(sentences.texts[at].split()) for at in range(3))
    assert found == Worth(3, words, sum(len(sentences.spans[at]) for at in range(3)), 2, 1)
    assert found.saved == 0
    assert EntityTexts(600, 0).worth_of_proposals(tasks) == str(found)


def test_the_worth_of_proposals_is_told_for_better_or_worse() -> None:
    assert str(Worth(150, 3000, 280, 100, 80)).startswith(
        "The queue proposed 100 regions in 150 texts, which hold 280; 80% of the proposals were "
        "exactly right. To correct them instead of marking from nothing saves 285 s of 38 minutes"
    )
    assert "from nothing costs 95 s of 38 minutes" in str(Worth(150, 3000, 280, 100, 40))
    assert str(Worth(4, 90, 8, 0, 0)) == "No regions were proposed in the 4 texts."


def test_table_summary_and_files_tell_the_f1_and_the_work(tmp_path: Path) -> None:
    assert "held-out F1" in report.table(ACTIVE, PLAIN)
    assert report.summary(ACTIVE, PLAIN) == (
        "F1 40.0% was first reached with 20 labels from the active queue (20 minutes of work), "
        "with 30 (15 minutes of work) from the plain one.\n"
        "Over the first 15 minutes of work the F1 of the active queue was on average 5.3 points "
        "below that of the plain queue."
    )
    report.write_csv(tmp_path / "curve.csv", ACTIVE, PLAIN)
    with (tmp_path / "curve.csv").open(newline="") as file:
        assert next(csv.reader(file)) == [
            "labels", "active_f1", "plain_f1", "plain_labels_for_active_f1",
        ]  # fmt: skip
    report.draw(tmp_path / "curve.png", ACTIVE, PLAIN, "Named entities")
    with Image.open(tmp_path / "curve.png") as image:
        assert (image.format, image.size) == ("PNG", (1320, 540))


def test_the_demo_of_entities_has_defaults_of_its_own() -> None:
    options = parse(["--ner"])
    assert (options.labels, options.pool, options.accuracy, options.audit) == (150, 600, 0.55, 0.2)
    assert parse(["--images", "500"]).pool == 500
    assert parse(["--ner", "--encoder", "minilm"]).encoder == "minilm"
    assert parse(["--ner", "--texts", "400", "--labels", "20"]).labels == 20
