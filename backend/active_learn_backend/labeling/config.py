"""From a labeling config to the one labeling task that is learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

from label_studio_sdk.label_interface import LabelInterface

from ..errors import LabelConfigError
from .controls import REGISTRY, ControlTag
from .data_objects import Field, fields_of

__all__ = ["Field", "LabelingTask", "parse_label_config"]

MAX_CONFIG_CHARS = 2_000_000
MAX_REPEATERS = 100  # tags with indexFlag: Label Studio's tools compare each of them with each tag
MAX_REASON_CHARS = 400  # Label Studio shows about 430 of a reason phrase


@dataclass(frozen=True)
class LabelingTask:
    """The labeling task of a project: one control, and the fields that it labels."""

    control: ControlTag
    fields: tuple[Field, ...]

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
        Of the first control that can be learned.

    Raises
    ------
    LabelConfigError
        When there is none. The message is one line, fit for an HTTP reason phrase.
    """
    try:
        return _first_usable(*_parse_xml(label_config))
    except LabelConfigError as error:
        raise LabelConfigError(_one_line(str(error))) from None


def _parse_xml(label_config: str) -> tuple[LabelInterface, ElementTree.Element]:
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
        return LabelInterface(label_config), ElementTree.fromstring(label_config)  # noqa: S314
    except Exception as error:  # the SDK passes on all that its XML library and its tags raise
        raise LabelConfigError(f"the labeling config cannot be read: {error}") from error


def _first_usable(interface: LabelInterface, root: ElementTree.Element) -> LabelingTask:
    elements = {(element.tag, element.get("name")): element for element in root.iter()}
    reasons = []
    for parsed in interface.controls:
        kind = REGISTRY.get(parsed.tag)
        if kind is None:
            continue
        try:
            control = kind(parsed, elements[parsed.tag, parsed.name])
            return LabelingTask(control, _fields(control, parsed, interface.objects))
        except LabelConfigError as error:
            reasons.append(str(error))
    if reasons:
        raise LabelConfigError("; ".join(reasons))
    known = ", ".join(sorted(REGISTRY))
    found = sorted({parsed.tag for parsed in interface.controls})
    reason = f"the labeling config has no control that can be learned; add {known}"
    if found:
        reason += f" (it has {', '.join(found)})"
    raise LabelConfigError(reason)


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
    line = " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 3] + "..."
