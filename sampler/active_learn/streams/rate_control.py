"""The rate at which a stream keeps samples: held by feedback, or an exact number in the end.

A sample of score s is kept with probability ``min(1, c · s)``: c makes the mean over the most
recent scores equal to the target rate, which is corrected by the number kept so far, so that the
rate holds when the stream drifts.
"""

from __future__ import annotations

import numpy as np

from ..errors import BudgetError

__all__ = ["RateController"]

# Proportional and integral feedback control the rate: a lack is made up for within about 50
# samples; a lasting one (scores fall as more is kept) is compensated after about 200.
HORIZON = 50
RESET_TIME = 200


class RateController:
    """Controls the rate at which samples are kept, or reaches an exact number.

    Parameters
    ----------
    budget : float or int
        A rate in (0, 1), or the number to keep of ``total``.
    total : int, optional
        Length of the stream, with an int budget.
    """

    def __init__(self, budget: int | float, total: int | None = None) -> None:
        self.budget = budget
        self.total = total
        self.seen = 0
        self.kept = 0
        self.correction = 0.0
        self.use(np.empty(0))

    def use(self, window: np.ndarray) -> None:
        """Compare scores with these recent ones, (at most 512,), from now on."""
        self.window = window
        descending = -np.sort(-window)
        # Sum of the scores from each place on (summed from the end: exactly 0 over zeros).
        self._others = np.append(np.cumsum(descending[::-1])[::-1], 0.0)
        # c = 1 / s_j keeps j scores for certain, the others in proportion.
        certain = np.arange(1, len(window) + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._rates = (certain + self._others[1:] / descending) / max(1, len(window))

    def rate(self) -> float:
        """Return the target rate for the next sample."""
        if self.total is not None:
            left = self.total - self.seen
            return min(1.0, max(0.0, (self.budget - self.kept) / left)) if left > 0 else 0.0
        due = self.budget + self._lack() / HORIZON + self.correction
        return float(min(1.0, max(0.0, due)))

    def probability(self, score: float) -> float:
        """Return the probability of keeping a sample of some score."""
        rate = self.rate()
        if rate in (0.0, 1.0) or not len(self.window) or self._others[0] <= 0:
            return rate
        certain = int(np.searchsorted(self._rates, rate, side="right"))
        spread = self._others[certain]
        if spread <= 0:  # all scores above 0 are kept; the rest of the rate goes to the others
            others = (rate * len(self.window) - certain) / max(1, len(self.window) - certain)
            return others if score <= 0 else 1.0
        return float(min(1.0, (rate * len(self.window) - certain) / spread * score))

    def count(self, kept: bool) -> None:
        """Record a decision."""
        self.seen += 1
        self.kept += kept
        if self.total is None:
            correction = self.correction + self._lack() / (HORIZON * RESET_TIME)
            # Bounded by the possible target rates, so that the integral does not wind up.
            self.correction = min(1 - self.budget, max(-self.budget, correction))

    def _lack(self) -> float:
        return self.budget * self.seen - self.kept

    @property
    def done(self) -> bool:
        """Whether the number to keep is reached."""
        return self.total is not None and self.kept >= self.budget

    def check_end(self) -> None:
        """Check that the stream does not end before its number is reached.

        Raises
        ------
        BudgetError
        """
        if self.total is not None and not self.done:
            raise BudgetError(
                f"the stream ended after {self.seen} of total={self.total} samples, "
                f"{self.kept} of {self.budget} chosen; give its true length"
            )
