"""The backend as its users run it: ``active-learn serve`` and its sister commands as processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import httpx

from .label_studio import LabelStudioServer
from .process import Process, ServerError, ServerProcess, clean_environment, free_port

__all__ = ["BackendServer"]


class BackendServer:
    """An ``active-learn serve`` that speaks to one Label Studio.

    Parameters
    ----------
    label_studio : LabelStudioServer
        A started server.
    model_dir : Path
        MODEL_DIR: the backend's state. Two backends on one folder share it. The logs are written
        beside it.
    port : int, optional
        The port to prefer; another one is taken if it is in use.
    env : mapping, optional
        Further settings, e.g. ``{"BUDGET": "10"}``.
    options : sequence of str, optional
        Flags added to ``active-learn serve``.

    Attributes
    ----------
    url : str
        Base URL, without a slash at the end.
    process : ServerProcess
        The running server.
    popen : callable
        Of the class: starts its programs, in place of `subprocess.Popen`.
    """

    popen: ClassVar[Callable[..., Process]] = subprocess.Popen

    def __init__(
        self,
        label_studio: LabelStudioServer,
        model_dir: Path,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.model_dir = Path(model_dir).resolve()
        self.model_dir.mkdir(parents=True, exist_ok=True)
        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = clean_environment(
            {
                "LABEL_STUDIO_URL": label_studio.url,
                "LABEL_STUDIO_API_KEY": label_studio.token,
                "MODEL_DIR": str(self.model_dir),
                "HOST": "127.0.0.1",
                "PORT": str(self.port),
                **(env or {}),
            }
        )
        self._servers: list[ServerProcess] = []
        self.process = self.server("serve", *options)

    def start(self, timeout: float = 120) -> Self:
        """Start the server and return when /health answers that it is up."""
        self.process.start().wait_ready(self._healthy, timeout)
        return self

    def stop(self) -> None:
        """Stop the server with its worker, and what `server` gave."""
        for process in self._servers:
            process.stop()

    def server(self, command: str, *options: str) -> ServerProcess:
        """Return another long-running command with the same settings, e.g. ``worker``, to start."""
        process = ServerProcess(
            f"active-learn {command}",
            [_program(), command, *options],
            env=self.env,
            log=self.model_dir.with_name(f"{self.model_dir.name}.{command}.log"),
            cwd=self.model_dir,
            popen=self.popen,
        )
        self._servers.append(process)
        return process

    def run(self, *arguments: str, timeout: float = 120) -> str:
        """Run a short command with the same settings, e.g. ``run("connect", "--project", "1")``.

        Returns
        -------
        str
            What it printed.

        Raises
        ------
        ServerError
            If it failed; the message ends with what it printed.
        """
        shown = f"active-learn {' '.join(arguments)}"
        with tempfile.TemporaryFile("w+") as output:
            process = self.popen(
                [_program(), *arguments],
                env=self.env,
                cwd=self.model_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                raise ServerError(f"{shown} did not end in {timeout:g} s") from None
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            output.seek(0)
            printed = output.read()
        if status != 0:
            raise ServerError(f"{shown} ended with status {status}:\n{printed.strip()}")
        return printed

    def _healthy(self) -> bool:
        try:
            user, password = (self.env.get(f"BASIC_AUTH_{part}", "") for part in ("USER", "PASS"))
            response = httpx.get(
                self.url + "/health",
                auth=(user, password) if user else None,
                timeout=5,
                trust_env=False,
            )
            return response.is_success and response.json().get("status") == "UP"
        except (httpx.HTTPError, ValueError):
            return False

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


def _program() -> str:
    program = Path(sys.executable).with_name("active-learn")
    if not program.exists():
        raise ServerError(f"{program} is missing: run `make install` first")
    return str(program)
