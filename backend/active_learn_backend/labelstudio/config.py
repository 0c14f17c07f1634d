"""From a labeling config to the one labeling task that is learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from label_studio_sdk.label_interface import LabelInterface

from ..errors import LabelConfigError
from .controls import REGISTRY, ControlTag

__all__ = ["Field", "LabelingTask", "parse_label_config"]

OBJECT_KINDS: dict[str, Literal["image", "text"]] = {
    "Image": "image",
    "Text": "text",
    "HyperText": "text",
}
MAX_CONFIG_CHARS = 2_000_000
MAX_REASON_CHARS = 400  # Label Studio shows about 430 of a reason phrase


@dataclass(frozen=True)
class Field:
    """One field of a task's data that the encoder reads."""

    name: str
    kind: Literal["image", "text"]
    by_url: bool = False


@dataclass(frozen=True)
class LabelingTask:
    """What is learned in a project: one control, and the data that it labels."""

    control: ControlTag
    fields: tuple[Field, ...]

    def content(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Pick what the encoder reads out of a task's data."""
        return {field.name: data.get(field.name) for field in self.fields}

    def content_key(self, content: Mapping[str, Any]) -> str:
        """Digest of that content: the same text twice has one key, an edited task a new one."""
        kinds = [(field.kind, content[field.name]) for field in self.fields]
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
        interface = _parse_xml(label_config)
        return _first_usable(list(interface.controls))
    except LabelConfigError as error:
        raise LabelConfigError(_one_line(str(error))) from None


def _parse_xml(label_config: str) -> LabelInterface:
    if not label_config.strip():
        raise LabelConfigError("the labeling config is empty; set one under Labeling Interface")
    if len(label_config) > MAX_CONFIG_CHARS:
        raise LabelConfigError(
            f"the labeling config has {len(label_config)} characters, at most {MAX_CONFIG_CHARS} "
            "are read; make it smaller"
        )
    if "<!DOCTYPE" in label_config.upper() or "<!ENTITY" in label_config.upper():
        raise LabelConfigError("the labeling config declares XML entities; remove the DOCTYPE")
    try:
        return LabelInterface(label_config)
    except Exception as error:  # the SDK raises whatever its XML library and its tags raise
        raise LabelConfigError(f"the labeling config cannot be read: {error}") from error


def _first_usable(controls: Sequence[Any]) -> LabelingTask:
    reasons = []
    for parsed in controls:
        kind = REGISTRY.get(parsed.tag)
        if kind is None:
            continue
        try:
            control = kind(parsed)
            return LabelingTask(control, _fields(control, parsed.objects))
        except LabelConfigError as error:
            reasons.append(str(error))
    if reasons:
        raise LabelConfigError("; ".join(reasons))
    known = ", ".join(sorted(REGISTRY))
    raise LabelConfigError(f"the labeling config has no control that can be learned; add {known}")


def _fields(control: ControlTag, objects: Sequence[Any]) -> tuple[Field, ...]:
    fields = []
    for parsed in objects:
        kind = OBJECT_KINDS.get(parsed.tag)
        if kind is None:
            raise LabelConfigError(
                f"{control.tag} '{control.from_name}' labels a <{parsed.tag}>, which cannot be "
                f"encoded; use one of {', '.join(OBJECT_KINDS)}"
            )
        value = parsed.attr.get("value") or ""
        if not value.startswith("$") or len(value) < 2:
            raise LabelConfigError(
                f'<{parsed.tag} name="{parsed.name}"> reads no task data; '
                'set its value to a field, such as value="$image"'
            )
        fields.append(Field(value[1:], kind))
    if not fields:
        raise LabelConfigError(
            f"{control.tag} '{control.from_name}' labels '{control.to_name}', which is not in the "
            "config; add that object or correct toName"
        )
    return tuple(fields)


def _one_line(text: str) -> str:
    line = " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 3] + "..."
