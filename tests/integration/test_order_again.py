"""The button *Order it again* of the status page, with a worker and Label Studio behind it."""

from __future__ import annotations

from active_learn_backend.web.app import create_app
from worker_backend import Backend

BROWSER = {"Accept": "text/html", "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
ORDERED = "Uncertainty sampling"


def test_the_button_restores_the_sampling_that_a_person_changed(backend: Backend) -> None:
    project = backend.add_project()
    backend.turn(project)
    shown = backend.studio.projects[project]
    assert shown["sampling"] == ORDERED
    shown["sampling"] = "Sequential sampling"  # on the settings page
    backend.turn(project)
    assert backend.store.known_project(project).status == "paused_by_user"
    backend.turn(project)
    assert shown["sampling"] == "Sequential sampling"  # the choice of the person holds

    client = create_app(backend.settings()).test_client()
    page = client.get(f"/projects/{project}", headers=BROWSER).get_data(as_text=True)
    assert "Paused: sampling changed" in page
    assert f'action="/projects/{project}/resume"' in page
    done = client.post(f"/projects/{project}/resume", headers=BROWSER)
    assert (done.status_code, done.headers["Location"]) == (303, f"/projects/{project}")
    backend.turn(project)
    assert backend.store.known_project(project).status == "active"
    assert shown["sampling"] == ORDERED
    version = backend.store.known_project(project).queue_version
    assert shown["model_version"] == version
    assert any(row["model_version"] == version for row in backend.studio.rows.values())
    page = client.get(f"/projects/{project}", headers=BROWSER).get_data(as_text=True)
    assert "Connected" in page
    assert "Order it again" not in page
