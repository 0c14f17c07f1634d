"""What every benchmark says beside its table: when and how it was measured, and where it goes.

It imports nothing of ours: `peers.py` runs it beside a package of the same name.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["add_report_option", "measured_by", "parse_options", "publish"]


def parse_options(description: str, cases: Iterable[str], **number: int) -> argparse.Namespace:
    """Return the options of a benchmark of several cases: which, how often, and ``--report``.

    Parameters
    ----------
    description : str
        Docstring of the benchmark, whose first line is shown.
    cases : iterable of str
        What ``--cases`` chooses from; all when omitted.
    **number : int
        Name and default of an option that takes a number, such as ``runs=500``.
    """
    parser, names = argparse.ArgumentParser(description=description.splitlines()[0]), list(cases)
    parser.add_argument("--cases", nargs="+", choices=names, default=names)
    for name, default in number.items():
        parser.add_argument(f"--{name}", type=int, default=default, help="%(default)s when omitted")
    add_report_option(parser)
    return parser.parse_args()


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
