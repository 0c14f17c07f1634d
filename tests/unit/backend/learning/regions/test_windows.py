"""The windows of sounds and series: where they lie, their classes, and segments by these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from active_learn.heads import Run
from active_learn_backend.errors import ContentError
from active_learn_backend.labeling.regions import count_matches, merge_regions
from active_learn_backend.labeling.time_series import Series
from active_learn_backend.learning.regions.parts import Parts
from active_learn_backend.learning.regions.window_features import (
    MOST_OF_SERIES,
    MOST_OF_SOUND,
    N_FEATURES,
    series_windows,
    sound_windows,
)
from active_learn_backend.learning.regions.windows import (
    SeriesWindowEncoder,
    SeriesWindows,
    SoundWindowEncoder,
    SoundWindows,
    places_between,
    times_of,
)
from media_files import audio_file, tone

LABELS = ("cat", "dog")
KIND = SeriesWindows()
RATE = 16_000


def tags_of(times: list[float], *regions: list[Any]) -> list[int]:
    return KIND.tags(regions, LABELS, places_between(np.array(times))).tolist()


def test_times_are_kept_bit_for_bit() -> None:
    times = np.array([-1.5, 0.1, 1e15 + 0.25, 1e15 + 1])
    found = times_of(places_between(times))
    np.testing.assert_array_equal(found, np.stack([times[:-1], times[1:]], axis=1))


@pytest.mark.parametrize(
    ("regions", "tags"),
    [
        ([], [0, 0, 0, 0]),
        ([[10.0, 30.0, "cat"]], [0, 1, 1, 0]),
        ([[5.0, 24.0, "dog"]], [2, 2, 0, 0]),  # half of the first, .4 of the third
        ([[21.0, 24.0, "dog"]], [0, 0, 2, 0]),  # the window that it covers most of
        ([[0.0, 40.0, "cat"], [10.0, 20.0, "dog"]], [1, 2, 1, 1]),  # the shorter one counts
        ([[10.0, 20.0, "dog"], [0.0, 40.0, "cat"]], [1, 2, 1, 1]),
        ([[20.0, 20.0, "cat"]], [0, 0, 1, 0]),  # a moment
        ([[40.0, 40.0, "cat"]], [0, 0, 0, 1]),
        ([[-50.0, 1e9, "cat"]], [1, 1, 1, 1]),
        ([[50.0, 60.0, "cat"], [60.0, 60.0, "dog"], [-9.0, -9.0, "dog"]], [0, 0, 0, 0]),
        ([[10.0, 20.0, "bird"]], [0, 0, 0, 0]),
    ],
)
def test_a_window_has_the_label_of_what_covers_half_of_it(
    regions: list[list[Any]], tags: list[int]
) -> None:
    assert tags_of([0, 10, 20, 30, 40], *regions) == tags


def test_windows_without_a_length_are_in_moments_alone() -> None:
    assert tags_of([5, 5], [5.0, 5.0, "dog"]) == [2]
    assert tags_of([0, 10, 10, 20], [0.0, 10.0, "cat"]) == [1, 0, 0]
    assert tags_of([5], [5.0, 5.0, "dog"]) == []


def test_windows_of_one_label_in_a_row_are_one_segment() -> None:
    places = places_between(np.array([0.0, 0.5, 1.0, 4.0, 4.5]))
    found = KIND.regions([Run(0, 2, 1, 0.75), Run(3, 4, 2, 0.5)], LABELS, places)
    assert found == [(0.0, 1.0, "cat", 0.75), (4.0, 4.5, "dog", 0.5)]
    assert KIND.tags([one[:3] for one in found], LABELS, places).tolist() == [1, 1, 0, 2]


def test_segments_are_matched_and_merged_by_overlap() -> None:
    one, other, far = [0.0, 10.0, "cat"], [2.0, 11.0, "cat"], [9.0, 30.0, "cat"]
    assert count_matches([one], [other]) == 1
    assert count_matches([one], [far]) == 0
    assert count_matches([one], [[*other[:2], "dog"]]) == 0
    assert merge_regions([[one], [other], [far]]) == [other]
    moment = [5.0, 5.0, "cat"]
    assert merge_regions([[moment], [moment], []]) == [moment]
    assert count_matches([moment], [moment]) == 1


@pytest.mark.parametrize(("rows", "windows"), [(1, 1), (2, 1), (30, 29), (5000, MOST_OF_SERIES)])
def test_the_windows_of_a_series_cover_its_rows(rows: int, windows: int) -> None:
    rng = np.random.default_rng(0)
    edges, features = series_windows(rng.normal(size=(2, rows)).astype(np.float32))
    assert (edges[0], edges[-1], len(edges)) == (0, rows - 1, windows + 1)
    assert (np.diff(edges) > 0).all() or rows == 1
    assert features.shape == (windows, N_FEATURES)
    assert np.isfinite(features.astype(np.float16)).all()


@pytest.mark.parametrize("channels", [1, 6, 7, 40])
def test_series_of_any_number_of_channels_have_features_of_one_length(channels: int) -> None:
    values = np.random.default_rng(0).normal(size=(channels, 50)).astype(np.float32)
    assert series_windows(values)[1].shape == (49, N_FEATURES)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e29])
def test_extreme_values_have_features_that_float16_holds(scale: float) -> None:
    values = scale * np.random.default_rng(0).normal(size=(1, 60))
    assert np.isfinite(series_windows(values.astype(np.float32))[1].astype(np.float16)).all()


def test_the_scale_of_a_series_changes_little() -> None:
    values = np.random.default_rng(0).normal(size=(1, 80)).astype(np.float32)
    one, other = (series_windows(values * scale)[1][:, :14] for scale in (1, 1000))
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0.001, 1), (0.5, 5), (10, 104), (300, MOST_OF_SOUND)]
)
def test_the_windows_of_a_sound_cover_it(seconds: float, windows: int) -> None:
    sound = np.random.default_rng(0).normal(size=int(seconds * RATE)).astype(np.float32)
    edges, features = sound_windows(sound)
    assert (edges[0], edges[-1]) == (0, seconds)
    assert (np.diff(edges) > 0).all()
    assert windows * 0.9 <= len(features) == len(edges) - 1 <= windows
    assert features.shape[1] == N_FEATURES
    assert np.isfinite(features.astype(np.float16)).all()


def test_blocks_of_frames_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).normal(size=3 * RATE).astype(np.float32)
    whole = sound_windows(sound)
    monkeypatch.setattr("active_learn_backend.learning.regions.window_features.BLOCK", 50)
    parts = sound_windows(sound)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], atol=1e-5)


def test_a_file_is_read_to_its_end_or_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    raw, encoder = audio_file(tone(440, 3.0)), SoundWindowEncoder()
    assert times_of(encoder.prepare(raw).places)[-1, 1] == 3.0
    monkeypatch.setattr("active_learn_backend.learning.regions.windows.SECONDS", 1.0)
    assert times_of(encoder.prepare(raw).places)[-1, 1] == 1.0
    with pytest.raises(ContentError, match="cannot be decoded"):
        encoder.prepare(b"no sound")


def test_a_series_has_the_times_of_its_column() -> None:
    channels = np.zeros((1, 3), np.float32)
    encoder = SeriesWindowEncoder()
    dates = Series(channels, "t", ["2020-01-01", "2020-01-02", "2020-01-04"], "%Y-%m-%d")
    day = 86_400_000.0
    first = 18262 * day
    assert times_of(encoder.prepare(dates).places).tolist() == [
        [first, first + day],
        [first + day, first + 3 * day],
    ]
    assert times_of(encoder.prepare(Series(channels)).places).tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("kind", [SeriesWindows(), SoundWindows()])
def test_before_a_head_the_windows_weigh_most_that_differ_from_their_task(kind: Any) -> None:
    rows = np.zeros((7, N_FEATURES), np.float16)
    rows[2, 0], rows[6, 1] = 8, 8
    parts = Parts(rows, np.empty((0, 2), np.int64), np.array([0, 4, 4, 7]))
    weights = kind.prior(parts)
    assert weights.shape == (7,)
    assert (weights >= 0).all()
    assert (weights < 1).all()
    assert weights[2] > weights[[0, 1, 3]].max()
    assert weights[6] > weights[[4, 5]].max()
    assert kind.prior(Parts(rows[:0], parts.places, np.array([0]))).shape == (0,)
