"""Tags that label regions of texts, sounds and series hold the contract of control tags."""

from __future__ import annotations

import math

import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import PARAGRAPH
from control_contract import OBJECT, RegionContract, check_not_learned


class TestLabels(RegionContract):
    tag = (
        '<Labels name="c" toName="t"><Label value="A" alias="al" predicted_values="a, B"/>'
        '<Label value="B"/><Label value="left"/></Labels>'
    )
    name = "Labels"
    labels = ("al", "B", "left")
    read = [
        ({"start": 2, "end": 5, "labels": ["B"]}, [[2, 5, "B"]]),
        ({"start": 2, "end": 5, "labels": ["A"]}, [[2, 5, "al"]]),  # imports often name the value
        ({"start": 0, "end": 1, "labels": ["B", "al", "gone", 3]}, [[0, 1, "B"], [0, 1, "al"]]),
    ]
    unread = [
        {"start": 2, "end": 5, "labels": ["gone"]},
        {"start": 2, "end": 2, "labels": ["B"]},
        {"start": 5, "end": 2, "labels": ["B"]},
        {"start": -1, "end": 2, "labels": ["B"]},
        {"start": True, "end": 2, "labels": ["B"]},
        {"start": "2", "end": "5", "labels": ["B"]},
        {"start": 2, "end": 5, "labels": "B"},
        {"start": 2, "end": 5},
    ]
    written = [
        ([[2, 5, "B"]], {"start": 2, "end": 5, "labels": ["B"]}),
        ([[0, 1, "al"]], {"start": 0, "end": 1, "labels": ["al"]}),
    ]
    unwritten = [[], [[0, 1, "gone"]], [[0, 1, "A"]]]

    def test_regions_are_written_with_what_stands_there_counted_in_code_points(self) -> None:
        regions = [(2, 5, "B", 0.5), (6, 9, "al", 0.25)]
        items = self.control.write_regions(regions, "\U0001f600 abc def")  # type: ignore[attr-defined]
        assert [item["value"]["text"] for item in items] == ["abc", "def"]
        assert [item["score"] for item in items] == [0.5, 0.25]

    def test_two_labels_of_one_place_are_one_region_where_it_may_have_several(self) -> None:
        regions = [(0, 3, "B", 0.5), (0, 3, "al", 0.25), (0, 4, "al", 0.75)]
        tag = self.tag.replace("<Labels ", '<Labels choice="multiple" ')
        (control,) = parse_label_config(f"<View>{OBJECT}{tag}</View>").regions
        items = control.write_regions(regions, "abc def")
        assert [item["value"]["labels"] for item in items] == [["B", "al"], ["al"]]
        assert [item["score"] for item in items] == [0.25, 0.75]
        assert control.read(items) == [list(one[:3]) for one in regions]
        apart = self.control.write_regions(regions, "abc def")  # type: ignore[attr-defined]
        assert [item["value"]["labels"] for item in apart] == [["B"], ["al"], ["al"]]

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            (OBJECT.replace("Text", "Paragraphs"), "labels regions of Paragraphs, which are not"),
            (OBJECT.replace("<Text ", '<Text valueType="url" '), "put the text into the task"),
        ],
    )
    def test_objects_whose_regions_are_not_learned(self, config: str, reason: str) -> None:
        check_not_learned(f"<View>{config}{self.tag}</View>", reason)

    def test_labels_that_cannot_be_learned(self) -> None:
        for tag, reason in (
            ('<Labels name="c" toName="t"/>', "has no labels; list them"),
            ('<Labels name="c" toName="t" value="$l"/>', "takes its labels from each task"),
        ):
            check_not_learned(f"<View>{OBJECT}{tag}</View>", reason)


class TestHyperTextLabels(RegionContract):
    objects = '<HyperText name="t" value="$text"/>'
    tag = (
        '<HyperTextLabels name="c" toName="t"><Label value="A"/><Label value="B"/>'
        "</HyperTextLabels>"
    )
    name = "HyperTextLabels"
    labels = ("A", "B")
    read = [
        (
            {
                "start": "/p[1]/text()[1]",
                "end": "/p[1]/text()[1]",
                "startOffset": 0,
                "endOffset": 3,
                "globalOffsets": {"start": 2, "end": 5},
                "hypertextlabels": ["B"],
            },
            [[2, 5, "B"]],
        ),
    ]
    unread = [
        {"start": 2, "end": 5, "hypertextlabels": ["B"]},
        {"globalOffsets": {"start": 5, "end": 2}, "hypertextlabels": ["B"]},
        {"globalOffsets": {"start": 2, "end": 5}, "hypertextlabels": ["gone"]},
    ]
    written = [
        (
            [[2, 5, "B"]],
            {
                "start": "",
                "end": "",
                "startOffset": 0,
                "endOffset": 0,
                "globalOffsets": {"start": 2, "end": 5},
                "hypertextlabels": ["B"],
            },
        ),
    ]
    unwritten = [[], [[0, 1, "gone"]]]

    def test_regions_are_written_with_what_stands_there(self) -> None:
        (item,) = self.task.regions[0].write_regions([(1, 4, "B", 0.5)], "<p>a</p><p>b &amp;</p>")
        assert item["value"] == {
            "start": "/p[2]/text()[1]",
            "end": "/p[2]/text()[1]",
            "startOffset": 0,
            "endOffset": 3,
            "globalOffsets": {"start": 1, "end": 4},
            "text": "b &",
            "hypertextlabels": ["B"],
        }


class TestParagraphLabels(RegionContract):
    objects = '<Paragraphs name="t" value="$text"/>'
    tag = (
        '<ParagraphLabels name="c" toName="t"><Label value="A"/><Label value="B"/>'
        "</ParagraphLabels>"
    )
    name = "ParagraphLabels"
    labels = ("A", "B")
    read = [
        (
            {
                "start": "0",
                "end": "0",
                "startOffset": 2,
                "endOffset": 5,
                "paragraphlabels": ["A"],
            },
            [[2, 5, "A"]],
        ),
        (
            {
                "start": "1",
                "end": "2",
                "startOffset": 2,
                "endOffset": 1,
                "paragraphlabels": ["B"],
            },
            [[PARAGRAPH + 2, 2 * PARAGRAPH + 1, "B"]],
        ),
    ]
    unread = [
        {"start": "0", "end": "0", "paragraphlabels": ["A"]},
        {
            "start": "x",
            "end": "0",
            "startOffset": 0,
            "endOffset": 5,
            "paragraphlabels": ["A"],
        },
        {
            "start": "0",
            "end": "0",
            "startOffset": 5,
            "endOffset": 5,
            "paragraphlabels": ["A"],
        },
    ]
    written = [
        (
            [[PARAGRAPH + 2, PARAGRAPH + 5, "B"]],
            {
                "start": "1",
                "end": "1",
                "startOffset": 2,
                "endOffset": 5,
                "paragraphlabels": ["B"],
            },
        ),
    ]
    unwritten = [[], [[0, 1, "gone"]]]

    def test_content_is_what_it_labels(self) -> None:
        data = {"text": [{"author": "x", "text": "a"}], "other": "b"}
        assert self.task.content(data) == {"text": '[["x", "a"]]'}

    def test_regions_are_written_with_what_stands_there_counted_in_utf16_units(self) -> None:
        regions = [(PARAGRAPH + 3, PARAGRAPH + 6, "B", 0.5)]
        content = '[["", "x"], ["", "\U0001f600 abc"]]'
        (item,) = self.task.regions[0].write_regions(regions, content)
        assert item["value"]["text"] == "abc"


class TestAudioLabels(RegionContract):
    objects = '<Audio name="t" value="$text"/>'
    tag = (
        '<Labels name="c" toName="t"><Label value="A" alias="al"/><Label value="B"/>'
        '<Label value="left"/></Labels>'
    )
    name = "Labels"
    labels = ("al", "B", "left")
    segment = {"start": 0.25, "end": 1.5, "channel": 0}
    read = [
        (segment | {"labels": ["B"]}, [[0.25, 1.5, "B"]]),
        (segment | {"channel": 1, "labels": ["A"]}, [[0.25, 1.5, "al"]]),
        ({"start": 0, "end": 10**6, "labels": ["B"]}, [[0.0, 1e6, "B"]]),
    ]
    unread = [
        segment | {"labels": ["gone"]},
        segment | {"labels": "B"},
        segment | {"end": 0.25, "labels": ["B"]},
        segment | {"end": 0.1, "labels": ["B"]},
        segment | {"start": -1, "labels": ["B"]},
        segment | {"start": True, "labels": ["B"]},
        segment | {"start": "0.25", "labels": ["B"]},
        segment | {"start": math.nan, "labels": ["B"]},
        segment | {"end": math.inf, "labels": ["B"]},
        segment | {"end": 10**400, "labels": ["B"]},
        {"end": 1.5, "labels": ["B"]},
    ]
    written = [
        ([[0.25, 1.5, "B"]], segment | {"labels": ["B"]}),
        ([[0.25, 1.5, "al"]], segment | {"labels": ["al"]}),
    ]
    unwritten = [[], [[0.0, 1.0, "gone"]]]


class TestTimeSeriesLabels(RegionContract):
    channel = '<Channel column="x"/></TimeSeries>'
    objects = f'<TimeSeries name="t" value="$text" timeColumn="time">{channel}'
    tag = (
        '<TimeSeriesLabels name="c" toName="t"><Label value="A" alias="al"/><Label value="B"/>'
        "</TimeSeriesLabels>"
    )
    name = "TimeSeriesLabels"
    labels = ("al", "B")
    segment = {"start": 5, "end": 15.5, "instant": False}
    read = [
        (segment | {"timeserieslabels": ["B"]}, [[5.0, 15.5, "B"]]),
        (segment | {"start": "5", "timeserieslabels": ["A"]}, [[5.0, 15.5, "al"]]),
        (
            {"start": 7, "end": 7, "instant": True, "timeserieslabels": ["B"]},
            [[7.0, 7.0, "B"]],
        ),
    ]
    unread = [
        segment | {"timeserieslabels": ["gone"]},
        segment | {"timeserieslabels": "B"},
        segment | {"end": 4, "timeserieslabels": ["B"]},
        segment | {"start": "noon", "timeserieslabels": ["B"]},
        segment | {"start": math.nan, "timeserieslabels": ["B"]},
        segment | {"start": "nan", "timeserieslabels": ["B"]},
        segment | {"end": math.inf, "timeserieslabels": ["B"]},
        segment | {"end": True, "timeserieslabels": ["B"]},
        {"start": 5, "timeserieslabels": ["B"]},
    ]
    written = [
        ([[5.0, 15.5, "B"]], segment | {"timeserieslabels": ["B"]}),
        ([[7.0, 7.0, "al"]],
         {"start": 7, "end": 7, "instant": True, "timeserieslabels": ["al"]}),
    ]  # fmt: skip
    unwritten = [[], [[0.0, 1.0, "gone"]]]

    def test_content_is_what_it_labels(self) -> None:
        data = {"text": {"time": [1, 2], "X": [3, 4], "z": [5, 6]}, "other": "b"}
        assert self.task.content(data) == {"text": '{"X": [3, 4], "time": [1, 2]}'}


class TestTimeSeriesLabelsOfDates(TestTimeSeriesLabels):
    objects = (
        '<TimeSeries name="t" value="$text" timeColumn="time" timeFormat="%Y-%m-%d %H:%M:%S.%f">'
        f"{TestTimeSeriesLabels.channel}"
    )
    start, end = 1578096000000.0, 1578700800250.0
    segment = {
        "start": "2020-01-04 00:00:00.000000",
        "end": "2020-01-11 00:00:00.250000",
        "instant": False,
    }
    read = [
        (segment | {"timeserieslabels": ["B"]}, [[start, end, "B"]]),
        (segment | {"start": start, "end": end, "timeserieslabels": ["B"]}, [[start, end, "B"]]),
        (
            segment | {"end": segment["start"], "timeserieslabels": ["A"]},
            [[start, start, "al"]],
        ),
    ]
    unread = [
        segment | {"start": "2020-01-04", "timeserieslabels": ["B"]},
        segment | {"start": "5", "timeserieslabels": ["B"]},
        segment | {"end": "2020-01-03 00:00:00.000000", "timeserieslabels": ["B"]},
        segment | {"end": 1e14 * 3, "timeserieslabels": ["B"]},
        segment | {"start": math.nan, "timeserieslabels": ["B"]},
    ]
    written = [
        ([[start, end, "B"]], segment | {"timeserieslabels": ["B"]}),
        (
            [[start, start, "al"]],
            segment | {"end": segment["start"], "instant": True, "timeserieslabels": ["al"]},
        ),
    ]

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ('timeFormat="%Y"', "name the column"),
            ('timeColumn="time" timeFormat="%Y %q"', "timeFormat cannot be read: '%q' is not read"),
        ],
    )
    def test_times_that_are_not_read(self, attributes: str, reason: str) -> None:
        objects = f'<TimeSeries name="t" value="$text" {attributes}>{self.channel}'
        check_not_learned(f"<View>{objects}{self.tag}</View>", reason)
