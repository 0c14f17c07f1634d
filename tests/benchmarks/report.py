"""What every benchmark says beside its table: when and how it was measured, and where it goes."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from pathlib import Path

from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.state.store import Store

__all__ = ["JSON", "add_report_option", "event_headers", "measured_by", "publish"]

JSON = {"Content-Type": "application/json"}


def event_headers(model_dir: Path, project: int) -> dict[str, str]:
    """Return the headers with which Label Studio sends the events of a project."""
    store = Store(f"sqlite:///{model_dir / 'state.sqlite3'}")
    try:
        return {**JSON, SECRET_HEADER: store.known_project(project).webhook_secret}
    finally:
        store.close()


def add_report_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--report FILE``, which `publish` takes."""
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="Markdown file with marks for the tables, which are replaced by those of this run",
    )


def measured_by() -> str:
    """Return the beginning of the sentence over a table: the date and the command line."""
    return f"Measured {datetime.date.today()} by `python {shlex.join(sys.argv)}`"


def publish(section: str, text: str, page: Path | None) -> None:
    """Print a report and, if a page is given, write it between the page's marks.

    Parameters
    ----------
    section : str
        Name of the marks: ``<!-- section: begin -->`` and ``<!-- section: end -->``.
    text : str
        The report, in Markdown.
    page : Path or None
        The option ``--report``.
    """
    print(f"\n{text}\n")
    if page is None:
        return
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    content = page.read_text(encoding="utf-8")
    before, _, rest = content.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise SystemExit(f"{page} has no marks {begin} ... {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
    print(f"report: {page}")
