"""check_versions.py TORCH LABEL_STUDIO FOLDER: say what is installed, fail on a mix-up.

FOLDER is the virtual environment of Label Studio.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "label-studio-active-sampler"


def problems(torch: str, label_studio: str, label_studio_venv: Path) -> list[str]:
    """Return one line for each thing that is not as `make install` leaves it."""
    found = []
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    if "active-learn" in installed:
        # Another project's package of that name shadows ours: both are imported as active_learn.
        found.append("the package active-learn shadows this project's: pip uninstall active-learn")
    if importlib.metadata.version("torch").split("+")[0] != torch:
        found.append(f"torch is {importlib.metadata.version('torch')}, expected {torch}")
    if tuple(map(int, importlib.metadata.version("flask").split(".")[:2])) < (2, 3):
        found.append(f"flask is {importlib.metadata.version('flask')}, expected 2.3 or newer")
    if not list(label_studio_venv.glob(f"lib/python*/site-packages/label_studio-{label_studio}.*")):
        found.append(f"{label_studio_venv} does not hold Label Studio {label_studio}")
    if PROJECT not in installed:
        return [*found, f"{PROJECT} is not installed"]
    for name, folder in (("active_learn", "sampler"), ("active_learn_backend", "backend")):
        origin = importlib.import_module(name).__file__ or ""
        if ROOT / folder not in Path(origin).resolve().parents:
            found.append(f"{name} is imported from {origin}, not from {ROOT / folder}")
    try:
        importlib.import_module("label_studio_ml.model")
    except ImportError as error:
        found.append(f"label-studio-ml cannot be imported: {error}")
    return found


def main() -> None:
    """Print the versions; exit with status 1 and the problems if there are any."""
    torch, label_studio, venv = sys.argv[1:]
    found = problems(torch, label_studio, ROOT / venv)
    if found:
        sys.exit("\n".join([*found, "`make clean install` sets everything up anew."]))
    names = ("torch", "onnxruntime", "transformers", "label-studio-ml", "flask", PROJECT)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    print(f"Installed: {', '.join(versions)}; Label Studio {label_studio} apart")


if __name__ == "__main__":
    main()
