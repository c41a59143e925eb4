"""All keys: finding those that should be gone, also by a key that leaked, and revoking them.

The search is sent as a form, never in an address: what is pasted may be a whole key. It is hashed at once,
and leads to the key's page; only a text that cannot be a credential becomes part of an address.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect
from markupsafe import Markup

from keyturn.core.people import UserKind
from keyturn.core.records import KeyState, OwnedKey
from keyturn.core.searches import KeyFilter, KeySearch
from keyturn.errors import NotFound
from keyturn.web.pages.frame.account_lists import PEOPLE, SERVICE_ACCOUNTS, named_ids
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.secret_texts import looks_secret
from keyturn.web.pages.frame.tabs import KEYS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, SubmittedForm, View
from keyturn.web.pages.keys.forms import project_names, project_of, shown_key
from keyturn.web.pages.keys.key_page import show_key
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE, ListQuery, list_query, read_list
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, in_thread, read_id

KEY_IDS = "keys"
"""The field of the form that revokes: the numbers of the keys, with commas between."""
MOST_AT_ONCE = 500
"""How many keys are revoked at once."""
COLUMNS = ("name", "owner", "state", "used", "expires")
PARTS = (KeyFilter.ACTIVE, KeyFilter.SOON, KeyFilter.SUSPENDED, KeyFilter.ENDED)
USED = {"30": "Unused for 30 days", "90": "Unused for 90 days", "never": "Never used"}
EXPIRY = {"7": "Expires in 7 days", "never": "Never expires"}
CHOICES = {"used": USED, "expiry": EXPIRY}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_NOTICES = {
    "unknown": "No key matches. It may belong to another installation.",
    "none": "Select at least one key.",
}


@page("/", KEYS)
@in_thread
def keys_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the keys that are looked for."""
    asked = list_query(request, KEYS.path, COLUMNS, CHOICES)
    if not asked.text and (owner := str(request.query_params.get("owner", "")).strip()):
        asked = read_list({"q": owner}, KEYS.path, COLUMNS, CHOICES)  # The link from an account.
    if looks_secret(asked.text, view.services.settings.key_prefix):
        asked, notice = read_list({}, KEYS.path, COLUMNS, CHOICES), "unknown"
    service, wanted = view.services.all_keys, _search(asked, view.services.system.now())
    at, found = read_page(
        lambda offset, size: service.search(view.principal, wanted, offset=offset, size=size),
        page,
        KEYS.path,
        size=KEYS_PER_PAGE,
        **asked.query,
    )
    return view.render(
        "keys/administration.html",
        keys=_shown(view, found),
        at=at,
        total=service.count_parts(view.principal, KeySearch()).total,
        sorting=asked.sorting(*COLUMNS),
        segments=asked.segments(service.count_parts(view.principal, wanted), *PARTS),
        select_all=f"{KEYS.path}/revoke?{urlencode({**asked.query, 'all': 'yes'})}",
        here=f"{KEYS.path}?{urlencode(asked.query)}",
        used=USED,
        expiry=EXPIRY,
        values=asked.values,
        notice=_NOTICES.get(notice or "") or _revoked(view, request, notice),
    )


def _revoked(view: View, request: AnyRequest, notice: str | None) -> str | Markup | None:
    """Say which key was revoked, or how many."""
    if notice != "revoked":
        return None
    count = asked_id(str(request.query_params.get("count", "")))
    if count > 1:
        return f"Revoked {count:,} keys. They and every token made from them are refused from now on."
    owned = _find(view, asked_id(str(request.query_params.get("key", ""))))
    name = "the key" if owned is None else Markup("<b>{}</b>").format(owned.key.name or owned.key.masked)
    return Markup("Revoked {}. The key and every token made from it are refused from now on.").format(name)


@form("/find", KEYS, asks=NEVER_ASKS)
def find(sent: InjectedForm) -> Redirect:
    """Lead to the key whose secret was pasted, or to the list of those that the text is part of."""
    text = sent.form.get("q", "").strip()
    prefix = sent.services.settings.key_prefix
    for secret in _secrets_in(text, prefix):
        number = sent.services.all_keys.find_presented(sent.principal, secret)
        if number is not None:
            return see_other(f"{KEYS.path}/{number}")
    if looks_secret(text, prefix):
        return see_other(f"{KEYS.path}?notice=unknown")
    asked = read_list(sent.form, KEYS.path, COLUMNS, CHOICES)
    return see_other(f"{KEYS.path}?{urlencode(asked.query)}" if asked.query else KEYS.path)


def _secrets_in(text: str, prefix: str) -> list[str]:
    """Return what could be a key in a text that was pasted, such as a header or a line of a file."""
    words = re.findall(r"[A-Za-z0-9_-]+", text)[:20]
    native = re.findall(rf"{re.escape(prefix)}_[0-9A-Za-z_]+", text)[:20]
    return list(dict.fromkeys([text, *native, *words]))


@page("/{key_id:str}", KEYS)
def key_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show anybody's key: whether it is used, by whom, and what ends with it."""
    owned = view.services.all_keys.get(view.principal, read_id(key_id))
    (key,) = _shown(view, [owned])
    return show_key(view, owned.key, key, whose=owned.userid, back=KEYS.path, back_label=KEYS.label)


@page("/revoke", KEYS)
@in_thread
def revoke_page(
    request: AnyRequest, view: InjectedView, key: FromQuery[list[str] | None] = None
) -> Response[str] | Redirect:
    """Ask before revoking, listing the keys that were selected and are alive."""
    is_all = bool(request.query_params.get("all"))
    if not key and not is_all:
        return see_other(f"{KEYS.path}?notice=none")
    living = _all_living(view, request) if is_all else _named_living(view, key or [])
    return ask_to_revoke(view, living, (KEYS.path, KEYS.label))


def ask_to_revoke(
    view: View, living: Sequence[OwnedKey], *crumbs: tuple[str, str], action: str = f"{KEYS.path}/revoke"
) -> Response[str]:
    """Ask before these keys end; raise `NotFound` if there are none.

    `action` is the form that gets their numbers; the last of `crumbs`, each an address and its words, is
    where the answer no leads.
    """
    if not living:
        raise NotFound
    return view.render(
        "keys/revoke_many.html",
        action=action,
        crumbs=crumbs,
        keys=_shown(view, living[:KEYS_PER_PAGE]),
        count=len(living),
        most=MOST_AT_ONCE,
        field=KEY_IDS,
        numbers=",".join(str(owned.key.key_id) for owned in living),
    )


def _named_living(view: View, numbers: list[str]) -> list[OwnedKey]:
    found = [_find(view, number) for number in named_ids(numbers)[:MOST_AT_ONCE]]
    return [owned for owned in found if owned is not None and owned.key.revoked_at is None]


def _all_living(view: View, request: AnyRequest) -> list[OwnedKey]:
    """Return the keys that the list would show on all its pages, without those that are revoked."""
    now = view.services.system.now()
    asked = list_query(request, KEYS.path, COLUMNS, CHOICES)
    wanted, service = _search(asked, now), view.services.all_keys
    found: list[OwnedKey] = []
    offset = 0
    while len(found) < MOST_AT_ONCE:
        items = service.search(view.principal, wanted, offset=offset, size=MOST_AT_ONCE).items
        found += [owned for owned in items if owned.key.state(now) is not KeyState.REVOKED]
        offset += len(items)
        if len(items) < MOST_AT_ONCE:
            break
    return found[:MOST_AT_ONCE]


@form("/revoke", KEYS, asks=NEVER_ASKS)
@in_thread
def revoke(sent: InjectedForm) -> Redirect:
    """End the keys that the form names."""
    numbers = keys_in(sent)
    count = sent.services.all_keys.revoke(sent.principal, numbers, sent.origin)
    told = {"key": numbers[0]} if len(numbers) == 1 else {"count": count}
    return see_other(f"{KEYS.path}?{urlencode({'notice': 'revoked', **told})}")


def keys_in(sent: SubmittedForm) -> list[int]:
    """Return the numbers of the keys that a form which asked to revoke names."""
    return named_ids(sent.form.get(KEY_IDS, "").split(","))[:MOST_AT_ONCE]


def _find(view: View, number: int) -> OwnedKey | None:
    try:
        return view.services.all_keys.get(view.principal, number)
    except NotFound:
        return None


def _search(asked: ListQuery, now: datetime) -> KeySearch:
    used, expiry = asked.further["used"], asked.further["expiry"]
    unused_since = None
    if used:
        unused_since = LONG_AGO if used == "never" else now - timedelta(days=int(used))
    return asked.search(
        text=None,
        about=asked.text or None,
        unused_since=unused_since,
        never_ends=True if expiry == "never" else None,
        ends_within=timedelta(days=int(expiry)) if expiry.isdigit() else None,
    )


def _shown(view: View, found: Sequence[OwnedKey]) -> list[dict[str, Any]]:
    now = view.services.system.now()
    names = project_names(view.services, view.principal, [owned.key for owned in found])
    return [
        {
            **shown_key(
                owned.key,
                now,
                path=f"{KEYS.path}/{owned.key.key_id}",
                revoke=f"{KEYS.path}/revoke?key={owned.key.key_id}",
                project=project_of(owned.key, names),
                owner_is_disabled=owned.owner_is_disabled,
                may_rotate=False,
            ),
            "userid": owned.userid,
            "owner_name": owned.owner_name or owned.userid,
            "owner_note": _owner_note(owned),
            "owner_path": _path_of(owned),
        }
        for owned in found
    ]


def _owner_note(owned: OwnedKey) -> str | None:
    """Return the second line about an owner."""
    if owned.kind is UserKind.SERVICE:
        return "service account"
    return owned.userid if owned.owner_name not in {None, owned.userid} else None


def _path_of(owned: OwnedKey) -> str | None:
    """Return where the owner is managed; None for Keyturn itself."""
    account_list = {UserKind.PERSON: PEOPLE, UserKind.SERVICE: SERVICE_ACCOUNTS}.get(owned.kind)
    return None if account_list is None else f"{account_list.path}/{owned.key.user_id}"
