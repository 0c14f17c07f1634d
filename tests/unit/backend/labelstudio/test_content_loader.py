"""Files that tasks point at: what may be loaded, from where, and how much of it."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from active_learn_backend.errors import ContentError, LabelStudioUnreachableError
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.settings import load_settings
from fake_server import KEY, Script
from hypothesis import example, given, settings
from hypothesis import strategies as st

REAL_LOOKUP = socket.getaddrinfo


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server = Script()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


def loader(studio: Script, **settings: Any) -> ContentLoader:
    given = load_settings(label_studio_url=studio.url, label_studio_api_key=KEY, **settings)
    return ContentLoader(given, studio.client(**settings))


def resolve(monkeypatch: pytest.MonkeyPatch, **hosts: list[str]) -> list[str]:
    """Answer look-ups of names from lists, one entry each time; gives the names looked up."""
    asked: list[str] = []

    def lookup(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        key = name.replace(".", "_")
        if key not in hosts:
            return REAL_LOOKUP(host, port, *rest, **options)
        asked.append(name)
        address = hosts[key].pop(0) if len(hosts[key]) > 1 else hosts[key][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


# -- Label Studio itself ------------------------------------------------------------------------


def test_uploads_come_with_the_token_and_have_a_limit(studio: Script) -> None:
    small = loader(studio, max_content_mb=0.001)
    studio.answer = lambda *_: (200, {}, b"x" * 1000)
    assert small.load("/data/upload/1/x.png?a=b") == b"x" * 1000
    assert small.load(f"{studio.url}/data/upload/1/x.png") == b"x" * 1000
    assert [request[2] for request in studio.asked] == [f"Token {KEY}"] * 2
    studio.answer = lambda *_: (200, {}, b"x" * 5000)
    with pytest.raises(ContentError, match=r"larger than 0\.00\d+ MiB; raise MAX_CONTENT_MB"):
        small.load("/data/upload/1/x.png")


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/x.png",
        "https://127.0.0.1/x.png",
        "//evil.example/x.png",
        "http://user:pass@evil.example/x.png",
        "file:///etc/passwd",
        "file://evil.example/etc/passwd",
        "/data/../../etc/passwd",
        "/data/%2e%2e/%2E%2e/etc/passwd",
        "/data/upload/%2e%2e/%2e%2e/api/current-user/token",
        "/data/upload/..%2f..%2fapi/current-user/token",
        "/api/projects/3/next",
        "/api/current-user/token",
        "/API/current-user/token",
        "/tasks/1/resolve",
        "/tasks/x/resolve/",
        "/tasks/1/annotations/",
        "/x/data/upload/1/x.png",
        "/user/logout/?next=/data/upload/1/x.png",
        "/data/uploads/x.png",
        "/",
        "data/upload/x.png",
        "s3://bucket/x.png",
        "gopher://x",
        "http://[::1",
        "http://x:99999/",
        "data:image/png;base64,@@@@",
        "data:nothing",
        "",
    ],
)
def test_the_token_never_leaves_for_another_place(studio: Script, address: str) -> None:
    with pytest.raises(ContentError):
        loader(studio).load(address)
    assert studio.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/data/upload/1/x.png",
        "/data/local-files/?d=a/x.png",
        "/tasks/1/proxy/?fileuri=czM6Ly8=",
        "/tasks/1/resolve/?fileuri=czM6Ly8=",
        "/projects/1/resolve/?fileuri=czM6Ly8=",
        "/tasks/1/presign/?fileuri=czM6Ly8=",
        "/storage-data/uploaded/?filepath=upload/1/x.png",
    ],
)
@pytest.mark.parametrize("below", ["", "/studio"])
def test_label_studio_serves_files_at_these_paths_only(
    studio: Script, path: str, below: str
) -> None:
    """Below a path of its own Label Studio writes that path into the addresses of uploads."""
    studio.answer = lambda *_: (200, {}, b"x")
    settings = load_settings(label_studio_url=studio.url + below)
    assert ContentLoader(settings, client_of(settings)).load(below + path) == b"x"
    assert [asked for _, asked, _ in studio.asked] == [below + path]


def test_label_studio_that_is_down_is_no_fault_of_the_task(studio: Script) -> None:
    down = loader(studio)
    studio.close()
    with pytest.raises(LabelStudioUnreachableError):
        down.load("/data/upload/1/x.png")


@settings(deadline=None)  # a busy machine may take longer for one address
@given(st.text(max_size=200))
@example("/\x08")
@example("http://127.0.0.1:9/\x7f")
def test_any_address_is_loaded_or_refused_in_one_line(address: str) -> None:
    """None of these is a file of Label Studio: nothing is sent, and nothing else is raised."""
    with pytest.raises((ContentError, LabelStudioUnreachableError)) as refused:
        raise ContentError(str(loader_of_nobody().load(address)))
    assert "\n" not in str(refused.value)


@cache  # to read the certificates anew for each address takes most of the time
def loader_of_nobody() -> ContentLoader:
    settings = load_settings(label_studio_url="http://127.0.0.1:9")
    return ContentLoader(settings, client_of(settings))


def client_of(settings: Any) -> Any:
    return LabelStudioClient(settings)


# -- other hosts --------------------------------------------------------------------------------


def test_an_allowed_host_is_asked_without_the_token(
    studio: Script, other: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, files_example=["127.0.0.1"])
    other.answer = lambda *_: (200, {}, b"picture")
    allowed = loader(studio, content_hosts="a.example, Files.example", content_private=True)
    port = other.url.rpartition(":")[2]
    assert allowed.load(f"http://files.example:{port}/a/b.png?sign=1") == b"picture"
    assert other.asked == [("GET", "/a/b.png?sign=1", None)]
    assert other.hosts == [f"files.example:{port}"]
    assert studio.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
        "fec0::1", "::127.0.0.1", "::8.8.8.8", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1",
        "2001::1", "100::1", "2001:db8::1", "198.18.0.1", "192.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_after_resolving(
    studio: Script, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve(monkeypatch, files_example=[address])
    with pytest.raises(ContentError, match="leads to the private address"):
        loader(studio, content_hosts="files.example").load("http://files.example/x.png")


def test_one_private_address_among_several_is_enough(
    studio: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(ContentError, match=r"private address 10\.0\.0\.1"):
        loader(studio, content_hosts="files.example").load("http://files.example/x.png")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_changes_its_mind_leads_nowhere_else(
    studio: Script, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """DNS rebinding: public when it is checked, private when it is used."""
    asked = resolve(monkeypatch, files_example=["8.8.8.8", "127.0.0.1"])
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"picture"))

    checked = loader(studio, content_hosts="files.example")
    checked._http = httpx.Client(transport=httpx.MockTransport(answer))  # nothing leaves
    assert checked.load(f"{scheme}://files.example/x.png") == b"picture"
    assert asked == ["files.example"]  # looked up once, and what was found is where it goes
    (request,) = sent
    assert request.url.host == "8.8.8.8"
    assert request.headers["Host"] == "files.example"
    assert request.extensions["sni_hostname"] == "files.example"


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://evil.example/x", "on a host that is not allowed"),
        ("http://inside.example/x", "leads to the private address 10.0.0.1"),
        ("file:///etc/passwd", "not below a folder of CONTENT_ROOTS"),
        ("//evil.example/x", "on a host that is not allowed"),
        ("/data/upload/1/again", "sent on more than 3 times"),
        ("gopher://x", "cannot be loaded"),
        ("/api/current-user/token", "is no file of Label Studio"),
    ],
)
def test_every_redirect_is_checked_like_the_first_address(
    studio: Script, monkeypatch: pytest.MonkeyPatch, location: str, said: str
) -> None:
    resolve(monkeypatch, inside_example=["10.0.0.1"])
    studio.answer = lambda *_: (302, {"Location": location}, b"")
    with pytest.raises(ContentError, match=said):
        loader(studio, content_hosts="inside.example").load("/data/upload/1/x.png")


def test_label_studios_storage_proxy_may_send_on_to_an_allowed_host(
    studio: Script, other: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, bucket_example=["127.0.0.1"])
    port = other.url.rpartition(":")[2]
    location = f"http://bucket.example:{port}/x.png?signature=1"
    studio.answer = lambda *_: (303, {"Location": location}, b"")
    other.answer = lambda *_: (200, {}, b"picture")
    allowed = loader(studio, content_hosts="bucket.example", content_private=True)
    assert allowed.load("/tasks/1/resolve/?fileuri=czM6Ly8=") == b"picture"
    assert other.asked == [("GET", "/x.png?signature=1", None)]  # the token stayed behind


# -- without a network --------------------------------------------------------------------------


def test_files_only_below_the_roots(studio: Script, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "a b.txt").write_bytes(b"inside")
    (outside / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(outside / "secret")
    (root / "loop").symlink_to(root / "loop")
    open_ = loader(studio, content_roots=f"{root}, {tmp_path / 'none'}", max_content_mb=0.001)
    assert open_.load(f"file://{root}/a%20b.txt") == b"inside"
    for bad in (
        f"file://{outside}/secret",
        f"file://{root}/../outside/secret",
        f"file://{root}/%2e%2e/outside/secret",
        f"file://{root}/link",
        f"file://{root}/loop",
        f"file://{root}",
        f"file://{root}/none",
        f"file://{root}/a%00b",
        f"file://{tmp_path}/root2/x",
    ):
        with pytest.raises(ContentError):
            open_.load(bad)
    (root / "large").write_bytes(b"x" * 2000)
    with pytest.raises(ContentError, match="MAX_CONTENT_MB"):
        open_.load(f"file://{root}/large")


def test_embedded_files_are_decoded(studio: Script) -> None:
    data = base64.b64encode(b"picture").decode()
    assert loader(studio).load(f"data:image/png;base64,{data}") == b"picture"
    assert loader(studio).load("data:text/plain,a%20b") == b"a b"
    with pytest.raises(ContentError, match="MAX_CONTENT_MB"):
        loader(studio, max_content_mb=0.0001).load("data:text/plain," + "x" * 1000)


# -- cloud storage --------------------------------------------------------------------------------


def test_storage_that_signs_its_addresses_is_followed_without_the_token(
    studio: Script, other: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio's default for S3, GCS and Azure. The bucket's host needs no CONTENT_HOSTS."""
    resolve(monkeypatch, bucket_example=["127.0.0.1"])
    port = other.url.rpartition(":")[2]
    signed = f"http://bucket.example:{port}/x.png?Signature=abc"
    studio.answer = lambda *_: (303, {"Location": signed}, b"")
    other.answer = lambda *_: (200, {}, b"bytes")
    for path in ("/tasks/3/resolve/?fileuri=czM6Ly9i", "/projects/7/presign/?fileuri=czM6Ly9i"):
        assert loader(studio, content_private=True).load(path) == b"bytes"
    assert [request[2] for request in other.asked] == [None, None]
    assert other.asked[0][1] == "/x.png?Signature=abc"
    with pytest.raises(ContentError, match=r"leads to the private address 127\.0\.0\.1"):
        loader(studio).load("/tasks/3/resolve/?fileuri=czM6Ly9i")


def test_only_storage_links_of_label_studio_send_on_to_any_host(
    studio: Script, other: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, bucket_example=["127.0.0.1"], second_example=["127.0.0.1"])
    port = other.url.rpartition(":")[2]
    allowed = loader(studio, content_private=True)
    studio.answer = lambda *_: (302, {"Location": f"http://bucket.example:{port}/x.png"}, b"")
    with pytest.raises(ContentError, match="on a host that is not allowed"):
        allowed.load("/data/upload/1/x.png")
    # The bucket's host does not send on to another one.
    other.answer = lambda *_: (302, {"Location": f"http://second.example:{port}/x.png"}, b"")
    with pytest.raises(ContentError, match=r"on a host that is not allowed.*'second\.example'"):
        allowed.load("/tasks/3/resolve/?fileuri=czM6Ly9i")


def test_files_under_label_studios_own_name_come_from_where_it_is_reached(studio: Script) -> None:
    studio.answer = lambda *_: (200, {}, b"bytes")
    named = loader(studio, label_studio_public_url="https://labels.example.com/studio")
    address = "https://labels.example.com/studio/data/local-files/?d=a/b.png"
    assert named.load(address) == b"bytes"
    assert studio.asked[-1][:2] == ("GET", "/data/local-files/?d=a/b.png")
    with pytest.raises(ContentError, match="is no file of Label Studio"):
        named.load("https://labels.example.com/studio/api/current-user/token")
    with pytest.raises(ContentError, match="on a host that is not allowed"):
        loader(studio).load(address)


def test_messages_name_the_bucket_and_the_local_file(studio: Script) -> None:
    with pytest.raises(ContentError, match="attach the bucket to the project"):
        loader(studio).load("s3://bucket/x.png")
    studio.answer = lambda *_: (404, {}, b"")
    with pytest.raises(ContentError, match=r"d=folder/a.png' answered 404"):
        loader(studio).load("/data/local-files/?d=folder/a.png&x=1")
