"""Audio, video, PDF and time series on a real Label Studio: uploaded, ordered, labeled by three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import wait_until
from harness import Harness
from media_files import RATE, audio_file, pdf_file, tone, video_file
from uploads import number_of, upload

PEOPLE, COUNT = 3, 30
CHOICES = (
    '<Choices name="label" toName="o"><Choice value="even"/><Choice value="odd"/></Choices></View>'
)
CHANNELS = '<Channel column="x"/><Channel column="y"/>'


def sound(number: int) -> bytes:
    """A steady tone, or one that beeps; each class is as diverse as the other."""
    random = np.random.default_rng(number)
    steady = tone(random.uniform(200, 2000))
    on = np.arange(len(steady)) * 8 / RATE % 1 < 0.5 if number % 2 else 1.0
    return audio_file(on * steady + 0.01 * random.normal(size=len(steady)))


def film(number: int) -> bytes:
    """Stripes that lie, or that stand."""
    random = np.random.default_rng(number)
    stripes = np.arange(64) // random.integers(4, 9) % 2 * 250
    picture = np.broadcast_to(stripes[:, None] if number % 2 else stripes[None], (64, 64))
    return video_file(np.repeat(np.repeat(picture[None, :, :, None], 3, 3), 12, 0).astype(np.uint8))


def letter(number: int) -> bytes:
    """A bill, or a letter from a journey."""
    if number % 2:
        return pdf_file(f"Invoice {number}: total amount due", "Please pay within 30 days")
    return pdf_file(f"Dear aunt, day {number} of our holidays", "The sea is warm, the sun shines")


def series(number: int) -> bytes:
    """A slow wave, or a fast one, beside noise."""
    random = np.random.default_rng(number)
    at = np.arange(200)
    wave = np.sin(at / (2 if number % 2 else 20) + random.uniform(0, 6))
    rows = zip(at, wave, random.normal(size=200), strict=True)
    lines = ["time;x;y", *(f"{time};{x:.4f};{y:.4f}" for time, x, y in rows)]
    return "\n".join(lines).encode()


@dataclass(frozen=True)
class Case:
    """An object, and a file of each task: those of odd numbers are of another class."""

    tag: str
    kind: str
    make: Callable[[int], bytes]


CASES = {
    "audio": Case('<Audio name="o" value="$file"/>', "wav", sound),
    "PDF": Case('<Pdf name="o" value="$file"/>', "pdf", letter),
    "time series": Case(
        f'<TimeSeries name="o" value="$file" sep=";" timeColumn="time">{CHANNELS}</TimeSeries>',
        "csv",
        series,
    ),
    "video": Case('<Video name="o" value="$file"/>', "mp4", film),
}


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 6, "reserve": 6, "retrain_every": 6, "audit": 0}


@pytest.fixture(scope="module")
def users(label_studio: LabelStudioServer) -> list[User]:
    return [label_studio.create_user(f"listener{n}@example.com") for n in range(PEOPLE)]


def truth(data: dict[str, Any]) -> str:
    return "odd" if number_of(data) % 2 else "even"


@pytest.mark.parametrize("name", CASES)
def test_three_people_label_files_in_order_and_answers_come(
    name: str,
    harness: Harness,
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    users: list[User],
) -> None:
    case = CASES[name]
    body = {"title": f"Labels of {name}", "label_config": f"<View>{case.tag}{CHOICES}"}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    upload(label_studio, project, case.kind, [case.make(at) for at in range(COUNT)])
    harness.connect(project, prelabel="head")
    expected = harness.queue(project)
    assert len(expected) == 12

    people = [
        make_annotator(project, lambda task: choice(truth(task["data"]), to_name="o"), user)
        for user in users
    ]
    tasks = [person.next_task() for person in people]
    assert [task["id"] for task in tasks if task] == expected[:PEOPLE]
    for person, task in zip(people, tasks, strict=True):
        assert task is not None
        person.submit(task, choice(truth(task["data"]), to_name="o"))
    for person in people:
        assert len(list(person.label(5))) == 5

    def answered() -> list[dict[str, Any]]:
        """Return the queue of a round that knows most of the 18 labels."""
        latest = harness.rounds(project)[-1]
        if latest.labeled < 12 or harness.version(project) != f"al-{latest.round}":
            return []
        return [row for row in harness.rows(project, f"al-{latest.round}") if row["result"]]

    rows = wait_until(answered, timeout=120, what="a queue with answers")
    data = {
        task["id"]: task["data"]
        for task in harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    }
    right = [row["result"][0]["value"]["choices"] == [truth(data[row["task"]])] for row in rows]
    assert np.mean(right) > 0.8
