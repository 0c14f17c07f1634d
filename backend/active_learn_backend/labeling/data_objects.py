"""From the objects of a labeling config to the fields of a task that the encoder reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal
from xml.etree.ElementTree import Element

from ..errors import LabelConfigError
from .exact_text import stored_dialogue
from .plain_text import MAX_TEXT, Markup, plain_text
from .time_series import inline_channels
from .variables import evaluate, variable_name

__all__ = ["Field", "field_of", "fields_of", "fields_of_all"]

Kind = Literal["text", "image", "images", "audio", "video", "pdf", "time series"]

OBJECTS: dict[str, tuple[Kind, Markup]] = {
    "Image": ("image", "plain"),
    "Audio": ("audio", "plain"),
    "AudioPlus": ("audio", "plain"),
    "Video": ("video", "plain"),
    "Pdf": ("pdf", "plain"),
    "TimeSeries": ("time series", "plain"),
    "Text": ("text", "plain"),
    "HyperText": ("text", "html"),
    "Paragraphs": ("text", "dialogue"),
    "Chat": ("text", "dialogue"),
    "Table": ("text", "records"),
    "List": ("text", "records"),
}
# Keys of who speaks and of what is said, where the tag names none.
DIALOGUE_KEYS = {"Chat": ("role", "content")}


@dataclass(frozen=True)
class Field:
    """One field of a task's data that the encoder reads.

    Attributes
    ----------
    name : str
        Its name in the data, or its path (``pages[0].text``), see `evaluate`.
    kind : {'text', 'image', 'images', 'audio', 'video', 'pdf', 'time series'}
        What it holds: text, or the address of a file; 'images': the addresses of several.
    by_url : bool
        Whether it holds the address of the text, or of the time series, instead
        (``valueType="url"``).
    markup : {'plain', 'html', 'dialogue', 'records'}
        What becomes plain text, see `plain_text`.
    name_key, text_key : str
        Keys of who speaks and of what is said, in a dialogue.
    columns : tuple of str
        Of the channels of a time series.
    separator : str
        Between its cells.
    time_column, time_format : str
        Its times, and the format of D3 that they have; empty: rows are counted, and times are
        numbers.
    exact : bool
        Whether regions of the content are labeled, in which their borders are counted: HTML and
        dialogues are kept as they are, and of a time series the times too.
    required : bool
        Whether a task that lacks its text cannot be learned from; else the text counts as empty.
    """

    name: str
    kind: Kind
    by_url: bool = False
    markup: Markup = "plain"
    name_key: str = "author"
    text_key: str = "text"
    columns: tuple[str, ...] = ()
    separator: str = ","
    time_column: str = ""
    time_format: str = ""
    exact: bool = False
    required: bool = True

    @property
    def is_address(self) -> bool:
        """Whether its content is an address, or several, and not the text itself."""
        return self.kind != "text" or self.by_url

    @property
    def content_kind(self) -> str:
        """Return the kind of `content`; of an address also how the text behind it is read."""
        if self.kind == "time series":
            times = f" at {self.time_column} as {self.time_format}" if self.exact else ""
            return f"{self.kind} ({self.separator.join(self.columns)}){times}"
        if self.exact and not self.by_url:
            return f"{self.kind} as {self.markup}"
        if not self.by_url:
            return self.kind
        return f"{self.markup} by url" + (
            f" ({self.name_key}, {self.text_key})" if self.markup == "dialogue" else ""
        )

    def content(self, data: Mapping[str, Any]) -> str | None:
        """Pick the field's content out of a task's data; None if missing.

        It is text, or an address; of several images a JSON list of addresses; of a time series in
        the task itself its JSON.
        """
        value = evaluate(self.name, data)
        if self.kind == "images":
            addresses = [one for one in _listed(value) if isinstance(one, str) and one]
            return json.dumps(addresses) if addresses else None
        if self.kind == "time series":
            times = (self.time_column,) if self.exact and self.time_column else ()
            return inline_channels(value, (*self.columns, *times))
        if self.is_address:
            return value if isinstance(value, str) else None
        if self.exact and self.markup == "dialogue":
            text = stored_dialogue(value, self.name_key, self.text_key)
        elif self.exact:
            text = value[:MAX_TEXT] if isinstance(value, str) else None
        else:
            text = self.plain_text(value)
        return "" if text is None and not self.required else text

    def image_address(self, content: Any) -> str | None:
        """Return the address of an image that shows the field's content: of several the first."""
        if not isinstance(content, str) or not content:
            return None
        if self.kind == "images":
            return str(json.loads(content)[0])
        return content if self.kind == "image" else None

    def shown(self, content: str) -> str:
        """Return the plain text of the field's content."""
        if not self.exact:
            return content
        if self.markup == "dialogue":
            return "\n".join(": ".join(filter(None, one)) for one in json.loads(content))
        return self.plain_text(content) or ""

    def plain_text(self, value: Any) -> str | None:
        """Return a value of the data, or what was loaded from its address, as plain text."""
        return plain_text(value, self.markup, self.name_key, self.text_key)


def field_of(parsed: Any) -> Field:
    """Read one object tag.

    Parameters
    ----------
    parsed : label_studio_sdk.label_interface.object_tags.ObjectTag
        As LabelInterface parsed it.

    Raises
    ------
    LabelConfigError
        When it cannot be encoded; the message names the remedy.
    """
    tag = f'<{parsed.tag} name="{parsed.name}">'
    if parsed.tag not in OBJECTS:
        raise LabelConfigError(f"{tag} cannot be encoded; use one of {', '.join(OBJECTS)}")
    attributes = {name.lower(): value for name, value in parsed.attr.items()}
    kind, markup = OBJECTS[parsed.tag]
    shown = attributes.get("valuelist") or attributes.get("value")
    if attributes.get("valuelist") and kind != "image":
        raise LabelConfigError(
            f"{tag} shows a list (valueList), which only Image does; give each task one "
            f'{parsed.tag.lower()}, value="$field"'
        )
    if attributes.get("encoding", "none") != "none":
        raise LabelConfigError(
            f'{tag} has encoding="{attributes["encoding"]}"; import decoded text and remove it'
        )
    name = variable_name(shown)
    if name is None:
        raise LabelConfigError(
            f"{tag} reads no task data; set its value to one field, such as "
            f'value="${parsed.tag.lower()}"'
        )
    by_url = kind == "text" and attributes.get("valuetype") == "url"
    columns: tuple[str, ...] = ()
    if kind == "time series":
        by_url = attributes.get("valuetype", "url") == "url"
        columns = _columns(parsed.children or ())
        if not columns:
            raise LabelConfigError(f"{tag} shows no channel; add one, such as <Channel column=..>")
    if kind == "image" and (attributes.get("valuelist") or "*" in name):
        kind = "images"
    if "*" in name and (kind not in ("text", "images") or by_url):
        raise LabelConfigError(
            f"{tag} shows a list of files (Repeater); only texts and images are read so"
        )
    name_key, text_key = DIALOGUE_KEYS.get(parsed.tag, ("author", "text"))
    return Field(
        name,
        kind,
        by_url=by_url,
        markup=markup,
        name_key=attributes.get("namekey") or name_key,
        text_key=attributes.get("textkey") or text_key,
        columns=columns,
        separator=attributes.get("sep") or ",",
        time_column=attributes.get("timecolumn", "") if columns else "",
        time_format=attributes.get("timeformat", "") if columns else "",
    )


def fields_of(labeled: Iterable[Any], others: Iterable[Any]) -> tuple[Field, ...]:
    """Read all objects that the encoder reads: what is labeled first, then the others.

    The others are context that annotators see, so they are encoded too. One that cannot be is
    left out, and a task may lack some of their texts. A field that is shown twice is encoded
    once.

    Raises
    ------
    LabelConfigError
        When an object that is labeled cannot be encoded.
    """
    fields: dict[str, Field] = {}
    for parsed in labeled:
        field = field_of(parsed)
        fields.setdefault(field.name, field)
    for parsed in others:
        with suppress(LabelConfigError):
            field = field_of(parsed)
            fields.setdefault(field.name, replace(field, required=False))
    return tuple(fields.values())


def fields_of_all(objects: Iterable[Any]) -> tuple[Field, ...]:
    """Read all objects that can be encoded, where it does not matter what is labeled.

    A task needs the first of them; the others count as empty where they are missing.

    Raises
    ------
    LabelConfigError
        When none can be encoded; the message gives the reason for each.
    """
    fields: dict[str, Field] = {}
    reasons = []
    for parsed in objects:
        try:
            field = field_of(parsed)
        except LabelConfigError as error:
            reasons.append(str(error))
        else:
            fields.setdefault(field.name, replace(field, required=not fields))
    if not fields:
        raise LabelConfigError("; ".join(dict.fromkeys(reasons)))
    return tuple(fields.values())


def _columns(children: Iterable[Element]) -> tuple[str, ...]:
    """Return the columns of the channels of a time series, each once."""
    channels = [tag for child in children for tag in child.iter() if tag.tag.lower() == "channel"]
    return tuple(dict.fromkeys(tag.get("column") or "" for tag in channels if tag.get("column")))


def _listed(value: Any) -> list[Any]:
    """Return a list of what is one, or is its JSON, or a single value."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    return value if isinstance(value, list) else [value]
