"""Label Studio goes away and comes back; the loop goes on where it was."""

from __future__ import annotations

from pathlib import Path

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.doctor.recounts import QUICK_IMPORTS
from harness import TEXT_CONFIG, Harness

SETTINGS = {"BUDGET": "4", "RESERVE": "3", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}


def test_a_label_studio_that_was_down_is_taken_up_again(
    label_studio_installed: None, tmp_path: Path
) -> None:
    """On a server of its own: the others' must not be stopped.

    Its feature flag makes Label Studio store queues by other code than without it.
    """
    flag = {QUICK_IMPORTS: "true"}
    studio = LabelStudioServer(tmp_path / "label-studio", env=flag)
    with studio:
        port = studio.port
        body = {"title": "Outage", "label_config": TEXT_CONFIG}
        project = studio.api("POST", "/api/projects/", body)["id"]
        tasks = studio.api(
            "POST",
            f"/api/projects/{project}/import?return_task_ids=true",
            [{"text": f"text number {n}"} for n in range(20)],
        )["task_ids"]
        with BackendServer(studio, tmp_path / "backend", env=SETTINGS) as backend:
            harness = Harness(studio, backend)
            version = harness.connect(project)
            studio.process.stop()
            harness.wait_log("does not answer GET")
            wait_until(
                lambda: "is it running" in harness.state(project).last_error,
                timeout=30,
                what="the error in words",
            )
            again = LabelStudioServer(tmp_path / "label-studio", port=port, env=flag)
            with again:
                assert again.port == port
                harness = Harness(again, backend)
                assert harness.version(project) == version
                for task in tasks[:4]:
                    harness.annotate(task, choice("positive", "label", "text"))
                harness.wait_queue(project, after=int(version[3:]))
                harness.wait_labels(project, dict.fromkeys(tasks[:4], "positive"))
                wait_until(
                    lambda: harness.state(project).last_error == "", timeout=30, what="no error"
                )
        assert "Traceback" not in (tmp_path / "backend.serve.log").read_text()
