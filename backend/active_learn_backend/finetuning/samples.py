"""Labeled tasks as the inputs of a model: tokens, or pixels that are read when they are needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from active_learn.errors import DataError
from active_learn.models.transformers_config import max_length

from ..errors import ContentError
from .examples import Example, Task
from .starting_model import StartingModel

__all__ = ["Samples"]

log = logging.getLogger(__name__)

CHUNK = 64  # images that are held at once


class Samples(torch.utils.data.Dataset[dict[str, Any]]):
    """The examples of a task for one model; those whose image cannot be read are left out.

    Parameters
    ----------
    start : StartingModel
    task : Task
    examples : sequence of Example
    folder : Path
        Which the addresses of images are relative to.

    Attributes
    ----------
    examples : list of Example
        Those that can be read.
    targets : Tensor
        Their labels: (n,) classes, (n, K) of zeros and ones, or (n, 1) numbers.

    Raises
    ------
    DataError
        When no image can be read.
    """

    def __init__(
        self, start: StartingModel, task: Task, examples: Sequence[Example], folder: Path
    ) -> None:
        self._start, self._folder = start, folder
        self._fields = start.inputs.choose(task.fields)
        self.examples = [example for example in examples if start.is_text or self._reads(example)]
        if not self.examples:
            raise DataError("the image of no labeled task can be read; look at the log")
        self.targets = _targets(self.examples, task, start.model.config.label2id)
        self._tokens = self._tokenized() if start.is_text else None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> dict[str, Any]:
        inputs = self._prepared(self.examples[row]) if self._tokens is None else self._tokens[row]
        return {**inputs, "labels": self.targets[row]}

    def inputs(self) -> Iterator[list[Any]]:
        """Yield what the library's models take, in parts."""
        for begin in range(0, len(self.examples), CHUNK):
            yield [self._prepared(one) for one in self.examples[begin : begin + CHUNK]]

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch of some rows, padded to its longest text."""
        labels = torch.stack([row["labels"] for row in rows])
        inputs = [{name: row[name] for name in row if name != "labels"} for row in rows]
        if self._start.is_text:
            batch = dict(self._start.processor.pad(inputs, return_tensors="pt"))
        else:
            names = inputs[0].keys()
            batch = {name: torch.stack([one[name] for one in inputs]) for name in names}
        return {**batch, "labels": labels}

    def _prepared(self, example: Example) -> Any:
        raws: list[str | bytes] = []
        for field in self._fields:
            value = example.content.get(field.name, "")
            raws.append(value if field.kind == "text" else (self._folder / value).read_bytes())
        return self._start.inputs.prepare(self._fields, raws)

    def _reads(self, example: Example) -> bool:
        try:
            self._prepared(example)
        except (ContentError, OSError) as error:
            log.warning("task %d is left out: %s", example.id, error)
            return False
        return True

    def _tokenized(self) -> list[dict[str, list[int]]]:
        prepared = [self._prepared(example) for example in self.examples]
        pairs = isinstance(prepared[0], tuple)
        texts = [list(column) for column in zip(*prepared, strict=True)] if pairs else [prepared]
        limit = max_length(self._start.model, self._start.processor)
        columns = self._start.processor(*texts, truncation=limit is not None, max_length=limit)
        return [{name: columns[name][row] for name in columns} for row in range(len(prepared))]


def _targets(examples: Sequence[Example], task: Task, places: Mapping[str, int]) -> torch.Tensor:
    if task.problem_type == "regression":
        return torch.tensor([[example.label] for example in examples], dtype=torch.float32)
    if task.problem_type == "classification":
        return torch.tensor([places[example.label] for example in examples])
    targets = torch.zeros(len(examples), len(places))
    for row, example in enumerate(examples):
        targets[row, [places[label] for label in example.label]] = 1
    return targets
