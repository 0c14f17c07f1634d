"""Tasks that a labeling run labeled are neither queued, learned nor measured."""

from __future__ import annotations

from active_learn_backend.labelstudio.automatic_labels import AutomaticLabels
from active_learn_backend.state.answer_files import Answer
from active_learn_backend.state.labeling_runs import describe_runs
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.status_queries import TaskCounts
from active_learn_backend.web.status.project import project_status
from worker_backend import Backend


def test_the_loop_leaves_automatic_labels_alone(backend: Backend) -> None:
    project = backend.add_project(30)
    backend.turn(project, audit=0.3)
    first = read_queue(backend.store, project)
    for row in first[:4]:
        backend.studio.annotate(row.task_id, "even" if row.task_id % 2 else "odd")
    backend.turn(project, audit=0.3)
    queue = [row.task_id for row in read_queue(backend.store, project)]
    before = last_round(backend.store, project)
    assert before is not None
    assert (before.labeled, before.unlabeled) == (4, 26)

    labels = AutomaticLabels(
        backend.client(backend.settings()), backend.store, backend.settings(), project
    )
    labeled = {row.task_id for row in first[:4]}
    rest = [task for task in sorted(backend.studio.tasks) if task not in labeled][:-3]
    answers = [Answer(task, {"label": "even"}, 0.99) for task in {*rest, *queue[:1]}]
    labels.write(labels.begin("annotations", answers, accuracy=0.98, confidence=0.95))
    backend.turn(project, audit=0.3)
    after = last_round(backend.store, project)
    assert after is not None
    assert after.round > before.round
    assert (after.labeled, after.unlabeled) == (4, 30 - 4 - len(answers))
    assert after.audit == before.audit
    served = {row.task_id for row in read_queue(backend.store, project)}
    assert served
    assert not served & {answer.task_id for answer in answers}
    counts = _counts(backend, project)
    assert (counts.labeled, dict(counts.automatic)) == (4, {1: len(answers)})
    (line,) = describe_runs(backend.store, project)
    assert line.startswith("label-1  20")
    assert line.endswith(
        f"{len(answers)} annotations of {len(answers)} answers  at least 98.0% right with 95% "
        f"confidence  {len(answers)} labeled automatically by run 1"
    )

    # A person confirms ten: they are labels from now on, and measure nothing.
    for task in rest[:10]:
        backend.studio.edit(backend.studio.tasks[task]["annotations"][0]["id"])
    backend.turn(project, audit=0.3)
    report = last_round(backend.store, project)
    assert report is not None
    assert (report.labeled, report.audit) == (14, before.audit)

    # Taken back, the others can be queued again.
    assert labels.remove(1).annotations == len(answers) - 10
    backend.turn(project, audit=0.3)
    report = last_round(backend.store, project)
    assert report is not None
    assert report.unlabeled == 16
    assert not _counts(backend, project).automatic
    assert describe_runs(backend.store, project)[0].endswith("(taken back)")


def _counts(backend: Backend, project: int) -> TaskCounts:
    known = backend.store.known_project(project)
    return project_status(backend.settings(), backend.store, known).summary.counts
