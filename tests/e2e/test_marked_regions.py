"""Named entities on a real Label Studio: two people mark spans, which are learned and proposed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler, LabeledData, PooledTasks, RaggedArray, pool_parts
from active_learn.heads import TaggingHead, load_heads
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import ExactText, exact_text
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.learning.regions.kinds import WordEncoder
from active_learn_backend.state.tasks import read_tasks
from harness import TEXT_CONFIG, Harness

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="person"/><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
TASK = parse_label_config(CONFIG)
CONTROL = TASK.regions[0]
PEOPLE = ("Anna Berg", "Bo Dahl", "Cleo Ek", "Dan Falk", "Eva Grund", "Finn Holm")
CITIES = ("Oslo", "Bergen", "Turku", "Malmo", "Aarhus", "Vaasa")
QUEUED, BATCH = 14, 8


def texts(count: int = 60) -> list[str]:
    """Emoji of one and of several code points before the names, line ends of two characters."""
    draw = random.Random(1)
    found = []
    for n in range(count):
        person, other = draw.sample(PEOPLE, 2)
        city = draw.choice(CITIES)
        text = (
            f"\U0001f600 in {city} \U0001f1f3\U0001f1f4 we met {person}\r\nbut not {other}, day {n}"
        )
        found.append(text if n % 4 else f"\u26c8\ufe0f no news, {n} mm of rain are expected")
    return found


def spans(text: str) -> list[list[Any]]:
    """The right answer of a text."""
    named = [(name, "person") for name in PEOPLE] + [(name, "city") for name in CITIES]
    return sorted(
        [text.index(name), text.index(name) + len(name), label]
        for name, label in named
        if name in text
    )


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": BATCH, "reserve": QUEUED - BATCH, "retrain_every": 4, "audit": 0}


def pooled(tasks: list[dict[str, Any]], head: TaggingHead | None = None) -> PooledTasks:
    """What the selection compares tasks by, computed here from the same texts."""
    parts = WordEncoder(TextEncoder()).encode([ExactText(task["data"]["text"]) for task in tasks])
    ragged = RaggedArray.of([one.features.astype(np.float16) for one in parts])
    return pool_parts(ragged, head.flat_probabilities if head else None, by_doubt=False)


def ranking(
    tasks: list[dict[str, Any]], candidates: PooledTasks, labeled: list[int], n: int
) -> list[int]:
    """The order of the unlabeled tasks, by the library alone."""
    known = [at for at, task in enumerate(tasks) if task["id"] in labeled]
    others = [at for at in range(len(tasks)) if at not in known]
    sampler = ActiveSampler(
        "tagging",
        None,
        BATCH,
        precompute_covariance=True,
        seed_fisher=True,
        labeled_data=LabeledData(candidates[known]) if known else None,
        random_state=0,
    )
    return [tasks[others[at]]["id"] for at in sampler.rank(candidates[others], n).indices]


def test_two_people_mark_entities_which_are_learned_and_proposed_where_they_stand(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    make_user: Callable[[], User],
) -> None:
    project = label_studio.api(
        "POST", "/api/projects/", {"title": "Entities", "label_config": CONFIG}
    )["id"]
    label_studio.api(
        "POST", f"/api/projects/{project}/import", [{"text": text} for text in texts()]
    )
    harness.connect(project)
    found = label_studio.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    tasks = sorted(found, key=lambda task: task["id"])
    data = {task["id"]: task["data"]["text"] for task in tasks}
    first = harness.queue(project)
    # Without a model the first texts are drawn by chance.
    at_random = ActiveSampler("tagging", None, BATCH, strategy="random", random_state=0)
    drawn = at_random.rank(pooled(tasks), QUEUED).indices
    assert first == [tasks[at]["id"] for at in drawn]

    # The second person also marks the first name within a name: the inner span counts there.
    def nested(text: str) -> list[dict[str, Any]]:
        inner = [[start, start + 4, "city"] for start, _, label in spans(text) if label == "person"]
        return CONTROL.write([*spans(text), *inner[:1]])

    answers: list[Callable[[str], list[dict[str, Any]]]] = [
        lambda text: CONTROL.write(spans(text)),
        nested,
    ]
    people = [
        make_annotator(project, lambda task, answer=answer: answer(task["data"]["text"]), user)
        for answer, user in zip(answers, [None, make_user()], strict=True)
    ]
    done = [person.next_task() for person in people]
    assert [task["id"] for task in done if task] == first[:2]
    for person, task, answer in zip(people, done, answers, strict=True):
        assert task is not None
        person.submit(task, answer(task["data"]["text"]))
    labeled = [*first[:2], *(one.task["id"] for one in people[0].label(BATCH - 2))]
    report = harness.wait_round_of_all_labels(project)
    with closing(harness.store) as store:
        marked = {row.task_id: row for row in read_tasks(store, project) if row.labels}
    labels = {task_id: row.labels for task_id, row in marked.items()}
    assert labels.keys() == set(labeled)
    assert [marked[task].lead_time for task in first[:2]] == [1.0, 1.0]  # as they were submitted
    assert labels[first[0]] == {"label": spans(data[first[0]])}

    # The next queue is the library's ranking under the head that was trained on these labels.
    folder = harness.backend.model_dir / "projects" / str(project) / "heads"
    head = load_heads(folder, report.round)["label"]
    assert isinstance(head, TaggingHead)
    rows = harness.rows(project, report.queue_version)
    queue = [row["task"] for row in rows]
    assert queue == ranking(tasks, pooled(tasks, head), labeled, QUEUED)
    assert queue != ranking(tasks, pooled(tasks), labeled, QUEUED)

    regions = [(row["task"], item) for row in rows for item in row["result"]]
    assert len(regions) >= 5
    for task, item in regions:
        value = item["value"]
        assert value["text"] == data[task][value["start"] : value["end"]]
        assert 0.7 <= item["score"] <= 1
    right = sum([*item_of(item)] in spans(data[task]) for task, item in regions)
    assert right >= 0.7 * len(regions)
    shown = next(row for row in rows if len(row["result"]) >= 2 and "\r\n" in data[row["task"]])
    expected = [item["value"]["text"] for item in shown["result"]]
    assert sorted(highlighted(label_studio, project, shown["task"])) == sorted(expected)


def test_streams_are_decided_as_they_come_also_after_a_restart(
    label_studio: LabelStudioServer, backend: Callable[..., BackendServer]
) -> None:
    """A quarter is kept of each import, and no task is decided twice, whatever is labeled.

    Where spans are, some are labeled before: what is kept shows what a head finds.
    """
    written = texts(440)
    labeled = [
        {"data": {"text": text}, "annotations": [{"result": CONTROL.write(spans(text))}]}
        for text in written[400:]
    ]
    server = backend(start=False, POLL_INTERVAL="1")
    worker = server.server("worker").start()
    harness = Harness(label_studio, server)
    projects = []
    for config, before in ((TEXT_CONFIG, []), (CONFIG, labeled)):
        body = {"title": "Stream", "label_config": config}
        projects.append(label_studio.api("POST", "/api/projects/", body)["id"])
        tasks = [*before, *({"text": text} for text in written[:200])]
        label_studio.api("POST", f"/api/projects/{projects[-1]}/import", tasks)
        harness.connect(projects[-1], "--pull", budget=0.25, audit=0, prelabel="head")
    first = [check_decided(harness, project, 200, within=15) for project in projects]
    states = [harness.state(project).stream_state for project in projects]
    worker.stop()
    for project in projects:
        tasks = [{"text": text} for text in written[200:400]]
        label_studio.api("POST", f"/api/projects/{project}/import", tasks)
    worker.start()
    for project, decided, state in zip(projects, first, states, strict=True):
        wait_until(
            lambda project=project: len(stream(harness, project)) == 400,
            timeout=60,
            what="all are decided",
        )
        second = check_decided(harness, project, 400, within=20)
        assert {task: second[task] for task in decided} == decided
        assert harness.state(project).stream_state != state
    rows = harness.rows(projects[1], harness.version(projects[1]))
    query = f"/api/tasks/?project={projects[1]}&page_size=500&include=id,data"
    data = {task["id"]: task["data"]["text"] for task in harness.api("GET", query)["tasks"]}
    right = [CONTROL.read(row["result"]) == spans(data[row["task"]]) for row in rows]
    assert sum(right) >= 0.7 * len(right)


def stream(harness: Harness, project: int) -> dict[int, str]:
    """Return what is decided of the tasks that nobody had labeled before."""
    decided = harness.decisions(project)
    return {task: word for task, word in decided.items() if word != "known"}


def check_decided(harness: Harness, project: int, count: int, within: int) -> dict[int, str]:
    """Check that a quarter is kept of so many tasks, and that the queue is of these."""
    decided = stream(harness, project)
    assert len(decided) == count
    assert abs(sum(word == "kept" for word in decided.values()) - count / 4) <= within
    queue = harness.queue(project)
    assert queue
    assert all(decided[task] == "kept" for task in queue)
    return decided


PAGES = {
    "HyperTextLabels": (
        '<HyperText name="t" value="$t"/>',
        "\n<div>\n \U0001f600 in <b>Oslo</b> &amp;<br/>Anna</div>\n <table>\n<tr><td>e\u0301&nbsp;"
        "</table><pre>\n\U0001f600 not Bo Dahl</pre>",
    ),
    "ParagraphLabels": (
        '<Paragraphs name="t" value="$t" layout="dialogue"/>',
        [
            {"author": "x", "text": "\U0001f600 hi in Oslo"},
            {"author": "y", "text": "\U0001f600\U0001f600 met Anna and Bo Dahl"},
        ],
    ),
}


@pytest.mark.parametrize("tag", PAGES)
def test_spans_of_html_and_dialogues_land_where_they_stand(
    label_studio: LabelStudioServer, tag: str
) -> None:
    shown, value = PAGES[tag]
    config = f'<View><{tag} name="l" toName="t"><Label value="A"/></{tag}>{shown}</View>'
    body = {"title": tag, "label_config": config}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    tasks = f"/api/projects/{project}/import?return_task_ids=true"
    (task,) = label_studio.api("POST", tasks, [{"t": value}])["task_ids"]
    labeling = parse_label_config(config)
    content = labeling.content({"t": value})["t"]
    text = exact_text(content, labeling.fields[0].markup)
    regions = []
    for name in ("Oslo", "Anna", "Bo Dahl"):
        start = text.text.index(name)
        borders = text.places(np.array([start, start + len(name)])).tolist()
        regions.append([*borders, "A"])
    control = labeling.regions[0]
    result = control.write_regions([(*region, 0.9) for region in regions], content)
    row = {"task": task, "result": result, "score": 0.5, "model_version": "m"}
    made = label_studio.api("POST", f"/api/projects/{project}/import/predictions", [row])
    assert made["created"] == 1
    label_studio.api("PATCH", f"/api/projects/{project}/", {"model_version": "m"})
    assert sorted(highlighted(label_studio, project, task, submit=True)) == [
        "Anna", "Bo Dahl", "Oslo",
    ]  # fmt: skip
    (annotation,) = label_studio.api("GET", f"/api/tasks/{task}/")["annotations"]
    assert control.read(annotation["result"]) == regions


def item_of(item: dict[str, Any]) -> tuple[int, int, str]:
    value = item["value"]
    return value["start"], value["end"], value["labels"][0]


def highlighted(
    server: LabelStudioServer, project: int, task: int, *, submit: bool = False
) -> list[str]:
    """What the page of Label Studio highlights in a task with our prediction."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra [dev])")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", server.admin.email)
        page.fill("input[name=password]", server.admin.password)
        page.click("button[type=submit]")
        page.goto(f"{server.url}/projects/{project}/data?task={task}")
        texts = wait_until(lambda: marked(page, sync_api.Error), timeout=60, what="marked spans")
        if folder := os.environ.get("REGION_SHOTS"):
            page.screenshot(path=f"{folder}/regions-{project}.png")
        if submit:
            with page.expect_response(lambda answer: "/annotations" in answer.url):
                page.get_by_role("button", name="Submit").first.click()
        browser.close()
    return list(texts)


def marked(page: Any, detached: type[Exception]) -> list[str]:
    """What is highlighted in all frames now; nothing while one of them is made anew."""
    try:
        return [
            text
            for frame in page.frames
            for text in frame.locator(".htx-highlight").all_inner_texts()
        ]
    except detached:
        return []
