"""Which label of the config each output of a model stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import SettingsError
from ...labeling.controls import ControlTag

__all__ = ["control_of_model", "labels_of_classes"]

MOST_SHOWN = 6


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
