"""The web process on the Flask of 2020 that label-studio-ml pins: one walk through the protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Made by `make install`; beside the current Flask, which everything else runs on.
OLD_FLASK = Path(sys.prefix) / "flask-1.1.2"

WALK = """
import sys, tempfile
from importlib.metadata import version
import flask
assert flask.__version__ == version("flask") == "1.1.2", flask.__file__
from active_learn_backend.web.app import create_app
from active_learn_backend.settings import load_settings

CONFIG = ('<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
          '<Choice value="A"/><Choice value="B"/></Choices></View>')
app = create_app(load_settings(model_dir=tempfile.mkdtemp(), basic_auth_user="u",
                               basic_auth_pass="p"))
client = app.test_client()
auth = {"Authorization": "Basic dTpw"}

def expect(status, method, path, **request):
    answer = client.open(path, method=method, **request)
    assert answer.status_code == status, (path, answer.status, answer.get_data())
    return answer

expect(401, "GET", "/health")
assert expect(200, "GET", "/health", headers=auth).get_json()["status"] == "UP"
body = {"project": "9.1", "schema": CONFIG}
version = expect(200, "POST", "/setup", headers=auth, json=body).get_json()
assert version == {"model_version": "head-0"}
refused = expect(400, "POST", "/setup", headers=auth, json={"project": "9.1", "schema": "<View/>"})
assert refused.status.startswith("400 the labeling config has no control"), refused.status
task = {"id": 1, "data": {"text": "x"}}
runtime = app.extensions["active_learn"]
runtime.store.register(9, CONFIG)
body = {"project": "9.1", "label_config": CONFIG, "tasks": [task, task]}
assert len(expect(200, "POST", "/predict", headers=auth, json=body).get_json()["results"]) == 2
secret = {"X-Active-Sampler-Secret": runtime.store.known_project(9).webhook_secret}
event = {"action": "ANNOTATION_CREATED", "project": {"id": 9}}
expect(200, "POST", "/webhook", headers=secret, json=event)
json_type = {"content_type": "application/json"}
expect(400, "POST", "/webhook", headers=secret | auth, data=b"[", **json_type)
expect(415, "POST", "/webhook", headers=secret | auth, data=b"{}")
expect(403, "POST", "/webhook", headers=secret | {"Origin": "http://evil.example"}, json=event)
expect(404, "GET", "/nothing", headers=auth)
browser = {"Accept": "text/html", **auth}
assert b"No task is queued" in expect(200, "GET", "/projects/9", headers=browser).get_data()
assert expect(200, "GET", "/", headers=auth).get_json()["status"] == "UP"
assert runtime.changes.flush(10) and runtime.store.known_project(9).change_seq == 2
print("walked")
"""


@pytest.mark.skipif(not OLD_FLASK.is_dir(), reason="Flask 1.1.2 is not here; run `make install`")
def test_the_protocol_on_flask_1_1_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WALK],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(OLD_FLASK), os.environ.get("PYTHONPATH", "")]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "walked", done.stderr
