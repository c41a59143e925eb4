"""Reading request bodies, strictly: only what says it is JSON, only the fields that are known.

Clients of the Immuta API send `Content-Type: application/json` with an empty body on any method: that is no
body, not a mistake. A body of another type is never read as JSON, which keeps a form on a foreign page
from passing for a call (OWASP ASVS 3.5.3).
"""

import json
import re
from contextlib import suppress
from datetime import datetime
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec

from keyturn.core.apis import MAX_SCOPE_CHARACTERS
from keyturn.core.lifetimes import Lifetime
from keyturn.core.restriction_kinds import (
    MAX_METHOD_CHARACTERS,
    MAX_METHODS,
    MAX_NETWORKS,
    MAX_PATH_CHARACTERS,
    MAX_PATHS,
)
from keyturn.core.restrictions import Restrictions, read_restrictions
from keyturn.errors import InvalidInput, MalformedRequest
from keyturn.services.apis.fields import MAX_SCOPES

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS = 50
MAX_JSON_DEPTH = 16
"""Objects and lists within each other; only preferences and the ids of other systems are free in form."""

T = TypeVar("T")

_LINE = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$"
"""For the description alone: what `checked_text` refuses is said better there."""
ShortText = Annotated[str, msgspec.Meta(max_length=254, extra_json_schema={"pattern": _LINE})]
"""A name, an address and the like: one line."""
PhoneText = Annotated[str, msgspec.Meta(max_length=64, extra_json_schema={"pattern": _LINE})]
ScopeName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SCOPE_CHARACTERS)]
ScopeNames = Annotated[
    list[ScopeName],
    msgspec.Meta(
        min_length=1,
        max_length=MAX_SCOPES,
        description="The scopes of registered APIs that the key covers. Null for all that its owner may do.",
    ),
]
NetworkText = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, examples=["192.0.2.7", "192.0.2.0/24", "2001:db8::/32"])
]
NetworkTexts = Annotated[
    list[NetworkText],
    msgspec.Meta(
        min_length=1,
        max_length=MAX_NETWORKS,
        description="The addresses and networks (CIDR) from which the key works. Null for any.",
    ),
]
MethodName = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=MAX_METHOD_CHARACTERS, examples=["GET"]),
]
MethodNames = Annotated[
    list[MethodName],
    msgspec.Meta(
        min_length=1, max_length=MAX_METHODS, description="The methods that the key may use. Null for any."
    ),
]
PathPrefix = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_PATH_CHARACTERS, examples=["/data/connection"])
]
PathPrefixes = Annotated[
    list[PathPrefix],
    msgspec.Meta(
        min_length=1,
        max_length=MAX_PATHS,
        description="The paths that the key may call, each with all paths below it. Null for any.",
    ),
]
ExpiresAt = (
    Annotated[
        datetime,
        msgspec.Meta(
            tz=True,
            examples=["2027-01-31T00:00:00Z"],
            description="The end of the key, as a time with its zone. Null for never; without the field, the "
            "key lives as long as the installation says.",
        ),
    ]
    | None
    | msgspec.UnsetType
)
"""When a key is to end: null for never, left out for the default."""
LongText = Annotated[str, msgspec.Meta(max_length=2000, extra_json_schema={"pattern": _LINE})]
"""A description. It may hold line breaks."""

_NOT_JSON = "The body is not JSON, or is nested too deeply."
_AT = re.compile(r" - at `\$\.?([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,17}")
"""The part of a foreign field name that messages repeat: nothing that could be a key."""
_MISSING = re.compile(r"missing required field `([^`]*)`")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_TIME = "a time with its zone, like 2027-01-31T00:00:00Z"
_JSON_TYPES = {
    "str": "text",
    "int": "a whole number",
    "bool": "true or false",
    "object": "an object",
    "datetime": _TIME,
}


class Unshown(msgspec.Struct, frozen=True):
    """A body that holds a secret, which no log and no traceback shows."""

    def __repr__(self) -> str:
        """Name the kind of it alone."""
        return f"{type(self).__name__}(…)"


class RestrictionFields(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """The restrictions of a new key; none by default."""

    scopes: ScopeNames | None = None
    allow_from: NetworkTexts | None = None
    dpop_jkt: (
        Annotated[
            str,
            msgspec.Meta(
                description="The thumbprint (RFC 7638) of the key pair that must sign each request (DPoP)."
            ),
        ]
        | None
    ) = None
    allow_methods: MethodNames | None = None
    allow_paths: PathPrefixes | None = None

    def restrictions(self) -> Restrictions:
        """Return what was chosen; raise `InvalidInput`."""
        return read_restrictions({wire: getattr(self, name) for name, wire in _RESTRICTION_FIELDS})


_RESTRICTION_FIELDS = tuple(
    (field.name, field.encode_name) for field in msgspec.structs.fields(RestrictionFields)
)


def media_type(content_type: str | None) -> str | None:
    """Return the media type without its parameters, lower case; None if there is none."""
    return None if content_type is None else content_type.partition(";")[0].strip().lower()


def read_json(body: bytes, content_type: str | None, shape: type[T]) -> T | None:
    """Return the body as `shape`, None if it is empty; raise `MalformedRequest` or `InvalidInput`."""
    if not body:
        return None
    if media_type(content_type) != JSON:
        raise MalformedRequest(f"Send the body as {JSON}.")
    try:
        read = msgspec.json.decode(body, type=shape, strict=True)
        _check_names(body)
    except msgspec.ValidationError as error:
        with suppress(ValueError, RecursionError):  # It may not be JSON to its end.
            _check_names(body)
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The driver's text quotes the body, which may hold a secret.
        raise MalformedRequest(_NOT_JSON) from None
    return read


def _check_names(body: bytes) -> None:
    """Raise `MalformedRequest` if an object of this JSON names a member twice, or if it is too deep (T8).

    msgspec takes the last of two. To be called once it has taken the body. A second member needs a second
    colon, so that the short bodies that are sent most are not read again.
    """
    if body.count(b":") <= 1:
        return
    # Numbers stay text: msgspec has judged them, and Python refuses to convert long ones.
    level = [json.loads(body.decode("utf-8"), object_pairs_hook=_members, parse_int=str, parse_float=str)]
    for _ in range(MAX_JSON_DEPTH):
        level = [member for value in level if isinstance(value, list) for member in value]
    if any(isinstance(value, list) for value in level):
        raise MalformedRequest(_NOT_JSON)


def _members(members: list[tuple[str, object]]) -> list[object]:
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            shown = name if is_shown_name(name) else "a name"
            raise MalformedRequest(f"The body has {shown} twice: give each name once.")
        seen.add(name)
    return [value for _, value in members]


def is_shown_name(name: str) -> bool:
    """Return whether messages repeat a foreign name of a field or parameter."""
    return _FIELD_NAME.fullmatch(name) is not None


def get_json(body: bytes, content_type: str | None, shape: type[T], *, such_as: str) -> T:
    """Return the body as `shape`; raise `MalformedRequest`, with what it is to be like, if it is empty."""
    read = read_json(body, content_type, shape)
    if read is None:
        raise MalformedRequest(f"Send a JSON body: {such_as}.")
    return read


def lifetime_of(expires_at: datetime | msgspec.UnsetType | None) -> Lifetime | None:
    """Return how long a key is to live; None where nothing was chosen."""
    return None if expires_at is msgspec.UNSET else Lifetime(expires_at)


def read_form(body: bytes, *, max_fields: int = MAX_FORM_FIELDS) -> dict[str, str]:
    """Return the fields of an URL-encoded form; raise `MalformedRequest`, also for a name given twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=max_fields
        )
    except ValueError:
        raise MalformedRequest("The body is not an URL-encoded form.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedRequest("The form names a field twice.")
    return fields


def _invalid(sentence: str) -> InvalidInput:
    """Turn msgspec's sentence, which quotes names and types but never values, into one for people."""
    if unknown := _UNKNOWN.search(sentence):
        field = unknown[1] if is_shown_name(unknown[1]) else "body"
        return InvalidInput(field, f"There is a field that is not known here: {field}.", code="unknown")
    if missing := _MISSING.search(sentence):
        return InvalidInput(missing[1], f"The field {missing[1]} is missing.", code="missing")
    at = _AT.search(sentence)
    field = at[1] if at is not None and at[1] else "body"
    subject = "The body" if field == "body" else f"The field {field}"
    if wrong_type := _TYPE.search(sentence):
        wanted = " or ".join(_JSON_TYPES.get(name, name) for name in wrong_type[1].split(" | "))
        return InvalidInput(field, f"{subject} must be {wanted}.", code="type")
    if "datetime" in sentence:
        return InvalidInput(field, f"{subject} must be {_TIME}.", code="value")
    what = sentence.partition(" - at ")[0].removeprefix("Expected `str` of ").removeprefix("Expected ")
    return InvalidInput(field, f"{subject} must be of {what}.", code="value")
