"""What the demo says at its end: what was granted, and what the truth is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from active_learn_backend.demo import digits, entities, finishing
from active_learn_backend.demo.finishing import Finish, finish
from active_learn_backend.demo.process import ServerError
from active_learn_backend.demo.subjects import EntityTexts, Subject
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.state.answer_files import Answer
from active_learn_backend.state.verification import Verification, save


def test_the_end_is_told_in_one_sentence() -> None:
    granted = Finish(0.95, 150, 90, 1000, 8, 1160)
    assert str(granted) == (
        "With 150 labels and 90 more that checked a sample, 1,000 of the other 1,160 tasks can be "
        "labeled at 95% (with 95 % confidence). The truth: 99.2% of these answers are right."
    )
    spans = Finish(0.7, 150, 45, 60, 9, 360, empty=58, rule="An answer is right if it is.")
    assert str(spans) == (
        "With 150 labels and 45 more that checked a sample, 60 of the other 360 tasks can be "
        "labeled at 70% (with 95 % confidence). 58 of them say that nothing is there. The truth: "
        "85.0% of these answers are right. An answer is right if it is."
    )
    none = Finish(0.6, 150, 0, 0, 0, 450, "label on", rule="An answer is right if it is.")
    assert str(none) == (
        "With 150 labels, no answers are granted at 60%: label on. An answer is right if it is."
    )
    refused = Finish(0.95, 12, 0, 0, 0, 98, "label on: the head is not sure enough")
    assert str(refused) == (
        "With 12 labels, no answers are granted at 95%: label on: the head is not sure enough"
    )


class Commands:
    """The backend's commands as the demo calls them; people label 30 of 40 tasks before."""

    def __init__(
        self, folder: Path, said: Sequence[str], answers: Sequence[Any] = ("1", "1", "1")
    ) -> None:
        self.model_dir, self.url, self.asked = folder, "http://backend", []
        self._said, self._answers = list(said), answers

    def run(self, *arguments: str) -> str:
        self.asked.append(arguments)
        said = self._said.pop(0)
        if said.startswith("Error"):
            raise ServerError(f"active-learn label ended with status 1:\n{said}")
        if "is begun" in said:
            answers = [Answer(task, {"label": "1"}, 0.9) for task in range(30, 40)]
            open_ = Verification("head-1", 0.95, 0.95, 0.0, 1, (31, 33))
            settings: Any = SimpleNamespace(model_dir=self.model_dir)
            save(settings, 1, open_, answers)
        if "certified to be" in said:
            rows = [
                {"task": task, "labels": {"label": answer}}
                for task, answer in zip((30, 32, 34), self._answers, strict=True)
            ]
            Path(arguments[-1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return said


@pytest.fixture
def pool() -> Any:
    return SimpleNamespace(
        control="label",
        may_be_empty=False,
        rule="",
        index=digits.digit_index,
        is_right=lambda at, label: label == ("1" if at < 34 else "7"),
    )


def studio_of(tasks: Sequence[Any] = ()) -> Any:
    pictures = [{"id": at, "data": {"image": f"/x/digit-{at:04d}.png"}} for at in range(40)]
    return SimpleNamespace(api=lambda *_: {"total": 40, "tasks": tasks or pictures})


def test_a_sample_is_labeled_and_the_answers_are_held_against_the_truth(
    tmp_path: Path, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = Commands(
        tmp_path,
        [
            "project 1: a sample of 2 tasks ...; `--verify` lets people label it",
            "project 1: a verification is begun: 2 tasks are served first",
            "project 1: 3 tasks are certified to be 95.0% right",
        ],
    )
    labeled = [30]
    status = {"queue": [{"task_id": 31}, {"task_id": 33}, {"task_id": 2}]}
    monkeypatch.setattr(
        finishing,
        "_status",
        lambda *_: {**status, "summary": {"counts": {"labeled": labeled[0], "total": 40}}},
    )

    def annotate(count: int) -> int:
        labeled[0] += count
        return count

    found = finish(studio_of(), backend, pool, 1, 30, 0.95, annotate, tmp_path / "answers.jsonl")
    assert found == Finish(0.95, 30, 2, granted=3, wrong=1, others=8)
    assert [asked[-1] for asked in backend.asked] == [
        str(tmp_path / "answers.jsonl"), "--verify", str(tmp_path / "answers.jsonl"),
    ]  # fmt: skip


def test_answers_of_spans_are_right_if_all_of_them_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = EntityTexts(600, 0)
    spans = texts.sentences.spans
    without = spans.index(())
    some = next(at for at, found in enumerate(spans) if len(found) > 1)
    sentence = {30: some, 32: some, 34: without}
    tasks = [{"id": at, "data": {"sentence": sentence.get(at, some)}} for at in range(40)]
    right = [list(span) for span in spans[some]]
    said = ["project 1: 3 tasks are certified to be 70.0% right"]
    backend: Any = Commands(tmp_path, said, [right, right[1:], []])
    counts = {"summary": {"counts": {"labeled": 30, "total": 40}}}
    monkeypatch.setattr(finishing, "_status", lambda *_: counts)
    path = tmp_path / "answers.jsonl"
    found = finish(studio_of(tasks), backend, texts, 1, 30, 0.7, len, path)  # type: ignore[arg-type]
    assert found == Finish(
        0.7, 30, 0, granted=3, wrong=1, others=10, empty=1, rule=EntityTexts.rule
    )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("project 1: no set\nproject 1: label on: not sure enough", "label on: not sure enough"),
        ("Error: 'label' has no head yet; label on", "'label' has no head yet; label on"),
    ],
)
def test_where_nothing_is_granted_the_reason_is_told(
    said: str, reason: str, tmp_path: Path, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = Commands(tmp_path, [said])
    counts = {"summary": {"counts": {"labeled": 30, "total": 40}}}
    monkeypatch.setattr(finishing, "_status", lambda *_: counts)
    found = finish(studio_of(), backend, pool, 1, 30, 0.95, len, tmp_path / "answers.jsonl")  # type: ignore[arg-type]
    assert found == Finish(0.95, 30, 0, 0, 0, 10, reason)


def test_both_configs_have_the_control_whose_answers_are_read() -> None:
    for config in (digits.LABEL_CONFIG, entities.LABEL_CONFIG):
        (control,) = parse_label_config(config).controls
        assert control.from_name == Subject.control
