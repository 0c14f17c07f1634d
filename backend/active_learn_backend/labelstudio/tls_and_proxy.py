"""How Label Studio is reached: certificates, a proxy; and in words why it is not reached."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx

from ..errors import SettingsError
from ..settings import Settings
from ..wording import shortened

__all__ = ["client_options", "trusted_certificates", "why_unreachable"]

# Codes of OpenSSL's X509_V_ERR_*.
NOT_YET_VALID, EXPIRED = 9, 10
UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
OTHER_NAME = {62, 64}
# OpenSSL's reasons for an answer that is no TLS: which one depends on the first bytes.
NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}


def client_options(settings: Settings) -> dict[str, Any]:
    """Return the options of each `httpx.Client` that calls Label Studio.

    Raises
    ------
    SettingsError
        When the file of certificates cannot be read.
    """
    return {
        "verify": trusted_certificates(settings),
        "proxy": settings.label_studio_proxy.get_secret_value() or None,
        # The token goes to LABEL_STUDIO_URL, and through no proxy but the one that is set for it.
        "trust_env": False,
    }


def trusted_certificates(settings: Settings) -> ssl.SSLContext:
    """Return a TLS context that trusts the public authorities and those of LABEL_STUDIO_CA_FILE.

    Raises
    ------
    SettingsError
        When the file cannot be read, or holds no certificate.
    """
    path = settings.label_studio_ca_file
    if path is None:
        return _public_authorities()
    context = httpx.create_ssl_context(trust_env=False)
    try:
        if path.is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one: no PEM
        reason = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "no PEM"
        raise SettingsError(
            f"LABEL_STUDIO_CA_FILE {path} holds no certificates ({reason}); expected a PEM file "
            "with the certificate of the authority that signed Label Studio's (SSL_CERT_FILE and "
            "REQUESTS_CA_BUNDLE are read where it is not set)"
        ) from error
    return context


@cache
def _public_authorities() -> ssl.SSLContext:
    """Return the context of all clients: it takes 25 ms and half a megabyte to make one."""
    return httpx.create_ssl_context(trust_env=False)


def why_unreachable(error: httpx.HTTPError, url: str, *, proxied: bool = False) -> str:
    """Return why a request to Label Studio had no answer, and what to do, in one line.

    Parameters
    ----------
    error : httpx.HTTPError
    url : str
        Label Studio's address.
    proxied : bool, default False
        The request goes through LABEL_STUDIO_PROXY.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(cause, url)
        if isinstance(cause, ssl.SSLError) and cause.reason in NO_TLS:
            return f"no TLS is spoken at {url}; set LABEL_STUDIO_URL with http:// there"
        if isinstance(cause, ssl.SSLError):
            return f"TLS fails ({cause.reason or 'no reason'}); is https:// right there?"
    return _network(error, url, proxied)


def _certificate(error: ssl.SSLCertVerificationError, url: str) -> str:
    code, host = error.verify_code, httpx.URL(url).host
    if code == EXPIRED:
        return "its certificate has expired; renew it on that server"
    if code == NOT_YET_VALID:
        return "its certificate is not valid yet; compare the clocks of both machines"
    if code in UNKNOWN_AUTHORITY:
        return (
            "its certificate is signed by an unknown authority; set LABEL_STUDIO_CA_FILE to a PEM "
            "file with the certificate of that authority"
        )
    if code in OTHER_NAME:
        return (
            f"its certificate is for another name than {host}; set LABEL_STUDIO_URL with the name "
            "in the certificate"
        )
    return f"its certificate is refused: {error.verify_message}"


def _network(error: httpx.HTTPError, url: str, proxied: bool) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"the proxy of LABEL_STUDIO_PROXY refuses to connect ({_short(error)})"
    if proxied and isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        return "the proxy of LABEL_STUDIO_PROXY cannot be reached; is its address right?"
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return "no machine has that name; correct LABEL_STUDIO_URL"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens there; is it running, and is LABEL_STUDIO_URL right?"
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return "no answer in time (REQUEST_TIMEOUT); is it overloaded?"
    if isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError)):
        tls = " (or set LABEL_STUDIO_URL with https:// if TLS is spoken there)"
        return (
            f"it closed the connection; is it restarting?{'' if url.startswith('https') else tls}"
        )
    return f"{type(error).__name__}; is it running, and is LABEL_STUDIO_URL right?"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(error: Exception) -> str:
    return shortened(str(error), 100)
