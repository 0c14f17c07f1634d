"""Tasks as the state keeps them."""

from __future__ import annotations

from active_learn_backend.state.store import TaskRow


def task(number: int, label: str | None = None, key: str = "", skipped: bool = False) -> TaskRow:
    return TaskRow(
        number, {"text": f"t{number}"}, key or f"{number:032x}", label and {"c": label}, skipped
    )
