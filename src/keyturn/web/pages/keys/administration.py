"""Everybody's keys: finding those that should be gone, and revoking them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.people import UserKind
from keyturn.core.records import KeyState, OwnedKey
from keyturn.core.searches import KeySearch
from keyturn.errors import InvalidInput, NotFound
from keyturn.services.text import checked_text
from keyturn.web.pages.frame.account_lists import PEOPLE, SERVICE_ACCOUNTS, named_ids
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import paging, read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import KEYS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.pages.keys.forms import project_names, project_of, shown_key
from keyturn.web.pages.keys.key_page import show_key
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, in_thread, read_id

BOX = "key."
"""The prefix of the name of a key's field."""
MAX_DAYS = 36_500
OWNER_MAX_CHARACTERS = 254
FILTERS = ("number", "owner", "status", "older", "unused", "endless")
STATUSES = ("active", "expired", "revoked", "all")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_NOTICES = {
    "revoked": "Revoked. The chosen keys, and every token made from them, are refused from now on.",
    "none": "Choose at least one key.",
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
    asked = _asked(request)
    try:
        wanted = _search(asked, view.services.system.now())
    except InvalidInput as error:
        return view.render(
            "keys/administration.html", error=error, keys=[], at=paging(0, 1, KEYS.path), values=asked
        )
    service = view.services.all_keys
    at, found = read_page(
        lambda offset, size: service.search(view.principal, wanted, offset=offset, size=size),
        page,
        KEYS.path,
        size=KEYS_PER_PAGE,
        **asked,
    )
    return view.render(
        "keys/administration.html",
        keys=_shown(view, found),
        at=at,
        values=asked,
        notice=_NOTICES.get(notice or ""),
    )


@page("/{key_id:str}", KEYS)
def key_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show anybody's key: whether it is used, by whom, and what ends with it."""
    owned = view.services.all_keys.get(view.principal, read_id(key_id))
    (key,) = _shown(view, [owned])
    return show_key(view, owned.key, key, whose=owned.userid, back=KEYS.path, back_label=KEYS.label)


@page("/revoke", KEYS)
@in_thread
def revoke_page(view: InjectedView, key: FromQuery[list[str] | None] = None) -> Response[str] | Redirect:
    """Ask before revoking, listing the keys that were ticked and are alive."""
    if not key:
        return see_other(f"{KEYS.path}?notice=none")
    found = [owned for number in named_ids(key)[:KEYS_PER_PAGE] if (owned := _find(view, number)) is not None]
    living = [owned for owned in found if owned.key.revoked_at is None]
    if not living:
        raise NotFound
    return view.render("keys/revoke_many.html", keys=_shown(view, living), box=BOX)


@form("/revoke", KEYS, asks=NEVER_ASKS)
@in_thread
def revoke(sent: InjectedForm) -> Redirect:
    """End the keys that the form names."""
    sent.services.all_keys.revoke(sent.principal, named_ids(sent.ticked(BOX)), sent.origin)
    return see_other(f"{KEYS.path}?notice=revoked")


def _find(view: View, number: int) -> OwnedKey | None:
    try:
        return view.services.all_keys.get(view.principal, number)
    except NotFound:
        return None


def _asked(request: AnyRequest) -> dict[str, str]:
    asked = {name: str(request.query_params.get(name, "")).strip() for name in FILTERS}
    return {**asked, "status": asked["status"] if asked["status"] in STATUSES else "active"}


def _search(asked: dict[str, str], now: datetime) -> KeySearch:
    """Read the filter; raise `InvalidInput` for what is no number of a key or of days."""
    status = asked["status"]
    unused = asked["unused"]
    key_id = asked_id(asked["number"]) or None
    if asked["number"] and key_id is None:
        raise InvalidInput("number", "Give the number of a key, like 17.")
    return KeySearch(
        key_id=key_id,
        owner=checked_text("owner", asked["owner"], max_characters=OWNER_MAX_CHARACTERS),
        state=None if status == "all" else KeyState(status),
        made_before=_days_ago("older", asked["older"], now),
        unused_since=LONG_AGO if unused == "never" else _days_ago("unused", unused, now),
        never_ends=True if asked["endless"] else None,
    )


def _days_ago(field: str, text: str, now: datetime) -> datetime | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MAX_DAYS and len(text) <= 6):
        raise InvalidInput(field, f"Give a whole number of days from 1 to {MAX_DAYS}.")
    return now - timedelta(days=int(text))


def _shown(view: View, found: list[OwnedKey] | tuple[OwnedKey, ...]) -> list[dict[str, Any]]:
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
            "owner_path": _path_of(owned),
            "owner_is_disabled": owned.owner_is_disabled,
        }
        for owned in found
    ]


def _path_of(owned: OwnedKey) -> str | None:
    """Return where the owner is managed; None for Keyturn itself."""
    account_list = {UserKind.PERSON: PEOPLE, UserKind.SERVICE: SERVICE_ACCOUNTS}.get(owned.kind)
    return None if account_list is None else f"{account_list.path}/{owned.key.user_id}"
