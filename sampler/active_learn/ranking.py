"""The result of `ActiveSampler.rank`: an order of candidates, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ParameterError
from .tables import html_table, text_table
from .validation import check_count

__all__ = ["Ranking"]

HEADER = ("place", "candidate", "score", "uncertainty", "novelty", "reason")
SHOWN = 20  # rows in a notebook
UNSURE, NEW = "the model is unsure", "unlike what is labeled"
REPRESENTS = "stands for candidates like it"


@dataclass(frozen=True, repr=False)
class Ranking:
    """Candidates in the order in which they are worth labeling.

    Attributes
    ----------
    indices : ndarray of int64 of shape (n,)
        Positions in the pool, the most valuable first.
    scores : ndarray of float64 of shape (n,)
        Acquisition value of each: when it was picked, or, behind the greedy picks, after the last.
        Its unit is the strategy's own.
    uncertainty : ndarray of float64 of shape (n,)
        One minus the margin between the two likeliest classes, in [0, 1]; in multilabel the mean
        of ``1 - |2p - 1|``; 1 in regression.
    novelty : ndarray of float64 of shape (n,)
        Variance of a Gaussian process on the embeddings after the labeled data, relative to the
        one before, in [0, 1]: 1 is unlike anything labeled. Of more than 500 labeled samples the
        500 most informative.

    Examples
    --------
    >>> ranking = sampler.rank(candidates, 100)
    >>> print(ranking.table(5))
    >>> print(ranking.explain(ranking.indices[0]))
    >>> ranking.records(5)
    """

    indices: np.ndarray
    scores: np.ndarray
    uncertainty: np.ndarray
    novelty: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def explain(self, candidate: int) -> str:
        """Return one sentence: why a candidate has its place.

        Parameters
        ----------
        candidate : int
            Its position in the pool, one of ``indices``.

        Raises
        ------
        ParameterError
            When it is not in the ranking.
        """
        places = np.flatnonzero(self.indices == candidate)
        if not len(places):
            raise ParameterError(
                f"candidate {candidate!r} is not among the {len(self)} of this ranking; give one "
                "of ranking.indices"
            )
        at = int(places[0])
        unsure, new = self._shares()
        return (
            f"candidate {candidate} has place {at + 1} of {len(self)} (score "
            f"{self.scores[at]:.3g}): {self._reason(at, unsure, new)}; uncertainty "
            f"{compared(self.uncertainty, at, unsure[at])} of the ranking; novelty "
            f"{compared(self.novelty, at, new[at])}"
        )

    def table(self, n: int = 10) -> str:
        """Return the first n candidates with their reasons, as a table."""
        return text_table(HEADER, self._rows(n))

    def records(self, n: int | None = None) -> list[dict[str, Any]]:
        """Return the first n candidates, or all, with their reasons: a mapping for each.

        Examples
        --------
        >>> pandas.DataFrame(ranking.records())
        """
        rows = range(len(self) if n is None else min(check_count("n", n), len(self)))
        unsure, new = self._shares()
        return [dict(zip(HEADER, self._row(at, unsure, new), strict=True)) for at in rows]

    def __repr__(self) -> str:
        first = ", ".join(map(str, self.indices[:5].tolist()))
        more = ", ..." if len(self) > 5 else ""
        return f"Ranking(<{len(self)} candidates: {first}{more}>)"

    def _repr_html_(self) -> str:
        return html_table(HEADER, self._rows(SHOWN))

    def _rows(self, n: int) -> list[list[str]]:
        formats = ("d", "d", ".3g", ".2f", ".2f", "")
        return [
            [format(value, form) for value, form in zip(one.values(), formats, strict=True)]
            for one in self.records(n)
        ]

    def _row(self, at: int, unsure: np.ndarray, new: np.ndarray) -> tuple[Any, ...]:
        """Return place, position, numbers and reason of a candidate, as in `HEADER`."""
        columns = (self.indices, self.scores, self.uncertainty, self.novelty)
        return at + 1, *(column[at].item() for column in columns), self._reason(at, unsure, new)

    def _shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share of the ranking below each candidate in uncertainty and in novelty."""
        both = (self.uncertainty, self.novelty)
        below = [np.searchsorted(np.sort(values), values) / len(self) for values in both]
        return below[0], below[1]

    def _reason(self, at: int, unsure: np.ndarray, new: np.ndarray) -> str:
        """Return what is above the median: the uncertainty, the novelty, both or none."""
        reasons = [UNSURE] if unsure[at] >= 0.5 else []
        reasons += [NEW] if new[at] >= 0.5 else []
        return " and ".join(reasons) or REPRESENTS


def compared(values: np.ndarray, at: int, below: float) -> str:
    """Return a value, and above which share of all it is where they differ."""
    if values.min() == values.max():
        return f"{values[at]:.2f}, as all"
    return f"{values[at]:.2f}, above {below:.0%}"
