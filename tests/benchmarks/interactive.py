"""How long does an interactive answer take, of a task that is embedded and of a new one?

    python tests/benchmarks/interactive.py                  # two minutes
    python tests/benchmarks/interactive.py --report FILE    # a Markdown file with marks for it

The web process is the real one, asked over HTTP as Label Studio 1.23 asks for interactive
preannotations; its requests are alternated with /health, which does nothing, so that a busy machine
slows both.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from active_learn.heads import fit_head, save_heads
from active_learn_backend.demo.process import wait_until
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.selection.project_params import learned_task
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.state.store import Store
from report import add_report_option, measured_by, publish

LABELS = [f"topic {number}" for number in range(20)]
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{label}"/>' for label in LABELS)
    + "</Choices></View>"
)
TEXTS = [
    f"number {n} of {n * 37 % 101}: some words about topic {n % 20}, as people write them"
    for n in range(400)
]
ENCODERS = {"": "no model (n-grams)", "minilm": "`minilm`"}


def make_project(settings: Settings) -> None:
    """Put a project of embedded texts in place, with a head on half of them."""
    store = Store(settings.store_url)
    store.register(1, CONFIG)
    task = learned_task(CONFIG, settings)
    embedder = TaskEmbedder(settings, 1, task, lambda *_: b"")
    contents = [{"text": text} for text in TEXTS]
    vectors, _, _ = embedder.embed(contents, [task.content_key(one) for one in contents])
    labels = [LABELS[n % 20] for n in range(200)]
    head = fit_head(
        "classification",
        LABELS,
        vectors[:200],
        labels,
        round=1,
        encoder=embedder.read_by("topic")[0],
    )
    assert head is not None
    save_heads(heads_folder(settings, 1), {"topic": head})
    store.update(1, head_round=1)
    store.close()


@contextmanager
def web_process(settings: Settings) -> Iterator[str]:
    """Run a web process, and give its address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **os.environ,
        "MODEL_DIR": str(settings.model_dir),
        "ENCODER": settings.encoder,
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        f"--bind={url.removeprefix('http://')}",
        "--threads=4",
        "--worker-class=active_learn_backend.web.server.BufferedWorker",
        "--no-control-socket",
        "--log-level=error",
        "active_learn_backend.web.app:create_app(warm_up=True)",
    ]

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            return False

    process = subprocess.Popen(command, env=environment)
    try:
        wait_until(answers, timeout=120, what="the web process")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def ask(client: httpx.Client, text: str) -> float:
    """Return the seconds of one interactive request."""
    body = {
        "tasks": [{"id": 1, "data": {"text": text}, "annotations": [], "predictions": []}],
        "project": "1.1712586036",
        "label_config": CONFIG,
        "params": {
            "login": None,
            "password": None,
            "context": {"annotation_id": None, "draft_id": 0, "user_id": 1, "result": []},
        },
    }
    began = time.perf_counter()
    answer = client.post("/predict", json=body)
    seconds = time.perf_counter() - began
    assert answer.json()["results"][0]["result"], answer.text
    return seconds


def health(client: httpx.Client) -> float:
    began = time.perf_counter()
    client.get("/health").raise_for_status()
    return time.perf_counter() - began


def measure(encoder: str, requests: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(model_dir=Path(folder), encoder=encoder)
        make_project(settings)
        with web_process(settings) as url, httpx.Client(base_url=url, timeout=100) as client:
            first = ask(client, TEXTS[0])
            known, new, nothing = [], [], []
            for n in range(requests):
                nothing.append(health(client))
                known.append(ask(client, TEXTS[1 + n % 399]))
                new.append(ask(client, f"{TEXTS[n % 400]}, said anew {n}"))
    slowest = statistics.quantiles(known, n=20)[-1]
    middle = [statistics.median(times) for times in (known, new, nothing)]
    return (
        f"| {ENCODERS[encoder]} | {milliseconds(middle[0])} | {milliseconds(slowest)} | "
        f"{milliseconds(middle[1])} | {milliseconds(middle[2])} | {middle[0] / middle[2]:.1f} | "
        f"{middle[1] / middle[0]:.1f} | {milliseconds(first)} |"
    )


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=100, help="of each kind and encoder")
    add_report_option(parser)
    options = parser.parse_args()
    rows = [measure(encoder, options.requests) for encoder in ENCODERS]
    text = (
        f"{measured_by()}: one web process, 20 labels, one request at a time; `/health` is asked "
        "in between.\n\n"
        "| Texts embedded by | Embedded task, median | 95 % | New task, median | `/health` | "
        "Embedded task / `/health` | New / embedded | First request, right after the start |\n"
        "|---|---|---|---|---|---|---|---|\n" + "\n".join(rows)
    )
    publish("interactive", text, options.report)


if __name__ == "__main__":
    main()
