"""Exports the trained heads of a project, each as a folder with one ONNX model."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from active_learn.heads import TrainedHead, TrainedTagger
from active_learn.models.onnx_files import serialize
from onnx import helper

from ...errors import SettingsError, StoreError
from ...labeling.config import Field, LabelingTask
from ...labeling.controls import ControlTag, RegionTag
from ...settings import RANDOM_STATE, Settings
from ...state.folders import heads_folder
from ...state.model_versions import served_settings
from ...state.store import Project, Store
from ...state.tasks import read_contents, task_ids
from ..embedding.embedder import TaskEmbedder
from ..heads import ControlHeads
from ..regions.embedder import PartsOfField, RegionEmbedder
from ..selection.project_params import learned_task
from ..user_models.specification import Specification, specification_path
from .cell_files import cell_files
from .comparison import Comparison, compare
from .encoder_parts import encoder_parts
from .example_code import example_code
from .graph_part import GraphPart
from .head_part import build_model, labels_of
from .model_card import DataSummary, model_card
from .region_files import RegionFiles, write_regions
from .span_files import span_files
from .window_files import window_files

__all__ = ["ExportedModel", "export_controls", "region_files"]

COMPARED = 64  # tasks on which the answers are compared
MODEL = "model.onnx"


@dataclass(frozen=True)
class ExportedModel:
    """A folder that was written.

    Attributes
    ----------
    control : str
        Whose head it holds.
    folder : Path
    compared : Comparison
        By how much its answers differ from the backend's.
    """

    control: str
    folder: Path
    compared: Comparison


def export_controls(
    settings: Settings,
    store: Store,
    project_id: int,
    folder: Path,
    load: Callable[..., bytes],
    *,
    control: str = "",
) -> list[ExportedModel]:
    """Export the heads of a project: one into the folder, several into one folder each within it.

    Parameters
    ----------
    folder : Path
        It is made; if it is there, it must be empty.
    load : callable
        Gives the bytes of a file, from its address in a task; raises ContentError.
    control : str
        Name of the control whose head is exported; all when empty.

    Raises
    ------
    StoreError
        When the project is not known, or has no trained head (of that control).
    SettingsError
        When the folder is not empty, there is no such control, or the encoder cannot be exported.
    ModelError
        When the ONNX model answers otherwise than the backend.
    ContentError
        When no task can be read to check that.
    """
    project = store.known_project(project_id)
    # On the processor, whatever rounds use: a graph is traced and compared there.
    settings = served_settings(settings, project).model_copy(update={"device": "cpu"})
    task = learned_task(project.label_config, settings)
    if not task.others or control in {one.from_name for one in task.regions}:
        return _export_regions(settings, store, project, task, folder, load, control)
    task = replace(task, controls=task.others)
    embedder = TaskEmbedder(settings, project_id, task, load)
    of_project = heads_folder(settings, project_id)
    heads = ControlHeads.current(of_project, project.head_round, task, embedder)[0].heads
    trained = {name: head for name, head in heads.items() if isinstance(head, TrainedHead)}
    chosen = _chosen(task, trained, embedder, control)
    parts = encoder_parts(embedder.encoder, settings)
    contents = _some_contents(store, project_id)
    with _written_at_once(folder) as draft:
        exported = []
        for one, name in zip(chosen, _folder_names(chosen), strict=True):
            target = draft / name
            compared = _write(
                target, parts, project, one, trained[one.from_name], embedder, contents, load, store
            )
            exported.append((one.from_name, target.relative_to(draft), compared))
    return [ExportedModel(name, folder / where, compared) for name, where, compared in exported]


def _export_regions(
    settings: Settings,
    store: Store,
    project: Project,
    task: LabelingTask,
    folder: Path,
    load: Callable[..., bytes],
    control: str,
) -> list[ExportedModel]:
    """Export the heads of the controls that label regions, or of one of them."""
    embedder = RegionEmbedder(settings, project.id, task, load)
    of_project = heads_folder(settings, project.id)
    heads = ControlHeads.current(of_project, project.head_round, task, embedder)[0].trained
    chosen = [
        (one, head)
        for one in task.regions
        if control in ("", one.from_name)
        and isinstance(head := heads.get(one.from_name), TrainedTagger)
    ]
    if not chosen:
        raise StoreError(
            "the project has no trained head of regions that fits its labeling config and encoder "
            "yet; label on until a round has trained one (`active-learn versions` lists them)"
        )
    fields = {one.name: one for one in task.fields}
    contents = _some_contents(store, project.id)
    exported = []
    with _written_at_once(folder) as draft:
        names = _folder_names([one for one, _ in chosen])
        for (one, head), name in zip(chosen, names, strict=True):
            field, source = fields[one.fields[0]], embedder.parts[one.from_name]
            files = region_files(one, field, source, load)
            compared = write_regions(draft / name, files, one, head, source, contents)
            exported.append(ExportedModel(one.from_name, folder / name, compared))
    return exported


def region_files(
    control: RegionTag, field: Field, source: PartsOfField, load: Callable[..., bytes]
) -> RegionFiles:
    """Return what the folder of a control that labels regions is made of.

    Raises
    ------
    SettingsError
        When its head cannot be exported.
    """
    if field.kind == "image":
        return cell_files(control, field, source, load)
    if field.kind in ("audio", "time series"):
        return window_files(control, field, load)
    return span_files(control, field, source)


def _chosen(
    task: LabelingTask, trained: Mapping[str, TrainedHead], embedder: TaskEmbedder, control: str
) -> list[ControlTag]:
    """Return the controls whose heads are exported."""
    names = [one.from_name for one in task.controls if one.learned]
    if control and control not in names:
        raise SettingsError(
            f"--control names '{control[:60]}', which is not learned in this project; expected one "
            f"of: {', '.join(names) or 'none'}"
        )
    wanted = [one for one in task.controls if one.from_name in trained]
    wanted = [one for one in wanted if control in ("", one.from_name)]
    if not wanted and control in ("", *embedder.fixed_heads) and embedder.fixed_heads:
        raise SettingsError(
            "your own model answers as it is, and MODEL names it: there is nothing else to export. "
            "A head on its embeddings is trained with MODEL_USE=encoder"
        )
    if not wanted:
        what = f"'{control}' has" if control else "the project has"
        raise StoreError(
            f"{what} no trained head that fits its labeling config and encoder yet; label on until "
            "a round has trained one (`active-learn versions` lists them)"
        )
    return wanted


def _folder_names(controls: Sequence[ControlTag]) -> list[str]:
    """Return the name of the folder of each control; empty where there is one control."""
    if len(controls) == 1:
        return [""]
    names = [re.sub(r"[^\w-]", "_", one.from_name) for one in controls]
    if len(set(names)) < len(names):
        return [f"{number}_{name}" for number, name in enumerate(names, 1)]
    return names


def _some_contents(store: Store, project_id: int) -> list[Mapping[str, Any]]:
    """Return the contents of some tasks, drawn by chance."""
    ids = np.array(sorted(task_ids(store, project_id)), np.int64)
    drawn = np.random.default_rng(RANDOM_STATE).permutation(ids)[:COMPARED]
    return list(read_contents(store, project_id, drawn.tolist()).values())


def _write(
    folder: Path,
    parts: Sequence[GraphPart],
    project: Project,
    control: ControlTag,
    head: TrainedHead,
    embedder: TaskEmbedder,
    contents: Sequence[Mapping[str, Any]],
    load: Callable[..., bytes],
    store: Store,
) -> Comparison:
    """Write the files of one control, and check the answers of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    path, labels = folder / MODEL, labels_of(head)
    inputs = [one for part in parts for one in part.specifications]
    data = DataSummary.read(store, project, control.from_name, head)
    model = build_model(parts, head)
    helper.set_model_props(
        model,
        {
            "control": control.from_name,
            "head": head.version,
            "encoder": head.metadata.config.encoder,
            "data": data.fingerprint,
        },
    )
    path.write_bytes(serialize(model))
    specification = Specification(labels=list(labels), inputs=inputs)
    described = specification.model_dump_json(indent=2, exclude_defaults=True)
    specification_path(path).write_text(described + "\n", encoding="utf-8")
    for part in parts:
        part.save_files(folder)
    compared = compare(path, head, control.from_name, embedder, contents, load)
    code = example_code(inputs, head.problem_type)
    (folder / "example.py").write_text(code, encoding="utf-8")
    fields = [f"{one.kind} '{one.name}'" for one in embedder.encoder.fields]
    card = model_card(project, control, head, labels, fields, inputs, data, compared)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return compared


@contextmanager
def _written_at_once(folder: Path) -> Iterator[Path]:
    """Give a folder beside another, which becomes that other one when all went well."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"'{folder}' is there and not empty; name a new folder")
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        yield draft
        os.replace(draft, folder)
    except OSError as error:
        raise SettingsError(
            f"'{folder}' cannot be written: {error.strerror or error}; name a folder on a disk "
            "with space where this user may write"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
