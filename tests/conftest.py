"""For all tests: how hypothesis runs, and servers of system packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from active_learn_backend.collector import spare_imports
from active_learn_backend.demo.process import free_port, wait_until
from active_learn_backend.settings import Settings
from hypothesis import HealthCheck, settings
from pydantic import AliasChoices

# A failed assertion in a shared suite then shows both sides, as one in a test does.
pytest.register_assert_rewrite(
    *(path.stem for path in (Path(__file__).parent / "support").glob("*.py"))
)

spare_imports()

# How long an example takes, and how fast examples are drawn, depend on what else the machine does.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: the
# tests that interrupt one would then wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings of whoever runs the tests, and the state of a backend."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    for name, field in Settings.model_fields.items():
        aliases = field.validation_alias
        others = aliases.choices if isinstance(aliases, AliasChoices) else []
        for variable in (name.upper(), *others):
            monkeypatch.delenv(str(variable), raising=False)


def _postgresql_programs() -> Path | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Address of a real PostgreSQL, started for this session; it ends with the database's name."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg (the extra [postgresql])")
    # PostgreSQL refuses to run as root; its package makes a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user:
        shutil.chown(folder, user)
    port = free_port()
    data = folder / "data"
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync"],
            user=user,
            cwd=folder,
            check=True,
            capture_output=True,
        )
        server = subprocess.Popen(
            [
                programs / "postgres",
                *("-D", data, "-k", folder, "-p", str(port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(
                lambda: subprocess.run(ready, capture_output=True).returncode == 0,
                timeout=30,
                what="PostgreSQL",
            )
            yield f"postgresql://tester@127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """Address of an empty database of its own."""
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(f"{postgresql_server}postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield postgresql_server + name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty project state, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.sqlite3'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 8 MB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip() if done else 'no mount'}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
