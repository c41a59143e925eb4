"""The feed: all that a verifier elsewhere must know, and what changes of it, as server-sent events.

    event: hello      {"nonce":…,"format":3,"issuer":…,…,"resumed":false}    once, first
    event: reset      {}                   what follows until `whole` takes the place of all that is known
    event: users      [[…],…]              the present state of some users; likewise keys, sessions, tokens
    event: resources  [[…],…]              all registered APIs; likewise signing-keys
    event: gone       {"users":[…],…}      what exists no more
    event: whole      {}
    event: alive      {"revision":…,"eventId":…,"elapsed":1.25}

Every event carries the present state of something, so that one that is applied twice, or late, does no harm.
`alive` says how far that reaches: all that was committed until `elapsed` seconds after the server began to
answer is in what was sent before. Rows are arrays, times are milliseconds since 1970, digests are base64. No
secret is ever in it: a key is named by the digest of every byte of it, which opens nothing.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec

from keyturn.core.records import MAX_ID

FORMAT = 3
PATH = "/feed"
USES_PATH = "/feed/uses"
MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A reader holds no more than this of an event that does not end."""
EVENT_BYTES = 256 * 1024
"""More rows than this are sent in several events. One row may be larger, and is bounded by itself."""
MAX_USES_AT_ONCE = 100
MAX_USE_CHARACTERS = 64
"""Of each text in a report of uses."""

_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
_Text = Annotated[str, msgspec.Meta(max_length=MAX_USE_CHARACTERS)]

HELLO: Final = "hello"
RESET: Final = "reset"
USERS: Final = "users"
KEYS: Final = "keys"
SESSIONS: Final = "sessions"
TOKENS: Final = "tokens"
RESOURCES: Final = "resources"
SIGNING_KEYS: Final = "signing-keys"
GONE: Final = "gone"
WHOLE: Final = "whole"
ALIVE: Final = "alive"

COMMENT = b": waiting\n\n"
"""Sent while there is nothing to say, so that whoever listens knows the connection to be alive."""


class Hello(msgspec.Struct, frozen=True, rename="camel"):
    """The first event: to which request this is the answer, and what the server is set to."""

    nonce: str
    """As the request has it: a recorded answer to another request has another one."""
    format: int
    issuer: str
    audience: str
    key_prefix: str
    max_token_life_seconds: int
    resumed: bool
    """Whether this goes on from the mark in the request, without a `reset`."""


class UserRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A user, as far as it decides whether their credentials work."""

    user_id: int
    userid: str
    iamid: str
    name: str | None
    permissions: list[str]
    is_disabled: bool
    epoch: int
    withheld: list[str]


class KeyRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A key, alive or not."""

    key_id: int
    user_id: int
    digest: _Digest
    expires_at: int | None
    revoked_at: int | None
    epoch: int
    project_id: int | None
    restrictions: msgspec.Raw
    """An object as `restore_restrictions` reads it, or null."""
    former_digest: _Digest | None
    """Of the secret that was rotated away last, if there is one."""
    former_ends_at: int | None
    secret_number: _Count
    """How many secrets the key had before its present one: a token says the number of its secret."""
    former_number: _Count | None
    """The same of the one that was rotated away last."""


class SessionRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The session of a bearer token that was given for a password."""

    session_id: int
    user_id: int
    created_at: int
    expires_at: int
    ended_at: int | None


class TokenRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A token that was revoked by itself."""

    jti: str
    expires_at: int


class ResourceRow(msgspec.Struct, frozen=True, array_like=True):
    """A registered API."""

    identifier: str
    scopes: list[str]


class SigningKeyRow(msgspec.Struct, frozen=True, array_like=True):
    """The public half of a signing key."""

    jwk: dict[str, Any]
    verifies_until: int | None
    """None while no other key is to follow it."""


class Gone(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows that exist no more. The keys and sessions of a user who is gone are gone too."""

    users: list[int] = []
    keys: list[int] = []
    sessions: list[int] = []


class KeyUseReport(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The report of a verifier: when a key was last used, and how often since its last report."""

    key_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    at: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
    uses: Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
    address: _Text | None = None
    via: _Text | None = None
    agent: _Text | None = None


class Alive(msgspec.Struct, frozen=True, rename="camel"):
    """How far what was sent reaches."""

    revision: int
    event_id: str | None
    """None before the first event of the audit log."""
    elapsed: float
    """Seconds after the server began to answer; what was committed until then is in what was sent."""


def encode_event(name: str, data: Any) -> bytes:
    """Write an event. JSON has no line breaks in it, so the data is one line."""
    return b"event: %s\ndata: %s\n\n" % (name.encode("ascii"), msgspec.json.encode(data))


def encode_rows(name: str, rows: Iterable[Any]) -> Iterator[bytes]:
    """Yield events of rows, of at most `EVENT_BYTES` or of a single row; none without rows."""
    encode = msgspec.json.Encoder().encode
    encoded: list[bytes] = []
    size = 0
    for row in rows:
        data = encode(row)
        if encoded and size + len(data) > EVENT_BYTES:
            yield encode_event(name, msgspec.Raw(b"[%s]" % b",".join(encoded)))
            encoded, size = [], 0
        encoded.append(data)
        size += len(data) + 1
    if encoded:
        yield encode_event(name, msgspec.Raw(b"[%s]" % b",".join(encoded)))


class EventReader:
    """Cuts a stream of bytes into events."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._searched = 0

    def read(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the data of each event that ends in `data`; raise `ValueError` for another."""
        self._unread += data
        while (end := self._unread.find(b"\n\n", max(self._searched - 1, 0))) >= 0:
            event = bytes(self._unread[:end])
            del self._unread[: end + 2]
            self._searched = 0
            if not event.startswith(b":"):
                yield _parsed(event)
        self._searched = len(self._unread)
        if self._searched > MAX_EVENT_BYTES:
            raise ValueError("an event of the feed does not end")


def _parsed(event: bytes) -> tuple[str, bytes]:
    first, _, second = event.partition(b"\n")
    if not first.startswith(b"event: ") or not second.startswith(b"data: ") or b"\n" in second:
        raise ValueError("this is not an event of the feed")
    return first[7:].decode("ascii", "replace"), second[6:]
