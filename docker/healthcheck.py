"""Container health: status 0 when /health answers that the web process is up."""

from __future__ import annotations

import sys

import httpx
from active_learn_backend.settings import load_settings

settings = load_settings()
user = settings.basic_auth_user
try:
    answer = httpx.get(
        f"http://127.0.0.1:{settings.port}/health",
        auth=(user, settings.basic_auth_pass.get_secret_value()) if user else None,
        timeout=4,
        trust_env=False,
    )
    up = answer.is_success and answer.json()["status"] == "UP"
except (httpx.HTTPError, KeyError, ValueError) as error:
    sys.exit(f"/health does not answer: {type(error).__name__}")
sys.exit(0 if up else f"/health answers {answer.status_code}")
