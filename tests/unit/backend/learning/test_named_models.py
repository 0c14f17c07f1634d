"""A project names models and encoders that the operator laid out, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.encoders.names import check_project_value
from active_learn_backend.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from own_models import settings_of

# -- who may name what ----------------------------------------------------------------------------


@pytest.fixture
def laid_out(tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path, "")
    models = settings.model_dir / "models"
    (models / "team" / "bert").mkdir(parents=True)
    (models / "model.onnx").touch()
    (tmp_path / "secret").mkdir()
    (models / "out").symlink_to(tmp_path / "secret")
    (models / "in").symlink_to(models / "team")
    return settings


@pytest.mark.parametrize("value", ["", "model.onnx", "team/bert", "in/bert"])
def test_a_project_names_what_the_operator_laid_out(laid_out: Settings, value: str) -> None:
    check_project_value("model", value, laid_out)


@pytest.mark.parametrize(
    "value",
    [
        "/etc/passwd",
        "../../secret",
        "team/../../../secret",
        "team/../model.onnx",
        "./model.onnx",
        "~/model.onnx",
        "out",
        "absent",
        "os:system",
        "package.module:function",
        ".",
        "\0",
        "team\\bert",
    ],
)
def test_a_project_names_nothing_else_as_its_model(laid_out: Settings, value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"model: a project may not name .*MODEL_DIR/models"
    ) as e:
        check_project_value("model", value, laid_out)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "value", ["", "minilm", "team/bert", "BAAI/bge-small-en-v1.5", "minilm, openai/clip-vit"]
)
def test_a_project_names_encoders_of_the_hub_too(laid_out: Settings, value: str) -> None:
    check_project_value("encoder", value, laid_out)


@pytest.mark.parametrize(
    "value",
    [
        "/etc",
        "../x",
        "out",
        "minilm,/etc",
        "a/b/c",
        "https://x/y",
        "os:system",
        "~",
        "a..b",
        "in/../out",
    ],
)
def test_a_project_names_no_other_encoders(laid_out: Settings, value: str) -> None:
    with pytest.raises(SettingsError, match="encoder: a project may not name"):
        check_project_value("encoder", value, laid_out)


@given(st.text(max_size=30))
def test_what_passes_stays_below_the_models_folder(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    settings = settings_of(tmp_path_factory.getbasetemp(), "")
    root = (settings.model_dir / "models").resolve()
    (root / "a").mkdir(parents=True, exist_ok=True)
    check: Callable[..., None] = check_project_value
    try:
        check("model", value, settings)
    except SettingsError:
        return
    assert value == "" or (root / value).resolve().is_relative_to(root)
