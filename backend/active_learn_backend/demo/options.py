"""The command line of the demo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .label_studio import PROJECT_ROOT

__all__ = ["parse"]

# What differs between the digits and the entities. Of the time limit these shares are over when the
# active queue is given up, and then the plain one. All entities of a text are rarely found: so many
# labels can show no high accuracy, and that only if more of them measure.
DIGITS = {"labels": 150, "plain_labels": 350, "pool": 1400, "time_limit": 540.0, "accuracy": 0.95}
DIGITS |= {"active_share": 0.5, "plain_share": 0.75, "audit": 0.05}
ENTITIES = {"labels": 150, "plain_labels": 250, "pool": 600, "time_limit": 300.0, "accuracy": 0.55}
ENTITIES |= {"active_share": 0.55, "plain_share": 0.8, "audit": 0.2}
MOST_DIGITS, MOST_SENTENCES = 1700, 800  # the rest, about a hundred, is held out


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="make demo ARGS=...",
        description="Label digits in a real Label Studio, in two projects: one ordered by the "
        "backend, one in Label Studio's own order. Compare what the labels taught, and let "
        "the head label the rest. With --ner: mark named entities in sentences of Wikipedia, "
        "and also compare what was proposed with the truth.",
    )
    add = parser.add_argument
    add("--ner", action="store_true", help="named entities instead of digits")
    add("--encoder", default="", help="with --ner: as the setting ENCODER, e.g. minilm")
    add("--keep", action="store_true", help="keep both servers running until Ctrl-C")
    add("--labels", type=_count, help="labels given in the active project")
    add("--accuracy", type=float, help="accuracy at which the rest is labeled (0.95; --ner: 0.55)")
    add("--plain-labels", type=_count, help="labels given in the plain project")
    add("--images", "--texts", dest="pool", type=_count, help="how many are uploaded")
    add("--think", type=float, default=0.3, help="seconds the annotator looks at an active task")
    add("--seed", type=int, default=0, help="decides what is held out")
    add("--out", type=Path, default=PROJECT_ROOT / ".demo", help="folder of results and logs")
    add("--time-limit", type=float, help="seconds after which no label is given")
    add("--label-studio-port", type=int, default=8080, help="port to prefer for Label Studio")
    add("--backend-port", type=int, default=9090, help="port to prefer for the backend")
    options = parser.parse_args(arguments)
    for name, value in (ENTITIES if options.ner else DIGITS).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    things, flag = ("texts", "--texts") if options.ner else ("images", "--images")
    if options.encoder and not options.ner:
        parser.error("--encoder is for texts; give it with --ner")
    if options.ner and options.pool > MOST_SENTENCES:
        parser.error(f"--texts is {options.pool}; {MOST_SENTENCES} is the most, others test")
    if max(options.labels, options.plain_labels) > options.pool:
        parser.error(f"only {options.pool} {things} to label ({flag})")
    if not 0.5 < options.accuracy < 1:
        parser.error(f"--accuracy is {options.accuracy:g}, expected a share between 0.5 and 1")
    if not 0 <= options.think <= 60:
        parser.error(f"--think is {options.think:g}, expected 0 to 60 seconds")
    return options


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_DIGITS}")
    return int(text)
