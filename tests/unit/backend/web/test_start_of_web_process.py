"""What the web process says when it cannot start."""

from __future__ import annotations

from pathlib import Path

import pytest
from active_learn_backend.web.app import serving_app

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_state_that_cannot_be_opened_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/none/state.sqlite3")
    with pytest.raises(SystemExit) as ended:
        serving_app()
    assert ended.value.code == 3  # by which gunicorn tells that no later try helps
    (line,) = caplog.messages
    assert line.startswith("the web process cannot start: the project state at sqlite:///")
    assert "unable to open database file" in line
    assert caplog.records[0].exc_info is None
