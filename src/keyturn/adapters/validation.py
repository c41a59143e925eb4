"""Values of the fields of a technology, checked before anything is stored or reached (rules O1 and O2).

No field of a database that is reached takes a URL, a connection string or options of a driver.
"""

import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from keyturn.adapters.hosts import read_host
from keyturn.adapters.technologies import BY_NAME, Field, FieldType, Technology, Tier
from keyturn.core.networks import MAX_PORT
from keyturn.core.shown import find_deceptive, shown
from keyturn.errors import InvalidInput

Scalar = str | int | bool
Value = Scalar | dict[str, Scalar]
"""The value of a field; a dictionary for an object, whose members are no objects."""

RESERVED_KEYS = frozenset(
    {"data", "connection", "object", "crawl", "search", "settings", "metadata", "permission", "sync", "bulk",
     "upgrade", "new"}
)  # fmt: skip
"""Words of paths below `/data` and `/api/connections`, which the vendor reserves; and `new`, one below
`/connections`."""
MAX_KEY_LENGTH = 128

AUTHENTICATION_TYPE = "authenticationType"
TECHNOLOGY = "technology"

_KEY = re.compile(r"[A-Za-z0-9_-]+")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_CONNECTION_STRING = re.compile(r"[=;?]|://|^/")
"""A part of `host=a`, `a;b`, `a?b`, `scheme://a`, or the path of a socket or file."""
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_MAY_BE_LONG_TEXT = frozenset({"content", "keyFile"})
"""Files, which have line ends."""


def read_connection_key(text: str) -> str:
    """Return the key of a new connection; raise `InvalidInput` at `connectionKey`."""
    if not text or len(text) > MAX_KEY_LENGTH or _KEY.fullmatch(text) is None:
        raise InvalidInput(
            "connectionKey",
            f"Enter 1 to {MAX_KEY_LENGTH} letters, digits, hyphens or underscores, without spaces.",
        )
    if text.lower() in RESERVED_KEYS:
        raise InvalidInput("connectionKey", f"{text} is a reserved word. Choose another name.")
    return text


def get_technology(name: object) -> Technology:
    """Return a technology by its name; raise `InvalidInput` at `technology` if there is none."""
    if not isinstance(name, str) or name not in BY_NAME:
        raise InvalidInput(TECHNOLOGY, f"Choose one of {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def check_can_reach(technology: Technology) -> None:
    """Raise `InvalidInput` at `technology` for one whose connections are only kept."""
    if technology.tier is Tier.KEPT:
        raise InvalidInput(
            TECHNOLOGY,
            f"Keyturn keeps connections to {technology.name} and does not test or crawl them.",
            code="not_supported",
        )


def fields_of(technology: Technology, authentication_type: str) -> tuple[Field, ...]:
    """Return the fields of a technology with one of its ways to sign in; raise `InvalidInput` for another."""
    for each in technology.authentication_types:
        if each.name == authentication_type:
            return (*technology.fields, *each.fields)
    known = ", ".join(each.name for each in technology.authentication_types)
    raise InvalidInput(AUTHENTICATION_TYPE, f"Choose one of {known}.")


def validate(given: Mapping[str, Any]) -> dict[str, Value]:
    """Return the values of a connection as its technology writes them, defaults filled in.

    `given` names its `technology`, and its `authenticationType` where there are several. Raise `InvalidInput`
    that names the field, of a member of an object as `privateKey.content`. No message quotes a secret.
    """
    technology = get_technology(given.get(TECHNOLOGY))
    chosen = given.get(AUTHENTICATION_TYPE, technology.authentication_types[0].name)
    fields = fields_of(technology, chosen if isinstance(chosen, str) else "")
    members = {name: value for name, value in given.items() if name not in {TECHNOLOGY, AUTHENTICATION_TYPE}}
    values: dict[str, Value] = {TECHNOLOGY: technology.name, AUTHENTICATION_TYPE: chosen}
    values |= _read_members(fields, members, "")
    _check_suffix(technology, values)
    return values


def split_secrets(values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the values that may be shown, and those that are secret, both nested as they were."""
    return _split(_fields_of_values(values), values)


def secrets_of(values: Mapping[str, Value]) -> Iterator[str]:
    """Yield each secret text of checked values: none of them may stand in a log or a message."""
    return _texts(split_secrets(values)[1].values())


def would_send_elsewhere(before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    """Return whether secrets of `before` would go to another server, or for another account (rule S4)."""
    names = (TECHNOLOGY, AUTHENTICATION_TYPE)
    if any(before.get(name) != after.get(name) for name in names):
        return True
    return _is_elsewhere(_fields_of_values(after), before, after)


def _is_elsewhere(fields: Iterable[Field], before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    for field in fields:
        was, becomes = before.get(field.name), after.get(field.name)
        if field.type is FieldType.OBJECT:
            members = (each if isinstance(each, dict) else {} for each in (was, becomes))
            if _is_elsewhere(field.fields, *members):
                return True
        elif field.clears_secrets and was != becomes:
            return True
    return False


def _fields_of_values(values: Mapping[str, Value]) -> tuple[Field, ...]:
    return fields_of(get_technology(values[TECHNOLOGY]), str(values[AUTHENTICATION_TYPE]))


def _split(fields: Iterable[Field], values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    by_name = {field.name: field for field in fields}
    plain: dict[str, Value] = {}
    secret: dict[str, Value] = {}
    for name, value in values.items():
        field = by_name.get(name)
        if field is not None and isinstance(value, dict):
            shown, hidden = _split(field.fields, value)
            plain[name] = _scalars(shown)
            if hidden:
                secret[name] = _scalars(hidden)
        elif field is not None and field.is_secret:
            secret[name] = value
        else:
            plain[name] = value
    return plain, secret


def _scalars(values: Mapping[str, Value]) -> dict[str, Scalar]:
    return {name: value for name, value in values.items() if not isinstance(value, dict)}


def _texts(values: Iterable[Value]) -> Iterator[str]:
    for value in values:
        if isinstance(value, dict):
            yield from _texts(value.values())
        else:
            yield str(value)


def _read_members(fields: Iterable[Field], given: Mapping[str, Any], path: str) -> dict[str, Value]:
    by_name = {field.name: field for field in fields}
    for name in given:
        if name not in by_name:
            raise InvalidInput(f"{path}{name}", f"Leave this out, or use one of {', '.join(by_name)}.")
    values: dict[str, Value] = {}
    for field in by_name.values():
        value = given.get(field.name)
        if value is None or value == "":
            value = field.default
        if value is not None:
            values[field.name] = _read_value(field, value, f"{path}{field.name}")
        elif field.required:
            raise InvalidInput(f"{path}{field.name}", f"Enter a value: {field.label}.", code="missing")
    return values


def _read_value(field: Field, value: object, path: str) -> Value:
    match field.type:
        case FieldType.PORT:
            return _read_port(value, path)
        case FieldType.FLAG:
            if not isinstance(value, bool):
                raise InvalidInput(path, "Enter true or false.")
            return value
        case FieldType.OBJECT:
            if not isinstance(value, Mapping):
                raise InvalidInput(
                    path, f"Enter an object with {', '.join(each.name for each in field.fields)}."
                )
            return _scalars(_read_members(field.fields, value, f"{path}."))
    text = _read_text(field, value, path)
    match field.type:
        case FieldType.HOST:
            return read_host(text, path)
        case FieldType.CHOICE if text not in field.choices:
            raise InvalidInput(path, f"Choose one of {', '.join(field.choices)}.")
        case FieldType.CERTIFICATES:
            return _read_certificates(text, path)
    return text


def _read_text(field: Field, value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(path, "Enter a text.")
    if len(value) > field.max_length:
        raise InvalidInput(path, f"Enter at most {field.max_length} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(path, "Enter characters of Unicode, without halves of pairs.") from None
    is_file = field.type is FieldType.CERTIFICATES or field.name in _MAY_BE_LONG_TEXT
    if "\0" in value or (not is_file and _CONTROLS.search(value)):
        raise InvalidInput(path, "Enter a text without control characters.")
    unseen = None if field.is_secret else find_deceptive(value)
    if unseen is not None:
        raise InvalidInput(path, f"Leave out a character that nobody sees, {shown(unseen)}.")
    is_free = field.is_secret or field.type is not FieldType.TEXT or field.name in _FREE_TEXTS
    if not is_free and _CONNECTION_STRING.search(value):
        raise InvalidInput(path, "Enter a name alone, without a path, a URL or options.")
    return value


_FREE_TEXTS = frozenset({"authorityUrl", "httpPath", "scope"})
"""Texts of technologies that are only kept: no driver reads them."""


def _read_port(value: object, path: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_PORT)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PORT:
        raise InvalidInput(path, f"Enter a number from 1 to {MAX_PORT}.")
    return value


def _read_certificates(text: str, path: str) -> str:
    """Return the certificates alone, in one spelling; raise `InvalidInput` if OpenSSL reads none."""
    found = "\n".join(_CERTIFICATE.findall(text))
    rest = _CERTIFICATE.sub("", text)
    try:
        if not found or rest.strip():
            raise ValueError
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ValueError, ssl.SSLError):
        raise InvalidInput(path, "Enter certificates in PEM, and nothing else.") from None
    return found + "\n"


def _check_suffix(technology: Technology, values: Mapping[str, Value]) -> None:
    host = values.get("hostname")
    if technology.host_suffixes and not str(host).endswith(technology.host_suffixes):
        raise InvalidInput("hostname", f"Enter a name that ends in {' or '.join(technology.host_suffixes)}.")
