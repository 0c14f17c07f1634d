"""What `connect` says when it cannot connect: one line with what to do, and nothing is changed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from active_learn_backend.cli import main
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store
from click.testing import CliRunner, Result
from fake_server import KEY, Answer, Script

pytestmark = pytest.mark.usefixtures("clean_environment")

PERSONAL = "e30.e30.signature"
PROJECT = {
    "id": 3,
    "label_config": '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>',
    "sampling": "Sequential sampling",
    "model_version": "",
}
HTML: Answer = (404, {"Content-Type": "text/html"}, b"<html>not found</html>")
UNAUTHORIZED: Answer = (401, {}, b'{"detail": "Invalid token."}')
NOT_FOUND: Answer = (404, {}, b'{"detail": "No Project matches the given query."}')


def json_answer(body: object) -> Answer:
    return 200, {}, json.dumps(body).encode()


def label_studio(**paths: Answer) -> Callable[[str, str, str | None], Answer]:
    """Answer as Label Studio does, by the second part of the path."""
    table = {"version": json_answer({"release": "1.23.2"}), "projects": json_answer(PROJECT)}
    return lambda _method, path, _: {**table, **paths}.get(path.split("/")[2], NOT_FOUND)


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    server.answer = label_studio()
    yield server
    server.close()


def connect(url: str, folder: Path, key: str = KEY, **environment: str) -> Result:
    given = {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": key, "MODEL_DIR": str(folder)}
    arguments = ["connect", "--project", "3", "--pull"]
    return CliRunner().invoke(main, arguments, env={**given, **environment})


def refusal(script: Script, result: Result, folder: Path) -> str:
    """Return the one line of a refusal, after which nothing is changed anywhere."""
    assert result.exit_code == 1
    assert "ordered" not in result.output
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert [method for method, _, _ in script.asked if method not in ("GET", "POST")] == []
    if (folder / "state.sqlite3").exists():
        store = Store(load_settings(model_dir=folder).store_url)
        assert store.projects() == []
        store.close()
    return line


OTHER_SERVER = "is not Label Studio; set LABEL_STUDIO_URL to its address, with the path"
LEGACY = "refuses the legacy token; make a new one and set LABEL_STUDIO_API_KEY"


@pytest.mark.parametrize(
    ("answer", "key", "says"),
    [
        pytest.param(label_studio(projects=UNAUTHORIZED), KEY, LEGACY, id="a wrong legacy token"),
        pytest.param(
            label_studio(token=UNAUTHORIZED),
            PERSONAL,
            "refuses the personal access token (expired or revoked); make a new one",
            id="a wrong personal token",
        ),
        pytest.param(
            label_studio(projects=NOT_FOUND),
            KEY,
            "no project 3 that the user of the token may see; correct the number",
            id="a wrong project",
        ),
        pytest.param(lambda *_: HTML, KEY, OTHER_SERVER, id="a sub-path is missing"),
        pytest.param(lambda *_: HTML, PERSONAL, OTHER_SERVER, id="the same, personal token"),
        pytest.param(lambda *_: UNAUTHORIZED, KEY, OTHER_SERVER, id="another server with a login"),
        pytest.param(lambda *_: (200, {}, b"<html>"), KEY, OTHER_SERVER, id="a page for all paths"),
        pytest.param(lambda *_: json_answer([]), KEY, OTHER_SERVER, id="another server of JSON"),
        pytest.param(
            lambda *_: (301, {"Location": "https://studio.example/api/version/"}, b""),
            KEY,
            "sends on to https://studio.example; set LABEL_STUDIO_URL to that",
            id="a redirect",
        ),
        pytest.param(
            lambda *_: (502, {}, b"<html>"),
            KEY,
            "answers 502; is Label Studio running behind it?",
            id="a proxy whose Label Studio is down",
        ),
    ],
)
def test_a_wrong_address_token_or_project_is_named(
    script: Script,
    tmp_path: Path,
    answer: Callable[[str, str, str | None], Answer],
    key: str,
    says: str,
) -> None:
    script.answer = answer
    assert says in refusal(script, connect(script.url, tmp_path, key), tmp_path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.0.0.1:{port}", "no TLS is spoken"),
        ("127.0.0.1:{port}", "LABEL_STUDIO_URL: expected an address such as http://"),
        ("localhost", "LABEL_STUDIO_URL: expected an address such as http://"),
        ("http://127.0.0.1:9", "nothing listens there; is it running"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(
    script: Script, tmp_path: Path, url: str, says: str
) -> None:
    address = url.format(port=script.url.rpartition(":")[2])
    assert says in refusal(script, connect(address, tmp_path), tmp_path)


# -- the model and the encoder --------------------------------------------------------------------


def test_a_model_that_rounds_cannot_use_is_refused_at_once(script: Script, tmp_path: Path) -> None:
    pickled = tmp_path / "model.pkl"
    pickled.write_bytes(pickle.dumps({"weights": [1.0]}))
    bare = tmp_path / "model.onnx"
    empty = onnx.helper.make_graph([], "empty", [], [])
    bare.write_bytes(onnx.helper.make_model(empty).SerializeToString())
    state = tmp_path / "state"
    for path, says in (
        (pickled, "model.pkl"),
        (bare, "there has to be 'model.onnx.json'"),
        (tmp_path / "nothing.onnx", "nothing.onnx"),
    ):
        line = refusal(script, connect(script.url, state, MODEL=str(path)), state)
        assert "MODEL" in line
        assert says in line


def test_an_encoder_that_rounds_cannot_use_is_refused_at_once(
    script: Script, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    state = tmp_path / "state"
    for name in (str(tmp_path / "empty"), "./nowhere"):
        assert "ENCODER" in refusal(script, connect(script.url, state, ENCODER=name), state)


def test_a_strategy_that_rounds_cannot_use_is_refused_at_once(
    script: Script, tmp_path: Path
) -> None:
    assert "strategy" in refusal(script, connect(script.url, tmp_path, STRATEGY="best"), tmp_path)


def test_what_rounds_can_use_is_connected(script: Script, tmp_path: Path) -> None:
    done = connect(script.url, tmp_path, ENCODER="minilm")
    assert done.output.startswith("project 3: the annotation stream is ordered (by polling only)\n")


# -- the project state ----------------------------------------------------------------------------


def test_a_second_terminal_finds_the_state_of_the_backend(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODEL_DIR is one folder of the user, wherever a command is run."""
    folder = load_settings().model_dir
    assert folder == tmp_path / "user" / "label-studio-active-sampler"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert load_settings().model_dir == folder
    environment = {"LABEL_STUDIO_URL": script.url, "LABEL_STUDIO_API_KEY": KEY}
    done = CliRunner().invoke(main, ["connect", "--project", "3", "--pull"], env=environment)
    assert done.exit_code == 0, done.output
    monkeypatch.chdir(tmp_path / "one")
    assert [project.id for project in Store(load_settings().store_url).projects()] == [3]
    assert list((tmp_path / "other").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "state"
    line = refusal(script, connect(script.url, folder), folder)
    assert f"MODEL_DIR {folder} cannot be created" in line
    assert "set MODEL_DIR to a folder that this user may write" in line


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that root cannot write")
def test_a_folder_that_cannot_be_written_is_named(script: Script) -> None:
    folder = Path("/proc/self")
    environment = {"LABEL_STUDIO_URL": script.url, "LABEL_STUDIO_API_KEY": KEY}
    for command in (["serve"], ["worker"], ["connect", "--project", "3", "--pull"]):
        done = CliRunner().invoke(main, command, env=environment | {"MODEL_DIR": str(folder)})
        assert done.exit_code == 1
        (line,) = (one for one in done.output.splitlines() if one.startswith("Error: "))
        assert f"MODEL_DIR {folder} cannot be written" in line
        assert "set MODEL_DIR to a folder that this user may write" in line
