"""Labels needed by a head on frozen features, by LoRA and by full fine-tuning.

    python tests/benchmarks/fine_tuning.py --labels 200 400 --epochs 3   # minutes
    python tests/benchmarks/fine_tuning.py --report FILE                 # a file with marks for it

Texts of banking77 and MiniLM. The labels are those that the backend's own loop asks for with the
head on frozen features (`auto`), or the first of a random order. At some numbers of labels the
program of ``TRAIN=lora`` and of ``TRAIN=full`` is run on them. All are measured on the same test
texts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from active_learn import ActiveSampler, LinearHead
from active_learn.evaluation.learning_curves import first_reach
from active_learn.heads import fit_head
from active_learn_backend.finetuning.training import Options, fine_tune
from active_learn_backend.learning.encoders.configured import find_encoder
from active_learn_backend.learning.user_models.hugging_face import load_folder
from active_learn_backend.settings import load_settings
from labels_needed import split
from real_data import Data, banking77, read_rows
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

ORDERS = ("auto", "random")
TARGETS = (0.80, 0.90)
FIRST_BATCH, GROWTH = 20, 0.2  # labels of a round: a fifth of what there is, at least twenty


@dataclass(frozen=True)
class Texts:
    """Texts with their class, and their embeddings; ``data.test`` are the rows measured on."""

    texts: list[str]
    names: np.ndarray
    data: Data


@dataclass(frozen=True)
class Point:
    """The test accuracy of one run of a method, and its minutes of one core."""

    order: str
    method: str
    labels: int
    accuracy: float
    minutes: float


def load(n_test: int) -> Texts:
    data = banking77()
    rows = [row for part in ("train", "test") for row in read_rows(f"banking77_{part}.csv", ",")]
    assert data.test is not None
    test = np.random.default_rng(0).permutation(data.test)[:n_test]
    names = np.array([row["category"] for row in rows])
    return Texts([row["text"] for row in rows], names, replace(data, test=test))


def frozen(source: Texts, seed: int, order: str, most: int) -> tuple[np.ndarray, list[Point]]:
    """Label as the backend's loop does; return the rows in that order, and the head's accuracy."""
    whole = replace(source.data, test=banking77().test)
    pool, _ = split(whole, seed)
    test = source.data.test
    X, names, offered = source.data.X, source.names, tuple(np.unique(source.names))
    labeled, head, points = np.empty(0, dtype=np.int64), None, []
    while len(labeled) < min(most, len(pool)):
        began = time.process_time()
        left = pool[~np.isin(pool, labeled)]
        batch = min(max(FIRST_BATCH, int(GROWTH * len(labeled))), most - len(labeled))
        if order == "auto":
            sampler = ActiveSampler(
                "classification",
                head.sampler_model() if head else LinearHead.untrained(len(offered), X.shape[1]),
                batch,
                seed_fisher=True,
                labeled_data=X[labeled] if len(labeled) else None,
            )
            left = left[sampler.rank(X[left], batch).indices]
        labeled = np.concatenate([labeled, left[:batch]])
        head = fit_head(
            "classification", offered, X[labeled], list(names[labeled]),
            round=len(points), former=head,
        )  # fmt: skip
        accuracy = 1 - head.losses(X[test], list(names[test])).mean() if head else 0.0
        minutes = (time.process_time() - began) / 60
        points.append(Point(order, "frozen", len(labeled), float(accuracy), minutes))
    return labeled, points


def tuned(source: Texts, rows: np.ndarray, order: str, method: str, epochs: int) -> Point:
    """Fine-tune on some rows, as the backend would."""
    found = find_encoder("minilm", load_settings())
    assert found is not None
    began = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labels(folder, source, rows)
        options = Options(method, epochs=epochs)  # type: ignore[arg-type]
        cpu = torch.device("cpu")
        fine_tune(folder, found[0], folder / "new", folder / "c", options, cpu, lambda line: None)
        minutes = (time.process_time() - began) / 60
        model = load_folder("new", folder / "new", cpu)
        test = source.data.test
        assert test is not None
        logits = model.adapter([source.texts[row] for row in test]).logits.numpy()
        assert model.classes is not None
        answers = np.array(model.classes)[logits.argmax(axis=1)]
    return Point(order, method, len(rows), float((answers == source.names[test]).mean()), minutes)


def write_labels(folder: Path, source: Texts, rows: np.ndarray) -> None:
    described = {
        "problem_type": "classification",
        "labels": list(np.unique(source.names)),
        "fields": [{"name": "text", "type": "text"}],
    }
    (folder / "labels.json").write_text(json.dumps(described))
    with (folder / "tasks.jsonl").open("w") as file:
        for row in rows.tolist():
            content = {"text": source.texts[row]}
            line = {"id": row, "content": content, "label": source.names[row], "split": "train"}
            file.write(json.dumps(line) + "\n")


def measure(
    source: Texts, seed: int, labels: Sequence[int], most: int, methods: Sequence[str], epochs: int
) -> list[Point]:
    found = []
    orders = {}
    for order in ORDERS:
        orders[order], points = frozen(source, seed, order, max(most, *labels))
        found += points
    for count in sorted(labels):
        for order in ORDERS:
            for method in methods:
                found.append(tuned(source, orders[order][:count], order, method, epochs))
                print(found[-1], flush=True)
    return found


def at_labels(points: Sequence[Point], count: int) -> float:
    """Interpolate the accuracy of a curve."""
    return float(np.interp(count, [p.labels for p in points], [p.accuracy for p in points]))


def mean_and_error(values: Sequence[float], unit: str = "") -> str:
    mean = np.mean(values)
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return f"{mean:.1f}{unit}" + (f" ± {error:.1f}" if error is not None else "")


def table(runs: Sequence[Sequence[Point]], labels: Sequence[int], methods: Sequence[str]) -> str:
    """Write the accuracy by the number of labels, the labels needed, and the minutes."""
    head = "".join(f" {count} |" for count in labels) + "".join(f" to {t:.0%} |" for t in TARGETS)
    lines = [f"| order | method |{head} CPU minutes |", "|---|---|" + "---|" * (len(labels) + 3)]
    for order in ORDERS:
        for method in ("frozen", *methods):
            curves = [[p for p in run if (p.order, p.method) == (order, method)] for run in runs]
            cells = [
                mean_and_error([100 * at_labels(curve, count) for curve in curves])
                for count in labels
            ]
            for target in TARGETS:
                reached = [
                    first_reach(
                        np.array([0, *(p.labels for p in curve)]),
                        np.array([0.0, *(p.accuracy for p in curve)]),
                        target,
                    )
                    for curve in curves
                ]
                most = max(p.labels for curve in curves for p in curve)
                all_reached = bool(np.isfinite(reached).all())
                cells.append(f"{np.mean(reached):.0f}" if all_reached else f"over {most}")
            last = [max(curve, key=lambda p: p.labels).minutes for curve in curves]
            cells.append(f"{np.mean(last):.2f}")
            lines.append(f"| {order} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", nargs="+", type=int, default=[200, 400, 800, 1600, 3200])
    parser.add_argument("--frozen-labels", type=int, default=6000, help="most labels of the head")
    methods = ["lora", "full"]
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--test", type=int, default=3080, help="test texts")
    parser.add_argument("--seeds", type=int, default=3)
    add_report_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # for the rest of the process
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    source = load(arguments.test)
    runs = []
    for seed in range(arguments.seeds):
        runs.append(
            measure(
                source,
                seed,
                arguments.labels,
                arguments.frozen_labels,
                arguments.methods,
                arguments.epochs,
            )
        )
    report = (
        f"{measured_by()}: accuracy in % on {arguments.test:,} test texts by the number of labels, "
        f"labels needed, and minutes of one core at the most labels; {arguments.seeds} seed(s).\n\n"
        f"{table(runs, sorted(arguments.labels), arguments.methods)}"
    )
    publish("fine-tuning", report, arguments.report)


if __name__ == "__main__":
    main()
