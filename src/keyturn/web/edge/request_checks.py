"""The shape of a request: what no well-meant client sends is refused before anything else happens."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from keyturn.errors import AmbiguousCredential, Limit, LimitExceeded, MalformedRequest
from keyturn.services.people.sessions import SESSION_COOKIES
from keyturn.settings import MAX_PORT
from keyturn.web.forward_auth import CREDENTIAL_PARAMETERS

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADER_FIELDS = 100
MAX_BODY_BYTES = 64 * 1024
BODY_TOO_LARGE = f"The body is larger than {MAX_BODY_BYTES} bytes."

CREDENTIAL_HEADERS = frozenset({b"x-api-key", b"api-key", b"proxy-authorization"})
MISPLACED_HEADERS = CREDENTIAL_HEADERS | {b"x-auth-token", b"x-access-token"}
"""Where other servers read a credential."""

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_WELL_FORMED_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
"""RFC 9110, section 7.2; RFC 3986, section 3.2.2, without what no probe has in its name."""
_OTHER_SCHEMES = frozenset({b"apikey", b"api-key", b"token", b"basic", b"key"})
_ROOT_DOT = re.compile(r"(?<=[a-z0-9])\.((?::[0-9]{1,5})?)$")
"""The dot with which a whole name ends in DNS: the same host (RFC 9110, section 4.2.3)."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

Scope = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HostRule:
    """Which `Host` is answered."""

    names: frozenset[str]
    """Host names with their port as clients write it, lower case."""
    allows_loopback: bool
    """Whether loopback names are answered with any port: on a loopback bind nobody else can reach us."""

    any_host_paths: frozenset[str]
    """Where any single well-formed `Host` is answered (H7)."""

    def allows(self, host: str) -> bool:
        """Return whether this `Host` value is ours."""
        if _HOST.fullmatch(host) is None:
            return False
        host = _ROOT_DOT.sub(r"\1", host.lower())
        _, _, port = host.rpartition("]")[2].partition(":")
        if port and not 0 < int(port) <= MAX_PORT:
            return False
        if host in self.names:
            return True
        return self.allows_loopback and re.sub(r":[0-9]+$", "", host) in {"localhost", "127.0.0.1", "[::1]"}


def tolerant_path(path: str) -> str:
    """Return the path with one slash where it begins with two, as clients write that join a host and a path.

    To be called before anything reads the path: who may pass and where it leads is decided of one and the
    same (H6).
    """
    return path[1:] if path.startswith("//") and not path.startswith("///") else path


def check_request(scope: Scope, hosts: HostRule) -> None:
    """Refuse what no well-meant client sends: H2, H3, H5, H6, H7."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADER_FIELDS or size > MAX_HEADER_BYTES:
        raise LimitExceeded(Limit.HEADER, "The header is too large.")
    given = [value for name, value in headers if name == b"host"]
    host = given[0].decode("latin-1") if len(given) == 1 else ""
    # Probes and balancers ask for an address that no setting knows; the answer tells nothing of anybody.
    is_probe = scope["path"] in hosts.any_host_paths and _WELL_FORMED_HOST.fullmatch(host) is not None
    if not (is_probe or hosts.allows(host)):
        raise MalformedRequest(
            "This Host is not answered here: add it to KEYTURN_ALLOWED_HOSTS, or set KEYTURN_PUBLIC_URL."
        )
    if not scope["path"].startswith("/"):
        raise MalformedRequest("The request target must be a path.")
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or int(value[:12]) > MAX_BODY_BYTES):
            raise LimitExceeded(Limit.BODY, BODY_TOO_LARGE)


def check_one_place(scope: Scope) -> None:
    """Raise `AmbiguousCredential` if a request that has a credential has one elsewhere too (RFC 6750)."""
    if CREDENTIAL_PARAMETERS.search(unquote_to_bytes(scope["query_string"])):
        raise AmbiguousCredential("A credential must not be in the URL: send it in Authorization alone.")
    for name, value in scope["headers"]:
        if name in CREDENTIAL_HEADERS:
            raise AmbiguousCredential(
                "Send the credential in Authorization alone, not in another header too."
            )
        if name == b"cookie" and any(
            cookie.strip().startswith(SESSION_COOKIES) for cookie in value.split(b";")
        ):
            raise AmbiguousCredential("Send the credential in Authorization alone, not a session cookie too.")


def misplaced_credential(scope: Scope) -> str | None:
    """Return where a refused request has what may be a credential and is not read; None if nowhere.

    Of the form of the request alone: nothing of the credential is said, or known.
    """
    for name, value in scope["headers"]:
        if name in MISPLACED_HEADERS:
            return f"A credential in {name.decode().title()} is not read."
        if name == b"authorization" and is_of_other_scheme(value):
            return f"The scheme {value.partition(b' ')[0].decode().title()} is not read."
    return None


def is_of_other_scheme(value: bytes) -> bool:
    """Return whether a value of `Authorization` has a scheme that others read, and this server does not."""
    scheme, space, _ = value.partition(b" ")
    return bool(space) and scheme.lower() in _OTHER_SCHEMES


def is_read(scope: Scope) -> bool:
    """Return whether the method says that nothing is changed (RFC 9110, section 9.2.1)."""
    return scope["method"] in _SAFE_METHODS


def has_body(scope: Scope) -> bool:
    """Return whether the request says that a body follows (RFC 9112, section 6)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def declared_length(scope: Scope) -> int | None:
    """Return how long the body is to be, None where the request does not say."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths else None
