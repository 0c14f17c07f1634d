"""What every control tag promises: derive a test class that names a config, and what is read."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import LabelConfigError
from active_learn_backend.labeling.config import LabelingTask, parse_label_config
from active_learn_backend.labeling.controls import REGISTRY, ControlTag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

OBJECT = '<Text name="t" value="$text"/>'


def check_not_learned(config: str, reason: str) -> None:
    """Check that a config is ordered by coverage, and says why its control is not learned."""
    task = parse_label_config(config)
    assert task.kind == "ordered by coverage"
    assert re.search(reason, task.description)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from(["A", "left", "Car", "Animal", "Dog"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)

# Each class runs an inherited test on its own config: replayed examples differ, and are still true.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors])


class ControlContract:
    """What every control tag promises."""

    tag: str  # the XML of the control under test
    objects = OBJECT
    name: str
    problem_type: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    can_prelabel = True
    to_name = "t"
    # What annotators submitted, as Label Studio gives it, and the label that it is.
    read: list[tuple[dict[str, Any], Any]]
    # Values that are no label.
    unread: list[dict[str, Any]]
    # Labels, and the value that predictions of them have.
    written: list[tuple[Any, dict[str, Any]]]
    # Labels that cannot be written.
    unwritten: list[Any]

    @property
    def config(self) -> str:
        other = '<TextArea name="note" toName="t"/>' if 'name="t"' in self.objects else ""
        return f'<View><Header value="h"/>{self.objects}{other}{self.tag}</View>'

    @property
    def task(self) -> LabelingTask:
        return parse_label_config(self.config)

    @property
    def control(self) -> ControlTag:
        return self.task.controls[0]

    def result(self, value: Any) -> list[dict[str, Any]]:
        kind = self.name.lower()
        return [{"from_name": "c", "to_name": self.to_name, "type": kind, "value": value}]

    def test_says_what_it_is(self) -> None:
        control = self.control
        assert isinstance(control, REGISTRY[self.name])
        assert (control.tag, control.from_name, control.to_name) == (self.name, "c", self.to_name)
        assert control.problem_type == self.problem_type
        assert control.labels == self.labels
        assert control.bounds == self.bounds
        assert control.can_prelabel == self.can_prelabel
        assert set(control.predicted_values.values()) <= set(self.labels)
        assert not set(control.predicted_values) & set(self.labels)

    def test_reads_annotations(self) -> None:
        note = {"from_name": "note", "to_name": "t", "type": "textarea", "value": {"text": ["A"]}}
        for value, label in self.read:
            found = self.control.read([note, *self.result(value)])
            assert found == label
            assert type(found) is type(label)

    def test_other_values_are_no_labels(self) -> None:
        assert self.control.read([]) is None
        for value in self.unread:
            assert self.control.read(self.result(value)) is None, value
        for value, _ in self.read:  # of another control
            assert self.control.read([self.result(value)[0] | {"from_name": "d"}]) is None

    def test_writes_predictions_that_are_read_back(self) -> None:
        for label, value in self.written:
            (item,) = self.control.write(label, np.float32(0.25))
            assert item == self.result(value)[0] | {"score": 0.25}
            assert type(item["score"]) is float
            assert self.control.write(label) == self.result(value)
            again = self.control.read(self.control.write(label))
            assert self.control.write(again) == self.result(value)

    def test_writes_nothing_of_what_the_config_does_not_offer(self) -> None:
        for label in self.unwritten:
            assert self.control.write(label, 0.5) == []

    def test_predictions_validate(self) -> None:
        for label, _ in self.written:
            prediction = {"result": self.control.write(label, 0.5), "score": 0.5}
            errors = LabelInterface(self.config).validate_prediction(prediction, return_errors=True)
            assert (errors == []) == self.can_prelabel, errors

    @inherited
    @given(JSON)
    def test_any_annotation_is_a_label_or_none(self, found: Any) -> None:
        key = next(iter(self.written[0][1]))
        for result in (found, [found], self.result(found), self.result({key: found})):
            self.check(self.control.read(result))

    def check(self, label: Any) -> None:
        """A label is None or one that the config offers."""
        if label is not None:
            assert self.control.read(self.control.write(label)) == label

    @pytest.mark.parametrize("mode", ["perRegion", "perregion", "perItem"])
    def test_labels_of_parts_of_a_task_are_refused(self, mode: str) -> None:
        config = self.config.replace(f"<{self.name} ", f'<{self.name} {mode}="true" ')
        check_not_learned(config, r"'c' labels each (region|item) \(per.*\), not the task")

    def test_conditional_visibility_is_fine(self) -> None:
        when = 'visibleWhen="region-selected" perRegion="false" '
        config = self.config.replace(f"<{self.name} ", f"<{self.name} {when}")
        assert parse_label_config(config).controls[0].labels == self.labels

    def test_what_it_labels_must_be_there(self) -> None:
        with pytest.raises(LabelConfigError, match=r"not in the config; add that object"):
            parse_label_config(self.config.replace(self.objects, ""))

    def test_content_is_what_it_labels(self) -> None:
        assert self.task.content({"text": "a", "other": "b"}) == {"text": "a"}


class RegionContract(ControlContract):
    """What the tags that label regions promise beside."""

    problem_type = "regions"

    def test_other_values_are_no_labels(self) -> None:
        for value in self.unread:
            assert self.control.read(self.result(value)) is None, value

    def test_an_annotation_without_a_region_says_that_nothing_is_there(self) -> None:
        assert self.control.read([]) == []
        relation = {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}
        of_another = self.result(self.read[0][0])[0] | {"from_name": "d"}
        assert self.control.read([relation, of_another]) == []
