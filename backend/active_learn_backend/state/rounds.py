"""Reports of the finished rounds of a project."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from ..logs import context
from .counters import count_round
from .round_report import ReportFormatError, RoundReport
from .schema import projects as _projects
from .schema import rounds as _rounds
from .store import Store, update_project

__all__ = ["finish_round", "last_round", "read_rounds"]

log = logging.getLogger(__name__)


def finish_round(
    store: Store,
    project_id: int,
    report: RoundReport,
    *,
    labels: int,
    tasks: int,
    requests: int = 1,
) -> None:
    """Record a finished round, and subtract what it processed from the pending counts.

    A request that came while it ran is left: it asks for what this round did not know.
    """
    seen = {"pending_requests": requests, "pending_labels": labels, "pending_tasks": tasks}
    pending = {
        name: sa.case((_projects.c[name] > n, _projects.c[name] - n), else_=0)
        for name, n in seen.items()
    }
    this = (_rounds.c.project_id == project_id) & (_rounds.c.round == report.round)
    with store.write() as connection:
        connection.execute(_rounds.delete().where(this))
        connection.execute(
            _rounds.insert().values(
                project_id=project_id,
                round=report.round,
                finished_at=report.finished_at,
                report=report.to_json(),
            )
        )
        update_project(
            connection,
            project_id,
            **pending,
            activity="",
            last_error="",
        )
        count_round(connection, project_id, report.seconds)


def last_round(store: Store, project_id: int) -> RoundReport | None:
    """Return the report of the last finished round; None before the first."""
    reports = _read(store, project_id, _rounds.c.round.desc(), limit=1)
    return reports[0] if reports else None


def read_rounds(store: Store, project_id: int) -> list[RoundReport]:
    """List the reports of all finished rounds, oldest first."""
    return _read(store, project_id, _rounds.c.round)


def _read(
    store: Store, project_id: int, order: sa.ColumnElement[int], limit: int | None = None
) -> list[RoundReport]:
    """Read reports; one that is damaged or of another version is logged and left out."""
    query = (
        # As text: one damaged report must not make the others unreadable.
        sa.select(_rounds.c.round, _rounds.c.finished_at, sa.type_coerce(_rounds.c.report, sa.Text))
        .where(_rounds.c.project_id == project_id)
        .order_by(order)
        .limit(limit)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    reports = []
    for number, finished_at, text in rows:
        try:
            reports.append(RoundReport.from_json(text, round=number, finished_at=finished_at))
        except ReportFormatError as error:
            with context(project=project_id, round=number):
                log.warning("the report of this round is left out: %s", error)
    return reports
