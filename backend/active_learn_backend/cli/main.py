"""The command line, `active-learn`: which commands there are, and how their errors are shown."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click
from active_learn.errors import ActiveLearnError

from ..collector import spare_imports

__all__ = ["COMMANDS", "main"]

#: Module and summary of each command. A command's module, and what it needs (torch takes seconds),
#: is imported when the command runs; the list of commands needs none of them.
COMMANDS = {
    "advise": ("advise", "Say whether more labels are worth it. It only advises."),
    "backtest": ("backtest", "Replay a labeled project by every strategy."),
    "connect": ("connect", "Connect a project, or repair its connection."),
    "disconnect": ("connect", "Restore a project's former state and remove what is ours."),
    "doctor": ("doctor", "Check the connection with Label Studio in both directions."),
    "embed": ("embed", "Embed the tasks of FILES before Label Studio has them."),
    "export-model": ("export_model", "Write encoder and trained head as one ONNX model."),
    "label": ("label", "Label the rest automatically, as far as the accuracy is certified."),
    "pause": ("connect", "Stop ordering a project's stream for now."),
    "resume": ("connect", "Order a project's stream again."),
    "rollback": ("versions", "Go back to an earlier head or model."),
    "select": ("select", "Copy the JSON lines that are worth labeling."),
    "serve": ("serve", "Run the backend: web process and worker."),
    "train": ("train", "Train a project's model now, by TRAIN_COMMAND or TRAIN, and compare it."),
    "unlabel": ("unlabel", "Take back what a labeling run wrote, but for what people changed."),
    "versions": (
        "versions",
        "List the heads and models that are kept, and the labeling runs.",
    ),
    "worker": ("worker", "Run the worker alone, where another server hosts the web part."),
}


class _Group(click.Group):
    """A group that imports a command when it runs, and shows our errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f".{COMMANDS[name][0]}", __package__)
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        spare_imports()
        try:
            return super().invoke(ctx)
        except ActiveLearnError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.version_option(package_name="label-studio-active-sampler", prog_name="active-learn")
def main() -> None:
    """Active learning for Label Studio: the annotation queue orders itself."""
