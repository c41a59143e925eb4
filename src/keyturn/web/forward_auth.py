"""`/verify`: tells a gateway who calls, in headers, so that what stands behind it need not ask.

    Keyturn-User         bob@example.com          percent-encoded outside of printable ASCII
    Keyturn-Key-Id       17                       empty for a token that was given for a passphrase
    Keyturn-Scopes       orders:read orders:write empty when the credential is not narrowed
    Keyturn-Permissions  CREATE_PROJECT           in alphabetical order
    Keyturn-Auth-Method  api_key                  or access_token
    Remote-User          bob@example.com          the same as Keyturn-User

A good credential always gets all of them, empty when there is nothing to say: a gateway copies what it is
given, and a header that it is not given the client could have sent itself.
"""

from typing import Any
from urllib.parse import quote

from keyturn.core.principal import Principal

PATH = "/verify"
IDENTITY_HEADERS = (
    b"keyturn-user",
    b"keyturn-key-id",
    b"keyturn-scopes",
    b"keyturn-permissions",
    b"keyturn-auth-method",
    b"remote-user",
)
SCOPE_PARAMETER = "scope"
SCOPE_PATTERN = r"^[!#-\[\]-~ ]*$"
MAX_SCOPE_CHARACTERS = 1000
IDENTITY = ", ".join(name.decode().title() for name in IDENTITY_HEADERS)
"""All of them, for a person to read."""
EMPTY_BODY = {"type": "http.response.body", "body": b""}

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def identity_headers(principal: Principal) -> list[tuple[bytes, bytes]]:
    """Return all identity headers of this caller."""
    userid = quote(principal.userid, safe=_PRINTABLE).encode("ascii")
    values = (
        userid,
        b"" if principal.key_id is None else b"%d" % principal.key_id,
        _words(principal.scopes or ()),
        _words(principal.permissions),
        principal.method.value.encode("ascii"),
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
