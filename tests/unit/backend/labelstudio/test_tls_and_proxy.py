"""How Label Studio is reached: certificates, a proxy; against real TLS servers on this machine."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from active_learn_backend.cli.main import main
from active_learn_backend.doctor.servers import check_backend, check_label_studio
from active_learn_backend.errors import LabelStudioUnreachableError, SettingsError
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.labelstudio.tls_and_proxy import trusted_certificates
from active_learn_backend.settings import load_settings
from click.testing import CliRunner
from fake_server import KEY, Script

pytestmark = pytest.mark.usefixtures("clean_environment")

Serve = Callable[[trustme.LeafCert], Script]
NAME = "127.0.0.1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="A company")


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("authority") / "company.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers with a certificate."""
    servers: list[Script] = []

    def start(certificate: trustme.LeafCert) -> Script:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        servers.append(Script(tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def plain() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


def refusal(url: str, **settings: Any) -> str:
    client = LabelStudioClient(
        load_settings(label_studio_url=url, label_studio_api_key=KEY, **settings)
    )
    with pytest.raises(LabelStudioUnreachableError) as refused:
        client.call("POST", "/api/x")
    assert url in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["LABEL_STUDIO_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_the_authority_of_a_company_is_trusted(
    authority: trustme.CA,
    ca_file: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    server = serve(authority.issue_cert(NAME))
    monkeypatch.setenv(name, str(ca_file))
    client = server.client()
    assert client.call("GET", "/api/x") == {}
    assert server.asked == [("GET", "/api/x", f"Token {KEY}")]


def test_an_authority_of_one_is_none_of_others(
    authority: trustme.CA, ca_file: Path, serve: Serve
) -> None:
    """Those without the setting share their certificates, which are not added to."""
    shared = trusted_certificates(load_settings())
    assert trusted_certificates(load_settings()) is shared
    server = serve(authority.issue_cert(NAME))
    assert server.client(label_studio_ca_file=ca_file).call("GET", "/api/x") == {}
    assert "unknown authority" in refusal(server.url)


def test_the_setting_wins_over_the_variables_of_other_programs(
    ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/elsewhere.pem")
    monkeypatch.setenv("LABEL_STUDIO_CA_FILE", str(ca_file))
    assert load_settings().label_studio_ca_file == ca_file


def test_files_of_tasks_on_a_host_of_the_company_are_loaded(
    authority: trustme.CA, ca_file: Path, serve: Serve
) -> None:
    server = serve(authority.issue_cert(NAME))
    server.answer = lambda *_: (200, {}, b"content")
    settings = load_settings(label_studio_ca_file=ca_file, content_hosts=NAME, content_private=True)
    loader = ContentLoader(settings, LabelStudioClient(settings))
    assert loader.load(f"{server.url}/file") == b"content"
    assert server.asked == [("GET", "/file", None)]


def test_what_is_wrong_with_a_certificate_is_said(
    authority: trustme.CA, ca_file: Path, serve: Serve
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    expired = serve(authority.issue_cert(NAME, not_after=yesterday))
    other = serve(authority.issue_cert("elsewhere.example"))
    unknown = serve(trustme.CA().issue_cert(NAME))
    trusted = {"label_studio_ca_file": ca_file}
    assert "its certificate has expired; renew it" in refusal(expired.url, **trusted)
    assert f"is for another name than {NAME}; set LABEL_STUDIO_URL" in refusal(other.url, **trusted)
    assert "unknown authority; set LABEL_STUDIO_CA_FILE" in refusal(unknown.url, **trusted)
    assert [*expired.asked, *other.asked, *unknown.asked] == []


def test_doctor_says_the_same(authority: trustme.CA, serve: Serve) -> None:
    server = serve(authority.issue_cert(NAME))
    may_ask, (finding,) = check_label_studio(load_settings(), server.client())
    assert not may_ask
    assert f"does not answer at {server.url}" in finding.what
    assert "unknown authority; set LABEL_STUDIO_CA_FILE" in finding.what


def test_the_authority_is_trusted_at_our_own_address(
    authority: trustme.CA, ca_file: Path, serve: Serve
) -> None:
    server = serve(authority.issue_cert(NAME))
    server.answer = lambda *_: (200, {}, b'{"model_class": "ActiveLearningModel"}')
    settings = load_settings(label_studio_ca_file=ca_file, backend_url=server.url)
    found = [str(one) for one in check_backend(settings)]
    assert found == [f"ok: the backend answers at {server.url}"]


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match="expected a PEM file") as refused:
        LabelStudioClient(load_settings(label_studio_ca_file=path))
    assert str(path) in str(refused.value)


# -- the network ----------------------------------------------------------------------------------


def test_the_wrong_scheme_is_said(plain: Script, authority: trustme.CA, serve: Serve) -> None:
    said = refusal(plain.url.replace("http:", "https:"))
    assert "no TLS is spoken at" in said
    assert "set LABEL_STUDIO_URL with http://" in said
    server = serve(authority.issue_cert(NAME))
    assert "set LABEL_STUDIO_URL with https:// if" in refusal(server.url.replace("https:", "http:"))


def test_why_nobody_answers_is_said(plain: Script) -> None:
    with socket.create_server((NAME, 0)) as deaf:  # takes connections, and never answers
        url = f"http://{NAME}:{deaf.getsockname()[1]}"
        assert "no answer in time (REQUEST_TIMEOUT)" in refusal(url, request_timeout=0.2)
    assert "nothing listens there; is it running" in refusal(url)
    assert "no machine has that name" in refusal("http://nowhere.invalid")


# -- the proxy ------------------------------------------------------------------------------------


def test_requests_go_through_the_proxy(plain: Script) -> None:
    settings = load_settings(
        label_studio_url="http://studio.invalid:8080",
        label_studio_api_key=KEY,
        label_studio_proxy=plain.url,
    )
    assert LabelStudioClient(settings).call("GET", "/api/x") == {}
    assert plain.asked == [("GET", "http://studio.invalid:8080/api/x", f"Token {KEY}")]


def test_variables_of_other_programs_send_nothing_through_a_proxy(
    plain: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert plain.client().call("GET", "/api/x") == {}


def test_what_is_wrong_with_the_proxy_is_said(plain: Script) -> None:
    plain.answer = lambda *_: (407, {}, b"")
    url = "https://studio.invalid"
    proxy = plain.url.replace("//", "//user:very-secret@")
    assert "the proxy of LABEL_STUDIO_PROXY refuses" in refusal(url, label_studio_proxy=proxy)
    plain.close()
    said = refusal(url, label_studio_proxy=proxy)
    assert "the proxy of LABEL_STUDIO_PROXY cannot be reached" in said
    assert "very-secret" not in said
    assert "very-secret" not in repr(load_settings(label_studio_proxy=proxy))


@pytest.mark.parametrize("value", ["proxy:3128", "socks5://proxy:1080", "http://"])
def test_an_address_that_is_no_proxy_is_refused(value: str) -> None:
    result = CliRunner().invoke(main, ["doctor"], env={"LABEL_STUDIO_PROXY": value})
    assert result.exit_code == 1
    assert "LABEL_STUDIO_PROXY: expected an address such as http://proxy:3128" in result.output
