"""Settings, when a round is due, and the line between library and plugin."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import socket
from pathlib import Path

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.cli.serve import report_dangers
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.training.run import training_command
from active_learn_backend.project_settings import PROJECT_SETTINGS, parse_params, project_settings
from active_learn_backend.setting_types import kept_version, least_shown
from active_learn_backend.settings import SECRETS, Settings, load_settings
from active_learn_backend.state.store import Project
from active_learn_backend.worker.turn import round_is_due
from click.testing import CliRunner

ROOT = Path(__file__).parents[3]


pytestmark = pytest.mark.usefixtures("clean_environment")


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGET", "7")
    monkeypatch.setenv("LABEL_STUDIO_HOST", "http://studio:8080/")
    assert load_settings().budget == 7
    assert load_settings().label_studio_url == "http://studio:8080"
    assert load_settings(budget=3, reserve=None).budget == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("BUDGET", "many"),
        ("PRELABEL", "keep:"),
        ("PRELABEL", "1.2"),
        ("PRELABEL", "nan"),
        ("LABEL_STUDIO_URL", "ftp://x"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_is_said_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"bad settings: {name}: "):
        load_settings()


def test_a_model_is_trained_in_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN_COMMAND", "make")
    with pytest.raises(SettingsError, match="TRAIN: expected off, because TRAIN_COMMAND is set"):
        load_settings(train="lora")
    assert training_command(load_settings()) == ("TRAIN_COMMAND", "make")
    monkeypatch.delenv("TRAIN_COMMAND")
    assert training_command(load_settings()) is None
    found = training_command(load_settings(train="full", class_weight="balanced", device="cpu"))
    assert found is not None
    options = ["--method=full", "--class-weight=balanced", "--device=cpu"]
    assert found[0] == "TRAIN"
    assert list(found[1][-4:]) == ["active_learn_backend.finetuning", *options]


def test_a_budget_is_a_number_of_tasks_or_a_share() -> None:
    assert load_settings(budget="20").budget == 20
    assert load_settings(budget="0.1").budget == 0.1
    for bad in ("0", "-1", "1.5", "nan", "2000", "many"):
        with pytest.raises(SettingsError, match="BUDGET"):
            load_settings(budget=bad)


@pytest.mark.parametrize(
    ("given", "least", "kept"),
    [
        ({}, 0.7, None),
        ({"prelabel": 0.9}, 0.9, None),
        ({"prelabel": "0.9"}, 0.9, None),
        ({"prelabel": "head"}, 0.0, None),
        ({"prelabel": "none"}, None, None),
        ({"prelabel": "keep:v 1"}, None, "v 1"),
    ],
)
def test_prelabel_is_a_score_or_a_word(
    given: dict[str, object], least: float | None, kept: str | None
) -> None:
    own = project_settings(load_settings(), given).prelabel
    assert (least_shown(own), kept_version(own)) == (least, kept)


def test_a_project_sets_its_own_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGET", "7")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret")
    settings = load_settings(reserve=3)
    own = project_settings(settings, parse_params('{"STRATEGY": "margin", "budget": 0.2}'))
    assert (own.strategy, own.budget, own.reserve) == ("margin", 0.2, 3)
    assert own.label_studio_api_key.get_secret_value() == "very-secret"
    assert project_settings(settings, parse_params("")) == settings
    assert project_settings(settings, parse_params(None)) == settings


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"label_studio_url": "http://evil"}, "'label_studio_url', which no project can set"),
        ({"stratgy": "margin"}, "'stratgy', which no project can set; expected some of strategy,"),
        ({"budget": "many"}, "BUDGET: "),
        ({"audit": 2}, "AUDIT: "),
        ({"prelabel": "all"}, "PRELABEL: "),
        ({"model": None}, "MODEL is null"),
        ("[1]", "expected a JSON object"),
        ("{", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
    ],
)
def test_bad_extra_params_are_refused_in_one_line(params: object, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        project_settings(load_settings(), parse_params(params))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_secrets_are_in_no_message_and_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret")
    monkeypatch.setenv("BASIC_AUTH_PASS", "very-secret")
    monkeypatch.setenv("PORT", "x")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "very-secret" not in str(refused.value)
    monkeypatch.delenv("PORT")
    assert "very-secret" not in repr(load_settings())


def test_the_command_line_says_errors_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGET", "x")
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: bad settings: BUDGET: ")
    assert "Traceback" not in result.output
    monkeypatch.delenv("BUDGET")
    result = CliRunner().invoke(main, ["connect", "--project", "1"])
    assert result.exit_code == 1
    assert "set LABEL_STUDIO_API_KEY" in result.output


def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["serve", "--port", port, "--model-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert f"Error: cannot listen on 127.0.0.1:{port}" in result.output
    assert "--port" in result.output


def test_serve_warns_of_an_old_flask_a_foreign_package_and_missing_auth(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "1.1.2")
    monkeypatch.setattr(
        importlib.metadata,
        "packages_distributions",
        lambda: {"active_learn": ["active-learn", "label-studio-active-sampler"]},
    )
    report_dangers(load_settings(host="0.0.0.0"))
    said = caplog.text
    assert "Flask 1.1.2 has known security holes" in said
    assert "pip uninstall active-learn" in said
    assert "without auth" in said
    caplog.clear()
    monkeypatch.undo()
    report_dangers(load_settings())
    assert caplog.text == ""


def test_a_removed_setting_is_reported_and_has_no_effect(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BATCH_SIZE", "9")
    monkeypatch.setenv("LOW_WATER", "much")
    report_dangers(load_settings())
    assert "BATCH_SIZE, LOW_WATER: no such setting any more" in caplog.text
    assert load_settings().budget == 20
    # A project that was connected with one goes on; see check_params for new ones.
    assert project_settings(load_settings(), {"seed_fisher": False}) == load_settings()


def documented(name: str) -> str:
    """Return the row of a setting in the docs."""
    field = Settings.model_fields[name]
    default = "" if field.default_factory else field.default  # a folder of whoever runs this
    if hasattr(default, "get_secret_value"):
        default = default.get_secret_value()
    shown = "" if default in ("", None) else f"`{default}`"
    own = "yes" if name in PROJECT_SETTINGS else ""
    return f"| `{name.upper()}` | {shown} | {own} | {field.description} |"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_flag_and_documented(name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    assert (flag in CliRunner().invoke(main, ["serve", "--help"]).output) is (name not in SECRETS)
    page = (ROOT / "backend" / "docs" / "settings.md").read_text()
    assert documented(name) in page.splitlines()


@pytest.mark.parametrize("command", ["serve", "connect", "worker", "doctor"])
@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_is_a_flag_that_every_user_of_the_machine_sees(command: str, name: str) -> None:
    done = CliRunner().invoke(main, [command, f"--{name.replace('_', '-')}", "secret"])
    assert done.exit_code == 2
    assert "No such option" in done.output


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from the file\n")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_FILE", str(tmp_path / "token"))
    assert load_settings().label_studio_api_key.get_secret_value() == "from the file"
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "from the environment")
    assert load_settings().label_studio_api_key.get_secret_value() == "from the environment"
    monkeypatch.setenv("BASIC_AUTH_PASS_FILE", str(tmp_path / "none"))
    with pytest.raises(
        SettingsError, match=r"BASIC_AUTH_PASS_FILE is .*none, which cannot be read"
    ):
        load_settings()


def test_the_variables_of_label_studio_ml_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("LABEL_STUDIO_ACCESS_TOKEN", "t"),
        ("WORKERS", "2"),
        ("THREADS", "4"),
        ("LABEL_STUDIO_HOST", "http://studio:8080"),
    ):
        monkeypatch.setenv(name, value)
    found = load_settings()
    assert found.label_studio_api_key.get_secret_value() == "t"
    assert (found.web_processes, found.web_threads) == (2, 4)
    assert found.label_studio_url == "http://studio:8080"
    monkeypatch.setenv("WEB_PROCESSES", "3")
    assert load_settings().web_processes == 3


@pytest.fixture
def project() -> Project:
    return Project(1, "secret", pending_requests=0, queue_version="al-1")


@pytest.mark.parametrize(
    ("changes", "open_tasks", "due"),
    [
        ({}, 10, False),
        ({}, 0, False),  # used up, but nothing new to learn from
        ({"pending_requests": 1}, 10, True),
        ({"pending_labels": 5}, 10, True),
        ({"pending_labels": 4}, 10, False),
        ({"pending_labels": 1}, 3, False),
        ({"pending_labels": 1}, 2, True),
        ({"pending_tasks": 5}, 10, True),
        ({"pending_tasks": 1}, 10, False),
        ({"pending_tasks": 1}, 0, True),
    ],
)
def test_when_a_round_is_due(
    project: Project, changes: dict[str, int], open_tasks: int, due: bool
) -> None:
    settings = load_settings(retrain_every=5)
    now = dataclasses.replace(project, **changes)
    assert bool(round_is_due(now, open_tasks, 10, settings, retiring=False)) == due
    runs_dry = bool(changes) and (now.round_requested or open_tasks <= 2)
    assert bool(round_is_due(now, open_tasks, 10, settings, retiring=True)) == runs_dry
