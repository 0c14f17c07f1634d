"""The state of one backend on a small Label Studio in memory, and turns of its workers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.logs import context
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.lease import Lease
from active_learn_backend.state.store import Store
from active_learn_backend.worker.loop import Worker
from active_learn_backend.worker.turn import Pace, Turn
from fake_label_studio import CONFIG, FakeLabelStudio
from fake_server import KEY

__all__ = ["PATIENCE", "Backend"]

SMALL = {"budget": 4, "reserve": 3, "retrain_every": 3, "poll_interval": 0.2, "audit": 0}
PATIENCE = 30.0


class Backend:
    """The state of one backend, and its workers."""

    def __init__(self, studio: FakeLabelStudio, folder: Path) -> None:
        self.studio, self.folder = studio, folder
        self.store = Store(f"sqlite:///{folder / 'state.sqlite3'}")

    def settings(self, **values: object) -> Settings:
        return load_settings(
            label_studio_url=self.studio.url,
            label_studio_api_key=KEY,
            model_dir=self.folder,
            **{**SMALL, **values},
        )

    def add_project(self, count: int = 30, mode: str = "pull", config: str = CONFIG) -> int:
        texts = (f"number {n} of {n * 37 % 101}" for n in range(count))
        project = self.studio.add_project(texts, config)
        self.store.register(project)
        self.store.update(project, mode=mode)
        return project

    def client(self, settings: Settings) -> LabelStudioClient:
        return self.studio.client(**settings.model_dump(include={"request_timeout"}))

    def turn(
        self,
        project: int,
        owner: str = "elsewhere/0/x",
        pace: Pace | None = None,
        *,
        noted: bool = True,
        **values: Any,
    ) -> None:
        """Do a turn of a worker of another machine, after a webhook if `noted`."""
        settings = self.settings(**values)
        client = self.client(settings)
        if noted:
            self.store.mark_changed(project)
        taken = Lease(self.store, project, owner)
        assert taken.acquire()
        load = ContentLoader(settings, client).load
        turn = Turn(
            project_id=project,
            settings=settings,
            client=client,
            lease=taken,
            pace=pace or Pace(),
            stopping=threading.Event(),
            load=load,
            engine=LocalEngine(),
        )
        try:
            with context(project=project):
                turn.run()
        finally:
            taken.release()
            client.close()

    @contextmanager
    def worker(self, **values: object) -> Iterator[Worker]:
        settings = self.settings(**values)
        client = self.client(settings)
        worker = Worker(settings, Store(settings.store_url), client)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            yield worker
        finally:
            worker.stopping.set()
            thread.join(PATIENCE)
            client.close()

    def wait_round(self, project: int, after: int = 0) -> str:
        """Wait until a round later than `after` is served and recorded; return its version."""

        def served() -> str:
            version = str(self.studio.projects[project]["model_version"] or "")
            later = version.startswith("al-") and int(version[3:]) > after
            recorded = self.store.known_project(project)
            done = recorded.queue_version == version and not recorded.round_requested
            return version if later and done else ""

        return str(wait_until(served, timeout=PATIENCE, what=f"a round after {after}"))
