"""On which device of this machine models run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import SettingsError

if TYPE_CHECKING:
    import torch

__all__ = ["pick_device"]


def pick_device(name: str) -> torch.device:
    """Return the device of the setting ``device``; 'auto' takes cuda, then mps, then the CPU.

    Raises
    ------
    SettingsError
        When the machine has no such device.
    """
    import torch  # takes seconds: only for those who load a model

    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, available in there.items() if available)
    if not there[name]:
        raise SettingsError(f"DEVICE is {name}, which PyTorch cannot use here; set cpu or auto")
    return torch.device(name)
