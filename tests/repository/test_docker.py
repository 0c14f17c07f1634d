"""The Dockerfile and the compose file, as far as can be seen without a Docker engine."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from active_learn_backend.demo.label_studio import PROJECT_ROOT, label_studio_program
from active_learn_backend.demo.process import ServerError, free_port
from active_learn_backend.errors import SettingsError
from active_learn_backend.settings import Settings, load_settings
from compose_spec import PyCompose

DOCKER = PROJECT_ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = (DOCKER / "docker-compose.yml").read_text()
MAKEFILE = (PROJECT_ROOT / "Makefile").read_text()


def instructions(name: str) -> list[str]:
    """Return the arguments of all instructions of that name, lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(name + " ")]


def interpolated(**env: str) -> str:
    """Fill in variables as Docker Compose does."""
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: env.get(m[1]) or m[2], COMPOSE)
    assert "${" not in text
    return text


def compose(**env: str) -> dict[str, Any]:
    return dict(yaml.safe_load(interpolated(**env)))


# -- the Dockerfile -----------------------------------------------------------------------------


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_folder_for_label_studio_ml_is_sound() -> None:
    """The layout of that project's examples, and settings that exist."""
    folder = DOCKER / "ml-backend"
    assert {one.name for one in folder.iterdir() if one.is_file()} == {
        "Dockerfile", "Dockerfile.dockerignore", "README.md", "_wsgi.py", "docker-compose.yml",
        "model.py", "requirements-base.txt", "requirements-test.txt", "requirements.txt",
        "test_api.py",
    }  # fmt: skip
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, folder / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (folder / "docker-compose.yml").read_text())
    content = yaml.safe_load(text)
    PyCompose.from_json(json.dumps(content))
    known = {name.upper() for name in Settings.model_fields} | {"WORKERS", "THREADS"}
    for service in content["services"].values():
        assert set(service["environment"]) <= known
        build = service["build"]
        assert (folder / build["context"]).resolve() == PROJECT_ROOT
        assert (PROJECT_ROOT / build["dockerfile"]).samefile(folder / "Dockerfile")


def test_the_folder_for_label_studio_ml_installs_this_repository() -> None:
    """It is on no package index; pip reads the path from the folder of its call."""
    folder = DOCKER / "ml-backend"
    (line,) = (
        one for one in (folder / "requirements.txt").read_text().splitlines() if one[0] != "#"
    )
    path, _, extras = line.partition("[")
    assert (folder / path).resolve() == PROJECT_ROOT
    pyproject = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
    assert set(extras.rstrip("]").split(",")) <= set(pyproject["project"]["optional-dependencies"])
    ignored = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {one.removeprefix("!") for one in ignored if one.startswith("!")}
    copied = {
        source
        for one in (folder / "Dockerfile").read_text().splitlines()
        if one.startswith("COPY ")
        for source in shlex.split(one)[1:-1]
    }
    assert {one for one in copied if not any(map(one.startswith, let_in))} == set()
    assert [one for one in copied if not (PROJECT_ROOT / one).exists()] == []


def test_the_linter_finds_what_is_bad(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.replace("python:3.11.13-slim-bookworm", "python:latest"))
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, bad], capture_output=True, text=True)
    assert done.returncode == 1
    assert "DL3007" in done.stdout


def test_image_and_make_install_by_one_script() -> None:
    steps = [step for run in instructions("RUN") for step in run.split(" && ")]
    assert [step for step in steps if ".sh " in step] == [
        'sh .ci/install_torch.sh "$PY" "$(cat .ci/torch_version.txt)" "$BUILD"',
        'sh .ci/install.sh "$PY" "$BUILD" "$EXTRAS"',
    ]
    assert not [step for step in steps if "pip install" in step]
    assert "BUILD=cpu" in instructions("ARG")
    for target in ("$(STAMP)", "$(BACKEND_STAMP)"):
        recipe = MAKEFILE.partition(f"{target}: pyproject.toml")[2].partition("\n\n")[0]
        assert "@sh .ci/install.sh $(PY) $(BUILD) " in recipe


def test_what_it_copies_is_there_and_reaches_the_build() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in shlex.split(line)[:-1]
    }
    assert copied == let_in
    assert [source for source in copied if not (PROJECT_ROOT / source).exists()] == []


def test_it_runs_as_nobody_of_note() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("CMD") == ['["active-learn", "serve"]']
    assert [line for line in instructions("HEALTHCHECK") if 'CMD ["python"' in line]
    settings = {name.upper() for name in Settings.model_fields}
    named = re.findall(r"([A-Z_]+)=", instructions("ENV")[-1])
    assert set(named) - settings == {
        "PATH",
        "PYTHONUNBUFFERED",
        "PYTHONDONTWRITEBYTECODE",
        "OMP_WAIT_POLICY",
        "HF_HOME",
    }


def test_the_health_check_tells_up_from_down(tmp_path: Path) -> None:
    script = [sys.executable, DOCKER / "healthcheck.py"]
    env = {**os.environ, "MODEL_DIR": str(tmp_path), "PORT": str(free_port(None))}
    down = subprocess.run(script, env=env, capture_output=True, text=True)
    assert down.returncode == 1
    assert down.stderr.startswith("/health does not answer")
    assert "Traceback" not in down.stderr


# -- the compose file ---------------------------------------------------------------------------


def test_the_compose_file_follows_the_specification() -> None:
    PyCompose.from_json(json.dumps(compose()))
    for right, mistake in (
        ("restart: unless-stopped", "restart: sometimes"),
        ("condition: service_healthy", "condition: service_well"),
        ("depends_on:", "depend_on:"),
    ):
        changed = yaml.safe_load(interpolated().replace(right, mistake))
        with pytest.raises(ValueError, match=mistake.split()[-1].strip(":")):
            PyCompose.from_json(json.dumps(changed))


def test_images_are_pinned_and_ports_are_this_machine_s_only() -> None:
    for name, service in compose()["services"].items():
        assert "build" in service or re.search(r":\d+\.\d+", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or "build" in service, name
    (version,) = re.findall(r"^LABEL_STUDIO := (\S+)$", MAKEFILE, re.MULTILINE)
    assert compose()["services"]["label-studio"]["image"].endswith(f":{version}")


def test_profiles_choose_postgresql_and_the_gpu() -> None:
    services = compose()["services"]
    assert {name: service.get("profiles") for name, service in services.items()} == {
        "label-studio": None,
        "backend": None,
        "backend-gpu": ["gpu"],
        "postgres": ["postgres"],
    }
    gpu = services["backend-gpu"]
    assert gpu["build"]["args"] == {"BUILD": "gpu"}
    assert {key for key in gpu if gpu[key] != services["backend"].get(key)} == {
        "build",
        "deploy",
        "image",
        "profiles",
    }
    for name in ("label-studio", "backend"):
        assert services[name]["depends_on"]["postgres"]["required"] is False


def test_the_backend_s_environment_is_of_settings_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = compose(BUDGET="0.1")["services"]["backend"]["environment"]
    assert set(environment) - {name.upper() for name in Settings.model_fields} == {"SECRETS_DIR"}
    for name, value in {**environment, "SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "label_studio_api_key").write_text("a" * 40 + "\n")
    (tmp_path / "basic_auth_pass").write_text("secret\n")
    (tmp_path / "database_url").write_text("")
    settings = load_settings()
    assert settings.budget == 0.1
    assert settings.url == "http://backend:9090"
    assert settings.label_studio_api_key.get_secret_value() == "a" * 40
    assert settings.basic_auth_pass.get_secret_value() == "secret"
    assert settings.database_url == ""
    assert load_settings(database_url="sqlite:///x").database_url == "sqlite:///x"
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "nothing"))
    with pytest.raises(SettingsError, match=r"SECRETS_DIR is .*nothing, which is no folder"):
        load_settings()


def test_the_script_makes_each_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "make_secrets.sh"
    script.write_text((DOCKER / "make_secrets.sh").read_text())
    run = ["sh", script]
    assert subprocess.run([*run, "mysql"], capture_output=True).returncode == 1
    subprocess.run([*run, "postgres"], check=True, capture_output=True)
    files = {one.name: one.read_text() for one in (tmp_path / "secrets").iterdir()}
    assert set(files) == set(compose()["secrets"])
    assert {s["file"] for s in compose()["secrets"].values()} == {f"./secrets/{n}" for n in files}
    assert re.fullmatch("[0-9a-f]{40}", files["label_studio_api_key"])
    assert len({files[name] for name in files}) == len(files)
    assert files["postgres_password"] in files["database_url"]
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    again = subprocess.run(run, capture_output=True, text=True)
    assert again.returncode == 1
    assert "nothing was changed" in again.stderr
    env = dict(line.split("=") for line in (tmp_path / ".env").read_text().split())
    assert compose(**env)["services"]["label-studio"]["environment"]["DJANGO_DB"] == "default"


VALIDATE = """
import os, sys, label_studio
sys.path.insert(0, os.path.dirname(label_studio.__file__))
from core.utils.io import validate_ip
for address in sys.argv[1:]:
    try:
        validate_ip(address)
        print(address, "open")
    except Exception as error:
        print(address, type(error).__name__)
"""


def test_label_studio_may_call_the_backend_and_no_other_private_address(tmp_path: Path) -> None:
    """Asked of Label Studio's own check, with the environment of the compose file."""
    try:
        program = label_studio_program()
    except ServerError as missing:
        pytest.skip(str(missing))
    given = compose()
    (network,) = given["networks"]["default"]["ipam"]["config"]
    ours = str(ipaddress.ip_network(network["subnet"])[3])
    environment = given["services"]["label-studio"]["environment"]
    private = ["10.1.2.3", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "::1"]
    done = subprocess.run(
        [program.with_name("python"), "-c", VALIDATE, ours, *private, "93.184.215.14"],
        env={
            **os.environ,
            **environment,
            "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
            "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path),
            "LATEST_VERSION_CHECK": "False",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(line.split() for line in done.stdout.splitlines()[-8:])
    assert found[ours] == "open"
    assert found["93.184.215.14"] == "open"
    assert {found[one] for one in private} == {"SsrfBlockedUrlError"}
