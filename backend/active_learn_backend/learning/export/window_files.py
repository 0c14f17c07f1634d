"""What a folder is made of that finds the segments of a control in sounds or time series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...labeling import masks, regions, time_formats, time_series
from ...labeling.config import Field
from ...labeling.controls import RegionTag
from ...labeling.regions import ScoredRegion
from ...labeling.time_series import is_inline
from ..encoders import log_mel
from ..regions import intervals, part_kind, parts, window_features, windows
from .region_files import RegionFiles
from .window_example import USAGE, window_example

__all__ = ["window_files"]


def window_files(control: RegionTag, field: Field, load: Callable[..., bytes]) -> RegionFiles:
    """Return what the folder is made of.

    Parameters
    ----------
    load : callable
        Gives the bytes of a file, from its address in a task.
    """
    modules = [windows, window_features, intervals, part_kind, parts, regions, masks, log_mel]
    of_sound = field.kind == "audio"
    if of_sound:
        from ...decoders import audio, ffmpeg  # need PyAV

        modules += [audio, ffmpeg]
    else:
        modules += [time_series, time_formats]

    def given(content: Mapping[str, Any], file: Path) -> str:
        text = content[field.name]
        by_address = of_sound or (field.by_url and not is_inline(text))
        file.write_bytes(load(text) if by_address else text.encode())
        return str(file)

    def value(region: ScoredRegion, content: Mapping[str, Any]) -> dict[str, Any]:
        return control.payload(region.start, region.end, None)

    read = ("columns", "separator", "time_column", "time_format")
    return RegionFiles(
        title="Segments",
        parts="Windows",
        usage=USAGE,
        modules=modules,
        example=window_example(of_sound=of_sound),
        given=given,
        value=value,
        described={} if of_sound else {name: getattr(field, name) for name in read},
    )
