"""Encoders by their name on the Hugging Face hub, each fetched once a process."""

from __future__ import annotations

import logging
import time
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download

from ...wording import shortened

__all__ = ["hub_folder"]

log = logging.getLogger(__name__)

RETRY_AFTER = 600.0  # seconds until the hub is asked again after it could not be reached
TIMEOUT = 10.0  # seconds to wait for an answer of the hub; its client would wait forever
# All that an encoder needs; a repository often holds the same weights in further formats.
WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")

_folders: dict[str, Path] = {}
_ask_again: dict[str, float] = {}


def hub_folder(name: str) -> Path | None:
    """Return the folder of a model of the hub, downloaded where need be.

    A model is asked for once a process: it does not change under a running one.

    Returns
    -------
    Path or None
        None when it cannot be had, of which one line in the log tells; the hub is asked again
        after ten minutes.
    """
    if name in _folders:
        return _folders[name]
    if time.monotonic() < _ask_again.get(name, 0.0):
        return None
    try:
        _folders[name] = _download(name)
        return _folders[name]
    except Exception as error:  # of whichever HTTP client the library is built on
        if name not in _ask_again:
            reason = next((line for line in str(error).splitlines() if line), "")
            log.warning(
                "the encoder '%s' cannot be had from the Hugging Face hub (%s); until it can, "
                "tasks are embedded without a model. Correct its name, or name a folder",
                name,
                shortened(reason, 200) or type(error).__name__,
            )
        _ask_again[name] = time.monotonic() + RETRY_AFTER
        return None


def _download(name: str) -> Path:
    try:
        info = HfApi().model_info(name, timeout=TIMEOUT)
    except Exception:
        cached = _cached(name)
        if cached is None:
            raise
        return cached
    files = [sibling.rfilename for sibling in info.siblings or []]
    folders = set()
    for file in files:
        if not any(fnmatch(file, pattern) for pattern in WANTED):
            continue
        if "/" in file and not file.endswith("config.json"):  # weights in further formats
            continue
        path = Path(hf_hub_download(name, file, etag_timeout=TIMEOUT))
        if "/" not in file:
            folders.add(path.parent)
    if len(folders) != 1:  # each version has a folder of its own
        raise FileNotFoundError(f"'{name}' holds no model, or changed while it was downloaded")
    return folders.pop()


def _cached(name: str) -> Path | None:
    """Return what an earlier process downloaded; None unless it is whole."""
    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except OSError:
        return None
    return folder if list(folder.glob("*.safetensors")) else None
