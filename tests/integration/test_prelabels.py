"""Which answers annotators see in the queue, by the setting ``PRELABEL``."""

from __future__ import annotations

from fake_label_studio import CONFIG
from worker_backend import Backend

NUMBER = '<Number name="size" toName="text" min="0" max="9"/>'
BOTH = CONFIG.replace("</View>", f"{NUMBER}</View>")


def shown(backend: Backend, project: int, **settings: object) -> dict[tuple[int, str], float]:
    """Return the scores of the answers that a new round shows, by task and control; -1: none."""
    backend.store.update(project, request_round=True)
    backend.turn(project, **settings)
    version = backend.store.known_project(project).queue_version
    rows = [row for row in backend.studio.rows.values() if row["model_version"] == version]
    assert len(rows) >= 7
    return {
        (row["task"], item["from_name"]): item.get("score", -1)
        for row in rows
        for item in row["result"]
    }


def test_answers_are_shown_from_a_score_on(backend: Backend) -> None:
    """A number has no score, and is shown whatever the score of the choice is."""
    project = backend.add_project(config=BOTH)
    backend.turn(project)
    for at, task in enumerate(sorted(backend.studio.tasks)[:16]):
        choice = {"choices": ["odd" if at % 3 == 0 else "even"]}
        item = {"to_name": "text"}
        backend.studio.submit(
            task,
            [
                {**item, "from_name": "label", "type": "choices", "value": choice},
                {**item, "from_name": "size", "type": "number", "value": {"number": at % 5}},
            ],
        )
    everything = shown(backend, project, prelabel="head")
    scores = {task: one for (task, control), one in everything.items() if control == "label"}
    numbers = {pair for pair in everything if pair[1] == "size"}
    middle = sorted(scores.values())[len(scores) // 2]
    assert min(scores.values()) < middle
    surer = {(task, "label") for task, score in scores.items() if score >= middle}
    assert set(shown(backend, project, prelabel=f"{middle - 1e-5:.5f}")) == surer | numbers
    certain = {(task, "label") for task, score in scores.items() if score >= 0.7}
    assert set(shown(backend, project)) == certain | numbers  # the default
    assert shown(backend, project, prelabel="none") == {}
