"""Interface of a control tag that can be learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree.ElementTree import Element

from ...errors import LabelConfigError
from ..annotations import merge_labels

if TYPE_CHECKING:
    from active_learn.validation import ProblemType

__all__ = ["REGISTRY", "ControlTag"]

REGISTRY: dict[str, type[ControlTag]] = {}


class ControlTag(ABC):
    """One control tag of a labeling config.

    A tag is added by one file with one class that names its ``tag`` (and one class in a
    ``test_*_controls.py`` of ``tests/contract``).

    Parameters
    ----------
    control : label_studio_sdk.label_interface.control_tags.ControlTag
        The tag as LabelInterface parsed it.
    element : Element
        The same tag in the XML, with the choices inside.

    Raises
    ------
    LabelConfigError
        When this tag, as configured, cannot be learned; the message names the remedy.

    Attributes
    ----------
    tag : str
        Name of the tag.
    from_name, to_name : str
        Names of the control and of the (first) object that it labels.
    fields : tuple of str
        Names of the fields that it labels.
    problem_type : {'classification', 'multilabel', 'regression', 'regions'}
        What is learned; of regions see `RegionTag`.
    labels : tuple of str
        All labels that the config offers (the alias where there is one); empty in regression, and
        where the answers are free.
    bounds : (float, float) or None
        Smallest and largest answer in regression, when the config has both.
    learned : bool
        Whether a head is trained for it.
    can_prelabel : bool
        Whether Label Studio stores predictions of this tag. If not, a queue row that holds one
        vanishes, so queue rows stay empty.
    predicted_values : dict of str to str
        Label by the name that a team's own model may have for it. A name that two labels claim is
        left out.
    """

    tag: ClassVar[str]
    learned: ClassVar[bool] = True
    can_prelabel: bool = True
    fields: tuple[str, ...] = ()
    problem_type: ProblemType
    labels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "tag" in vars(cls):  # not the families of tags in between
            REGISTRY[cls.tag] = cls

    def __init__(self, control: Any, element: Element) -> None:
        self.from_name: str = control.name
        self.to_name: str = control.to_name[0]
        self.predicted_values: dict[str, str] = {}
        # As Label Studio's frontend does, which reads the names of attributes in any case.
        self._attributes = {name.lower(): value for name, value in element.attrib.items()}
        for mode, thing in (("perRegion", "each region"), ("perItem", "each item")):
            if self.is_true(mode):
                raise self.error(f"labels {thing} ({mode}), not the task")

    @classmethod
    def for_objects(cls, objects: Sequence[Any]) -> type[ControlTag]:
        """Return the class of the tag where it labels some objects, as LabelInterface parsed them.

        Of another kind of object an answer may mean something else.
        """
        return cls

    @abstractmethod
    def read(self, result: Sequence[Mapping[str, Any]]) -> Any:
        """Read the label out of one annotation's result.

        Parameters
        ----------
        result : list of dict
            As Label Studio sends it: nobody validated it, so it may hold anything.

        Returns
        -------
        str, list of str, float or None
            In classification, multi-label (in the config's order) and regression; None when the
            annotation holds no label of this control.
        """

    @abstractmethod
    def write(self, label: Any, score: float | None = None) -> list[dict[str, Any]]:
        """Write a label as a prediction's result.

        Parameters
        ----------
        label : str, list of str or float
            As `read` returns it.
        score : float, optional
            Probability, written to the result's item.

        Returns
        -------
        list of dict
            One item; none when the config does not offer the label.
        """

    def merge(self, votes: Sequence[Any]) -> Any:
        """Return the one label of those of several annotations, the latest last."""
        return merge_labels(votes)

    def differs(self, vote: Any, label: Any) -> float:
        """Return how much the label of an annotation is against that of the task, from 0 to 1."""
        return float(vote != label)

    def check_objects(self, objects: Sequence[Any]) -> None:
        """Check the tags that it labels, as LabelInterface parsed them.

        Raises
        ------
        LabelConfigError
            When they cannot be labeled so.
        """
        return None

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...]:
        """Return the labels that a head tells apart, where these labels were given."""
        return self.labels

    def attribute(self, name: str) -> str | None:
        """Return an attribute of the tag; None when it is missing or blank."""
        return self._attributes.get(name.lower(), "").strip() or None

    def is_true(self, name: str) -> bool:
        """Check whether an attribute of the tag is ``"true"``."""
        return (self.attribute(name) or "").lower() == "true"

    def error(self, problem: str) -> LabelConfigError:
        """Return an error that names this tag and its fault."""
        return LabelConfigError(f"{self.tag} '{self.from_name}' {problem}")

    def values(self, result: Any) -> list[Mapping[str, Any]]:
        """Pick the values that this control gave, out of an annotation's result."""
        return [
            item["value"]
            for item in (result if isinstance(result, list) else [])
            if isinstance(item, Mapping)
            and item.get("from_name") == self.from_name
            and isinstance(item.get("value"), Mapping)
        ]

    def item(self, value: Mapping[str, Any], score: float | None) -> list[dict[str, Any]]:
        """Wrap a value as the one item of a prediction's result."""
        item: dict[str, Any] = {
            "from_name": self.from_name,
            "to_name": self.to_name,
            "type": self.tag.lower(),
            "value": dict(value),
        }
        if score is not None:
            item["score"] = round(float(score), 6)
        return [item]
