"""From a labeling config to the labeling task of a project."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal
from xml.etree import ElementTree

from label_studio_sdk.label_interface import LabelInterface

from ..errors import LabelConfigError, SettingsError
from ..wording import shortened
from .annotations import count_votes, no_label_because, resolve_label
from .controls import REGISTRY, ControlTag, RegionTag, UnlearnedControl
from .data_objects import Field, fields_of, fields_of_all
from .variables import unfold_repeaters

__all__ = ["Field", "LabelingTask", "parse_label_config"]

# Controls that draw regions without naming a label.
REGIONS = {"Bitmask", "Brush", "Ellipse", "KeyPoint", "MagicWand", "Polygon", "Rectangle", "Vector"}
REGIONS |= {"ReactCode"}
OF_VIDEO = {"TimelineLabels", "VideoRectangle"}
WHY_NOT = {
    "Chat": "takes messages",
    "DateTime": "takes a date",
    "Ranker": "takes an order",
}
MAX_CONFIG_CHARS = 2_000_000
MAX_REPEATERS = 100  # tags with indexFlag: Label Studio's tools compare each of them with each tag
MAX_REASON_CHARS = 400  # Label Studio shows about 430 of a reason phrase


@dataclass(frozen=True)
class LabelingTask:
    """The labeling task of a project: the controls that are learned, and the fields they label.

    Attributes
    ----------
    controls : tuple of ControlTag
        Those that are learned, in the order of the config, at least one; a single
        `UnlearnedControl` where none can be.
    fields : tuple of Field
        All that the encoder reads, whatever control it is labeled by: one embedding serves them.
    left_out : tuple of str
        The other controls, each with the reason why it is not learned.
    names_left_out : tuple of str
        Their names; ``*`` stands for the index within a Repeater.
    """

    controls: tuple[ControlTag, ...]
    fields: tuple[Field, ...]
    left_out: tuple[str, ...] = ()
    names_left_out: tuple[str, ...] = ()

    @property
    def learned(self) -> bool:
        """Whether a head is trained for any control."""
        return any(control.learned for control in self.controls)

    @property
    def regions(self) -> tuple[RegionTag, ...]:
        """The controls that label regions."""
        return tuple(one for one in self.controls if isinstance(one, RegionTag))

    @property
    def others(self) -> tuple[ControlTag, ...]:
        """The controls that are answered once a task."""
        return tuple(one for one in self.controls if not isinstance(one, RegionTag))

    @property
    def kind(self) -> Literal["learned", "learned in part", "ordered by coverage"]:
        """How the queue of the project is ordered."""
        if not self.learned:
            return "ordered by coverage"
        return "learned in part" if self.left_out else "learned"

    @property
    def description(self) -> str:
        """One sentence: how the queue is ordered, what is learned, and what is not."""
        reasons = "; ".join(self.left_out)
        if not self.learned:
            return f"ordered by coverage, as no control can be learned: {reasons}"
        names = [f"{one.tag} '{one.from_name}' ({one.problem_type})" for one in self.controls]
        learned = f"{self.kind}: {', '.join(names)}"
        return f"{learned}; not learned: {reasons}" if reasons else learned

    def only(self, names: str) -> LabelingTask:
        """Return the task of some controls, named as in the setting ``controls``.

        Raises
        ------
        SettingsError
            When one of the names is of no control that can be learned.
        """
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        offered = [control.from_name for control in self.controls if control.learned]
        if unknown := [name for name in wanted if name not in offered]:
            raise SettingsError(
                f"CONTROLS names '{unknown[0][:60]}', which is no control of the labeling config "
                f"that can be learned; expected some of: {', '.join(offered) or 'none'}"
            )
        if not wanted:
            return self
        kept = tuple(control for control in self.controls if control.from_name in wanted)
        needed = {name for control in kept for name in control.fields}
        return replace(
            self,
            controls=kept,
            fields=tuple(replace(one, required=one.name in needed) for one in self.fields),
            left_out=self.left_out
            + tuple(
                f"{control.tag} '{control.from_name}' is not in CONTROLS"
                for control in self.controls
                if control not in kept
            ),
        )

    def labels(self, annotations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Resolve all annotations of a task to its labels, by the names of the controls.

        A task may be labeled by some controls and not by others; None: it is by none.
        """
        labels = {
            one.from_name: resolve_label(annotations, one.read, one.merge) for one in self.controls
        }
        return {name: label for name, label in labels.items() if label is not None} or None

    def votes(self, annotations: Sequence[Mapping[str, Any]]) -> dict[str, list[float]] | None:
        """Return what `count_votes` finds, by the names of the controls that several answered.

        As it is read from JSON, so that what is stored compares with what is new.
        """
        if len(annotations) < 2:
            return None
        votes = {
            one.from_name: [*count_votes(annotations, one.read, one.merge, one.differs)]
            for one in self.controls
        }
        return {name: found for name, found in votes.items() if found[0] > 1} or None

    def no_label_because(self, annotations: Sequence[Mapping[str, Any]]) -> str:
        """Return in words why annotations, of which nobody skipped the task, hold no label."""
        learned = {control.from_name for control in self.controls}
        return no_label_because(annotations, learned, self.names_left_out)

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
        Of all controls that can be learned; by coverage where none can be.

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
    controls, labeled, left_out = [], [], []
    for parsed in interface.controls:
        try:
            element = elements.get((parsed.tag, parsed.name))
            if element in repeated:
                raise LabelConfigError(
                    f"{parsed.tag} '{parsed.name}' labels single items (Repeater)"
                )
            control = _control(parsed, element)
            _read_objects(control, parsed)
        except LabelConfigError as error:
            left_out.append(str(error))
        else:
            controls.append(control)
            labeled += parsed.objects
    if controls:
        learned = {control.from_name for control in controls}
        exact = {one.fields[0] for one in controls if isinstance(one, RegionTag) and one.exact}
        return LabelingTask(
            tuple(controls),
            tuple(
                replace(one, exact=one.name in exact)
                for one in fields_of(labeled, interface.objects)
            ),
            tuple(left_out),
            tuple(one.name for one in interface.controls if one.name not in learned),
        )
    if not left_out:
        raise LabelConfigError(
            "the labeling config has no control; add one, such as Choices, under Labeling Interface"
        )
    objects = list(interface.objects)
    if not objects:
        raise LabelConfigError("; ".join(left_out))
    return LabelingTask((UnlearnedControl(),), fields_of_all(objects), tuple(left_out))


def _control(parsed: Any, element: ElementTree.Element | None) -> ControlTag:
    """Return a control that can be learned.

    Raises
    ------
    LabelConfigError
        When it cannot be; the message names the control and the reason.
    """
    kind = REGISTRY.get(parsed.tag)
    if kind is None or element is None:
        tag = parsed.tag.removesuffix("Message")  # the SDK's name of what a <Chat> takes
        raise LabelConfigError(f"{tag} '{parsed.name}' {_why_not(tag)}")
    if str(parsed.attr.get("model_skip", "")).lower() == "true":
        raise LabelConfigError(f"{parsed.tag} '{parsed.name}' has model_skip")
    return kind.for_objects(parsed.objects)(parsed, element)


def _why_not(tag: str) -> str:
    """Return why a kind of control is not learned."""
    if tag in OF_VIDEO:
        return "labels regions of Video, which are not learned"
    if tag in REGIONS:
        return "draws regions without a label"
    if tag.endswith("Labels"):
        return "labels regions of a kind that is not learned"
    return WHY_NOT.get(tag, "is no kind that is learned")


def _read_objects(control: ControlTag, parsed: Any) -> None:
    """Read what a control labels: it has to be in the config, and can be encoded."""
    missing = set(parsed.to_name) - {labeled.name for labeled in parsed.objects}
    if missing:
        raise control.error(
            f"labels '{', '.join(sorted(missing))}', which is not in the config; add that object "
            "or correct toName"
        )
    control.check_objects(parsed.objects)
    try:
        control.fields = tuple(field.name for field in fields_of(parsed.objects, ()))
    except LabelConfigError as error:
        raise control.error(f"cannot be learned: {error}") from None


def _one_line(text: str) -> str:
    line = text.encode("latin-1", "replace").decode("latin-1")
    return shortened(line, MAX_REASON_CHARS)
