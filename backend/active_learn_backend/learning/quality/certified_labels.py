"""Certified labels: which unlabeled tasks the heads may label at an accuracy, with a bound."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...errors import SettingsError
from ...settings import Settings
from ...state.answer_files import Answer
from ...state.folders import heads_folder
from ...state.looks import count_looks, record_look
from ...state.model_versions import served_settings
from ...state.store import Store
from ..heads import ControlHeads
from ..regions.embedder import open_embedder
from ..selection.project_params import learned_task
from .certification import (
    Certificate,
    SamplePlan,
    certify,
    plan_sample,
    significance_of_look,
    upper_bound,
)
from .certified_decisions import CertifiedDecisions
from .decisions import decisions_of
from .unlabeled_pool import UnlabeledPool

__all__ = ["By", "CertifiedLabels"]

By = Literal["task", "label"]

MOST_LABELS_SHOWN = 20


@dataclass(frozen=True)
class CertifiedLabels:
    """What can be labeled automatically in a project now.

    Attributes
    ----------
    pool : UnlabeledPool
    accuracy, confidence : float
        What was asked for.
    look : int
        How many looks at the audit labels there were, this one among them.
    next_look : int
        The number of the one that comes after it.
    certificate : Certificate or None
        None when no set of answers passes.
    plan : SamplePlan or None
        What people would have to label of a set so that it passes, where none passes.
    decisions : CertifiedDecisions or None
        What is certified label by label, where that is asked for. Then the certificate says that
        each label by itself is right in a share of `accuracy` of its tasks.
    """

    pool: UnlabeledPool
    accuracy: float
    confidence: float
    look: int
    next_look: int
    certificate: Certificate | None
    plan: SamplePlan | None
    decisions: CertifiedDecisions | None = None

    @classmethod
    def find(
        cls,
        settings: Settings,
        store: Store,
        project_id: int,
        accuracy: float,
        confidence: float,
        tolerance: float = 0.0,
        *,
        by: By = "task",
    ) -> CertifiedLabels:
        """Certify answers of the present heads by the audit labels; this counts as a look.

        Parameters
        ----------
        by : {'task', 'label'}
            What has to be right in a share of `accuracy`: the whole answers, or each decision. A
            half of the probability of error is for the tasks that are certified with all of their
            labels, the other half for the sets of the single labels.

        Raises
        ------
        StoreError
            When the project is not known, or has no head yet.
        SettingsError
            When nothing is learned in the project, or an answer is one decision.
        """
        project = store.known_project(project_id)
        settings = served_settings(settings, project)
        task = learned_task(project.label_config, settings)
        if not task.learned:
            raise SettingsError(
                f"project {project_id} is ordered by coverage: nothing is learned in it, so "
                "nothing can be labeled automatically"
            )
        numbers = any(control.problem_type == "regression" for control in task.controls)
        if numbers and not tolerance:
            raise SettingsError(
                "numbers are never exactly right; say by --tolerance how far an answer may be off"
            )
        if by == "label" and sum(len(decisions_of(one)) for one in task.controls) < 2:
            raise SettingsError(
                f"an answer of project {project_id} is a single decision; --by label is for "
                "controls with several labels a task, or for several controls"
            )
        embedder = open_embedder(settings, project_id, task, _load_nothing)
        folder = heads_folder(settings, project_id)
        heads, _ = ControlHeads.current(folder, project.head_round, task, embedder)
        pool = UnlabeledPool.read(
            store,
            project,
            settings,
            heads,
            tolerance,
            by_label=by == "label",
        )
        look = record_look(
            store,
            project_id,
            # Another set of answers is another question.
            head_version=pool.version + " by label" * (by == "label"),
            audit_labels=len(pool.audit),
            accuracy=accuracy,
            tolerance=tolerance,
        )
        significance = significance_of_look(confidence, look)
        coming = 1 + count_looks(store, project_id)
        decisions = None
        if pool.decisions is not None:
            significance /= 2
            decisions = CertifiedDecisions.find(pool.decisions, accuracy, significance)
        measured = pool.audit_scores, pool.wrong_by_decision, pool.scores
        certificate = certify(*measured, accuracy, significance)
        plan = None
        if certificate is None and pool.answers:
            plan = plan_sample(*measured, accuracy, significance_of_look(confidence, coming))
        return cls(pool, accuracy, confidence, look, coming, certificate, plan, decisions)

    @property
    def granted(self) -> list[Answer]:
        """The answers that are certified."""
        if self.certificate is None:
            return []
        return [one for one in self.pool.answers if one.score >= self.certificate.threshold]

    @property
    def head_version(self) -> str:
        """Whose answers they are."""
        return self.pool.version

    def describe(self) -> Iterator[str]:
        """Yield what was found, in lines for people."""
        pool, certificate = self.pool, self.certificate
        yield (
            f"{pool.version} answers for {len(pool.answers)} unlabeled tasks, and "
            f"{len(pool.audit)} audit labels measure it"
        )
        if pool.not_embedded:
            yield f"{pool.not_embedded} more are left out: their content is not embedded yet"
        if pool.nothing_found:
            yield (
                f"{pool.nothing_found} more are left out: none of the labels is set in them, which "
                "Label Studio does not tell from no answer"
            )
        if self.decisions is not None:
            yield (
                f"by label, each set is certified to be {self.accuracy:.1%} right, all together "
                f"with {self.confidence:.0%} confidence:"
            )
            yield from self.decisions.describe()
        asked = f"{self.accuracy:.1%} right with {self.confidence:.0%} confidence"
        if certificate is None:
            each = "" if self.decisions is None else " in each label"
            yield f"no set of answers is certified to be {asked}{each}"
            yield _plan(self.plan)
            return
        share = certificate.tasks / len(pool.answers)
        wrong = f"{certificate.wrong} of {certificate.sample} audit tasks are wrong"
        if self.decisions is None:
            words = f"are certified to be {asked}"
        else:
            words = f"are certified with all of their labels, each to be {asked}"
            wrong = f"at most {wrong} in one label"
        yield (
            f"{certificate.tasks} tasks ({share:.0%}) {words}: those with a score of "
            f"{certificate.threshold:.3f} or more, of which {wrong}"
        )
        if self.decisions is None:
            yield from _by_label(self)
        left = len(pool.answers) - certificate.tasks + pool.not_embedded + pool.nothing_found
        yield f"{left} tasks are left for people"


def _plan(plan: SamplePlan | None) -> str:
    if plan is None:
        return "label on: by its scores, the head is not sure enough of any set of tasks"
    return (
        f"a sample of {plan.sample} tasks, drawn by chance from the {plan.tasks} whose answers "
        f"have a score of {plan.threshold:.3f} or more, would show it, if at most "
        f"{plan.most_wrong} of them are wrong; `--verify` lets people label it"
    )


def _by_label(found: CertifiedLabels) -> Iterator[str]:
    """Yield a line for each label: its tasks, the errors that are expected, and those bounded."""
    assert found.certificate is not None
    least, pool = found.certificate.threshold, found.pool
    granted = _grouped(found.granted, [one.score for one in found.granted])
    inside = [at for at, one in enumerate(pool.audit) if one.score >= least]
    measured = _grouped([pool.audit[at] for at in inside], [float(pool.wrong[at]) for at in inside])
    order = sorted(granted, key=lambda label: -len(granted[label]))
    for label in order[:MOST_LABELS_SHOWN]:
        scores, wrong = granted[label], measured.get(label, [])
        words = f"  {label}: {len(scores)} tasks, {len(scores) - sum(scores):.1f} probably wrong"
        if wrong:
            bound = upper_bound(int(sum(wrong)), len(wrong), len(scores), 1 - found.confidence)
            words += (
                f"; {sum(wrong):.0f} of {len(wrong)} audit tasks, which alone bounds it to "
                f"{bound:.0%}"
            )
        yield words
    if len(order) > MOST_LABELS_SHOWN:
        yield f"  and {len(order) - MOST_LABELS_SHOWN} more labels"


def _grouped(answers: Sequence[Answer], values: Sequence[float]) -> dict[str, list[float]]:
    """Group values by the labels of answers."""
    grouped: defaultdict[str, list[float]] = defaultdict(list)
    for answer, value in zip(answers, values, strict=True):
        grouped[", ".join(map(_named, answer.labels.values()))].append(value)
    return grouped


def _named(label: Any) -> str:
    """Return the name of a label; of regions those of the labels that they bear."""
    if isinstance(label, list) and any(isinstance(one, list) for one in label):
        return " and ".join(sorted({one[2] for one in label}))
    return str(label)


def _load_nothing(*_: object) -> bytes:
    raise AssertionError("only cached embeddings are read")
