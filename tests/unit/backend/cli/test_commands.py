"""The command line: which options a command has, and what it costs to run one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from active_learn_backend.cli.main import COMMANDS, main
from active_learn_backend.cli.options import GROUPS
from active_learn_backend.settings import SECRETS, Settings
from click.testing import CliRunner

pytestmark = pytest.mark.usefixtures("clean_environment")

# What each command reads; `select` has options of its own.
READ = {
    "advise": {"state", "logs"},
    "backtest": {"label studio", "state", "selection", "models", "content", "logs"},
    "connect": {"label studio", "state", "address", "logs"},
    "disconnect": {"label studio", "state", "address", "logs"},
    "doctor": {"label studio", "state", "address", "models", "content", "engine", "logs"},
    "embed": {"label studio", "state", "models", "content", "engine", "logs"},
    "export-model": {"label studio", "state", "selection", "models", "content", "logs"},
    "label": {"label studio", "state", "selection", "models", "content", "logs"},
    "pause": {"label studio", "state", "logs"},
    "resume": {"label studio", "state", "logs"},
    "rollback": {"state", "logs"},
    "select": set(),
    "serve": set(GROUPS),
    "train": set(GROUPS) - {"address", "web", "worker"},
    "unlabel": {"label studio", "state", "logs"},
    "versions": {"state", "logs"},
    "worker": set(GROUPS) - {"web"},
}


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


def test_every_setting_stands_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_options_of_the_settings_that_it_reads(name: str) -> None:
    given = {option.name for option in command(name).params}
    expected = {setting for group in READ[name] for setting in GROUPS[group]} - set(SECRETS)
    if name != "select":  # which has an encoder and a device of its own, and no other setting
        assert given & set(Settings.model_fields) == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(name: str) -> None:
    assert COMMANDS[name][1] in " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    summary = str(command(name).help).split("\n")[0]
    if name != "select":
        first, second = COMMANDS[name][1].rstrip("."), summary
        assert second.startswith(first), (first, second)


def test_choices_and_defaults_are_shown() -> None:
    shown = " ".join(CliRunner().invoke(main, ["serve", "--help"]).output.split())
    assert "--engine [local|ray]" in shown
    assert "[POLL_INTERVAL; default 10.0]" in shown
    refused = CliRunner().invoke(main, ["serve", "--engine", "spark"])
    assert refused.exit_code == 2
    assert "'spark' is not one of 'local', 'ray'" in refused.output


def test_an_unknown_command_is_refused() -> None:
    refused = CliRunner().invoke(main, ["serv"])
    assert refused.exit_code == 2
    assert "No such command 'serv'" in refused.output


RUN = """
import sys
from active_learn_backend.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
except BaseException as error:
    print(type(error).__name__, error)
print("imported:", sorted({"torch", "transformers", "onnxruntime", "flask"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--help", "Commands:"),
        ("advise --project 1", "project 1 is not connected"),
        ("versions --project 1", "project 1 is not connected"),
        ("rollback --project 1 --to latest", "project 1 is not connected"),
        ("connect --project 1", "does not answer"),
        ("disconnect --project 1", "project 1 is not connected"),
        ("unlabel --project 1 --run 2", "does not answer"),
        ("doctor --seconds 5", "does not answer"),
    ],
)
def test_a_command_without_a_model_does_not_import_torch(
    tmp_path: Path, arguments: str, says: str
) -> None:
    settings = {
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",  # where nothing listens
        "LABEL_STUDIO_API_KEY": "key",
        "MODEL_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments.split()],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **settings},
    )
    assert says in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "imported: []"
