"""A project of images on hosts that fail in every way, whose rounds a test runs."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

from active_learn_backend.cli import main
from active_learn_backend.doctor.project import examine_project
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.logs import context
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.lease import Lease
from active_learn_backend.state.store import Store
from active_learn_backend.state.unreadable import describe_unreadable, unreadable_tasks
from active_learn_backend.web.status.activity import activity_of
from active_learn_backend.web.status.project import project_status
from active_learn_backend.worker.turn import Pace, Turn
from click.testing import CliRunner
from fake_label_studio import FakeLabelStudio
from fake_server import KEY, Answer, Script
from PIL import Image

IMAGES = (
    '<View><Image name="text" value="$image"/><Choices name="label" toName="text">'
    '<Choice value="even"/><Choice value="odd"/></Choices></View>'
)


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8), shade).save(file, "PNG")
    return file.getvalue()


class SilentHost:
    """A host that takes requests and says nothing, until it `speaks`."""

    def __init__(self) -> None:
        self.speaks = threading.Event()
        self._server = Script()
        self._server.answer = self._answer
        self.url = self._server.url.replace("127.0.0.1", "localhost")

    def _answer(self, _method: str, path: str, _authorization: str | None) -> Answer:
        self.speaks.wait()
        return 200, {}, picture(int(path.strip("/")))

    @property
    def requests(self) -> int:
        return len(self._server.asked)

    def close(self) -> None:
        self.speaks.set()
        self._server.close()


class Project:
    """A project of images in a Label Studio in memory, and the worker that orders it."""

    def __init__(self, folder: Path, addresses: list[Any]) -> None:
        self.studio = FakeLabelStudio()
        self.studio.before = self._file
        self.id = self.studio.add_project("x" for _ in addresses)
        self.studio.projects[self.id]["label_config"] = IMAGES
        self.tasks = sorted(self.studio.tasks)
        for task, address in zip(self.tasks, addresses, strict=True):
            self.studio.tasks[task]["data"] = {"image": address}
        self.settings = load_settings(
            label_studio_url=self.studio.url,
            label_studio_api_key=KEY,
            model_dir=folder,
            content_hosts="localhost",
            content_private=True,
            budget=4,
            audit=0,
        )
        self.store = Store(self.settings.store_url)
        self.store.register(self.id)
        self.store.update(self.id, mode="pull")
        self.pace = Pace()
        self.client = self.studio.client()
        self.load = ContentLoader(self.settings, self.client).load

    def _file(self, _method: str, path: str, _body: Any) -> Answer | None:
        if path == "/api/version/":
            return 200, {}, b'{"release": "1.23.2"}'
        if not path.startswith("/data/upload/"):
            return None
        name = path.rpartition("/")[2]
        return (200, {}, picture(int(name))) if name.isdigit() else (500, {}, b"")

    def turn(self) -> None:
        self.store.mark_changed(self.id)
        taken = Lease(self.store, self.id, "elsewhere/0/x")
        assert taken.acquire()
        turn = Turn(
            project_id=self.id,
            settings=self.settings,
            client=self.client,
            lease=taken,
            pace=self.pace,
            stopping=threading.Event(),
            load=self.load,
            engine=LocalEngine(),
        )
        try:
            with context(project=self.id):
                turn.run()
        finally:
            taken.release()

    @property
    def queued(self) -> set[int]:
        version = self.studio.projects[self.id]["model_version"]
        return {row["task"] for row in self.studio.rows.values() if row["model_version"] == version}

    @property
    def sentence(self) -> str:
        return describe_unreadable(unreadable_tasks(self.store, self.id), len(self.tasks))

    @property
    def shown(self) -> list[str]:
        return project_status(self.settings, self.store, self._row).errors

    @property
    def activity(self) -> str:
        return activity_of(self.settings, self.store, self._row).words

    @property
    def _row(self) -> Any:
        return self.store.known_project(self.id)

    def doctor(self) -> list[str]:
        return [
            str(finding)
            for finding in examine_project(self.client, self.store, self.settings, self.id)
        ]

    def connect(self, settings: Settings) -> str:
        given = {
            "LABEL_STUDIO_URL": settings.label_studio_url,
            "LABEL_STUDIO_API_KEY": KEY,
            "MODEL_DIR": str(settings.model_dir),
        }
        done = CliRunner().invoke(main, ["connect", "--project", str(self.id), "--pull"], env=given)
        return done.output

    def close(self) -> None:
        self.store.close()
        self.client.close()
        self.studio.close()
