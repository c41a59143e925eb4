"""The form of a connection, drawn from the fields of its technology, and the values that it says.

An input has the name of its field, with that of its object before it: `privateKey.filename`. Secrets have
`secret.` before that: nothing that was typed there is ever shown again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keyturn.adapters.technologies import BY_NAME, AuthenticationType, Field, FieldType, Technology, Tier
from keyturn.adapters.validation import AUTHENTICATION_TYPE, TECHNOLOGY
from keyturn.core.connections import ConnectionRecord, ConnectionState
from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.forms import SECRET
from keyturn.web.pages.frame.views import SubmittedForm

LONG = 8_000
"""From so many characters on a secret is a file, which has lines."""
CHOICES: Mapping[str, str] = {
    "verify-full": "TLS, certificate checked",
    "require": "TLS, not checked",
    "disable": "None",
}
"""The choices of all fields, in words."""
TIERS: Mapping[Tier, tuple[str, str]] = {
    Tier.RUN: ("Tested, crawled and rotated", "Keyturn is run against these servers before each release."),
    Tier.EXPECTED: (
        "Tested and crawled",
        "Expected to work, not run against the vendor’s server.",
    ),
    Tier.KEPT: ("Kept", "Keyturn keeps these connections and does not test or crawl them."),
}
"""How much Keyturn does with the technologies of a tier: its title, and a sentence."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the form."""

    name: str
    field: Field
    value: str
    """As it is now, or as it is filled in first; "" for a secret."""

    @property
    def kind(self) -> str:
        """How it is drawn: `text`, `area`, `select` or `flag`, and for secrets `secret` or `secret area`."""
        if self.field.is_secret:
            return "secret area" if self.field.max_length > LONG else "secret"
        match self.field.type:
            case FieldType.CERTIFICATES:
                return "area"
            case FieldType.CHOICE:
                return "select"
            case FieldType.FLAG:
                return "flag"
        return "text"

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The values to choose from, with their words."""
        return [(one, CHOICES.get(one, one)) for one in self.field.choices]


@dataclass(frozen=True, slots=True)
class Group:
    """Inputs that belong together."""

    legend: str
    inputs: tuple[Input, ...]


def way_to_sign_in(technology: Technology, name: object) -> AuthenticationType:
    """Return the way to sign in with this name, the first for any other."""
    ways = technology.authentication_types
    return next((one for one in ways if one.name == name), ways[0])


def technology_of(record: ConnectionRecord) -> Technology | None:
    """Return the technology of a connection, None for one that was registered by hand with another."""
    return BY_NAME.get(record.technology)


def is_crawled(record: ConnectionRecord) -> bool:
    """Return whether a connection is tested and crawled, as it is now."""
    technology = technology_of(record)
    is_on = record.state is not ConnectionState.INACTIVE
    return is_on and technology is not None and technology.tier is not Tier.KEPT


def groups(technology: Technology, way: AuthenticationType, now: Mapping[str, Any] | None) -> list[Group]:
    """Return the inputs of a form. `now` are the values of the connection, None for a new one."""
    alone = [one for one in way.fields if one.type is not FieldType.OBJECT]
    nested = [one for one in way.fields if one.type is FieldType.OBJECT]
    found = [
        Group("Server", _inputs(technology.fields, "", now)),
        Group("Account", _inputs(alone, "", now)),
        *(Group(one.label, _inputs(one.fields, f"{one.name}.", _member(now, one.name))) for one in nested),
    ]
    return [one for one in found if one.inputs]


def names_in(shown: list[Group]) -> list[str]:
    """Return the names of the inputs."""
    return [one.name for group in shown for one in group.inputs]


def values_in(sent: SubmittedForm, technology: Technology, way: AuthenticationType) -> dict[str, Any]:
    """Return the values that the form says, as the registry takes them.

    Left out are secrets that are empty, and what stands there as the page had shown it: changes that somebody
    else made meanwhile stay.
    """
    values: dict[str, Any] = {TECHNOLOGY: technology.name, AUTHENTICATION_TYPE: way.name}
    for field in (*technology.fields, *way.fields):
        if field.type is FieldType.OBJECT:
            values[field.name] = {
                one.name: value
                for one in field.fields
                if (value := _said(sent, one, f"{field.name}.{one.name}")) is not None
            }
        elif (value := _said(sent, field, field.name)) is not None:
            values[field.name] = value
    return values


def inputs_of_fields(technology: Technology, way: AuthenticationType) -> dict[str, str]:
    """Return the inputs of secrets by what the registry calls them: an object by its first secret."""
    found: dict[str, str] = {}
    for field in (*technology.fields, *way.fields):
        secrets = [(one, f"{field.name}.{one.name}") for one in field.fields if one.is_secret]
        if field.is_secret:
            found[field.name] = SECRET + field.name
        elif secrets:
            found[field.name] = SECRET + secrets[0][1]
            found |= {name: SECRET + name for _, name in secrets}
    return found


def check_hours(text: str) -> int | None:
    """Return the hours between two crawls, None for no schedule; raise `InvalidInput` for no number."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len("8784"):
        raise InvalidInput("crawlEveryHours", "Enter a number of hours, or leave the field empty.")
    return int(text)


def _inputs(fields: Any, prefix: str, now: Mapping[str, Any] | None) -> tuple[Input, ...]:
    return tuple(_input(field, prefix + field.name, now) for field in fields)


def _input(field: Field, path: str, now: Mapping[str, Any] | None) -> Input:
    if field.is_secret:
        return Input(SECRET + path, field, "")
    value = field.default if now is None else now.get(field.name)
    if isinstance(value, bool):
        return Input(path, field, "on" if value else "")
    return Input(path, field, "" if value is None else str(value))


def _member(now: Mapping[str, Any] | None, name: str) -> Mapping[str, Any] | None:
    if now is None:
        return None
    found = now.get(name)
    return found if isinstance(found, Mapping) else {}


def _said(sent: SubmittedForm, field: Field, path: str) -> str | bool | None:
    """Return what the form says of a field; None if it says no more than what the page had shown."""
    if field.type is FieldType.FLAG:
        return path in sent.form
    if not field.is_secret:
        typed = sent.changed(path).get(path)
        return None if typed is None else typed.replace("\r\n", "\n")
    text = sent.form.get(SECRET + path, "")
    return text.replace("\r\n", "\n") or None


def facts(record: ConnectionRecord) -> Iterator[tuple[str, str]]:
    """Yield what is said of a connection, each with its label; nothing secret."""
    technology = technology_of(record)
    labels: dict[str, str] = {}
    if technology is not None:
        way = way_to_sign_in(technology, record.details.get(AUTHENTICATION_TYPE))
        labels = {one.name: one.label for one in (*technology.fields, *way.fields)}
    for name in sorted(record.details, key=[*labels, *record.details].index):
        value = record.details[name]
        if name in {TECHNOLOGY, AUTHENTICATION_TYPE, "tlsCertificate"} or isinstance(value, Mapping):
            continue
        yield labels.get(name, name), CHOICES.get(str(value), str(value))


def place_of(record: ConnectionRecord) -> str:
    """Return where a connection leads, in a few characters: `db.example.com:5432/sales`."""
    details = record.details
    host = details.get("hostname") or details.get("region") or details.get("projectId") or ""
    port = f":{details['port']}" if details.get("port") and details.get("hostname") else ""
    database = f"/{details['database']}" if details.get("database") else ""
    return f"{host}{port}{database}"
