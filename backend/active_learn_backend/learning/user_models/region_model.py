"""What every kind of own model that finds regions is loaded into, and how it is bound to a config.

It has classes for parts of a content (tokens of a text, boxes in an image) and not for all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from ...errors import SettingsError
from ...labeling.config import LabelingTask
from ...labeling.controls import RegionTag
from .classes import PartClass, part_classes
from .region_head import OwnRegionHead, OwnRegions

__all__ = ["BoundRegionModel", "RegionModel"]


@dataclass(eq=False)
class RegionModel(ABC):
    """An own model that finds regions, as a process holds it.

    Attributes
    ----------
    name : str
        As the setting names it, for messages.
    classes : tuple of str
        Names of its outputs.
    digest : str
        12 hexadecimal digits that name all that the outputs depend on.
    """

    #: What a Hugging Face architecture of this kind ends with.
    architecture: ClassVar[str]
    #: The kind of the fields that it reads.
    reads: ClassVar[str]
    #: What it finds, or makes the parts of, see `RegionTag`.
    shapes: ClassVar[tuple[str, ...]] = ("interval",)
    #: The name of its kind, for messages.
    noun: ClassVar[str]
    #: Whether each class has a probability of its own, and all of them may be unlikely.
    independent = False
    #: Whether each part that has a class is a region of its own.
    single: ClassVar[bool] = False

    name: str
    classes: tuple[str, ...]
    digest: str

    @classmethod
    @abstractmethod
    def load(cls, name: str, path: Path, device: torch.device) -> RegionModel:
        """Load a model.

        Raises
        ------
        SettingsError
            When it cannot be loaded.
        """

    @property
    @abstractmethod
    def n_states(self) -> int:
        """Features of a part before the scores of its classes."""

    def fingerprint(self, as_is: bool) -> str:
        """Return the name of all that the parts depend on; fit for a folder's name."""
        return f"model-{self.digest}" + ("" if as_is else "-encoder")


@dataclass(frozen=True)
class BoundRegionModel:
    """An own model that finds regions, for one labeling task.

    Attributes
    ----------
    model : RegionModel
    control : RegionTag
        The one that it answers for; where it is only an encoder, the first whose field it reads.
    classes : tuple of PartClass, optional
        What each of its outputs stands for; None where it is only an encoder.
    """

    model: RegionModel
    control: RegionTag
    classes: tuple[PartClass, ...] | None

    @classmethod
    def bind(cls, model: RegionModel, task: LabelingTask, as_is: bool) -> BoundRegionModel:
        """Bind a model to the first control that it fits.

        Raises
        ------
        SettingsError
            When it fits none; the message is about the first that labels what it reads.
        """
        kinds = {field.name: field.kind for field in task.fields}
        fitting = [
            one
            for one in task.regions
            if kinds.get(one.fields[0]) == model.reads and one.shape in model.shapes
        ]
        if not fitting:
            found = "boxes" if "box" in model.shapes else "regions"
            raise SettingsError(
                f"MODEL '{model.name}' is {model.noun}, which finds {found} of {model.reads}s, and "
                "the project labels none; leave MODEL out, or name a model of what is labeled"
            )
        if not as_is:
            return cls(model, fitting[0], None)
        misfit: SettingsError | None = None
        for control in fitting:
            try:
                return cls(model, control, part_classes(model.name, model.classes, control))
            except SettingsError as error:
                misfit = misfit or error
        assert misfit is not None
        raise misfit

    def makes_parts_for(self, control: RegionTag) -> bool:
        """Return whether the parts that a control labels regions of are those of the model."""
        return control.fields == self.control.fields and control.shape in self.model.shapes

    @property
    def digest(self) -> str:
        """Digest of everything that the model's answers depend on."""
        return self.model.digest

    @property
    def fingerprint(self) -> str:
        """Name of all that the parts depend on."""
        return self.model.fingerprint(self.classes is not None)

    @property
    def unused(self) -> Sequence[str]:
        """Names of the classes that stand for no label."""
        pairs = zip(self.model.classes, self.classes or (), strict=False)
        return [name for name, one in pairs if one.unused]

    def head(self, encoder: str, n_features: int) -> OwnRegionHead | None:
        """Return what answers by the parts; None of a model that is only an encoder.

        Parameters
        ----------
        encoder : str
            Fingerprint of the parts.
        n_features : int
            Features of a part.
        """
        if self.classes is None:
            return None
        return OwnRegionHead(
            OwnRegions(
                f"model-{self.digest[:8]}",
                self.control.from_name,
                encoder,
                self.control.labels,
                self.classes,
                self.model.n_states,
                n_features,
                independent=self.model.independent,
                single=self.model.single,
            )
        )
