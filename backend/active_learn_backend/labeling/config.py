"""From a labeling config to the labeling task of a project."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from xml.etree import ElementTree

from label_studio_sdk.label_interface import LabelInterface

from ..errors import LabelConfigError
from ..wording import shortened
from .annotations import no_label_because
from .controls import REGISTRY, ControlTag, UnlearnedControl
from .data_objects import Field, fields_of, fields_of_all
from .variables import unfold_repeaters

__all__ = ["Field", "LabelingTask", "parse_label_config"]

# Controls that draw regions without naming a label.
REGIONS = {"Bitmask", "Brush", "Ellipse", "KeyPoint", "MagicWand", "Polygon", "Rectangle", "Vector"}
REGIONS |= {"ReactCode", "VideoRectangle"}
WHY_NOT = {
    "Chat": "takes messages",
    "ChatMessage": "takes messages",
    "DateTime": "takes a date",
    "Ranker": "takes an order",
    "TextArea": "takes free text",
}
MAX_CONFIG_CHARS = 2_000_000
MAX_REPEATERS = 100  # tags with indexFlag: Label Studio's tools compare each of them with each tag
MAX_REASON_CHARS = 400  # Label Studio shows about 430 of a reason phrase


@dataclass(frozen=True)
class LabelingTask:
    """The labeling task of a project: one control, and the fields that it labels.

    Attributes
    ----------
    control : ControlTag
        The one that is learned; `UnlearnedControl` where none can be.
    fields : tuple of Field
    left_out : tuple of str
        The other controls, each with the reason why it is not learned.
    names_left_out : tuple of str
        Their names; ``*`` stands for the index within a Repeater.
    """

    control: ControlTag
    fields: tuple[Field, ...]
    left_out: tuple[str, ...] = ()
    names_left_out: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["learned", "learned in part", "ordered by coverage"]:
        """How the queue of the project is ordered."""
        if not self.control.learned:
            return "ordered by coverage"
        return "learned in part" if self.left_out else "learned"

    @property
    def description(self) -> str:
        """One sentence: how the queue is ordered, what is learned, and what is not."""
        reasons = "; ".join(self.left_out)
        if not self.control.learned:
            return f"ordered by coverage, as no control can be learned: {reasons}"
        control = self.control
        learned = f"{self.kind}: {control.tag} '{control.from_name}' ({control.problem_type})"
        return f"{learned}; not learned: {reasons}" if reasons else learned

    def no_label_because(self, annotations: Sequence[Mapping[str, Any]]) -> str:
        """Return in words why annotations, of which nobody skipped the task, hold no label."""
        return no_label_because(annotations, {self.control.from_name}, self.names_left_out)

    def content(self, data: Mapping[str, Any]) -> dict[str, str | None]:
        """Pick what the encoder reads out of a task's data: text, addresses, None if missing."""
        return {field.name: field.content(data) for field in self.fields}

    def content_key(self, content: Mapping[str, Any]) -> str:
        """Return a digest of that content: one for equal texts, a new one for an edited task."""
        kinds = [(field.content_kind, content[field.name]) for field in self.fields]
        return hashlib.blake2b(
            json.dumps(kinds, sort_keys=True).encode(), digest_size=16
        ).hexdigest()


@lru_cache(maxsize=64)
def parse_label_config(label_config: str) -> LabelingTask:
    """Read a labeling config.

    Parameters
    ----------
    label_config : str
        The XML of the project.

    Returns
    -------
    LabelingTask
        Of the first control that can be learned; of all tasks by coverage where none can be.

    Raises
    ------
    LabelConfigError
        When the config cannot be read, has no control, or shows nothing that can be encoded. The
        message is one line, fit for an HTTP reason phrase.
    """
    try:
        return _read_controls(*_parse_xml(label_config))
    except LabelConfigError as error:
        raise LabelConfigError(_one_line(str(error))) from None


def _parse_xml(
    label_config: str,
) -> tuple[LabelInterface, ElementTree.Element, set[ElementTree.Element]]:
    """Return the config as the SDK reads it, its tree, and the tags within a `<Repeater>`."""
    if not label_config.strip():
        raise LabelConfigError("the labeling config is empty; set one under Labeling Interface")
    if len(label_config) > MAX_CONFIG_CHARS:
        raise LabelConfigError(
            f"the labeling config has {len(label_config)} characters, at most {MAX_CONFIG_CHARS} "
            "are read; make it smaller"
        )
    if (repeaters := label_config.count("indexFlag")) > MAX_REPEATERS:
        raise LabelConfigError(
            f"the labeling config has {repeaters} tags with indexFlag, at most {MAX_REPEATERS} are "
            "read; remove some"
        )
    if "<!DOCTYPE" in label_config.upper() or "<!ENTITY" in label_config.upper():
        raise LabelConfigError("the labeling config declares XML entities; remove the DOCTYPE")
    try:
        # The second parser is for the tree, which LabelInterface flattens. It is safe: entities
        # were refused, and the first parser bounds the depth.
        interface, root = LabelInterface(label_config), ElementTree.fromstring(label_config)  # noqa: S314
        if repeated := unfold_repeaters(root):
            interface = LabelInterface(ElementTree.tostring(root, encoding="unicode"))
        return interface, root, repeated
    except Exception as error:  # the SDK passes on all that its XML library and its tags raise
        raise LabelConfigError(f"the labeling config cannot be read: {error}") from error


def _read_controls(
    interface: LabelInterface, root: ElementTree.Element, repeated: set[ElementTree.Element]
) -> LabelingTask:
    elements = {(element.tag, element.get("name")): element for element in root.iter()}
    found: tuple[ControlTag, tuple[Field, ...]] | None = None
    left_out = []
    for parsed in interface.controls:
        try:
            element = elements.get((parsed.tag, parsed.name))
            if element in repeated:
                raise LabelConfigError(
                    f"{parsed.tag} '{parsed.name}' labels single items (Repeater)"
                )
            control = _control(parsed, element)
            if found is None:
                found = control, _fields(control, parsed, interface.objects)
            else:
                left_out.append(f"{parsed.tag} '{parsed.name}' (one control is learned)")
        except LabelConfigError as error:
            left_out.append(str(error))
    if found is not None:
        names = tuple(one.name for one in interface.controls if one.name != found[0].from_name)
        return LabelingTask(*found, tuple(left_out), names)
    if not left_out:
        raise LabelConfigError(
            "the labeling config has no control; add one, such as Choices, under Labeling Interface"
        )
    objects = list(interface.objects)
    if not objects:
        raise LabelConfigError("; ".join(left_out))
    return LabelingTask(UnlearnedControl(), fields_of_all(objects), tuple(left_out))


def _control(parsed: Any, element: ElementTree.Element | None) -> ControlTag:
    """Return a control that can be learned.

    Raises
    ------
    LabelConfigError
        When it cannot be; the message names the control and the reason.
    """
    kind = REGISTRY.get(parsed.tag)
    if kind is None or element is None:
        raise LabelConfigError(f"{parsed.tag} '{parsed.name}' {_why_not(parsed.tag)}")
    if str(parsed.attr.get("model_skip", "")).lower() == "true":
        raise LabelConfigError(f"{parsed.tag} '{parsed.name}' has model_skip")
    return kind(parsed, element)


def _why_not(tag: str) -> str:
    """Return why a kind of control is not learned."""
    if tag.endswith("Labels") or tag in REGIONS:
        return "labels regions (spans, boxes)"
    return WHY_NOT.get(tag, "is no kind that is learned")


def _fields(control: ControlTag, parsed: Any, objects: Iterable[Any]) -> tuple[Field, ...]:
    missing = set(parsed.to_name) - {labeled.name for labeled in parsed.objects}
    if missing:
        raise control.error(
            f"labels '{', '.join(sorted(missing))}', which is not in the config; add that object "
            "or correct toName"
        )
    try:
        return fields_of(parsed.objects, objects)
    except LabelConfigError as error:
        raise control.error(f"cannot be learned: {error}") from None


def _one_line(text: str) -> str:
    line = text.encode("latin-1", "replace").decode("latin-1")
    return shortened(line, MAX_REASON_CHARS)
