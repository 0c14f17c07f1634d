"""Which label of the config each output of a model stands for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import SettingsError
from ...labeling.controls import ControlTag

__all__ = ["PartClass", "control_of_model", "labels_of_classes", "part_classes"]

MOST_SHOWN = 6
PREFIX = re.compile(r"[BIELSU]-")  # of the part of a region that a class stands for
BEGINNINGS = "BSU"
OUTSIDE = ("O", "N/A", "no-object")  # classes that are no thing


def control_of_model(
    classes: Sequence[str] | None, n_outputs: int, controls: Sequence[ControlTag]
) -> tuple[ControlTag, tuple[str, ...]]:
    """Return the first control that a model answers for, with the label of each output.

    Raises
    ------
    SettingsError
        When it fits none; the message is about the first.
    """
    misfit: SettingsError | None = None
    for control in controls:
        try:
            return control, labels_of_classes(classes, n_outputs, control)
        except SettingsError as error:
            misfit = misfit or error
    raise misfit or SettingsError("MODEL has no control to answer for")


def labels_of_classes(
    classes: Sequence[str] | None, n_outputs: int, control: ControlTag
) -> tuple[str, ...]:
    """Map a model's classes to the labels of the config.

    By name or alias, by the ``predicted_values`` of a <Choice>, and without regard to case and
    spaces where that is unambiguous.

    Parameters
    ----------
    classes : sequence of str or None
        One per output; None where the outputs are the labels, in the config's order.
    n_outputs : int
        Outputs of the model.

    Returns
    -------
    tuple of str
        The label of each output; empty in regression.

    Raises
    ------
    SettingsError
        When outputs and labels do not stand for each other, one by one.
    """
    if control.problem_type == "regression":
        if n_outputs != 1:
            raise SettingsError(
                f"MODEL has {n_outputs} outputs, and {control.tag} '{control.from_name}' takes one "
                "number; use a regression model"
            )
        return ()
    names = tuple(control.labels if classes is None else classes)
    if len(names) != n_outputs:
        raise SettingsError(
            f"MODEL has {n_outputs} outputs and {len(names)} classes ({_some(names)}); "
            "name one class for each output, in their order"
        )
    exact = {label: label for label in control.labels} | dict(control.predicted_values)
    found = [exact.get(name) or _like(name, exact) for name in names]
    unknown = [name for name, label in zip(names, found, strict=True) if label is None]
    lost = [label for label in control.labels if label not in found]
    if unknown or lost or len(set(found)) < len(found):
        raise SettingsError(
            f"MODEL and {control.tag} '{control.from_name}' do not fit: classes without a label: "
            f"{_some(unknown)}; labels without a class: {_some(lost)}. Rename them, or give a "
            '<Choice> predicted_values="class"'
        )
    return tuple(label for label in found if label is not None)


def _like(name: str, labels: dict[str, str]) -> str | None:
    """Find the only label that is the same but for case and spaces."""
    alike = {label for known, label in labels.items() if _plain(known) == _plain(name)}
    return alike.pop() if len(alike) == 1 else None


def _plain(name: str) -> str:
    return "".join(name.casefold().replace("_", " ").split())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name[:40]}'" for name in names[:MOST_SHOWN]) or "none"
    return shown + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


@dataclass(frozen=True)
class PartClass:
    """What a class of a model that finds regions stands for.

    Attributes
    ----------
    tag : int
        0 outside of all regions, else the place of a label in the config, from 1.
    begins : bool
        Whether it begins a region, also behind a part of the same label ("B-").
    unused : bool
        Whether the config has no label for it: its regions are not proposed.
    """

    tag: int
    begins: bool = False
    unused: bool = False


def part_classes(model: str, classes: Sequence[str], control: ControlTag) -> tuple[PartClass, ...]:
    """Map the classes of a model that finds regions to the labels of the config.

    By name as `labels_of_classes` does, also behind a prefix as in ``B-PER``. Several classes may
    stand for one label. A class without a label counts as outside.

    Raises
    ------
    SettingsError
        When a label has no class.
    """
    exact = {label: label for label in control.labels} | dict(control.predicted_values)
    found = []
    for name in classes:
        prefix = PREFIX.match(name)
        label = exact.get(name) or _like(name, exact)
        if label is None and prefix:
            rest = name[prefix.end() :]
            label = exact.get(rest) or _like(rest, exact)
        if label is None:
            found.append(PartClass(0, unused=name not in OUTSIDE))
        else:
            begins = bool(prefix) and name[0] in BEGINNINGS and name not in exact
            found.append(PartClass(control.labels.index(label) + 1, begins))
    having = {one.tag for one in found}
    lost = [label for at, label in enumerate(control.labels, 1) if at not in having]
    if lost:
        unused = [name for name, one in zip(classes, found, strict=True) if one.unused]
        raise SettingsError(
            f"MODEL '{model}' and {control.tag} '{control.from_name}' do not fit: labels without a "
            f"class: {_some(lost)}; classes without a label: {_some(unused)}. Give a <Label> "
            'predicted_values="class", or set MODEL_USE=encoder'
        )
    return tuple(found)
