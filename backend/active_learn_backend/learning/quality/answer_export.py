"""Answers as JSON lines."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...state.answer_files import Answer
from .certified_decisions import CertifiedDecisions

__all__ = ["export", "export_decisions"]


def export(answers: Sequence[Answer], origin: str, path: Path) -> int:
    """Write answers, completely or not at all; return how many.

    Parameters
    ----------
    origin : str
        Version of the heads.
    """
    return _write((_line(answer, origin) for answer in answers), path)


def export_decisions(
    answers: Sequence[Answer],
    certified: CertifiedDecisions,
    complete: Sequence[Answer],
    origin: str,
    path: Path,
) -> int:
    """Write the decisions that are granted, completely or not at all; return of how many tasks.

    Parameters
    ----------
    answers : sequence of Answer, length m
        For all unlabeled tasks.
    complete : sequence of Answer
        Those of them that are certified with all of their labels.
    origin : str
        Version of the heads.
    """
    return _write(_decision_lines(answers, certified, complete, origin), path)


def _decision_lines(
    answers: Sequence[Answer],
    certified: CertifiedDecisions,
    complete: Sequence[Answer],
    origin: str,
) -> Iterator[Mapping[str, Any]]:
    whole, granted = {one.task_id for one in complete}, certified.granted
    for at, answer in enumerate(answers):
        is_complete = answer.task_id in whole
        if is_complete or granted[at].any():
            decided = certified.of_task(at, granted[at])
            yield {**_line(answer, origin), "decided": decided, "complete": is_complete}


def _line(answer: Answer, origin: str) -> dict[str, Any]:
    return {
        "task": answer.task_id,
        "labels": answer.labels,
        "score": round(answer.score, 6),
        "origin": origin,
    }


def _write(lines: Iterable[Mapping[str, Any]], path: Path) -> int:
    written = 0
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            written += 1
    os.replace(file.name, path)
    return written
