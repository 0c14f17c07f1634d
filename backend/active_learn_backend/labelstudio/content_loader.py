"""Loads the files that tasks point at. Their addresses are untrusted: any annotator may write them.

The loader fetches files of Label Studio itself (with its token), of hosts that the operator allows
(without it), and below folders that the operator allows. For another host, every address that its
name resolves to has to be public, the connection goes to the address that was checked (so that a
name cannot resolve to another one in between), and every redirect is checked like the first
address. Label Studio sends on from its own storage links to an address that it signed, in a bucket:
the host of that redirect needs no leave, but has to be public all the same.
"""

from __future__ import annotations

import base64
import binascii
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import httpx

from ..errors import ContentError, LabelStudioUnreachableError
from ..settings import Settings
from .client import LabelStudioClient
from .public_addresses import is_public
from .silent_hosts import SilentHosts
from .tls_and_proxy import trusted_certificates

__all__ = ["ContentLoader"]

MAX_REDIRECTS = 3
# Where Label Studio serves files. A GET with our token elsewhere could do more than read one:
# /api/projects/3/next locks a task, and /api/current-user/token shows a token.
FILES = re.compile(
    r"/data/(upload|local-files)/|/storage-data/uploaded/"
    r"|/(tasks|projects)/[0-9]+/(proxy|resolve|presign)/"
)
# From these it sends on to an address in cloud storage that it signed.
SIGNED = re.compile(r"/(tasks|projects)/[0-9]+/(resolve|presign)/")
STORAGE = {"s3", "gs", "azure-blob", "r2"}
SHOWN = 120  # characters of an address in a message


@dataclass(frozen=True)
class _Moved:
    """Target of a redirect; `signed` when Label Studio's storage sent on to it."""

    address: str
    signed: bool = False


CONTENT_TIMEOUT = 60.0  # seconds for one image or document: a round waits for it


class ContentLoader:
    """Loads the bytes behind an address in a task.

    Parameters
    ----------
    settings : Settings
        Uses ``content_hosts``, ``content_private``, ``content_roots``, ``label_studio_ca_file``,
        ``label_studio_public_url``, ``max_content_mb`` and ``max_video_mb``.
    client : LabelStudioClient
        For what Label Studio itself serves: uploads, local files, its storage proxy.
    """

    def __init__(self, settings: Settings, client: LabelStudioClient) -> None:
        self._client = client
        self._origin = urlsplit(settings.label_studio_url)
        self._public = urlsplit(settings.label_studio_public_url or settings.label_studio_url)
        self._hosts = {host.strip().lower() for host in settings.content_hosts.split(",")} - {""}
        self._private = settings.content_private
        roots = (part.strip() for part in settings.content_roots.split(","))
        self._roots = [Path(part).expanduser().resolve() for part in roots if part]
        self._most, self._limit = int(settings.max_content_mb * 2**20), "MAX_CONTENT_MB"
        self._timeout = CONTENT_TIMEOUT
        self._silent = SilentHosts()
        self._http = httpx.Client(
            headers={"User-Agent": "label-studio-active-sampler", "Accept-Encoding": "identity"},
            verify=trusted_certificates(settings),
            trust_env=False,  # no proxy and no .netrc: the address that was checked is the one used
            follow_redirects=False,
        )
        self._of_videos = copy(self)
        self._of_videos._most = int(settings.max_video_mb * 2**20)
        self._of_videos._limit = "MAX_VIDEO_MB"

    def load(self, address: str, *, video: bool = False) -> bytes:
        """Load one file; a video may be larger than others.

        Raises
        ------
        ContentError
            When it may not be loaded, is missing, too large, too slow, or sent on too often.
        LabelStudioUnreachableError
            When Label Studio does not answer: that is no fault of the task.
        """
        if video:
            return self._of_videos.load(address)
        deadline = time.monotonic() + self._timeout
        signed = False
        for _ in range(MAX_REDIRECTS + 1):
            try:
                found = self._load_one(address, deadline, signed)
            except httpx.InvalidURL as error:  # is no HTTPError
                raise _refused(address, f"is no address: {error}") from error
            if isinstance(found, bytes):
                return found
            address, signed = found.address, found.signed
        raise _refused(address, f"was sent on more than {MAX_REDIRECTS} times")

    def _load_one(self, address: str, deadline: float, signed: bool) -> bytes | _Moved:
        try:
            target = urlsplit(address)
            port = target.port
        except ValueError as error:
            raise _refused(address, f"is no address: {error}") from error
        if target.scheme == "data":
            return self._decode(address)
        if target.scheme == "file":
            return self._read_file(target)
        if not target.scheme and not target.netloc:
            return self._from_label_studio(target, address, deadline)
        if target[:2] in (self._origin[:2], self._public[:2]):
            return self._from_label_studio(target, address, deadline)
        if target.scheme in ("http", "https") and target.hostname:
            return self._from_host(target, port, deadline, signed)
        if target.scheme in STORAGE:
            raise _refused(
                address,
                "is in cloud storage that Label Studio does not read; attach the bucket to the "
                "project under Settings, Cloud Storage, and sync it",
            )
        raise _refused(address, "cannot be loaded; expected a file of Label Studio, or http(s)")

    # -- Label Studio itself ------------------------------------------------------------------

    def _from_label_studio(
        self, target: SplitResult, address: str, deadline: float
    ) -> bytes | _Moved:
        ours = self._public if target[:2] == self._public[:2] else self._origin
        inside = target.path.removeprefix(ours.path)
        segments = unquote_to_bytes(target.path).split(b"/")
        if not FILES.match(inside) or b".." in segments:
            raise _refused(
                address,
                "is no file of Label Studio; expected an upload, a local file or an address of its "
                "storage proxy",
            )
        path = inside + (f"?{target.query}" if target.query else "")
        with self._client.stream(path) as response:
            found = self._take(response, f"{self._origin.geturl()}{path}", deadline)
        if isinstance(found, _Moved) and SIGNED.match(inside):
            return replace(found, signed=True)
        return found

    # -- other hosts --------------------------------------------------------------------------

    def _from_host(
        self, target: SplitResult, port: int | None, deadline: float, signed: bool
    ) -> bytes | _Moved:
        host = str(target.hostname).lower()
        if host not in self._hosts and not signed:
            raise _refused(
                target.geturl(),
                "is on a host that is not allowed; upload the file, use Label Studio's storage "
                f"proxy, or add {host[:SHOWN]!r} to CONTENT_HOSTS",
            )
        if target.username or target.password:
            raise ContentError(f"an address on {host!r} holds a user name; remove it")
        self._silent.check(host)
        port = port or (443 if target.scheme == "https" else 80)
        address = self._resolve(host, port)
        literal = f"[{address}]" if ":" in address else address
        query = f"?{target.query}" if target.query else ""
        request = self._http.build_request(
            "GET",
            f"{target.scheme}://{literal}:{port}{target.path or '/'}{query}",
            headers={"Host": target.netloc},
            extensions={"sni_hostname": host},  # the certificate has to be the name's
            timeout=httpx.Timeout(min(self._timeout, self._silent.patience(host)), connect=5.0),
        )
        with self._sent(request, host) as response:
            return self._take(response, target.geturl(), deadline)

    @contextmanager
    def _sent(self, request: httpx.Request, host: str) -> Iterator[httpx.Response]:
        try:
            response = self._http.send(request, stream=True)
            self._silent.record_answer(host)
            try:
                yield response
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise self._silent.record_failure(
                host, f"{host} does not answer ({type(error).__name__})"
            ) from error

    def _resolve(self, host: str, port: int) -> str:
        """Return an address of a host, after a check of all that it has."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise self._silent.record_failure(
                host, f"the host {host!r} cannot be found: {error}"
            ) from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not self._private and not is_public(address):
                raise ContentError(
                    f"the host {host!r} leads to the private address {address}; set "
                    "CONTENT_PRIVATE=true if files may be fetched from there"
                )
        return addresses[0]

    # -- what comes back ----------------------------------------------------------------------

    def _take(self, response: httpx.Response, where: str, deadline: float) -> bytes | _Moved:
        if response.is_redirect and "Location" in response.headers:
            return _Moved(urljoin(where, response.headers["Location"]))
        if not response.is_success:
            raise _refused(where, f"answered {self._meaning(response.status_code, where)}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _refused(where, "is sent compressed, although that was not asked")
        data = bytearray()
        try:
            for chunk in response.iter_raw():
                data += chunk
                self._check_size(len(data), where)
                if time.monotonic() > deadline:
                    raise _refused(
                        where,
                        f"took longer than {self._timeout:g} s; make it smaller, or serve it from "
                        "a faster place",
                    )
        except httpx.HTTPError as error:
            if where.startswith(self._origin.geturl()):
                raise LabelStudioUnreachableError(
                    f"Label Studio broke off while sending {_short(where)} ({type(error).__name__})"
                ) from error
            raise _refused(where, f"broke off ({type(error).__name__})") from error
        return bytes(data)

    def _meaning(self, status: int, where: str) -> str:
        """Return the status of a refusal with what it says and what to do."""
        of_label_studio = where.startswith(self._origin.geturl())
        if status in (404, 410) or (status == 500 and of_label_studio):  # for a lost upload
            return f"{status}, it is not there; check that the file exists, and its storage"
        if status in (401, 403):
            return f"{status}, which refuses us; check who may read the file"
        return str(status)

    def _check_size(self, size: int, where: str) -> None:
        if size > self._most:
            raise _refused(
                where,
                f"is larger than {self._most / 2**20:g} MiB; raise {self._limit} to take it",
            )

    # -- without a network --------------------------------------------------------------------

    def _decode(self, address: str) -> bytes:
        head, comma, body = address.partition(",")
        self._check_size(len(body) * 3 // 4, "an embedded file")
        try:
            if not comma:
                raise ValueError("it has no comma")
            if head.endswith(";base64"):
                return base64.b64decode(body, validate=True)
            return unquote_to_bytes(body)
        except (ValueError, binascii.Error) as error:
            raise _refused(address, f"is no data address: {error}") from error

    def _read_file(self, target: SplitResult) -> bytes:
        name = unquote_to_bytes(target.path).decode("utf-8", "surrogateescape")
        if target.netloc not in ("", "localhost") or "\0" in name:
            raise _refused(target.geturl(), "is no file of this machine")
        try:
            path = Path(name).resolve()
            if not any(path.is_relative_to(root) for root in self._roots):
                raise _refused(target.geturl(), "is not below a folder of CONTENT_ROOTS")
            with path.open("rb") as file:
                data = file.read(self._most + 1)
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise _refused(target.geturl(), f"cannot be read: {reason}") from error
        self._check_size(len(data), target.geturl())
        return data


def _refused(address: str, problem: str) -> ContentError:
    """Return the error of one file; its cause names none, and so is one for many."""
    return ContentError(f"{_short(address)} {problem}", cause=f"a file {problem}")


def _short(address: str) -> str:
    """Show an address without its query, which may hold a signature; a local file's is its path."""
    plain, _, query = address.partition("?")
    if plain.endswith("/data/local-files/") and query.startswith("d="):
        plain = f"{plain}?{query.partition('&')[0]}"
    return repr(plain if len(plain) <= SHOWN else plain[:SHOWN] + "...")
