"""The calls to Label Studio that this backend makes, by subject.

The SDK's generated client is not used here: it has no call for the sampling or for ``next``, and
it parses every task into models, which costs seconds on pages of 1,000.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..errors import LabelStudioError, ProjectMissingError
from .http import LabelStudioHTTP
from .task_filters import Filter, filter_rules, stamp, task_query

__all__ = ["PAGE_SIZE", "LabelStudioClient"]

# Label Studio sends up to 1,000, but on SQLite that many tasks with uploaded files are a 500
# ("Expression tree is too large"): it joins their files by a thousand ORs.
PAGE_SIZE = 500
EXPORTED_AT_ONCE = 100  # tasks; a server may take no longer address than 4 kB
PER_TASK = 0.1  # seconds that an action may take for each task; a hundred times what was measured


class LabelStudioClient(LabelStudioHTTP):
    """Projects, tasks and predictions of Label Studio."""

    # -- projects -----------------------------------------------------------------------------

    def project(self, project_id: int) -> dict[str, Any]:
        """Read a project: label_config, sampling, model_version, task_number, ...

        Raises
        ------
        ProjectMissingError
            When Label Studio has no such project, or does not show it to the user of the token.
        NotLabelStudioError
            When another server answers.
        """
        try:
            project: dict[str, Any] = self.call("GET", f"/api/projects/{project_id}/")
            return project
        except LabelStudioError as error:
            if error.status not in (403, 404):
                raise
            self.read_release()  # other servers answer so too
            raise ProjectMissingError(
                f"Label Studio has no project {project_id} that the user of the token may see; "
                "correct the number, or use the token of a member of its organization",
                error.status,
            ) from error

    def projects(self) -> Iterator[dict[str, Any]]:
        """List all projects that the token's user sees."""
        page: str | None = "/api/projects/?page_size=100"
        while page:
            body = self.call("GET", page)
            yield from body["results"]
            following = urlsplit(body.get("next") or "")
            page = f"{following.path}?{following.query}" if following.query else None

    def count_members(self, organization_id: int) -> int:
        """Count the people of an organization; 0 where the token's user may not know them."""
        path = f"/api/organizations/{organization_id}/memberships"
        try:
            return int(self.call("GET", path, params={"page_size": 1})["count"])
        except LabelStudioError as error:
            if error.status not in (403, 404):
                raise
            return 0

    def patch_project(self, project_id: int, **values: Any) -> dict[str, Any]:
        """Change fields of a project."""
        project: dict[str, Any] = self.call("PATCH", f"/api/projects/{project_id}/", json=values)
        return project

    # -- tasks --------------------------------------------------------------------------------

    def task_pages(
        self,
        project_id: int,
        *,
        include: str | None = None,
        filters: Sequence[Filter] = (),
    ) -> Iterator[list[dict[str, Any]]]:
        """Read tasks page by page.

        Parameters
        ----------
        include : str, optional
            Comma-separated fields, for a quick slim read; everything, with annotations and
            predictions, when omitted. (With `include` Label Studio leaves the annotations' results
            out.)
        filters : sequence of Filter
            All of them have to hold.
        """
        params = task_query(project_id, include, filters) | {"page_size": PAGE_SIZE}
        page = 0
        while True:
            page += 1
            tasks = self._page(params | {"page": page})
            if tasks:
                yield tasks
            if len(tasks) < PAGE_SIZE:
                return

    def changed_tasks(
        self,
        project_id: int,
        since: datetime,
        *,
        include: str | None = None,
        filters: Sequence[Filter] = (),
    ) -> Iterator[list[dict[str, Any]]]:
        """Read tasks that changed after a time, in the order in which they changed.

        Each page begins where the last one ended, by stamp. Pages by number would skip a task
        whenever another one enters or leaves the filters meanwhile. They are used only for more
        tasks of one stamp than a page holds (a bulk import), until nothing new turns up.

        Parameters
        ----------
        include, filters
            As for `task_pages`; `include` has to hold updated_at.
        """
        seen: set[tuple[int, str]] = set()
        page, news = 1, False
        while True:
            after = Filter("updated_at", "greater", "Datetime", stamp(since))
            params = task_query(project_id, include, [after, *filters], ("tasks:updated_at",))
            params |= {"page_size": PAGE_SIZE, "page": page}
            tasks = self._page(params)
            if new := [task for task in tasks if (task["id"], task["updated_at"]) not in seen]:
                news = True
                seen |= {(task["id"], task["updated_at"]) for task in new}
                yield new
            if len(tasks) < PAGE_SIZE:
                if page == 1 or not news:
                    return
                page, news = 1, False
                continue
            # From just before the last stamp, for there may be more of it.
            last = datetime.fromisoformat(tasks[-1]["updated_at"]) - timedelta(microseconds=1)
            since, page = (last, 1) if page == 1 and last > since else (since, page + 1)

    def task_ids(self, project_id: int, *filters: Filter) -> set[int]:
        """Return the ids of the tasks that pass all filters."""
        pages = self.task_pages(project_id, include="id", filters=filters)
        return {item["id"] for page in pages for item in page}

    def exported_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Read those of some tasks that are annotated, with all of their annotations.

        An export takes a quarter of the time of a page of the task list, but bears only the ids of
        the predictions.
        """
        path = f"/api/projects/{project_id}/export"
        for at in range(0, len(task_ids), EXPORTED_AT_ONCE):
            wanted = {"exportType": "JSON", "ids[]": list(task_ids[at : at + EXPORTED_AT_ONCE])}
            yield from self.call("GET", path, params=wanted)

    def first_tasks(self, project_id: int, most: int) -> list[dict[str, Any]]:
        """Read id and data of the first tasks of a project, by id."""
        params = task_query(project_id, "id,data") | {"page_size": most, "page": 1}
        return self._page(params)

    def _page(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read one page of tasks; none past the last page, where Label Studio answers 404."""
        try:
            tasks: list[dict[str, Any]] = self.call("GET", "/api/tasks/", params=params)["tasks"]
            return tasks
        except LabelStudioError as error:
            if error.status == 404 and params["page"] > 1:
                return []
            raise

    def few_tasks(
        self, project_id: int, filters: Sequence[Filter], most: int
    ) -> list[dict[str, Any]] | None:
        """Read tasks in full in one call; None when more than `most` pass the filters.

        They come in the order in which they changed. Label Studio counts them before it reads
        them, and reads no more than it counted: when another task passes the filters in between,
        it leaves out the last one. That must be the latest change, which the next poll finds, not
        an old one that happens to have the highest id.
        """
        params = task_query(project_id, None, filters, ("tasks:updated_at",))
        params["page_size"] = most
        body = self.call("GET", "/api/tasks/", params=params)
        tasks: list[dict[str, Any]] = body["tasks"]
        return tasks if body["total"] <= most else None

    def count_tasks(self, project_id: int, filters: Sequence[Filter]) -> int:
        """Count the tasks that pass some filters."""
        params = task_query(project_id, "id", filters) | {"page_size": 1}
        return int(self.call("GET", "/api/tasks/", params=params)["total"])

    def act(
        self,
        project_id: int,
        action: str,
        task_ids: Sequence[int],
        filters: Sequence[Filter],
        **values: Any,
    ) -> dict[str, Any]:
        """Let Label Studio act on those of some tasks that pass the filters at that moment.

        Parameters
        ----------
        action : str
            Such as ``predictions_to_annotations``, see GET /api/dm/actions.
        task_ids : sequence of int
            At least one: without any, Label Studio would act on the whole project.

        Raises
        ------
        ValueError
            Without tasks.
        """
        if not task_ids:
            raise ValueError("an action needs at least one task")
        body = {
            "selectedItems": {"all": False, "included": list(task_ids)},
            "filters": filter_rules(filters),
            **values,
        }
        limit = httpx.Timeout(self.timeout + PER_TASK * len(task_ids), connect=5.0)
        query = {"id": action, "project": project_id}
        done: dict[str, Any] = self.call(
            "POST", "/api/dm/actions", params=query, json=body, timeout=limit
        )
        return done

    # -- annotations --------------------------------------------------------------------------

    def annotation(self, annotation_id: int) -> dict[str, Any] | None:
        """Read an annotation; None when it is gone."""
        try:
            found: dict[str, Any] = self.call("GET", f"/api/annotations/{annotation_id}/")
            return found
        except LabelStudioError as error:
            if error.status != 404:
                raise
            return None

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete one annotation; one that is gone already is no error."""
        self._delete(f"/api/annotations/{annotation_id}/")

    # -- predictions --------------------------------------------------------------------------

    def model_versions(self, project_id: int) -> dict[str, int]:
        """Count the stored predictions of each version."""
        versions: dict[str, int] = self.call("GET", f"/api/projects/{project_id}/model-versions/")
        return versions

    def predictions(self, project_id: int, version: str) -> list[dict[str, Any]]:
        """Read all predictions of one version."""
        # A substring match: al-1 finds al-10 too.
        holds = Filter("predictions_model_versions", "contains", "List", [version])
        return [
            prediction
            for page in self.task_pages(project_id, filters=[holds])
            for task in page
            for prediction in task["predictions"]
            if prediction["model_version"] == version
        ]

    def import_predictions(
        self, project_id: int, rows: Sequence[Mapping[str, Any]], *, timeout: float | None = None
    ) -> int:
        """Write predictions in one call; return how many Label Studio really created.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait for the answer.
        """
        path = f"/api/projects/{project_id}/import/predictions"
        limit = httpx.Timeout(timeout or self.timeout, connect=5.0)
        body = self.call("POST", path, json=list(rows), timeout=limit)
        return int(body["created"])

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete one prediction; one that is gone already is no error."""
        self._delete(f"/api/predictions/{prediction_id}/")

    def _delete(self, path: str) -> None:
        try:
            self.call("DELETE", path)
        except LabelStudioError as error:
            if error.status != 404:
                raise

    def delete_version(self, project_id: int, version: str, rows: int = 0) -> None:
        """Delete all predictions of a version, about `rows`; every submit waits meanwhile."""
        path = f"/api/projects/{project_id}/model-versions/"
        limit = httpx.Timeout(self.timeout + PER_TASK * rows, connect=5.0)
        self.call("DELETE", path, json={"model_version": version}, timeout=limit)
