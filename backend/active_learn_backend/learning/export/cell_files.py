"""What a folder is made of that finds the regions of a control in images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import SettingsError
from ...labeling import bitmask_png, masks, regions
from ...labeling.config import Field
from ...labeling.controls import RegionTag
from ...labeling.regions import ScoredRegion
from ..encoders import images
from ..regions import cell_features, cells, part_kind, parts, patches
from ..regions.cells import CellEncoder
from ..regions.embedder import PartsOfField
from ..regions.patches import PatchEncoder
from .cell_example import MASK, USAGE, VALUES, cell_example
from .region_files import RegionFiles

__all__ = ["cell_files"]


def cell_files(
    control: RegionTag, field: Field, source: PartsOfField, load: Callable[..., bytes]
) -> RegionFiles:
    """Return what the folder is made of.

    Parameters
    ----------
    load : callable
        Gives the bytes of a file, from its address in a task.

    Raises
    ------
    SettingsError
        When the parts of the images are no cells, but what an own model finds.
    """
    encoder, states = source.encoder, None
    modules = [cells, cell_features, part_kind, parts, masks, regions, images]
    if isinstance(encoder, PatchEncoder):
        from ..encoders import patch_states  # imports transformers, which takes seconds

        states, modules = encoder.states, [*modules, patches, patch_states]
    elif not isinstance(encoder, CellEncoder):
        raise SettingsError(
            f"the head of '{control.from_name}' is not exported: it reads what your own detector "
            "finds; with ENCODER, or without a model, it is"
        )
    is_mask = VALUES[control.tag] == MASK

    def given(content: Mapping[str, Any], file: Path) -> str:
        file.write_bytes(load(content[field.name]))
        return str(file)

    def value(region: ScoredRegion, content: Mapping[str, Any]) -> dict[str, Any]:
        start, end = region[:2]
        if is_mask:
            mask = masks.mask_of(start, end)
            return {"imageDataURL": bitmask_png.write_bitmask(mask, *end[3:])}
        return control.payload(start, end, None)

    return RegionFiles(
        title="Regions",
        parts="Cells",
        usage=USAGE,
        modules=[*modules, bitmask_png] if is_mask else modules,
        example=cell_example(control.tag, of_model=states is not None),
        given=given,
        value=value,
        described={"shape": control.shape},
        encoder=states,
    )
