"""Projects as people have them: captions, chats, pages of a document, files that are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.label_studio import LabelStudioServer
from harness import Harness

CAPTIONS = (
    '<View><Image name="image" value="$image"/><TextArea name="caption" toName="image"/></View>'
)
CHAT = '<View><Chat name="chat" value="$dialogue" llm="none"/></View>'
PAGES = """<View><Text name="title" value="$pages[0].text"/>
<Choices name="label" toName="title"><Choice value="cats"/><Choice value="banks"/></Choices>
<Repeater on="$pages" indexFlag="{{idx}}"><Text name="page_{{idx}}" value="$pages[{{idx}}].text"/>
<Choices name="page_label_{{idx}}" toName="page_{{idx}}"><Choice value="a"/><Choice value="b"/>
</Choices></Repeater></View>"""
KINDS = [n % 4 == 0 for n in range(24)]  # cats; all others are about banks


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 6, "reserve": 6, "retrain_every": 3, "audit": 0}


def connect(harness: Harness, project: int) -> str:
    own = json.dumps(harness.params)
    return harness.backend.run("connect", "--project", str(project), "--params", own)


def said(kind: bool, n: int) -> str:
    return f"{'cats purr softly' if kind else 'the bank sent a letter'} {n}"


@pytest.fixture
def make_project(
    label_studio: LabelStudioServer,
) -> Callable[[str, list[Any]], tuple[int, list[int]]]:
    """``make_project(config, data of each task)`` -> (project id, task ids in that order)."""

    def make(config: str, data: list[Any]) -> tuple[int, list[int]]:
        body = {"title": "Real data", "label_config": config}
        project = int(label_studio.api("POST", "/api/projects/", body)["id"])
        path = f"/api/projects/{project}/import?return_task_ids=true"
        return project, label_studio.api("POST", path, data)["task_ids"]

    return make


def test_three_people_write_captions_and_files_that_are_not_there_are_told(
    harness: Harness,
    make_digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    make_user: Callable[[], Any],
) -> None:
    project = make_digits_project(30, label_config=CAPTIONS)
    gone = [f"/data/upload/{project}/gone-{n}.png" for n in range(3)]
    imported = harness.api(
        "POST",
        f"/api/projects/{project}/import?return_task_ids=true",
        [{"image": address} for address in [*gone, "http://192.0.2.1/far.png"]],
    )["task_ids"]
    connected = connect(harness, project)
    assert (
        "its tasks are ordered by coverage, as no control can be learned: TextArea 'caption' takes "
        "free text"
    ) in connected
    version = harness.wait_queue(project)
    queue = harness.queue(project)
    assert len(queue) == 12
    assert not set(queue) & set(imported)
    page = httpx.get(f"{harness.backend.url}/projects/{project}.json").json()
    (problem,) = page["errors"]
    assert problem.startswith("4 of 34 tasks cannot be read: ")
    assert "gone-0.png' answered 500, it is not there; check that the file exists" in problem
    assert "add '192.0.2.1' to CONTENT_HOSTS (task " in problem

    caption = {"from_name": "caption", "to_name": "image", "type": "textarea"}
    caption |= {"value": {"text": ["a digit"]}}
    people = [make_annotator(project, lambda _: [caption], make_user()) for _ in range(3)]
    first = [person.next_task() for person in people]
    assert [task["id"] for task in first if task] == queue[:3]
    for person, task in zip(people, first, strict=True):
        assert task is not None
        person.submit(task, [caption])
    harness.wait_labels(project, dict.fromkeys(queue[:3], "annotated"))
    harness.wait_queue(project, after=int(version[3:]))
    assert not set(queue[:3]) & set(harness.queue(project))


def test_a_chat_is_ordered_by_coverage(
    harness: Harness, make_project: Callable[[str, list[Any]], tuple[int, list[int]]]
) -> None:
    """18 dialogues of one kind and 6 of another, their content in parts. Both come first."""
    dialogues = [
        [
            {"role": "user", "content": [{"type": "text", "text": said(kind, n)}]},
            {"role": "assistant", "content": "what can I do for you?"},
        ]
        for n, kind in enumerate(KINDS)
    ]
    project, tasks = make_project(CHAT, [{"dialogue": one} for one in dialogues])
    assert "Chat 'chat' takes messages" in connect(harness, project)
    version = harness.wait_queue(project)
    queue = harness.queue(project)
    assert {KINDS[tasks.index(task)] for task in queue[:2]} == {True, False}
    message = {"from_name": "chat", "to_name": "chat", "type": "chatmessage"}
    message |= {"value": {"chatmessage": {"role": "assistant", "content": "hello"}}}
    for task in queue[:3]:
        harness.annotate(task, [message])
    harness.wait_queue(project, after=int(version[3:]))
    assert not set(queue[:3]) & set(harness.queue(project))


def test_pages_of_a_document_are_read_by_index_and_in_a_repeater(
    harness: Harness, make_project: Callable[[str, list[Any]], tuple[int, list[int]]]
) -> None:
    pages = [
        [{"text": said(kind, n)}, {"text": f"page two of {n}"}] for n, kind in enumerate(KINDS)
    ]
    project, tasks = make_project(PAGES, [{"pages": one} for one in pages])
    assert (
        "learned in part: Choices 'label' (classification); not learned: Choices 'page_label_*' "
        "labels single items (Repeater)"
    ) in connect(harness, project)
    version = harness.wait_queue(project)
    queue = harness.queue(project)
    labels = {task: "cats" if KINDS[tasks.index(task)] else "banks" for task in queue[:6]}
    for task, label in labels.items():
        of_a_page = choice("a", "page_label_0", "page_0")
        harness.annotate(task, [*of_a_page, *choice(label, "label", "title")])
    harness.wait_labels(project, labels)
    harness.wait_queue(project, after=int(version[3:]))
    page = httpx.get(f"{harness.backend.url}/projects/{project}.json").json()
    assert page["errors"] == []
    assert page["summary"]["counts"]["unmatched"] == 0
