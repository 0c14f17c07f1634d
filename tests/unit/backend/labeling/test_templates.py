"""Every annotation template that Label Studio offers: learned, or ordered by coverage."""

from __future__ import annotations

import pytest
import yaml
from active_learn_backend.demo.label_studio import PROJECT_ROOT
from active_learn_backend.errors import LabelConfigError
from active_learn_backend.labeling.config import parse_label_config

PACKAGE = "lib/python*/site-packages/label_studio/annotation_templates"


def templates() -> dict[str, str]:
    found = sorted((PROJECT_ROOT / ".venv-label-studio").glob(f"{PACKAGE}/**/config.yml"))
    return {
        f"{path.parent.parent.name}/{path.parent.name}": yaml.safe_load(path.read_text())["config"]
        for path in found
    }


def test_every_template_is_ordered() -> None:
    configs = templates()
    if not configs:
        pytest.skip("needs Label Studio (`make install`)")
    kinds: dict[str, list[str]] = {}
    refused: dict[str, str] = {}
    for name, config in configs.items():
        try:
            kinds.setdefault(parse_label_config(config).kind, []).append(name)
        except LabelConfigError as error:
            refused[name] = str(error)
    assert len(configs) == 69
    assert {kind: len(names) for kind, names in kinds.items()} == {
        "learned": 13,
        "learned in part": 11,
        "ordered by coverage": 45,
    }
    assert not refused
