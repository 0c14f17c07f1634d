"""The noise of labels, from what annotators agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from active_learn_backend.learning.selection.label_noise import label_noise
from active_learn_backend.state.store import TaskRow


def row(labels: dict[str, Any] | None, **votes: tuple[int, float]) -> TaskRow:
    return TaskRow(1, {}, "key", labels, False, votes=votes or None)


def noise(*rows: TaskRow) -> list[float]:
    found = label_noise(rows)
    assert found is not None
    return found.tolist()


def test_without_several_annotations_of_a_task_nothing_is_known() -> None:
    assert label_noise([row({"c": "a"}), row(None)]) is None
    assert label_noise([]) is None


def test_agreement_lowers_the_noise_and_disagreement_raises_it() -> None:
    label = {"c": "a"}
    one, two, three, against, tie = noise(
        row(label),
        row(label, c=(2, 0)),
        row(label, c=(3, 0)),
        row(label, c=(3, 1)),
        row(label, c=(2, 1)),
    )
    assert three < two < one < against < tie
    assert (one, tie) == (1, 10)
    # e = 1.5 / 4: 4e(1 - e) / (1 - 2e)^2 = 15, of a single annotation (e = 1/4) 3.
    assert against == pytest.approx(5)


def test_numbers_are_compared_with_the_spread_of_all_tasks() -> None:
    close, far, alone = noise(
        row({"n": 1.0}, n=(3, 1.0)), row({"n": 5.0}, n=(3, 9.0)), row({"n": 2.0})
    )
    # The mean variance is 5: two annotators of that and two of the task's own, over three.
    assert close == pytest.approx((2 * 5 + 2 * 1) / 4 / 5 / 3)
    assert far == pytest.approx((2 * 5 + 2 * 9) / 4 / 5 / 3)
    assert alone == 1


def test_annotators_who_always_agree_on_a_number_count_for_their_number() -> None:
    assert noise(row({"n": 1.0}, n=(2, 0.0)), row({"n": 2.0}, n=(4, 0.0))) == [0.5, 0.25]


def test_the_noise_of_several_controls_is_their_mean() -> None:
    both = {"c": "a", "d": "b"}
    assert noise(row(both, c=(3, 1), d=(2, 1))) == [pytest.approx(7.5)]


def test_the_noise_is_bounded() -> None:
    found = np.array(noise(*[row({"c": "a"}, c=(n, m)) for n in (2, 5, 200) for m in (0, n // 2)]))
    assert found.min() == 0.1
    assert found.max() == 10
