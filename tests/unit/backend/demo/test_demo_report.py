"""The demo's data, its judge and its report."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from active_learn.heads import fit_head
from active_learn_backend.demo import digits, report
from active_learn_backend.demo.__main__ import claimed
from active_learn_backend.demo.evaluation import LearningCurve, learning_curve
from active_learn_backend.demo.options import parse
from active_learn_backend.demo.process import ServerError
from active_learn_backend.learning.encoders import ImageEncoder
from PIL import Image
from sklearn.datasets import load_digits

ACTIVE = LearningCurve((10, 20), (0.6, 0.9))
PLAIN = LearningCurve((10, 20, 30), (0.5, 0.7, 0.65))


@pytest.fixture(scope="module")
def pool() -> digits.Digits:
    return digits.load(pool=1400)


def test_pool_and_held_out_part_the_data(pool):
    assert (len(pool.pool), len(pool.held_out)) == (1400, 397)
    assert sorted([*pool.pool, *pool.held_out]) == list(range(1797))
    assert np.array_equal(digits.load(1400, seed=0).pool, pool.pool)
    assert not np.array_equal(digits.load(1400, seed=1).pool, pool.pool)


def test_png_shows_the_digit(pool):
    image = Image.open(io.BytesIO(pool.png[17]))
    small = np.asarray(image.resize((8, 8), Image.Resampling.BOX), float)
    truth = load_digits().images[17]
    assert image.size == (64, 64)
    assert np.corrcoef(small.ravel(), -truth.ravel())[0, 1] > 0.95


def test_the_file_name_tells_the_image_and_not_the_class():
    task = {"data": {"image": "/data/upload/3/1a2b3c4d-digit-0042.png"}}
    assert digits.digit_index(task) == 42
    with pytest.raises(ValueError, match=r"no digit's file name in '/data/cat\.png'"):
        digits.digit_index({"data": {"image": "/data/cat.png"}})


def test_curve_is_the_backends_head_on_the_first_labels(pool):
    labeled = pool.pool[:25].tolist()
    curve = learning_curve(pool, labeled, step=10)
    assert curve.labels == (10, 20, 25)
    encode = ImageEncoder().encode
    labels = [pool.truth[i] for i in labeled[:10]]
    rows = encode([pool.png[i] for i in labeled[:10]])
    head = fit_head("classification", sorted(set(labels)), rows, labels, round=1)
    assert head is not None
    answers = head.predict(encode([pool.png[i] for i in pool.held_out]))
    right = [pool.truth[i] == a.label for i, a in zip(pool.held_out, answers, strict=True)]
    assert curve.quality[0] == pytest.approx(np.mean(right))


def test_curve_with_one_class_answers_that_class(pool):
    zeros = [i for i in pool.pool if pool.truth[i] == "0"][:4]
    share = np.mean([pool.truth[i] == "0" for i in pool.held_out])
    assert learning_curve(pool, zeros).quality == (pytest.approx(share),)


def test_curve_refuses_leaks_and_nothing(pool):
    with pytest.raises(ValueError, match="held-out images or texts were labeled"):
        learning_curve(pool, [int(pool.held_out[3])])
    with pytest.raises(ValueError, match="no labels"):
        learning_curve(pool, [])


def test_rows_name_the_labels_that_the_plain_queue_needed():
    assert report.rows(ACTIVE, PLAIN) == [
        (10, 0.6, 0.5, 20),
        (20, 0.9, 0.7, None),
        (30, None, 0.65, None),
    ]


def test_table_and_summary_say_when_the_plain_queue_never_got_there():
    assert report.table(ACTIVE, PLAIN).splitlines()[2:] == [
        "    10    60.0%      50.0%        20",
        "    20    90.0%      70.0%        more than 30",
    ]
    assert report.summary(ACTIVE, PLAIN) == (
        "90.0% was first reached with 20 labels from the active queue, "
        "with 30 from the plain one not yet (65.0%)."
    )


def test_summary_does_not_flatter_a_worse_active_queue():
    assert report.summary(PLAIN, ACTIVE) == (
        "65.0% was first reached with 20 labels from the active queue, with 20 from the plain one."
    )


def test_summary_names_the_labels_for_a_goal_below_the_end_of_a_good_curve():
    good = LearningCurve((10, 20, 30), (0.8, 0.96, 0.99))
    late = LearningCurve((10, 20, 30, 40), (0.5, 0.7, 0.9, 0.995))
    assert report.summary(good, late) == (
        "95.0% was first reached with 20 labels from the active queue, with 40 from the plain one."
    )


def test_csv_and_png_are_written(tmp_path):
    report.write_csv(tmp_path / "curve.csv", ACTIVE, PLAIN)
    with (tmp_path / "curve.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(report.header("accuracy"))
    assert lines[1:] == [
        ["10", "0.6000", "0.5000", "20"],
        ["20", "0.9000", "0.7000", ""],
        ["30", "", "0.6500", ""],
    ]
    report.draw(tmp_path / "curve.png", ACTIVE, PLAIN, "Digits")
    with Image.open(tmp_path / "curve.png") as image:
        assert (image.format, image.size) == ("PNG", (840, 540))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--labels", "none"], "'none' is no number from 1 to 1700"),
        (["--labels", "0"], "'0' is no number from 1 to 1700"),
        (["--images", "100"], "only 100 images to label"),
        (["--ner", "--texts", "100"], "only 100 texts to label"),
        (["--ner", "--texts", "850"], "--texts is 850; 800 is the most"),
        (["--encoder", "minilm"], "--encoder is for texts; give it with --ner"),
        (["--think", "-1"], "--think is -1, expected 0 to 60 seconds"),
    ],
)
def test_bad_options_are_named(arguments, complaint, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(arguments)
    assert complaint in capsys.readouterr().err


def test_one_demo_at_a_time_in_a_folder(tmp_path):
    with (
        claimed(tmp_path / "out"),
        pytest.raises(ServerError, match="another demo is using"),
        claimed(tmp_path / "out"),
    ):
        pass
    with claimed(tmp_path / "out"):
        pass
