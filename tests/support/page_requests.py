"""What a browser sends to the status page, and the page that it gets."""

from __future__ import annotations

from flask.testing import FlaskClient

__all__ = ["BROWSER", "OURS", "html"]

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
OURS = {**BROWSER, "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


def html(client: FlaskClient, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.data
    assert answer.content_type == "text/html; charset=utf-8"
    return answer.get_data(as_text=True)
