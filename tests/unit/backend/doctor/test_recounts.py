"""Whether Label Studio counts all tasks of a project at each queue, as its flags say."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from active_learn_backend.doctor import Verdict
from active_learn_backend.doctor.recounts import QUICK_IMPORTS, check_recounts
from active_learn_backend.errors import LabelStudioUnreachableError
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import Settings
from fake_server import KEY, Script

LARGE, SMALL = {"task_number": 6_000}, {"task_number": 5_000}


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


@pytest.fixture
def client(script: Script) -> LabelStudioClient:
    return LabelStudioClient(Settings(label_studio_url=script.url, label_studio_api_key=KEY))


def page(flag: bool | None) -> bytes:
    """Write the page of flags as Label Studio 1.23.2 does."""
    flags = {"fflag_other": True, "$system": {"FEATURE_FLAGS_FROM_FILE": True}}
    if flag is not None:
        flags[QUICK_IMPORTS] = flag
    return f"<pre>{json.dumps(flags, indent=4)}</pre>".encode()


def test_a_large_project_is_warned_of_the_count_with_the_variable_to_set(
    script: Script, client: LabelStudioClient
) -> None:
    script.answer = lambda *_: (200, {}, page(False))
    (finding,) = check_recounts(client, LARGE)
    assert finding.verdict is Verdict.WARNING
    assert "all 6,000 tasks" in finding.what
    assert f"{QUICK_IMPORTS}=true" in finding.remedy


def test_a_flag_that_is_set_is_fine(script: Script, client: LabelStudioClient) -> None:
    script.answer = lambda *_: (200, {}, page(True))
    (finding,) = check_recounts(client, LARGE)
    assert finding.verdict is Verdict.OK


def test_a_small_project_is_not_asked_about(script: Script, client: LabelStudioClient) -> None:
    assert list(check_recounts(client, SMALL)) == []
    assert script.asked == []


@pytest.mark.parametrize(
    ("status", "body"), [(403, b""), (200, page(None)), (200, b"<html>Sign in</html>"), (200, b"7")]
)
def test_flags_that_cannot_be_read_say_nothing(
    script: Script, client: LabelStudioClient, status: int, body: bytes
) -> None:
    script.answer = lambda *_: (status, {}, body)
    assert list(check_recounts(client, LARGE)) == []


def test_a_server_that_is_gone_is_said(script: Script, client: LabelStudioClient) -> None:
    script.close()
    with pytest.raises(LabelStudioUnreachableError, match="does not answer GET /feature-flags/"):
        client.feature_flags()
