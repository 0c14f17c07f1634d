"""`active-learn label` on a project: what is certified, what is said, what is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.errors import StoreError
from active_learn_backend.labelstudio.run_actions import RunActions
from active_learn_backend.learning.quality.right_answers import is_right
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.store import TaskRow
from active_learn_backend.state.tasks import apply_changes, read_tasks
from active_learn_backend.state.verification import open_sample
from click.testing import CliRunner, Result
from fake_server import KEY
from worker_backend import Backend

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="fruit" toName="text">'
    '<Choice value="apple"/><Choice value="pear"/></Choices></View>'
)
NUMBERS = CONFIG.replace(
    "</View>", '<Number name="size" toName="text" min="0" max="9"/></View>'
)  # fmt: skip
CAPTIONS = '<View><Text name="text" value="$text"/><TextArea name="note" toName="text"/></View>'
AUDIT = 0.5
SETTINGS = {"budget": 200, "reserve": 0, "audit": AUDIT}


def label(backend: Backend, project: int, *options: str) -> Result:
    """Run the command in this process, with the settings of the project's rounds."""
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY, "AUDIT": str(AUDIT),
    }  # fmt: skip
    command = ["label", "--project", str(project), *options]
    return CliRunner().invoke(main, command, env=environment)


def fruit_of(backend: Backend, task: int) -> str:
    return str(backend.studio.tasks[task]["data"]["text"].split()[0])


def annotate(backend: Backend, task: int, fruit: str = "") -> None:
    """Answer rightly, or as is said."""
    item = {"from_name": "fruit", "to_name": "text", "type": "choices"}
    value = {"choices": [fruit or fruit_of(backend, task)]}
    backend.studio.submit(task, [{**item, "value": value}])


def labeled_project(backend: Backend, n_audit: int) -> int:
    """Return a project of 400 texts whose head has learned from 60 and is measured by some."""
    kinds = (
        "apple tart with cinnamon, warm from the oven, a slice for every child at the table",
        "pear sorbet on crushed ice, mint leaves around it, served when nights were long",
    )
    texts = [f"{kinds[n % 2]} {n}" for n in range(400)]
    project = backend.studio.add_project(texts, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    backend.turn(project, **SETTINGS)
    queue = read_queue(backend.store, project)
    audit = [row.task_id for row in queue if row.audit]
    others = [row.task_id for row in queue if not row.audit]
    for task in others[:60] + audit[:n_audit]:
        annotate(backend, task)
    backend.turn(project, **SETTINGS)
    return project


@pytest.fixture
def project(backend: Backend) -> int:
    return labeled_project(backend, 90)


def test_what_is_certified_is_said_and_exported(
    backend: Backend, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "answers.jsonl"
    done = label(backend, project, "--accuracy", "0.95", "--export", str(path))
    assert done.exit_code == 0, done.output
    assert "head-2 answers for 250 unlabeled tasks, and 90 audit labels measure it" in done.output
    said = re.search(
        r"(\d+) tasks \(\d+%\) are certified to be 95.0% right with 95% confidence: those with a "
        r"score of 0\.\d{3} or more, of which 0 of \d+ audit tasks are wrong",
        done.output,
    )
    assert said is not None, done.output
    assert f"{250 - int(said[1])} tasks are left for people" in done.output
    assert re.search(r"  apple: \d+ tasks, \d+\.\d probably wrong; 0 of \d+ audit", done.output)
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    left = {row.task_id for row in read_tasks(backend.store, project) if row.labels is None}
    assert len(answers) == int(said[1]) > 200
    assert {answer["task"] for answer in answers} <= left
    for answer in answers:
        assert answer["labels"] == {"fruit": fruit_of(backend, answer["task"])}
        assert answer["origin"] == "head-2"
        assert 0.5 < answer["score"] <= 1
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 150


def test_what_is_not_certified_is_planned_or_refused_in_words(
    backend: Backend, project: int
) -> None:
    done = label(backend, project, "--accuracy", "0.99")
    assert "no set of answers is certified to be 99.0% right with 95% confidence" in done.output
    assert "label on: " in done.output or "a sample of " in done.output


def test_tasks_that_are_not_embedded_yet_are_left_out_and_counted(
    backend: Backend, project: int
) -> None:
    """Two of them bear the same content."""
    new = [TaskRow(9000 + at, {"text": "new"}, "f" * 32, None, False) for at in range(2)]
    apply_changes(backend.store, project, new)
    done = label(backend, project, "--accuracy", "0.95")
    assert done.exit_code == 0, done.output
    assert "2 more are left out: their content is not embedded yet" in done.output
    assert "answers for 250 unlabeled tasks" in done.output


def test_each_other_look_makes_the_next_one_stricter(backend: Backend, project: int) -> None:
    """The first look may use a half of 5 %, the second a sixth; the same look again is no other."""
    for accuracy in ("0.95", "0.95", "0.94"):
        label(backend, project, "--accuracy", accuracy)
    looks = backend.store.known_project(project).looks
    assert looks == [["head-2", 90, 0.95, 0.0], ["head-2", 90, 0.94, 0.0]]


def test_what_cannot_be_labeled_is_one_line(backend: Backend) -> None:
    unknown = label(backend, 77, "--accuracy", "0.9")
    assert (unknown.exit_code, "Traceback" in unknown.output) == (1, False)
    project = backend.add_project(30)
    backend.turn(project)
    done = label(backend, project, "--accuracy", "0.9")
    assert done.exit_code == 1
    assert "has no head yet, so it has no answers; label on" in done.output
    numbers = backend.add_project(30, config=NUMBERS)
    backend.turn(numbers)
    done = label(backend, numbers, "--accuracy", "0.9")
    assert "say by --tolerance how far an answer may be off" in done.output
    captions = backend.add_project(30, config=CAPTIONS)
    backend.turn(captions)
    done = label(backend, captions, "--accuracy", "0.9")
    assert "nothing is learned in it, so nothing can be labeled automatically" in done.output
    for accuracy in ("1", "0.5", "nan", "95", "high"):
        assert label(backend, project, "--accuracy", accuracy).exit_code == 2


def test_answers_are_written_as_annotations_and_taken_back(backend: Backend, project: int) -> None:
    done = label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert done.exit_code == 0, done.output
    said = re.search(r"run 1 is done: (\d+) of (\d+) answers are annotations", done.output)
    assert said is not None, done.output
    assert said[1] == said[2]
    assert int(said[1]) > 200
    annotated = sum(bool(task["annotations"]) for task in backend.studio.tasks.values())
    assert annotated == 150 + int(said[1])
    backend.turn(project, audit=AUDIT)
    labeled = [row for row in read_tasks(backend.store, project) if row.labels is not None]
    assert len(labeled) == 150  # they do not train
    again = label(backend, project, "--accuracy", "0.95")
    assert f"answers for {250 - int(said[1])} unlabeled tasks" in again.output
    environment = {"LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
                   "LABEL_STUDIO_API_KEY": KEY}  # fmt: skip
    back = CliRunner().invoke(
        main, ["unlabel", "--project", str(project), "--run", "1"], env=environment
    )
    assert back.exit_code == 0, back.output
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 150


def test_a_run_that_was_broken_off_is_finished_by_the_next_call(
    backend: Backend, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunActions, "annotate", killed)
        label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 150
    done = label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert "run 1 was broken off; it is finished first" in done.output
    said = re.search(r"run 1 is done: (\d+) of (\d+) answers are annotations", done.output)
    assert said is not None, done.output
    assert said[1] == said[2]


# -- verification: a sample that people label -----------------------------------------------------


def begun(backend: Backend) -> tuple[int, list[int], int]:
    """Return a project with an open verification, its sample, and how many may be wrong."""
    project = labeled_project(backend, 20)
    done = label(backend, project, "--accuracy", "0.9", "--verify")
    said = re.search(r"a verification is begun: (\d+) tasks are served first", done.output)
    assert said is not None, done.output
    backend.turn(project, **SETTINGS)
    queue = read_queue(backend.store, project)
    sample = list(open_sample(backend.settings(), project))
    assert [row.task_id for row in queue[: len(sample)]] == sample
    assert len(sample) == int(said[1])
    allowed = re.search(r"at most (\d+) answers may be wrong", done.output)
    assert allowed is not None
    return project, sample, int(allowed[1])


def test_a_verified_set_is_written_and_its_sample_trains_afterwards(backend: Backend) -> None:
    project, sample, _ = begun(backend)
    version = backend.studio.projects[project]["model_version"]
    shown = {
        row["task"]: row["result"]
        for row in backend.studio.rows.values()
        if row["model_version"] == version
    }
    assert all(shown[task] == [] for task in sample)
    assert any(shown.values())
    before = last_round(backend.store, project)
    for task in sample[:-1]:
        annotate(backend, task)
    backend.turn(project, **SETTINGS)
    done = label(backend, project, "--accuracy", "0.9", "--write", "annotations")
    assert f"1 of {len(sample)} tasks are still to be labeled" in done.output
    assert "run 1" not in done.output
    annotate(backend, sample[-1])
    backend.turn(project, **SETTINGS)
    during = last_round(backend.store, project)
    assert before is not None
    assert during is not None
    assert (during.labeled, during.audit) == (before.labeled, before.audit)
    done = label(backend, project, "--accuracy", "0.9", "--write", "annotations")
    said = re.search(r"(\d+) tasks are certified to be 90.0% right with 95%", done.output)
    assert said is not None, done.output
    assert f"run 1 is done: {said[1]} of {said[1]} answers are annotations" in done.output
    backend.turn(project, **SETTINGS)
    after = last_round(backend.store, project)
    assert after is not None
    assert after.labeled == before.labeled + len(sample)
    assert after.audit == before.audit
    assert open_sample(backend.settings(), project) == ()
    assert [look[3] for look in backend.store.known_project(project).looks] == [0.0, 0.0]


def test_one_wrong_answer_too_many_ends_a_verification(backend: Backend) -> None:
    project, sample, allowed = begun(backend)
    for task in sample[: allowed + 1]:
        annotate(backend, task, {"apple": "pear", "pear": "apple"}[fruit_of(backend, task)])
    backend.turn(project, **SETTINGS)
    done = label(backend, project, "--accuracy", "0.9", "--write", "annotations")
    assert f"not certified: {allowed + 1} of {allowed + 1} answers of the sample are wrong" in (
        done.output
    )
    assert "run 1" not in done.output
    assert open_sample(backend.settings(), project) == ()
    # The next one draws another sample, and is stricter.
    again = label(backend, project, "--accuracy", "0.9", "--verify")
    assert again.exit_code == 0
    assert len(backend.store.known_project(project).looks) >= 3


def test_a_verification_outlives_the_state_and_a_damaged_one_is_named(backend: Backend) -> None:
    project, sample, _ = begun(backend)
    backend.store.close()
    for part in backend.folder.glob("state.sqlite3*"):
        part.unlink()
    assert open_sample(backend.settings(), project) == tuple(sample)
    path = next(backend.folder.glob("projects/*/labeling/verification.jsonl"))
    path.write_text("{}\n")
    with pytest.raises(StoreError, match=r"verification\.jsonl cannot be read .* delete it"):
        open_sample(backend.settings(), project)


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        (None, False),
        ({"a": "x", "b": ["q", "p"], "c": 3.4}, True),
        ({"a": "x", "b": ["p"], "c": 3.4}, False),
        ({"a": "x", "b": ["p", "q"], "c": 3.6}, False),
        ({"a": "y", "b": ["p", "q"], "c": 3.0}, False),
        ({"a": "x", "b": ["p", "q"]}, False),  # not answered
    ],
)
def test_an_answer_is_right_if_those_of_all_controls_are(
    labels: dict[str, object] | None, right: bool
) -> None:
    answer = {"a": "x", "b": ["p", "q"], "c": 3.0}
    assert is_right(answer, labels, tolerance=0.5) is right


def test_a_task_of_the_sample_that_is_skipped_or_deleted_counts_as_wrong(backend: Backend) -> None:
    project, sample, allowed = begun(backend)
    gone = sample[: allowed + 1]
    apply_changes(backend.store, project, [], deleted=gone[1::2])
    for task in gone[::2]:
        apply_changes(backend.store, project, [TaskRow(task, {}, "k", None, True)])
    done = label(backend, project, "--accuracy", "0.9")
    assert f"not certified: {allowed + 1} of {allowed + 1} answers of the sample" in done.output
