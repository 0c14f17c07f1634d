"""How many samples a model gets at once: a number that is given, or one found as it runs."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError, ParameterError

__all__ = ["BatchSize"]

FIRST = 64
LARGEST = 2048
# Twice the rows are worth it while a row takes at most this share of the time that it took before.
CHEAPER = 0.95
TRIALS = 3  # batches timed at each size: other work on the machine only ever makes one slower
# A call that is so short is mostly overhead, whatever other work lets the clock say.
SHORT_SECONDS = 0.002


class BatchSize:
    """The samples per call of a model.

    Parameters
    ----------
    batch_size : int or 'auto'
        'auto' starts at 64. It doubles, up to 2,048, while a call takes less than 2 ms or rows get
        cheaper by a twentieth or more, and halves when memory runs out.

    Attributes
    ----------
    rows : int
        The samples of the next call.

    Raises
    ------
    ParameterError
        When it is something else.
    """

    def __init__(self, batch_size: int | str) -> None:
        whole_number = isinstance(batch_size, (int, np.integer)) and not isinstance(
            batch_size, bool
        )
        if batch_size != "auto" and not (whole_number and int(batch_size) >= 1):
            raise ParameterError(
                f"batch_size is {batch_size!r}; expected a whole number of at least 1 or 'auto'"
            )
        self._auto = self._growing = batch_size == "auto"
        self.rows = FIRST if self._auto else int(batch_size)
        self._before = float("inf")  # seconds a row, at half the rows
        self._times: list[float] = []

    def fix(self, rows: int, *, halves: bool) -> None:
        """Use this number from now on; whether it may be halved when memory runs out."""
        self.rows, self._auto, self._growing = rows, self._auto and halves, False

    def halve(self, error: Exception) -> None:
        """Use half as many samples from now on.

        Raises
        ------
        ModelError
            When a number was given, or there is nothing to halve.
        """
        if not self._auto:
            raise ModelError(
                f"the model ran out of memory with batch_size={self.rows}; "
                "use a smaller one, or batch_size='auto'"
            ) from error
        if self.rows == 1:
            raise ModelError("the model runs out of memory with a single sample") from error
        self.rows, self._growing = self.rows // 2, False

    def count(self, rows: int, seconds: float) -> None:
        """Learn from the time of a batch of samples of one size; shorter batches say nothing."""
        if not self._growing or rows != self.rows:
            return
        self._times.append(seconds / rows)
        if len(self._times) < TRIALS:
            return
        fastest, self._times = min(self._times), []
        if fastest > CHEAPER * self._before and fastest * rows > SHORT_SECONDS:
            self.rows, self._growing = self.rows // 2, False
        elif 2 * self.rows > LARGEST:
            self._growing = False
        else:
            self.rows, self._before = 2 * self.rows, fastest
