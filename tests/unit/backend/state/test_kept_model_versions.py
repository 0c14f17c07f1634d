"""The versions of a project's own model on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from active_learn_backend.settings import Settings
from active_learn_backend.state.folders import embeddings_folder, versions_folder
from active_learn_backend.state.model_versions import (
    ModelVersion,
    add_version,
    prune_versions,
    read_versions,
    record_version,
    version_path,
    with_version,
)

PROJECT = 7


def add(settings: Settings, digest: str = "a" * 12, origin: str = "MODEL") -> ModelVersion:
    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "m.onnx").write_text("a model")

    new = ModelVersion(0, origin, "team.onnx", "m.onnx", digest, 0.0)
    return add_version(settings, PROJECT, new, fill)


def test_a_version_is_whole_or_not_there(settings: Settings) -> None:
    added = add(settings)

    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "m.onnx").write_text("half of a")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        add_version(settings, PROJECT, added, fail)
    assert read_versions(settings, PROJECT) == [added]
    assert [one.name for one in versions_folder(settings, PROJECT).iterdir()] == ["1"]
    (versions_folder(settings, PROJECT) / "2.part").mkdir()  # of a process that was killed
    assert add(settings).number == 2


def test_the_newest_and_those_in_use_are_kept(settings: Settings) -> None:
    digests = [f"{n:012x}" for n in range(8)]
    digests[1] = digests[7]  # the same model came back
    for digest in digests:
        add(settings, digest)
        for cache in (f"model-{digest}", f"boxes1-model-{digest}-0123abcd"):
            (embeddings_folder(settings, PROJECT) / cache).mkdir(parents=True, exist_ok=True)
    prune_versions(settings, PROJECT, {1})
    assert [one.number for one in read_versions(settings, PROJECT)] == [8, 7, 6, 5, 4, 2, 1]
    kept = {one.name for one in embeddings_folder(settings, PROJECT).iterdir()}
    of_versions = [digests[n] for n in (0, 1, 3, 4, 5, 6)]
    assert kept == {f"model-{one}" for one in of_versions} | {
        f"boxes1-model-{one}-0123abcd" for one in of_versions
    }


def test_which_model_the_settings_name(settings: Settings) -> None:
    """A copy of what MODEL named is nothing without MODEL; what was trained needs none."""
    copy, trained = add(settings), add(settings, origin="training")
    named = settings.model_copy(update={"model": "team.onnx"})
    for version, of, expected in (
        (copy.number, named, str(version_path(settings, PROJECT, copy))),
        (copy.number, settings, ""),
        (trained.number, settings, str(version_path(settings, PROJECT, trained))),
        (0, named, "team.onnx"),
        (99, named, "team.onnx"),
    ):
        assert with_version(of, PROJECT, version).model == expected


def test_what_was_removed_stays_so(settings: Settings) -> None:
    version = add(settings)
    prune_versions(settings, PROJECT, ())
    for other in range(5):
        add(settings, f"{other:012x}")
    prune_versions(settings, PROJECT, ())
    record_version(settings, PROJECT, version)
    assert version.number not in {one.number for one in read_versions(settings, PROJECT)}


def test_a_damaged_record_counts_as_missing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    version = add(settings)
    (versions_folder(settings, PROJECT) / str(version.number) / "version.json").write_text("{")
    assert read_versions(settings, PROJECT) == []
    assert "counts as missing" in caplog.text
