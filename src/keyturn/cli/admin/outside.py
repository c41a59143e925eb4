"""The server as its clients reach it: asked at its public URL, and at its management address."""

import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from keyturn.cli.remote.unreachable import explain
from keyturn.core.loopback import httpx_options
from keyturn.settings import Settings

TIMEOUT_SECONDS = 5.0
_EXPIRED, _NOT_YET_VALID = 10, 9
"""Results of OpenSSL's verification (X509_V_ERR_*)."""
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what a server listens on
_STALENESS = re.compile(r"^keyturn_staleness_seconds (\S+)$", re.MULTILINE)


class NotAnswered(Exception):
    """There was no answer; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of a server."""

    status: int
    body: bytes
    at: datetime | None
    """The time by the clock of whoever answered."""

    def json(self) -> dict[str, Any]:
        """Return the object that was answered; empty if it was something else."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


def ask(url: str, path: str, **query: str) -> Answered:
    """Ask a server as a client of it would; raise `NotAnswered`."""
    with httpx.Client(timeout=TIMEOUT_SECONDS, **httpx_options(url)) as http:
        return _ask(http, url + path, query)


def ask_management(settings: Settings, path: str) -> Answered:
    """Ask at the management address, which is set; raise `NotAnswered`."""
    address = settings.management_address
    if isinstance(address, Path):
        transport, url = httpx.HTTPTransport(uds=str(address)), "http://management"
    else:
        host, port = address or ("", 0)
        transport, url = httpx.HTTPTransport(), f"http://{_bracketed(_reachable(host))}:{port}"
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport) as http:
        return _ask(http, url + path, {})


def staleness_of(metrics: bytes) -> float | None:
    """Return how many seconds ago the database last answered, as the metrics say; None if they do not."""
    found = _STALENESS.search(metrics.decode(errors="replace"))
    return None if found is None else float(found[1])


def listens_here(settings: Settings) -> bool:
    """Return whether anybody listens on this machine where the settings say that the server does."""
    address = (_reachable(settings.host), settings.port)
    with suppress(OSError), socket.create_connection(address, timeout=TIMEOUT_SECONDS):
        return True
    return False


def certificate_end(url: str) -> datetime:
    """Return when the certificate of an https address ends.

    Raise `ssl.SSLCertVerificationError` for one that clients do not trust, `OSError` without an answer.
    """
    parts = urlsplit(url)
    context = ssl.create_default_context()
    address = (parts.hostname or "", parts.port or 443)
    with (
        socket.create_connection(address, timeout=TIMEOUT_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=parts.hostname) as tls,
    ):
        return _end_of(tls.getpeercert())


def file_certificate_end(certificate: Path, key: Path) -> datetime | None:
    """Return when the certificate in a file ends; None if it has ended, or has not begun.

    Raise `OSError` for files that cannot be used. Python's `ssl` tells the end of a certificate that a
    connection has verified, so this makes one, in memory, whose client trusts this certificate alone.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    asking.load_verify_locations(certificate)
    try:
        return _end_of(_shaken(serving, asking))
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in {_EXPIRED, _NOT_YET_VALID}:
            return None
        raise


def _shaken(serving: ssl.SSLContext, asking: ssl.SSLContext) -> dict[str, Any] | None:
    """Return the certificate that a client verified in a handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = asking.wrap_bio(to_client, to_server)
    while True:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
            return client.getpeercert()
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()


def _end_of(certificate: dict[str, Any] | None) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds((certificate or {})["notAfter"]), UTC)


def _ask(http: httpx.Client, url: str, query: dict[str, str]) -> Answered:
    try:
        answer = http.get(url, params=query)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        told = explain(error)
        raise NotAnswered(told[0] if told is not None else str(error)) from None
    at = None
    with suppress(KeyError, ValueError):
        at = parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    return Answered(answer.status_code, answer.content, at)


def _reachable(host: str) -> str:
    bare = host.strip("[]")
    return _EVERY_ADDRESS.get(bare, bare)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
