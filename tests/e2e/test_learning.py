"""Every kind of labeling task is learned on a real Label Studio: labels in, answers out."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerError, wait_until
from active_learn_backend.labeling.config import parse_label_config
from harness import PATIENCE, Harness

DATA = Path(__file__).parents[3] / "shared" / "data"
PARAMS = {"budget": 8, "reserve": 8, "retrain_every": 12}
VEHICLES = {
    "road": ["car", "bus", "lorry", "bicycle", "tram", "scooter"],
    "water": ["ship", "ferry", "canoe", "submarine", "sailboat", "barge"],
    "air": ["plane", "helicopter", "glider", "balloon", "drone", "jet"],
}
COLORS = ["red", "green", "blue", "yellow"]
KINDS = {
    f"{color} {vehicle}": kind
    for color in COLORS
    for kind, vehicles in VEHICLES.items()
    for vehicle in vehicles
}


@pytest.fixture
def params() -> dict[str, Any]:
    return PARAMS


@pytest.fixture
def make_project(label_studio: LabelStudioServer) -> Callable[..., int]:
    """``make_project(config, [data, ...])`` -> id of a project with these tasks."""

    def make(config: str, data: Sequence[dict[str, Any]]) -> int:
        body = {"title": "Learning", "label_config": config}
        project = label_studio.api("POST", "/api/projects/", body)["id"]
        label_studio.api("POST", f"/api/projects/{project}/import", list(data))
        return int(project)

    return make


def choices(labels: Sequence[str], **attributes: str) -> str:
    given = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    items = "".join(f"<Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View><Text name="text" value="$text"/>'
        f'<Choices name="label" toName="text" {given}>{items}</Choices></View>'
    )


def rows_of(name: str, delimiter: str, count: int) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"../shared/data/{name} is not there")
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter, quoting=quoting))
    return [rows[at] for at in np.random.default_rng(0).permutation(len(rows))[:count]]


def label(
    harness: Harness,
    make_annotator: Callable[..., Annotator],
    project: int,
    truth: Callable[[dict[str, Any]], Any],
    count: int,
) -> None:
    """Label some tasks as served, and wait until a head knows all of these labels."""
    control = parse_label_config(harness.project(project)["label_config"]).controls[0]
    before = len(harness.labels(project))
    annotator = make_annotator(project, lambda task: control.write(truth(task["data"])))
    for submission in annotator.label(count):
        assert submission.result

    def learned() -> bool:
        rounds = harness.rounds(project)
        known = rounds[-1].labeled if rounds else 0
        return known >= before + count - PARAMS["retrain_every"]

    wait_until(learned, timeout=90, what="a round that knows the labels")


def live_answers(harness: Harness, project: int, most: int = 60) -> dict[int, dict[str, Any]]:
    """Ask Label Studio for answers to open tasks, as "Retrieve predictions" does."""
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=500&fields=all")["tasks"]
    open_ids = [task["id"] for task in tasks if not task["annotations"]][:most]
    harness.api(
        "POST",
        f"/api/dm/actions/?project={project}&id=retrieve_tasks_predictions",
        {"selectedItems": {"all": False, "included": open_ids}, "project": project},
        timeout=120,
    )
    rows = sorted(harness.rows(project), key=lambda row: row["id"])
    live = [row for row in rows if not row["model_version"].startswith("al-")]
    answers = {row["task"]: row for row in live}  # the latest of each
    assert set(answers) >= set(open_ids)
    return answers


def share_right(
    harness: Harness,
    project: int,
    answers: dict[int, dict[str, Any]],
    truth: Callable[[dict[str, Any]], Any],
) -> float:
    read = parse_label_config(harness.project(project)["label_config"]).controls[0].read
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=500&include=id,data")[
        "tasks"
    ]
    data = {task["id"]: task["data"] for task in tasks}
    right = [read(row["result"]) == truth(data[task]) for task, row in answers.items()]
    return float(np.mean(right))


@pytest.mark.parametrize("encoder", ["", "minilm"])
def test_intents_of_banking77(
    harness: Harness,
    make_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    encoder: str,
) -> None:
    """All 77 classes in the config; tasks of six of them, so that 60 labels are enough to learn."""
    rows = rows_of("banking77_train.csv", ",", 10_000)
    labels = sorted({row["category"] for row in rows})
    some = [row for row in rows if row["category"] in labels[::13]][:240]
    intents = {row["text"]: row["category"] for row in some}
    project = make_project(choices(labels), [{"text": text} for text in intents])
    harness.connect(project, encoder=encoder)

    def truth(data: dict[str, Any]) -> str:
        return intents[data["text"]]

    label(harness, make_annotator, project, truth, 60)
    answers = live_answers(harness, project)
    assert all(0 < row["score"] <= 1 for row in answers.values())
    assert share_right(harness, project, answers, truth) > (0.9 if encoder else 0.75)


def test_multilabel(
    harness: Harness, make_project: Callable[..., int], make_annotator: Callable[..., Annotator]
) -> None:
    """Several labels a task, or one; the queue's answers come with them."""
    texts = {
        f"a {color} {vehicle} and the {other}": sorted({kind, kind2})
        for kind, vehicles in VEHICLES.items()
        for kind2, others in VEHICLES.items()
        for color in COLORS[:2]
        for vehicle, other in zip(vehicles, others[1:], strict=False)
    }
    config = choices(list(VEHICLES), choice="multiple")
    project = make_project(config, [{"text": text} for text in texts])
    harness.connect(project, prelabel="head")
    read = parse_label_config(config).controls[0].read

    def truth(data: dict[str, Any]) -> Any:
        return read(parse_label_config(config).controls[0].write(texts[data["text"]]))

    label(harness, make_annotator, project, truth, 48)
    assert harness.labels(project)
    assert all(isinstance(label, list) for label in harness.labels(project).values())
    answers = live_answers(harness, project)
    assert share_right(harness, project, answers, truth) > 0.6
    shown = [row for row in harness.rows(project, harness.version(project)) if row["result"]]
    assert shown  # answers in the queue too, and Label Studio took them all


def test_regression_of_sentence_similarity(
    harness: Harness, make_project: Callable[..., int], make_annotator: Callable[..., Annotator]
) -> None:
    """STS-B: two texts, one number."""
    rows = rows_of("stsb_train.tsv", "\t", 200)
    config = (
        '<View><Text name="one" value="$one"/><Text name="two" value="$two"/>'
        '<Number name="similarity" toName="one" min="0" max="5" step="0.1"/></View>'
    )
    scores = {(row["sentence1"], row["sentence2"]): float(row["score"]) for row in rows}
    project = make_project(config, [{"one": one, "two": two} for one, two in scores])
    harness.connect(project, encoder="minilm")
    label(harness, make_annotator, project, lambda data: scores[data["one"], data["two"]], 60)
    answers = live_answers(harness, project)
    read = parse_label_config(config).controls[0].read
    assert all(0 <= read(row["result"]) <= 5 for row in answers.values())
    assert harness.rounds(project)[-1].head_version.startswith("head-")


def test_a_projects_own_settings_from_label_studio(
    harness: Harness, make_project: Callable[..., int]
) -> None:
    """Set where a team sets them: as extra params of the model in Label Studio."""
    texts = [{"text": f"{color} {word}"} for color in COLORS for word in VEHICLES["air"]]
    project = make_project(choices(list(VEHICLES)), texts)
    version = harness.connect(project)
    assert len(harness.rows(project, version)) == 16
    backend = harness.state(project).backend_id

    def set_params(params: Any) -> dict[str, Any]:
        body = {
            "project": project,
            "url": harness.backend.url,
            "title": "Active sampler",
            "extra_params": params,
        }
        return dict(harness.api("PATCH", f"/api/ml/{backend}", body))

    set_params({"budget": 3, "reserve": 2, "prelabel": "none"})
    later = harness.wait_queue(project, after=int(version[3:]))
    wait_until(lambda: len(harness.queue(project)) == 5, timeout=30, what="a queue of 5")

    # Label Studio asks us first, and shows its user our words.
    with pytest.raises(ServerError, match="'budgte', which no project can set; expected some of"):
        set_params({"budgte": 3})
    assert harness.state(project).params == {"budget": 3, "prelabel": "none", "reserve": 2}

    set_params({})
    harness.wait_queue(project, after=int(later[3:]))
    wait_until(lambda: len(harness.queue(project)) == 24, timeout=30, what="the usual queue")


def test_versions_and_a_rollback(
    harness: Harness, make_project: Callable[..., int], make_annotator: Callable[..., Annotator]
) -> None:
    project = make_project(choices(list(VEHICLES)), [{"text": text} for text in KINDS])
    harness.connect(project)

    def truth(data: dict[str, Any]) -> str:
        return KINDS[data["text"]]

    label(harness, make_annotator, project, truth, 24)
    label(harness, make_annotator, project, truth, 14)
    listed = harness.backend.run("versions", "--project", str(project)).splitlines()
    names = [line.split()[0] for line in listed]
    assert len(names) >= 2
    assert "(in use)" in listed[0]
    served = harness.api("GET", f"/api/ml/{harness.state(project).backend_id}/versions")["versions"]
    assert set(names) <= set(served)

    former, before = names[-1], int(harness.version(project)[3:])
    harness.backend.run("rollback", "--project", str(project), "--to", former)
    harness.wait_queue(project, after=before)
    answers = live_answers(harness, project)
    assert answers
    assert {row["model_version"] for row in answers.values()} == {former}
    # A round that had begun before ends first.
    wait_until(
        lambda: harness.rounds(project)[-1].head_version == former,
        timeout=PATIENCE,
        what=f"a round of {former}",
    )
    assert "(pinned)" in harness.backend.run("versions", "--project", str(project))

    before = int(harness.version(project)[3:])
    harness.backend.run("rollback", "--project", str(project), "--to", "latest")
    harness.wait_queue(project, after=before)
    assert harness.state(project).head_version not in names


def test_the_audit_set_measures_and_does_not_train(
    harness: Harness,
    make_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
) -> None:
    project = make_project(choices(list(VEHICLES)), [{"text": text} for text in KINDS])
    harness.connect(project, audit=0.3, prelabel="head")
    audit = harness.audit_rows(project)
    assert len(audit) == 4  # of 16 rows: 0.3 of what is served, after the first is due
    label(harness, make_annotator, project, lambda data: KINDS[data["text"]], 40)

    last = harness.rounds(project)[-1]
    assert 0.25 <= last.audit / last.labeled <= 0.35
    estimate, other = last.of(None).evaluation.audit, last.of(None).evaluation.cross_validation
    assert estimate is not None
    assert other is not None
    assert estimate.n == last.audit
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert other.n == last.labeled - last.audit
    hidden = {row["task"]: row["result"] for row in harness.rows(project, harness.version(project))}
    shown = set(harness.audit_rows(project))
    assert shown
    assert all(hidden[task] == [] for task in shown)
    assert all(hidden[task] for task in set(hidden) - shown)
