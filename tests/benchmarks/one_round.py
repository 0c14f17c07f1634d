"""What a round costs, stage by stage, at 1,000, 10,000 and 100,000 tasks of a real Label Studio.

Texts of banking77 (with a number behind them where there are more tasks than texts, so that none is
the same) and 300 labels. The first round embeds all of them; the one that is measured comes after
20 more labels, so that all embeddings are in the cache but none is in memory. Its stages: changed
tasks read from Label Studio, embeddings from the cache, head fitted, pool ranked, queue published,
flipped to, quality evaluated.

    python tests/benchmarks/one_round.py [--tasks 1000 10000 100000] [--encoder minilm]
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.labelstudio.poller import poll
from active_learn_backend.labelstudio.published_queue import Queue
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Store
from active_learn_backend.worker.round import Round
from real_data import Missing, read_rows
from report import measured_by

LABELED, MORE = 300, 20
SETTLED = 6.0
CHUNK = 5000  # tasks of one import
STAGES = ("read", "embed", "fit", "rank", "publish", "flip", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--encoder", default="", help="as the setting; the embedded one if empty")
    arguments = parser.parse_args()
    try:
        rows = read_rows("banking77_train.csv", ",")
    except Missing as missing:
        raise SystemExit(f"skipped: {missing}") from None
    print(f"{measured_by()}\n")
    print(f"| tasks | {' | '.join(STAGES)} | all | without Label Studio |")
    print("|---|" + "---|" * (len(STAGES) + 2))
    logging.basicConfig(level="WARNING")
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioServer(Path(folder) / "label-studio") as studio,
    ):
        for n_tasks in arguments.tasks:
            state = Path(folder) / str(n_tasks)
            seconds = measure(studio, rows, n_tasks, state, arguments.encoder)
            own = sum(seconds[stage] for stage in ("embed", "fit", "rank", "evaluate"))
            shown = " | ".join(f"{seconds[stage]:.2f}" for stage in STAGES)
            print(
                f"| {n_tasks:,} | {shown} | {sum(seconds.values()):.2f} | {own:.2f} |", flush=True
            )


def measure(
    studio: LabelStudioServer, rows: list[dict[str, str]], n_tasks: int, state: Path, encoder: str
) -> dict[str, float]:
    """Return the seconds of each stage of the second round, in a project of its own."""
    project, tasks = create_project(studio, rows, n_tasks)
    state.mkdir()
    settings = load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=studio.token,
        model_dir=state,
        encoder=encoder,
        request_timeout=300,
    )
    client, store = LabelStudioClient(settings), Store(settings.store_url)
    store.register(project)
    poll(client, store, store.known_project(project))
    run_round(client, store, settings, project)
    # The poller reads again what changed within seconds of its last look: here, the whole import.
    time.sleep(SETTLED)
    poll(client, store, store.known_project(project))
    for task in tasks[LABELED : LABELED + MORE]:
        studio.api("POST", f"/api/tasks/{task['id']}/annotations/", {"result": task["answer"]})
    started = time.perf_counter()
    poll(client, store, store.known_project(project))
    seconds = {"read": time.perf_counter() - started}
    seconds |= run_round(client, store, settings, project)
    store.close()
    client.close()
    return seconds


def create_project(
    studio: LabelStudioServer, rows: list[dict[str, str]], n_tasks: int
) -> tuple[int, list[dict[str, Any]]]:
    """Import the tasks, the first of them labeled; gives the project and the first tasks."""
    labels = sorted({row["category"] for row in rows})
    choices = "".join(f"<Choice value={quoteattr(label)}/>" for label in labels)
    config = (
        '<View><Text name="text" value="$text"/>'
        f'<Choices name="intent" toName="text">{choices}</Choices></View>'
    )
    title = f"Round of {n_tasks}"
    project = studio.api("POST", "/api/projects/", {"title": title, "label_config": config})["id"]
    write = parse_label_config(config).controls[0].write
    shuffled = [rows[at * 7919 % len(rows)] for at in range(len(rows))]  # classes mixed
    body = []
    for at in range(n_tasks):
        row = shuffled[at % len(rows)]
        text = row["text"] if at < len(rows) else f"{row['text']} {at // len(rows)}"
        task: dict[str, Any] = {"data": {"text": text}}
        if at < LABELED:
            task["annotations"] = [{"result": write(row["category"])}]
        body.append(task)
    ids: list[int] = []
    for start in range(0, n_tasks, CHUNK):
        answer = studio.api(
            "POST",
            f"/api/projects/{project}/import?return_task_ids=true",
            body[start : start + CHUNK],
            timeout=600,
        )
        ids += answer["task_ids"]
    answers = [write(shuffled[at]["category"]) for at in range(LABELED + MORE)]
    return project, [{"id": ids[at], "answer": one} for at, one in enumerate(answers)]


def run_round(
    client: LabelStudioClient, store: Store, settings: Settings, project_id: int
) -> dict[str, float]:
    project = store.known_project(project_id)
    nothing: Callable[[], None] = lambda: None  # noqa: E731  this process has all leases
    report = Round(
        project=project,
        task=parse_label_config(project.label_config),
        store=store,
        queue=Queue(client, project_id),
        settings=settings,
        load=ContentLoader(settings, client).load,
        external_predictions=lambda version: {},
        check_lease=nothing,
    ).run()
    logging.getLogger(__name__).info("%s", json.dumps(report.to_json()))
    return dict(report.seconds)


if __name__ == "__main__":
    main()
