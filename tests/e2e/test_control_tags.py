"""Every control tag on a real Label Studio: it stores our predictions, we read its annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import load_settings

TEXT = '<Text name="t" value="$text"/>'
CHOICES = '<Choice value="A" alias="al"/><Choice value="B"/><Choice value="C"/>'
TREE = (
    '<Choice value="Animal"><Choice value="Dog"/><Choice value="Cat" alias="cat"/></Choice>'
    '<Choice value="Car"/>'
)
# Objects and control, labels, and the value of an annotation with its label.
CASES: dict[str, tuple[str, list[Any], dict[str, Any], Any]] = {
    "choices": (
        f'{TEXT}<Choices name="c" toName="t">{CHOICES}</Choices>',
        ["al", "B", "C"],
        {"choices": ["al"]},
        "al",
    ),
    "choices, radio, conditional": (
        f'{TEXT}<Choices name="c" toName="t" choice="single-radio" visibleWhen="region-selected">'
        f"{CHOICES}</Choices>",
        ["B"],
        {"choices": ["B"]},
        "B",
    ),
    "choices, multiple": (
        f'{TEXT}<Choices name="c" toName="t" choice="multiple">{CHOICES}</Choices>',
        [["al"], ["al", "C"], ["al", "B", "C"]],
        {"choices": ["C", "al"]},
        ["al", "C"],
    ),
    "choices of two objects": (
        f'{TEXT}<HyperText name="h" value="$html"/><Choices name="c" toName="h,t">{CHOICES}'
        "</Choices>",
        ["B"],
        {"choices": ["B"]},
        "B",
    ),
    "choices of a dialogue": (
        f'<Paragraphs name="t" value="$talk"/><Choices name="c" toName="t">{CHOICES}</Choices>',
        ["B"],
        {"choices": ["B"]},
        "B",
    ),
    "choices of the tasks": (
        f'{TEXT}<Choices name="c" toName="t" value="$options" model_learn="true"/>',
        ["al", "B"],
        {"choices": ["al"]},
        "al",
    ),
    "taxonomy": (
        f'{TEXT}<Taxonomy name="c" toName="t">{TREE}</Taxonomy>',
        [["Animal / Dog"], ["Animal / cat", "Car"]],
        {"taxonomy": [["Car"], ["Animal", "cat"]]},
        ["Animal / cat", "Car"],
    ),
    "taxonomy, one answer": (
        f'{TEXT}<Taxonomy name="c" toName="t" maxUsages="1" leafsOnly="true">{TREE}</Taxonomy>',
        ["Animal / Dog", "Car"],
        {"taxonomy": [["Animal", "Dog"]]},
        "Animal / Dog",
    ),
    "rating": (
        f'{TEXT}<Rating name="c" toName="t" maxRating="7"/>',
        [1.0, 6.6, 99.0],
        {"rating": 7},
        7.0,
    ),
    "number": (
        f'{TEXT}<Number name="c" toName="t" min="-1" max="1" step="0.1"/>',
        [-9.0, 0.33, 1.0],
        {"number": 0.5},
        0.5,
    ),
    "number, unbounded": (
        f'{TEXT}<Number name="c" toName="t"/>',
        [-1e9, 0.1234567],
        {"number": 12},
        12.0,
    ),
    "slider tag": (
        f'{TEXT}<Slider name="c" toName="t" min="0" max="10"/>',
        [-1.0, 5.5],
        {"slider": 5},
        5.0,
    ),
    "slider": (
        f'{TEXT}<Number name="c" toName="t" slider="true"/>',
        [-1.0, 55.5],
        {"number": 55},
        55.0,
    ),
}
DATA = {
    "text": "one",
    "html": "<p>one</p>",
    "talk": [{"author": "Ann", "text": "one"}],
    "options": [{"value": "A", "alias": "al"}, {"value": "B"}],
}


@pytest.fixture
def project_of(label_studio: LabelStudioServer) -> Callable[..., tuple[int, list[int]]]:
    """``project_of(config, n)`` -> (project id, task ids)."""

    def make(config: str, count: int) -> tuple[int, list[int]]:
        body = {"title": "Controls", "label_config": config}
        project = label_studio.api("POST", "/api/projects/", body)["id"]
        answer = label_studio.api(
            "POST", f"/api/projects/{project}/import?return_task_ids=true", [DATA] * count
        )
        return project, answer["task_ids"]

    return make


@pytest.fixture(scope="module")
def client(label_studio: LabelStudioServer) -> LabelStudioClient:
    return LabelStudioClient(
        load_settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.token)
    )


def rows(task_ids: list[int], results: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {"task": task, "result": result, "score": 0.5, "model_version": "al-1"}
        for task, result in zip(task_ids, results, strict=True)
    ]


@pytest.mark.parametrize("case", CASES)
def test_predictions_are_stored_and_annotations_read(
    case: str,
    label_studio: LabelStudioServer,
    client: LabelStudioClient,
    project_of: Callable[..., tuple[int, list[int]]],
) -> None:
    body, labels, value, label = CASES[case]
    config = f"<View>{body}</View>"
    control = parse_label_config(config).controls[0]
    project, tasks = project_of(config, len(labels))

    results = [control.write(one, 0.75) for one in labels]
    assert client.import_predictions(project, rows(tasks, results)) == len(labels)
    stored = label_studio.api("GET", f"/api/predictions/?project={project}")
    assert sorted((row["task"], control.read(row["result"])) for row in stored) == [
        (task, control.read(result)) for task, result in zip(tasks, results, strict=True)
    ]

    item = control.write(labels[0])[0] | {"value": value}
    path = f"/api/tasks/{tasks[0]}/annotations/"
    label_studio.api("POST", path, {"result": [item]})
    (annotation,) = label_studio.api("GET", path)
    assert control.read(annotation["result"]) == label


def test_a_comparison_is_learned_but_its_predictions_vanish(
    label_studio: LabelStudioServer,
    client: LabelStudioClient,
    project_of: Callable[..., tuple[int, list[int]]],
) -> None:
    """Why Pairwise says that it cannot be pre-labeled."""
    config = f'<View>{TEXT}<Text name="u" value="$html"/><Pairwise name="c" toName="t,u"/></View>'
    control = parse_label_config(config).controls[0]
    assert not control.can_prelabel
    project, tasks = project_of(config, 2)
    results = [control.write("left"), control.write("right")]
    assert client.import_predictions(project, rows(tasks, results)) == 0
    assert client.import_predictions(project, rows(tasks, [[], []])) == 2

    path = f"/api/tasks/{tasks[0]}/annotations/"
    label_studio.api("POST", path, {"result": results[1]})
    (annotation,) = label_studio.api("GET", path)
    assert control.read(annotation["result"]) == "right"
