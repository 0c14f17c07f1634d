"""The command `active-learn select`: a Unix filter of JSON lines."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

import click

from ..logs import set_up
from ..settings import load_settings

__all__ = ["select_command"]


class _Number(click.ParamType):
    """A whole number, or a share."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | float:
        try:
            return int(value) if str(value).isdecimal() else float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)


@click.command("select")
@click.option(
    "--problem-type",
    required=True,
    type=click.Choice(["classification", "multilabel", "regression"]),
    help="What is learned.",
)
@click.option(
    "--budget", type=_Number(), required=True, help="Share of the lines, or a number of them."
)
@click.option("--total", type=int, help="Number of lines; needed when the budget is a number.")
@click.option("--model", default="", help="ONNX, TorchScript, .pt2 file or Hugging Face folder.")
@click.option("--encoder", help="Encoder of texts, where there is no model. [the embedded one]")
@click.option("--strategy", default="auto", show_default=True, help="Selection strategy.")
@click.option("--input-field", help="What the model reads of objects. [text, or input of arrays]")
@click.option("--labeled", type=click.File("rb"), help="JSON lines of what is labeled already.")
@click.option("--skip-bad", is_flag=True, help="Leave lines out that cannot be read.")
@click.option("--batch-size", type=int, help="Lines that are read before they are decided. [64]")
@click.option("--random-state", type=int, help="Makes choices repeatable.")
@click.option("--device", help="Where models run: auto, cpu, cuda, mps. [auto]")
@click.option("--progress", is_flag=True, help="A progress bar, also where stderr is no terminal.")
def select_command(
    problem_type: str,
    budget: int | float,
    total: int | None,
    model: str,
    input_field: str | None,
    labeled: BinaryIO | None,
    skip_bad: bool,
    batch_size: int | None,
    progress: bool,
    encoder: str | None,
    device: str | None,
    **options: Any,
) -> None:
    """Copy the JSON lines that are worth labeling from standard input to standard output.

    Each line is what the model reads (an array of numbers, or a text), or an object with it in a
    field. Without a model, texts are embedded and diverse ones are chosen.
    """
    settings = load_settings(encoder=encoder, device=device, log_level="WARNING")
    set_up(settings)
    # These import torch, which takes seconds: not for --help, and not for the other commands.
    from active_learn import ActiveSampler

    from .jsonl import Candidates, load_model, select_lines

    if isinstance(budget, int) and total is None:
        raise click.UsageError("a --budget that is a number of lines needs --total, all of them")
    adapted, texts = load_model(model, settings, problem_type)

    def lines(name: str) -> Candidates:
        field = input_field or ("text" if texts else "input")
        onnx = model.lower().endswith(".onnx")
        return Candidates(name, field, texts=texts, whole_numbers=onnx, skip_bad=skip_bad)

    known = [value for value, *_ in lines(labeled.name).read(labeled)] if labeled else []
    sampler = ActiveSampler(
        problem_type,  # type: ignore[arg-type]  # the sampler checks it, in words
        adapted,
        budget,
        labeled_data=known,
        seed_fisher=bool(known),
        batch_size=batch_size or "auto",
        device=device if device != "auto" else None,
        **options,
    )
    candidates = lines("standard input")
    select_lines(sampler, candidates, total=total, progress=progress or sys.stderr.isatty())
    if candidates.bad:
        click.echo(f"{candidates.bad} lines could not be read, and were left out", err=True)
