"""What a folder is made of that finds the spans of a control in texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...labeling import exact_text, html_text, plain_text
from ...labeling.config import Field
from ...labeling.controls import RegionTag
from ...labeling.regions import ScoredRegion
from ..encoders import word_states
from ..encoders.word_states import WordStates
from ..regions import words
from ..regions.embedder import PartsOfField
from ..regions.kinds import MOST_WORDS, WordEncoder
from .region_files import RegionFiles
from .span_example import USAGE, span_example

__all__ = ["span_files"]


def span_files(control: RegionTag, field: Field, source: PartsOfField) -> RegionFiles:
    """Return what the folder is made of.

    Raises
    ------
    SettingsError
        When words are known by the states of an own model.
    """
    states = source.encoder.states if isinstance(source.encoder, WordEncoder) else None
    if states is not None and type(states) is not WordStates:
        raise SettingsError(
            f"the head of '{control.from_name}' is not exported: it reads the states of your own "
            "model; with ENCODER, or without a model, it is"
        )

    modules = [words, *([] if states is None else [word_states])]
    if field.markup != "plain":
        modules += [exact_text, html_text, plain_text]

    def given(content: Mapping[str, Any], file: Path) -> str:
        return str(content[field.name])

    def value(region: ScoredRegion, content: Mapping[str, Any]) -> dict[str, Any]:
        start, end = region[:2]
        if field.markup == "dialogue":
            return control.payload(start, end, content[field.name])
        text = exact_text.exact_text(content[field.name], field.markup)
        return {"start": start, "end": end, "text": text.between(start, end)}

    return RegionFiles(
        title="Spans",
        parts="Words",
        usage=USAGE[field.markup],
        modules=modules,
        example=span_example(field.markup, of_model=states is not None),
        given=given,
        value=value,
        described={"most_words": MOST_WORDS, "max_length": states.length if states else None},
        encoder=states,
    )
