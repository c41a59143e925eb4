"""`/verify`: tells a gateway who calls, in headers, so that what stands behind it need not ask.

    Keyturn-User         bob@example.com          percent-encoded outside of printable ASCII
    Keyturn-Key-Id       17                       empty for a token that was given for a password
    Keyturn-Scopes       orders:read orders:write empty when the credential is not narrowed
    Keyturn-Permissions  CREATE_PROJECT           in alphabetical order
    Keyturn-Auth-Method  api_key                  or access_token, or impersonation for a token that acts
                                                  for the user, with the key of another one
    Remote-User          bob@example.com          the same as Keyturn-User

A good credential always gets all of them, empty when there is nothing to say: a gateway copies what it is
given, and a header that it is not given the client could have sent itself.

With `audience=…` it is asked for a registered API: then tokens for that API are good, and no others, and the
scopes are always said in full. That is read from the query alone, which the gateway writes: a header could be
the client's, who would choose whose tokens are good.

The method and the target that a gateway names are read for proofs of possession and for keys that are
restricted to methods and paths (`web.edge.dpop_target`), and for nothing else. Scopes that are asked for can
only refuse more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from keyturn.core.apis import MAX_IDENTIFIER_CHARACTERS
from keyturn.core.principal import Principal
from keyturn.core.scopes import is_scope
from keyturn.errors import MalformedRequest

CREDENTIAL_PARAMETERS = re.compile(
    rb"(?:^|[&;])(?:access_token|api_?key|authorization|token)=", re.IGNORECASE
)
PATH = "/verify"
PREFIX = "/verify/for/"
"""For gateways that write the target of their client behind a path of ours, as Envoy does before 1.38: what
follows, with the query, is the client's, and is not read. Such a gateway asks for scopes by header."""
IDENTITY_HEADERS = (
    b"keyturn-user",
    b"keyturn-key-id",
    b"keyturn-scopes",
    b"keyturn-permissions",
    b"keyturn-auth-method",
    b"remote-user",
)
IMPERSONATION = b"impersonation"
"""The method of a token that acts for its user."""
MAX_IDENTITY_BYTES = 16 * 1024
"""The header of an answer is never larger, by the bounds of names and scopes: gateways are set up for it."""
SCOPE_PARAMETER = "scope"
AUDIENCE_PARAMETER = "audience"
SCOPE_HEADER = b"keyturn-require-scope"
"""Read from anybody: who adds it to their own request can only be refused more."""
SCOPE_PATTERN = r"^[!#-\[\]-~ ]*$"
MAX_SCOPE_CHARACTERS = 1000
"""For each parameter, and for each header line."""
IDENTITY = ", ".join(name.decode().title() for name in IDENTITY_HEADERS)
"""All of them, for a person to read."""
EMPTY_BODY = {"type": "http.response.body", "body": b""}

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Required:
    """The scopes and the audience that a gateway requires of the caller."""

    audience: str | None
    """The registered API that is called; None for the installation itself."""
    scopes: frozenset[str]
    """All of them."""


def read_required(query: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Required:
    """Read `scope=a b`, the header of the same meaning, and `audience=…`.

    Raises `MalformedRequest` for another parameter, which may have meant to narrow.
    """
    try:
        fields = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        fields = [("", "")]
    if any(name not in {SCOPE_PARAMETER, AUDIENCE_PARAMETER} for name, _ in fields):
        raise MalformedRequest("The query of /verify may hold scope=… and audience=…, and nothing else.")
    audiences = [value for name, value in fields if name == AUDIENCE_PARAMETER]
    if len(audiences) > 1 or any(not 0 < len(value) <= MAX_IDENTIFIER_CHARACTERS for value in audiences):
        raise MalformedRequest("The audience is the identifier of one API.")
    values = [value for name, value in fields if name == SCOPE_PARAMETER]
    values += [value.decode("latin-1") for name, value in headers if name == SCOPE_HEADER]
    if any(len(value) > MAX_SCOPE_CHARACTERS for value in values):
        raise MalformedRequest(f"A scope has at most {MAX_SCOPE_CHARACTERS} characters.")
    scopes = frozenset(scope for value in values for scope in value.split(" ") if scope)
    if not all(map(is_scope, scopes)):
        raise MalformedRequest("A scope is made of printable ASCII without quotes (RFC 6749, section 3.3).")
    return Required(audiences[0] if audiences else None, scopes)


def read_plain_query(query: bytes) -> Required | None:
    """Read the same from a query alone; return None for one that is refused, or might hold a credential."""
    if b"#" in query or CREDENTIAL_PARAMETERS.search(unquote_to_bytes(query)):
        return None
    try:
        return read_required(query, ())
    except MalformedRequest:
        return None


def question(path: str, query: bytes) -> tuple[str, bytes]:
    """Return what is asked with this path and query: for all spellings of `/verify` one and the same."""
    if path.startswith(PREFIX):
        return PATH, b""
    return (PATH if path.rstrip("/") == PATH else path), query


def identity_headers(principal: Principal) -> list[tuple[bytes, bytes]]:
    """Return all identity headers of this caller."""
    userid = quote(principal.userid, safe=_PRINTABLE).encode("ascii")
    key_id = principal.acts_by_key_id
    values = (
        userid,
        b"" if key_id is None else b"%d" % key_id,
        _words(principal.scopes or ()),
        _words(principal.carried_permissions),
        principal.method.value.encode("ascii") if principal.impersonator is None else IMPERSONATION,
        userid,
    )
    return list(zip(IDENTITY_HEADERS, values, strict=True))


def answer_to(principal: Principal) -> dict[str, Any]:
    """Return the ASGI message that begins the answer to a good credential."""
    headers = [*identity_headers(principal), (b"cache-control", b"no-store"), (b"content-length", b"0")]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def header_block(principal: Principal) -> bytes:
    """Return the same as HTTP/1.1 writes it (RFC 9112), up to and with the line that ends the header."""
    lines = (name + b": " + value + b"\r\n" for name, value in answer_to(principal)["headers"])
    return b"".join(lines) + b"\r\n"


def _words(words: Any) -> bytes:
    return quote(" ".join(sorted(words)), safe=_PRINTABLE).encode("ascii")
