"""A real Label Studio behind TLS, with the certificate of a company's own authority."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerError
from faulty_proxy import FaultyProxy
from harness import Harness


def test_images_are_read_and_a_queue_is_served_through_tls(
    label_studio: LabelStudioServer,
    backend: Callable[..., BackendServer],
    make_digits_project: Callable[..., int],
    tmp_path: Path,
) -> None:
    authority = trustme.CA(organization_name="A company")
    ca_file = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    project = make_digits_project(12)
    with FaultyProxy(label_studio.url, tls) as studio:
        stranger = backend(start=False, LABEL_STUDIO_URL=studio.url)
        with pytest.raises(ServerError, match="unknown authority; set LABEL_STUDIO_CA_FILE"):
            stranger.run("connect", "--project", str(project), "--pull")
        settings = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_CA_FILE": str(ca_file)}
        trusting = backend(start=False, BUDGET="5", RESERVE="3", POLL_INTERVAL="1", **settings)
        worker = trusting.server("worker").start()
        harness = Harness(label_studio, trusting)
        harness.connect(project, "--pull")
        assert len(harness.queue(project)) == 8
        worker.stop()
