"""The README's commands to connect a project work as they are printed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import clean_environment, free_port, wait_until

README = Path(__file__).parents[2] / "README.md"
STATE = "label-studio-active-sampler/state.sqlite3"


def terminals(label_studio: LabelStudioServer, project: int) -> list[str]:
    """Return what the README types in each terminal, with what differs from reader to reader."""
    section = README.read_text().partition("## Connect your project\n")[2].partition("\n## ")[0]
    text = "\n\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))
    for printed, own in (
        ("make backend ", ": "),  # tests/repository/test_docker.py compares it with `make install`
        (". .venv/bin/activate", f". {sys.prefix}/bin/activate"),
        ("http://label-studio.example:8080", label_studio.url),
        ("LABEL_STUDIO_API_KEY=...", f"LABEL_STUDIO_API_KEY={label_studio.token}"),
        ("--project 1\n", f"--project {project}\n"),
    ):
        assert printed in text
        text = text.replace(printed, own)
    return text.split("\n\n")


def test_both_terminals_of_the_readme(
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
    tmp_path: Path,
) -> None:
    project, _ = make_text_project(["good text", "bad text"])
    first, second = terminals(label_studio, project)
    port = free_port()  # where 9090 may be in use
    user = {"XDG_DATA_HOME": str(tmp_path / "user"), "PORT": str(port)}
    environment = clean_environment(user)
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    log = (tmp_path / "log").open("wb")
    serve = subprocess.Popen(
        ["bash", "-ec", first], env=environment, cwd=folders[0], stdout=log, stderr=log,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: _is_up(port), timeout=120, what="the backend of the first terminal")
        connect = subprocess.run(
            ["bash", "-ec", second], env=environment, cwd=folders[1], capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert connect.returncode == 0, connect.stderr
        assert "the annotation stream is ordered" in connect.stdout
        wait_until(
            lambda: label_studio.api("GET", f"/api/projects/{project}/")["model_version"] == "al-1",
            timeout=120,
            what="the first queue",
        )
        assert (tmp_path / "user" / STATE).is_file()
        assert [list(folder.iterdir()) for folder in folders] == [[], []]
    finally:
        os.killpg(serve.pid, signal.SIGTERM)
        assert serve.wait(30) in (0, -signal.SIGTERM)
        log.close()


def _is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False
