"""The form for a new key, the page that shows it once, and how a key is listed."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import quote

from litestar import Response

from keyturn.composition import Services
from keyturn.core.apis import ApiRecord
from keyturn.core.encoding import base64url_encode
from keyturn.core.lifetimes import Lifetime
from keyturn.core.oauth import API_KEY_TYPE, TOKEN_EXCHANGE, TOKEN_PATH
from keyturn.core.pages import Page
from keyturn.core.paths import RequestTarget
from keyturn.core.principal import Principal
from keyturn.core.records import ApiKeyRecord, KeyState
from keyturn.core.restriction_kinds import KINDS
from keyturn.core.restrictions import find_faults, read_restrictions, typed_restrictions
from keyturn.core.searches import SOON
from keyturn.errors import ForeignForm, InvalidInput
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.web.forward_auth import AUDIENCE_PARAMETER, PATH
from keyturn.web.pages.frame import moments
from keyturn.web.pages.frame.days import beginning_of, read_day
from keyturn.web.pages.frame.views import SubmittedForm, View

DAY_CHOICES = {7: "In 7 days", 30: "In 30 days", 90: "In 90 days", 365: "In 1 year"}
PRESELECTED_DAYS = 90
FORM_ID_BYTES = 16

OFFERED_SERVICES = 50
"""Of how many services the scopes are offered in the form; those of others are named over the API."""
HIDDEN_PROJECT = "one that you are not in"

_WHO = "/bim/rpc/user/current"

SCOPE = "scope."
"""The prefix of the name of a scope's box."""

RESTRICTION_NAMES = tuple(kind.wire for kind in KINDS if kind.wire != "scopes")
"""Of the fields of the form in which restrictions are typed: scopes have boxes of their own."""

_CHOOSE_A_DATE = "Choose the date on which the key ends."
_FORM_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


def key_form(view: View, offered: Page[ApiRecord]) -> dict[str, Any]:
    """Return what the form for a new key shows. `offered` are the scopes that it may be narrowed to."""
    services, now = view.services, view.services.system.now()
    return {
        "offered_services": offered,
        "restriction_names": RESTRICTION_NAMES,
        "expiry_choices": _choices(now, view.zone, allows_never=services.keys.life.allows_never),
        "tomorrow": (now.astimezone(view.zone).date() + timedelta(days=1)).isoformat(),
        "days_are_in": moments.zone_words(view.zone),
        "form_id": new_form_id(services),
    }


def new_form_id(services: Services) -> str:
    """Return what tells a form from one that is sent a second time."""
    return base64url_encode(services.system.random_bytes(FORM_ID_BYTES)).decode("ascii")


def _choices(now: datetime, zone: tzinfo, *, allows_never: bool) -> list[tuple[str, str, str, bool]]:
    """Return the choices of an expiry: value, words, what it comes to, and whether it is preselected."""
    days = [
        (str(count), words, moments.weekday(now + timedelta(days=count), zone), count == PRESELECTED_DAYS)
        for count, words in DAY_CHOICES.items()
    ]
    rest = [
        ("date", "On a date", "You choose the day", False),
        ("never", "Never", "Until someone revokes it", False),
    ]
    return days + (rest if allows_never else rest[:1])


def values_like(record: ApiKeyRecord) -> dict[str, str]:
    """Return what the form says that would make another key such as this one."""
    wire = record.restrictions.to_wire()
    values = {name: _one_a_line(wire[name]) for name in RESTRICTION_NAMES}
    values |= {"name": record.name or "", "note": record.note or "", "project": str(record.project_id or "")}
    scopes = wire["scopes"]
    if scopes is not None:
        values |= {"covers": "chosen", **{f"{SCOPE}{name}": "on" for name in scopes}}
    return values


def _one_a_line(restriction: Any) -> str:
    return "\n".join(restriction) if isinstance(restriction, list | tuple) else restriction or ""


def idempotency_key_of(form: Mapping[str, str]) -> str:
    """Return what tells a second submission of this form; raise `ForeignForm` if the form is not ours."""
    form_id = form.get("form_id", "")
    if _FORM_ID.fullmatch(form_id) is None:
        raise ForeignForm("This form did not come from this page: reload it and try again.")
    return f"page {form_id}"


def scopes_of(form: Mapping[str, str]) -> list[str] | None:
    """Return the scopes that are chosen, None for a key as wide as its owner."""
    if form.get("covers", "all") == "all":
        return None
    return [name.removeprefix(SCOPE) for name in form if name.startswith(SCOPE)]


def new_key_of(sent: SubmittedForm, *, project_id: int | None = None) -> NewKey:
    """Return the key that the form asks for; raise `InvalidInput` that names the input at fault."""
    form = sent.form
    return NewKey(
        form.get("name"),
        lifetime_of(sent, form),
        idempotency_key=idempotency_key_of(form),
        note=form.get("note"),
        restrictions=read_restrictions(_typed(form)),
        project_id=project_id,
    )


def _typed(form: Mapping[str, str]) -> dict[str, Any]:
    return {**typed_restrictions(form), "scopes": scopes_of(form)}


def lifetime_of(view: View, form: Mapping[str, str]) -> Lifetime:
    """Read the choice of the form; a key that ends on a date works through that day, in the reader's zone.

    Raise `InvalidInput` that names the input for a choice that the rule for keys does not allow.
    """
    now, choice = view.services.system.now(), form.get("expiry", "")
    lifetime = _chosen_lifetime(form, choice, now, view.zone)
    try:
        view.services.keys.life.end_of(lifetime, now)
    except InvalidInput as refused:
        field = "expiry_date" if choice == "date" else "expiry"
        raise InvalidInput(field, str(refused)) from None
    return lifetime


def _chosen_lifetime(form: Mapping[str, str], choice: str, now: datetime, zone: tzinfo) -> Lifetime:
    if choice == "never":
        return Lifetime(None)
    if choice == "date":
        day = read_day("expiry_date", form.get("expiry_date", ""), _CHOOSE_A_DATE)
        if day == date.max:
            raise InvalidInput("expiry_date", _CHOOSE_A_DATE)
        return Lifetime(beginning_of(day + timedelta(days=1), zone))
    if choice not in {str(days) for days in DAY_CHOICES}:
        raise InvalidInput("expiry", "Choose when the key ends.")
    return Lifetime(now + timedelta(days=int(choice)))


def problems_of(view: View) -> dict[str, str]:
    """Return what is wrong with what was typed for expiry and restrictions: all of it at once."""
    if not view.values:
        return {}
    found: dict[str, str] = {}
    try:
        lifetime_of(view, view.values)
    except InvalidInput as error:
        found[error.field] = str(error)
    return found | find_faults(_typed(view.values))


def show_created(view: View, created: CreatedKey, *, back: str, is_rotated: bool = False) -> Response[str]:
    """Show a new key or secret, this once: the answer itself holds it, so nothing keeps it in between."""
    services, record = view.services, created.record
    scopes = record.restrictions.scopes or frozenset()
    covered = services.apis.list_covering(scopes).items if scopes else ()
    targets: list[ApiRecord | None] = [*covered] if covered else [None]
    directly, public_url = _works_directly(record, targets), services.settings.public_url
    return view.render(
        "keys/created.html",
        secret=created.secret,
        key=shown_key(record, services.system.now()),
        uses=[how_to_use(public_url, record, target, directly=directly) for target in targets],
        back=back,
        is_rotated=is_rotated,
    )


def _works_directly(record: ApiKeyRecord, targets: Sequence[ApiRecord | None]) -> bool:
    """Return whether the key may ask what the page shows first: who it is. `/verify` is told no request."""
    requests = record.restrictions.requests
    if requests is None:
        return True
    return targets == [None] and requests.allows(RequestTarget("GET", (_WHO,)))


def project_names(services: Services, viewer: Principal, keys: Iterable[ApiKeyRecord]) -> Mapping[int, str]:
    """Return the names of the projects of these keys, as far as the viewer may see them: for `project_of`."""
    return services.projects.names(viewer, {key.project_id for key in keys if key.project_id is not None})


def project_of(record: ApiKeyRecord, names: Mapping[int, str]) -> str | None:
    """Return what a list says of the project that a key is linked to; None for a key of none."""
    return None if record.project_id is None else names.get(record.project_id, HIDDEN_PROJECT)


def shown_key(  # noqa: PLR0913 - each is said of the key
    record: ApiKeyRecord,
    now: datetime,
    *,
    path: str = "",
    revoke: str | None = None,
    project: str | None = None,
    uses: int = 0,
    spark: str = "",
    owner_is_disabled: bool = False,
    may_rotate: bool = True,
) -> dict[str, Any]:
    """Return what a page shows of a key: `path` is its page, with those that rotate and revoke it below.

    `revoke` is where it is revoked otherwise.
    """
    use, former_ends_at = record.last_use, record.former_secret_ends_at
    is_rotating = former_ends_at is not None and former_ends_at > now
    return {
        "id": record.key_id,
        "name": record.name,
        "note": record.note,
        "masked": record.masked,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "state": _shown_state(record, now, owner_is_disabled=owner_is_disabled, is_rotating=is_rotating),
        "is_over": record.state(now) is not KeyState.ACTIVE,
        "last_used_at": use.at if use else None,
        "last_used_address": use.address if use else None,
        "last_used_via": use.via if use else None,
        "last_used_agent": use.agent if use else None,
        "uses": uses,
        "spark": spark,
        "former_secret_ends_at": former_ends_at if is_rotating else None,
        "path": path,
        "edit": f"{path}/edit" if may_rotate else "",
        "revoke": f"{path}/revoke" if revoke is None else revoke,
        "rotate": f"{path}/rotate" if may_rotate else "",
        "project": project,
        "restrictions": record.restrictions.describe(),
        "is_bound": record.restrictions.jkt is not None,
    }


def _shown_state(record: ApiKeyRecord, now: datetime, *, owner_is_disabled: bool, is_rotating: bool) -> str:
    """Return the one state that a person must know of first: the names are those of `frame/macros.html`."""
    state = record.state(now)
    if state is not KeyState.ACTIVE:
        return state.value
    if owner_is_disabled:
        return "suspended"
    if record.expires_at is not None and record.expires_at <= now + SOON:
        return "soon"
    return "rotating" if is_rotating else state.value


@dataclass(frozen=True, slots=True)
class Program:
    """One way to call an API with a key, in one language."""

    id: str
    label: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HowToUse:
    """Programs that use a new key, for Keyturn itself or for one API."""

    service: str | None
    """The name of the API; None for Keyturn itself."""
    programs: tuple[Program, ...]
    exchange: str | None = field(repr=False, default=None)
    """The command that exchanges the key for a token."""


def how_to_use(
    public_url: str, record: ApiKeyRecord, target: ApiRecord | None, *, directly: bool
) -> HowToUse:
    """Return programs that work as they are printed: a token for one API is good nowhere else.

    `directly` is whether the key may ask what they ask first: who it is.
    """
    service = None if target is None else target.name
    called, curl = f"{public_url}{_WHO}", "curl"
    if target is not None:
        called = f"{public_url}{PATH}?{AUDIENCE_PARAMETER}={quote(target.identifier, safe='')}"
        curl = "curl -i"  # The answer is in the headers alone.
    if record.restrictions.jkt is not None:
        return HowToUse(service, (Program("httpx", "Python: httpx", _signing(public_url, called, target)),))
    exchange = _exchange(public_url, target)
    if not directly:
        return HowToUse(service, (Program("curl", "curl", exchange),))
    header = '"Authorization": os.environ["API_KEY"]'
    return HowToUse(
        service,
        (
            Program("curl", "curl", f'{curl} {shlex.quote(called)} \\\n  -H "Authorization: $API_KEY"'),
            Program(
                "httpx",
                "Python: httpx",
                f'import os\n\nimport httpx\n\nanswer = httpx.get("{called}", headers={{{header}}})\n'
                "answer.raise_for_status()\nprint(answer.headers if not answer.text else answer.text)",
            ),
            Program(
                "requests",
                "Python: requests",
                "import os\n\nimport requests\n\n"
                f'answer = requests.get("{called}", headers={{{header}}}, timeout=10)\n'
                "answer.raise_for_status()\nprint(answer.headers if not answer.text else answer.text)",
            ),
            Program(
                "command-line",
                "Command line",
                f"KEYTURN_URL={public_url} KEYTURN_KEY=$API_KEY \\\n  keyturn api GET "
                f"{shlex.quote(called.removeprefix(public_url))}",
            ),
        ),
        exchange,
    )


def _exchange(public_url: str, target: ApiRecord | None) -> str:
    if target is None:
        return f'curl {public_url}/bim/apikey/authenticate \\\n  --json "{{\\"apikey\\": \\"$API_KEY\\"}}"'
    return (
        f"curl {public_url}{TOKEN_PATH} \\\n  -d grant_type={TOKEN_EXCHANGE} \\\n"
        f"  -d subject_token_type={API_KEY_TYPE} \\\n  -d subject_token=$API_KEY \\\n"
        f"  --data-urlencode {shlex.quote(f'resource={target.identifier}')}"
    )


def _signing(public_url: str, called: str, target: ApiRecord | None) -> str:
    narrowed = "" if target is None else f', "{public_url}", resource="{target.identifier}"'
    called = called if target is None else target.identifier
    return f"""import os
from pathlib import Path

import httpx
from keyturn.client import DpopKeyPair, KeyturnAuth

key_pair = DpopKeyPair.from_pem(Path("key.pem").read_bytes())
auth = KeyturnAuth(os.environ["API_KEY"]{narrowed}, dpop=key_pair)
answer = httpx.get("{called}", auth=auth)
print(answer.text)"""
