"""JSON lines through a pipe: the candidates in, the chosen ones out, as `active-learn select` does.

Memory is bounded: a line is held until it is decided, and of what was chosen the stream holds a
bounded number of embeddings.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from active_learn import ActiveSampler
from active_learn.errors import DataError, ModelError
from active_learn.models import LinearHead
from tqdm import tqdm

from ..errors import SettingsError
from ..learning.encoders import Encoder, TextEncoder, configured_encoders
from ..settings import Settings

__all__ = ["Candidates", "load_model", "select_lines"]

LONGEST_LINE = 64 * 2**20  # bytes
CLOSED_PIPE = 141  # status of a program that SIGPIPE ended, as shells show it
INTERRUPTED = 130  # likewise, SIGINT


class EncodedTexts:
    """An encoder of texts, and a head on it that has seen no label.

    Parameters
    ----------
    encoder : Encoder
    n_outputs : int
        Of the head; all its logits are 0.
    """

    def __init__(self, encoder: Encoder, n_outputs: int) -> None:
        self._encoder = encoder
        self._head = LinearHead.untrained(n_outputs, encoder.n_features)
        self.weight, self.bias = self._head.weight, self._head.bias

    def __call__(self, texts: Any) -> tuple[Any, Any]:
        """Return (logits, embedding) of texts."""
        output = self._head(self._encoder.encode(list(texts)))
        return output.logits, output.embedding


def load_model(model: str, settings: Settings, problem_type: str) -> tuple[Any, bool]:
    """Find what the sampler takes for a model.

    Parameters
    ----------
    model : str
        An ONNX, TorchScript or torch.export file, or the folder of a Hugging Face classifier.
        Empty: the encoder of the settings, with an untrained head.

    Returns
    -------
    (model, bool)
        And whether it reads texts; else it reads arrays.

    Raises
    ------
    SettingsError, ModelError
    """
    if not model:
        encoder = configured_encoders(settings, ["text"])["text"] if settings.encoder else None
        n_outputs = 1 if problem_type == "regression" else 2
        return EncodedTexts(encoder or TextEncoder(), n_outputs), True
    path = Path(model).expanduser()
    if not path.exists():
        raise ModelError(f"there is no file or folder '{model}'; correct --model")
    if path.is_file():
        return path, False
    from ..learning.encoders.devices import pick_device
    from ..learning.encoders.folders import kind_of
    from ..learning.user_models.hugging_face import load_folder  # imports ONNX, which takes seconds

    if kind_of(path) != "text":
        raise SettingsError(f"the model '{model}' reads images, which no line can hold")
    device = pick_device(settings.device)
    return load_folder(model, path, device).adapter, True


class Candidates:
    """JSON lines as candidates.

    Parameters
    ----------
    name : str
        Of the file, in messages.
    field : str
        Of objects: what the model reads, with dots into objects within (``data.text``).
    texts : bool
        The model reads texts, not arrays.
    whole_numbers : bool
        Arrays of whole numbers stay what they are; else all are float32.
    skip_bad : bool
        Leave lines out that cannot be read, and count them; else they are errors.

    Attributes
    ----------
    bad : int
        Lines left out.
    """

    def __init__(
        self, name: str, field: str, *, texts: bool, whole_numbers: bool, skip_bad: bool
    ) -> None:
        self._name, self._path = name, field.split(".")
        self._texts, self._whole_numbers, self._skip_bad = texts, whole_numbers, skip_bad
        self._shape: tuple[int, ...] | None = None
        self.bad = 0

    def read(self, stream: BinaryIO) -> Iterator[tuple[Any, bytes, int]]:
        """Return what the model reads of each line, the line itself, and its number from 1.

        Raises
        ------
        DataError
            With the number of the first line that cannot be read.
        """
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:  # its rest would be read as further lines
                raise self._error(number, f"it has more than {LONGEST_LINE >> 20} MiB")
            if not line.strip():
                continue
            try:
                value = self._value(line)
            except ValueError as error:
                if not self._skip_bad:
                    raise self._error(number, str(error)) from error
                self.bad += 1
                continue
            yield value, line if line.endswith(b"\n") else line + b"\n", number

    def _error(self, number: int, reason: str) -> DataError:
        return DataError(f"{self._name}, line {number}: {reason}")

    def _value(self, line: bytes) -> Any:
        try:
            value = json.loads(line.decode(), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise ValueError("it is not UTF-8") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"it is not JSON ({error.msg})") from error
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if isinstance(value, dict):
            for name in self._path:
                if not isinstance(value, dict) or name not in value:
                    raise ValueError(
                        f"it has no field '{'.'.join(self._path)}'; name one by --input-field"
                    )
                value = value[name]
        return self._text(value) if self._texts else self._array(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"the model reads a text, and this is {_kind(value)}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("its text holds half a character (a lone surrogate)") from error
        return value

    def _array(self, value: Any) -> np.ndarray:
        if not isinstance(value, list):
            raise ValueError(f"the model reads an array of numbers, and this is {_kind(value)}")
        try:
            array = np.array(value)
        except ValueError as error:
            raise ValueError("its array has rows of different lengths") from error
        if array.size == 0 or array.dtype.kind not in "iuf":
            raise ValueError("its array does not hold numbers only, or none")
        if not (self._whole_numbers and array.dtype == np.int64):
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
            if not np.isfinite(array).all():
                raise ValueError("its array holds a number that is too large for float32")
        self._shape = self._shape or array.shape
        if array.shape != self._shape:
            raise ValueError(
                f"its array has shape {array.shape}, the first line's has {self._shape}"
            )
        return array


def select_lines(
    sampler: ActiveSampler, candidates: Candidates, *, total: int | None, progress: bool
) -> None:
    """Copy the chosen lines from standard input to standard output, each once it is decided.

    Ends the process when the reader of the output has gone, and by Ctrl-C, without a word.

    Raises
    ------
    DataError, ModelError, BudgetError
        What was chosen before is written.
    """
    target = sys.stdout.buffer
    with tqdm(
        candidates.read(sys.stdin.buffer),
        total=total,
        unit=" lines",
        unit_scale=True,
        file=sys.stderr,
        disable=not progress,
    ) as lines:
        try:
            for chosen, (_, line, _) in enumerate(sampler.select(lines, total=total), start=1):
                target.write(line)
                target.flush()
                lines.set_postfix(chosen=chosen, refresh=False)
        except BrokenPipeError:
            _leave(CLOSED_PIPE)
        except KeyboardInterrupt:
            _leave(INTERRUPTED)
    if sampler.seen == 0:
        raise DataError("standard input holds no candidates; give them as JSON lines")


def _leave(status: int) -> NoReturn:
    """End without a word: Python would try to flush what nobody reads any more, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _kind(value: Any) -> str:
    names = {list: "an array", dict: "an object", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")
