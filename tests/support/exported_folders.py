"""Runs `active-learn export-model`, and the example in a folder that it wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from active_learn_backend.cli.main import main
from click.testing import CliRunner, Result
from fake_server import KEY
from worker_backend import Backend


def export(backend: Backend, project: int, folder: Path, *options: str) -> Result:
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY,
    }  # fmt: skip
    command = ["export-model", "--project", str(project), str(folder), *options]
    return CliRunner().invoke(main, command, env=environment)


def run_example(folder: Path, *arguments: str, given: Any = None) -> Any:
    """Run the example where our packages cannot be imported."""
    blocked = folder.parent / "blocked"
    for name in ("active_learn", "active_learn_backend"):
        (blocked / name).mkdir(parents=True, exist_ok=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('not without us')")
    command = [sys.executable, str(folder / "example.py"), *arguments]
    done = subprocess.run(
        command,
        input=json.dumps(given),
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(blocked)},
        check=True,
    )
    return json.loads(done.stdout)
