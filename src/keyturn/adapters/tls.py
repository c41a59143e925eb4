"""TLS to a database: how each protocol begins it, and what the certificate says (rule O4).

The handshake here is the one that the test shows. The drivers verify again, on their own connection, before
they send a password.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keyturn.adapters.findings import Fault, Finding
from keyturn.adapters.technologies import TlsMode
from keyturn.core.shown import shown

Beginning = Callable[[socket.socket], None]
"""Asks a server for TLS, in the words of its protocol; raises `Fault` if it has none."""

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
"""PostgreSQL: "Frontend/Backend Protocol", SSLRequest."""
_CLIENT_SSL = 0x0800
_CLIENT_FLAGS = 0x0000_0001 | 0x0000_0200 | _CLIENT_SSL | 0x0000_8000 | 0x0008_0000
_MAX_GREETING = 1024
_MAX_ISSUER = 100
_PEEK_AGAIN_SECONDS = 0.01

_CODES = {
    10: Finding.CERTIFICATE_EXPIRED,  # X509_V_ERR_CERT_HAS_EXPIRED
    9: Finding.CERTIFICATE_EARLY,  # X509_V_ERR_CERT_NOT_YET_VALID
    62: Finding.WRONG_NAME,  # X509_V_ERR_HOSTNAME_MISMATCH
    64: Finding.WRONG_NAME,  # X509_V_ERR_IP_ADDRESS_MISMATCH
}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The outcome of a handshake. Issuer and expiry are of a checked certificate only."""

    version: str
    issuer: str | None = None
    expires: int | None = None
    """Seconds since 1970."""

    def __str__(self) -> str:
        if self.issuer is None:
            return f"{self.version}, certificate not checked"
        return f"{self.version}, issued by {self.issuer}"


def client_context(mode: TlsMode, certificates: str | None) -> ssl.SSLContext | None:
    """Return the settings of a mode, trusting `certificates` (PEM) alone if given; None for no TLS."""
    if mode is TlsMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mode is TlsMode.REQUIRE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif certificates:
        context.load_verify_locations(cadata=certificates)
    else:
        context.load_default_certs()
    return context


def shake_hands(plain: socket.socket, begin: Beginning, context: ssl.SSLContext, host: str) -> Handshake:
    """Begin TLS on a connected socket and return what it showed; raise `Fault`. The socket is not closed."""
    begin(plain)
    try:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return _describe(secure)
    except ssl.SSLError as error:
        raise tls_fault(error) from None


def tls_fault(error: ssl.SSLError) -> Fault:
    """Return what is wrong, of an error of OpenSSL."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Fault(_CODES.get(error.verify_code, Finding.UNKNOWN_AUTHORITY), str(error))
    if error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"}:
        return Fault(Finding.OTHER_PROTOCOL, str(error))
    return Fault(Finding.TLS_FAILED, str(error))


def begin_at_once(plain: socket.socket) -> None:
    """Begin TLS as HTTPS does: with the first byte."""


def begin_postgresql(plain: socket.socket) -> None:
    """Ask a PostgreSQL for TLS; nothing but its one byte is read before the handshake (CVE-2021-23222)."""
    plain.sendall(_SSL_REQUEST)
    answer = plain.recv(1)
    if answer == b"N":
        raise Fault(Finding.NO_TLS)
    if answer != b"S":
        raise Fault(Finding.OTHER_PROTOCOL if answer else Finding.CONNECTION_LOST)


def begin_mysql(plain: socket.socket) -> None:
    """Read the greeting of a MySQL or MariaDB and ask for TLS, if it offers that."""
    greeting = peek_mysql_greeting(plain)
    read_exactly(plain, 4 + len(greeting))
    if not _offers_tls(greeting):
        raise Fault(Finding.NO_TLS)
    request = struct.pack("<IIB23x", _CLIENT_FLAGS, 2**24 - 1, 45)
    plain.sendall(len(request).to_bytes(3, "little") + b"\x01" + request)


def peek_mysql_greeting(plain: socket.socket) -> bytes:
    """Return the first packet of a MySQL or MariaDB, which stays to be read; raise `Fault` if it is none."""
    header = _peek(plain, 4)
    length = int.from_bytes(header[:3], "little")
    if header[3] != 0 or not 0 < length <= _MAX_GREETING:
        raise Fault(Finding.OTHER_PROTOCOL)
    return _peek(plain, 4 + length)[4:]


def _peek(plain: socket.socket, length: int) -> bytes:
    """Return bytes without taking them; raise `Fault` if they do not come within the socket's time limit."""
    ends = time.monotonic() + (plain.gettimeout() or 0)
    while len(seen := plain.recv(length, socket.MSG_PEEK)) < length:
        if not seen:
            raise Fault(Finding.CONNECTION_LOST)
        if time.monotonic() > ends:
            raise Fault(Finding.TOO_SLOW)
        time.sleep(_PEEK_AGAIN_SECONDS)  # The socket is ready as long as a part of them waits.
    return seen


def _offers_tls(greeting: bytes) -> bool:
    """Return whether protocol 10's greeting has CLIENT_SSL; raise `Fault` for what is not such a greeting."""
    if greeting[:1] == b"\xff":
        raise Fault(Finding.TOO_MANY_SESSIONS, repr(greeting[:200]))
    end_of_version = greeting.find(b"\0", 1)
    flags = end_of_version + 1 + 4 + 8 + 1
    if greeting[:1] != b"\x0a" or end_of_version < 0 or len(greeting) < flags + 2:
        raise Fault(Finding.OTHER_PROTOCOL)
    return bool(int.from_bytes(greeting[flags : flags + 2], "little") & _CLIENT_SSL)


def read_exactly(plain: socket.socket, length: int) -> bytes:
    """Read so many bytes; raise `Fault` if the server ends before."""
    read = b""
    while len(read) < length:
        more = plain.recv(length - len(read))
        if not more:
            raise Fault(Finding.CONNECTION_LOST)
        read += more
    return read


def _describe(secure: ssl.SSLSocket) -> Handshake:
    certificate: dict[str, Any] = secure.getpeercert() or {}
    version = (secure.version() or "TLS").replace("TLSv", "TLS ")
    if not certificate:
        return Handshake(version)
    names = {key: value for part in certificate["issuer"] for key, value in part}
    issuer = names.get("commonName") or names.get("organizationName") or "an authority without a name"
    expires = int(ssl.cert_time_to_seconds(certificate["notAfter"]))
    return Handshake(version, shown(issuer[:_MAX_ISSUER]), expires)
