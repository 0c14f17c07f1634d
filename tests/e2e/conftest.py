"""Real servers for the end-to-end tests: one Label Studio and one backend per pytest process.

To start a backend takes 10 s of CPU time, most of it imports, and a round less than one. So every
test has projects of its own, with settings of their own (`params`), on servers that it shares
(`harness`). A test that stops or damages its backend, or sets what a project cannot, makes one
of its own (`backend`); a worker alone is enough where nothing asks the web process
(`start=False`, then ``.server("worker").start()`` and ``connect --pull``). Nothing here sleeps: use
``wait_until(condition, timeout=30, what="...")`` of ``active_learn_backend.demo.process``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo import digits
from active_learn_backend.demo.annotator import Annotator, Submission, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import (
    LabelStudioServer,
    User,
    label_studio_program,
)
from active_learn_backend.demo.process import ServerError
from forked_programs import ForkedPrograms
from harness import TEXT_CONFIG, Harness

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that ``-m "not e2e"`` leaves them all out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def label_studio_installed() -> None:
    """Skip where Label Studio was not installed."""
    try:
        label_studio_program()
    except ServerError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", autouse=True)
def forked_programs() -> Iterator[None]:
    """Fork what `BackendServer` starts from one process; the demo and the README start programs."""
    with ForkedPrograms() as programs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(BackendServer, "popen", programs.popen)
        yield


@pytest.fixture(scope="session")
def label_studio(
    label_studio_installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudioServer]:
    """One Label Studio for the session, open to backends on the loopback interface."""
    with LabelStudioServer(tmp_path_factory.mktemp("label-studio") / "data") as server:
        yield server


@pytest.fixture
def make_user(label_studio: LabelStudioServer) -> Callable[[], User]:
    """``make_user()`` -> a new annotator."""

    def make() -> User:
        number = len(label_studio.api("GET", "/api/users/"))
        return label_studio.create_user(f"annotator{number}@example.com")

    return make


@pytest.fixture(scope="session")
def personal_access_token(label_studio: LabelStudioServer) -> str:
    """The administrator's; Label Studio shows it once, and gives no second one."""
    allowed = {"legacy_api_tokens_enabled": True, "api_tokens_enabled": True}
    label_studio.api("POST", "/api/jwt/settings", allowed)
    return str(label_studio.api("POST", "/api/token/")["token"])


@pytest.fixture
def make_annotator(
    label_studio: LabelStudioServer,
) -> Iterator[Callable[..., Annotator]]:
    """``make_annotator(project, answer, user=None, think=0)`` -> who works as that user."""
    with ExitStack() as stack:

        def make(
            project: int,
            answer: Callable[[dict[str, Any]], list[dict[str, Any]]],
            user: User | None = None,
            think: float = 0.0,
        ) -> Annotator:
            client = label_studio.client(user.token if user else label_studio.token)
            return Annotator(stack.enter_context(client), project, answer, think=think)

        yield make


@pytest.fixture
def backend(
    label_studio: LabelStudioServer, tmp_path: Path
) -> Iterator[Callable[..., BackendServer]]:
    """``backend(BUDGET="5", options=[...])`` -> a started ``active-learn serve`` of its own.

    ``.url``, ``.run("connect", "--project", "1")``, ``.server("worker")``, ``.process.kill()``; see
    `BackendServer`. ``model_dir=`` lets two share their state, ``start=False`` only prepares it.
    """
    with ExitStack() as stack:
        count = 0

        def make(
            *,
            model_dir: Path | None = None,
            options: Sequence[str] = (),
            start: bool = True,
            port: int | None = None,
            **env: str,
        ) -> BackendServer:
            nonlocal count
            folder = model_dir or tmp_path / f"backend-{count}"
            count += 1
            server = BackendServer(label_studio, folder, port=port, options=options, env=env)
            stack.callback(server.stop)
            return server.start() if start else server

        yield make


@pytest.fixture(scope="session")
def shared_backend(
    label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendServer]:
    """One ``active-learn serve`` for all tests that leave it whole."""
    folder = tmp_path_factory.mktemp("shared") / "backend"
    with BackendServer(label_studio, folder, env={"POLL_INTERVAL": "1"}) as server:
        yield server


@pytest.fixture
def params() -> dict[str, Any]:
    """Settings of the projects that `harness` connects; a test file overrides it with its own."""
    return {}


@pytest.fixture
def harness(
    label_studio: LabelStudioServer, shared_backend: BackendServer, params: dict[str, Any]
) -> Iterator[Harness]:
    """The shared servers; the backend leaves the test's projects when the test ends."""
    shared = Harness(label_studio, shared_backend, params)
    yield shared
    assert shared_backend.process.running, "a test must not stop the shared backend"
    shared.release()


@pytest.fixture
def digits_project(harness: Harness, make_digits_project: Callable[..., int]) -> Callable[..., int]:
    """``digits_project(40, "--pull")`` -> id of a project of digits, connected and ordered."""

    def make(count: int, *options: str, **params: Any) -> int:
        project = make_digits_project(count)
        harness.connect(project, *options, **params)
        return project

    return make


@pytest.fixture
def label_digits(
    make_annotator: Callable[..., Annotator], answer_digit: Callable[..., Any]
) -> Callable[..., list[Submission]]:
    """``label_digits(project, 5)`` -> what was submitted: true answers, as the tasks came."""
    return lambda project, count: list(make_annotator(project, answer_digit).label(count))


@pytest.fixture
def text_project(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> Callable[..., tuple[int, list[int]]]:
    """``text_project(40, "--pull")`` -> (id of a connected project of texts, its task ids)."""

    def make(count: int = 40, *options: str, **params: Any) -> tuple[int, list[int]]:
        project, tasks = make_text_project([f"text number {n}" for n in range(count)])
        harness.connect(project, *options, **params)
        return project, tasks

    return make


@pytest.fixture(scope="session")
def digit_images() -> digits.Digits:
    """All digits as PNG, with the truth."""
    return digits.load()


@pytest.fixture
def make_digits_project(
    label_studio: LabelStudioServer, digit_images: digits.Digits
) -> Callable[..., int]:
    """``make_digits_project(n, **fields)`` -> id of a project with ``n`` uploaded digits.

    ``answer_digit`` gives the truth for its tasks.
    """

    def make(count: int, title: str = "Digits", **fields: object) -> int:
        project = digits.create_project(label_studio, title, **fields)
        indices = digit_images.pool[:count].tolist()
        digits.upload(label_studio, project, digit_images.png, indices)
        return project

    return make


@pytest.fixture
def answer_digit(
    digit_images: digits.Digits,
) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """The true answer to a task of `make_digits_project`."""
    return lambda task: choice(digit_images.truth[digits.digit_index(task)])


@pytest.fixture
def make_text_project(label_studio: LabelStudioServer) -> Callable[..., tuple[int, list[int]]]:
    """``make_text_project(texts, **fields)`` -> (project id, task ids in that order)."""

    def make(
        texts: Sequence[str], title: str = "Texts", config: str = TEXT_CONFIG, **fields: object
    ) -> tuple[int, list[int]]:
        body = {"title": title, "label_config": config, **fields}
        project = label_studio.api("POST", "/api/projects/", body)["id"]
        answer = label_studio.api(
            "POST",
            f"/api/projects/{project}/import?return_task_ids=true",
            [{"text": text} for text in texts],
        )
        return project, answer["task_ids"]

    return make
