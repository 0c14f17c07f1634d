"""Files of a person, uploaded to a project of Label Studio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from active_learn_backend.demo.label_studio import LabelStudioServer

__all__ = ["number_of", "upload"]


def upload(server: LabelStudioServer, project: int, kind: str, files: Sequence[bytes]) -> None:
    """Upload at most 100 files as a person does who says that each is one task.

    They are named by their number (``file-07.wav``).
    """
    parts = {f"f{at}": (f"file-{at:02}.{kind}", file) for at, file in enumerate(files)}
    address = f"/api/projects/{project}"
    answer = server.api("POST", f"{address}/import?commit_to_project=false", files=parts)
    body = {"file_upload_ids": answer["file_upload_ids"], "files_as_tasks_list": False}
    assert server.api("POST", f"{address}/reimport", body)["task_count"] == len(files)


def number_of(data: Mapping[str, Any]) -> int:
    """Return the number of the uploaded file that a task shows."""
    found = re.search(r"file-(\d+)\.", data["file"])
    assert found is not None, data
    return int(found[1])
