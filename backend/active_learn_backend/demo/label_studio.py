"""A real Label Studio of our own: its own environment, data folder and port, stopped with us.

Starting on an empty data folder takes Label Studio a minute of database migrations. They run once:
the migrated folder is kept as a template, and each server starts on a copy of it in seconds.
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from .process import ServerError, ServerProcess, clean_environment, free_port

__all__ = ["PROJECT_ROOT", "LabelStudioServer", "User", "label_studio_program"]

PROJECT_ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = PROJECT_ROOT / ".cache" / "label-studio"

# Label Studio refuses to call a backend on the loopback interface unless both are off.
OPEN_TO_LOOPBACK = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}
# Takes effect on the first start of a data folder only, so it is set for the template.
FIRST_START = {"LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}
QUIET = {
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "False",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "DJANGO_DB": "sqlite",
    "DEBUG": "False",
}


def label_studio_program(root: Path = PROJECT_ROOT) -> Path:
    """Path of the ``label-studio`` program that ``make install`` installs.

    Raises
    ------
    ServerError
        If it is not there.
    """
    program = root / ".venv-label-studio" / "bin" / "label-studio"
    if not program.exists():
        raise ServerError(f"{program} is missing: run `make install` in {root} first")
    return program


@dataclass(frozen=True)
class User:
    """An account of a Label Studio server."""

    email: str
    password: str
    token: str


class LabelStudioServer:
    """A Label Studio server with one administrator and nothing else in it.

    ::

        with LabelStudioServer(folder) as server:
            project = server.api("POST", "/api/projects/", {"title": "Digits"})

    Parameters
    ----------
    data_dir : Path
        Its data folder. An existing one is used as it is, else a prepared one is copied there.
        The log is written beside it, as ``<data_dir>.log``.
    port : int, optional
        The port to prefer; another one is taken if it is in use (see `port`).
    env : mapping, optional
        Settings added to its environment, e.g. ``{"SSRF_PROTECTION_ENABLED": "true"}``. By default
        Label Studio may call backends on the loopback interface.

    Attributes
    ----------
    url : str
        Base URL, without a slash at the end.
    port : int
        The port taken.
    admin : User
        Email, password and (legacy) token of the administrator.
    token : str
        The administrator's token.
    process : ServerProcess
        The running server.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self._preferred_port = port
        self._env = {**OPEN_TO_LOOPBACK, **(env or {})}

    def start(self) -> Self:
        """Start the server and return when it answers."""
        if not self.data_dir.exists():
            shutil.copytree(prepared_data_dir(), self.data_dir)
        self.admin = _read_admin(self.data_dir)
        self.process, self.port = _launch(
            self.data_dir, self.admin, self._env, self._preferred_port, timeout=120
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.token = self.admin.token
        self._client = self.client(self.token)
        return self

    def stop(self) -> None:
        """Stop the server and everything it started."""
        if client := getattr(self, "_client", None):
            client.close()
        if process := getattr(self, "process", None):
            process.stop()

    def client(self, token: str) -> httpx.Client:
        """Return a new HTTP client that speaks for the owner of ``token``."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Token {token}"},
            timeout=120,
            trust_env=False,
        )

    def api(self, method: str, path: str, json: Any = None, **request: Any) -> Any:
        """Call Label Studio as the administrator and return the parsed answer (None if empty).

        Raises
        ------
        ServerError
            If the status is 400 or above.
        """
        response = self._client.request(method, path, json=json, **request)
        if response.is_error:
            raise ServerError(
                f"{method} {path} answered {response.status_code}: {response.text[:1000]}"
            )
        return response.json() if response.content else None

    def create_user(self, email: str, password: str | None = None) -> User:
        """Create an annotator through the organization's invitation link."""
        password = password or secrets.token_urlsafe(9)
        invitation = self.api("GET", "/api/invite")["token"]
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as browser:
            page = f"/user/signup/?token={invitation}"
            browser.get(page)
            answer = browser.post(
                page,
                data={
                    "email": email,
                    "password": password,
                    "csrfmiddlewaretoken": browser.cookies["csrftoken"],
                },
                headers={"Referer": self.url + page},
            )
            if answer.status_code != 302:
                raise ServerError(
                    f"Label Studio did not create {email}: status {answer.status_code} instead of "
                    "302; is it already a user, or the password shorter than 8 characters?"
                )
            token = browser.get("/api/current-user/token").json()["token"]
        return User(email, password, token)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def prepared_data_dir() -> Path:
    """Return the template data folder, made by a first start if there is none yet (a minute)."""
    program = label_studio_program()
    version = _installed_version(program)
    TEMPLATES.mkdir(parents=True, exist_ok=True)
    template = TEMPLATES / version
    with (TEMPLATES / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once make one template
        if not template.exists():
            draft = TEMPLATES / f"{version}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            admin = User("admin@example.com", secrets.token_urlsafe(9), secrets.token_hex(20))
            (draft / "admin.json").write_text(json.dumps(asdict(admin)))
            (draft / "admin.json").chmod(0o600)
            process, _ = _launch(draft, admin, FIRST_START, port=None, timeout=300)
            process.stop()
            draft.rename(template)
    return template


def _installed_version(program: Path) -> str:
    found = list(program.parents[1].glob("lib/python*/site-packages/label_studio-*.dist-info"))
    if len(found) != 1:
        raise ServerError(
            f"{program.parents[1]} holds {len(found)} versions of Label Studio, not 1"
        )
    return found[0].name.removeprefix("label_studio-").removesuffix(".dist-info")


def _read_admin(data_dir: Path) -> User:
    path = data_dir / "admin.json"
    if not path.exists():
        raise ServerError(
            f"{path} is missing: {data_dir} was not prepared by this program; remove it"
        )
    return User(**json.loads(path.read_text()))


def _launch(
    data_dir: Path, admin: User, settings: Mapping[str, str], port: int | None, timeout: float
) -> tuple[ServerProcess, int]:
    """Start Label Studio and wait for it; on a port that another program took, try another."""
    log = data_dir.with_name(data_dir.name + ".log")
    for attempt in range(3):
        chosen = free_port(port if attempt == 0 else None)
        url = f"http://127.0.0.1:{chosen}"
        command = [str(label_studio_program()), "start", "--no-browser"]
        command += ["--internal-host", "127.0.0.1", "--port", str(chosen), "--host", url]
        account = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
            "LABEL_STUDIO_USERNAME": admin.email,
            "LABEL_STUDIO_PASSWORD": admin.password,
            "LABEL_STUDIO_USER_TOKEN": admin.token,
        }
        env = clean_environment({**QUIET, **account, **settings})
        log.unlink(missing_ok=True)
        process = ServerProcess("Label Studio", command, env=env, log=log, cwd=data_dir)
        try:
            process.start().wait_ready(partial(_answers, url, process), timeout)
        except _PortTakenError:
            process.stop()
        except BaseException:
            process.stop()
            raise
        else:
            return process, chosen
    raise ServerError(
        "Label Studio found every port taken that was free a moment before; try again"
    )


class _PortTakenError(Exception):
    """Someone took the port between our look and Label Studio's."""


def _answers(url: str, process: ServerProcess) -> bool:
    # Label Studio moves to the next port without failing, and someone else answers on ours.
    if re.search(r"Port \d+ is in use|port is already in use", process.tail(200)):
        raise _PortTakenError
    try:
        response = httpx.get(url + "/health", timeout=5, trust_env=False)
        return response.is_success and response.json().get("status") == "UP"
    except (httpx.HTTPError, ValueError):
        return False
