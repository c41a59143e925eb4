"""All keys: finding those that should be gone, also by a key that leaked, and revoking them.

The search is sent as a form, never in an address: what is pasted may be a whole key. It is hashed at once,
and leads to the key's page; only a text that cannot be a credential becomes part of an address.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect
from markupsafe import Markup

from keyturn.core.people import UserKind
from keyturn.core.records import OwnedKey, RevocationReason
from keyturn.core.searches import KeyFilter, KeyOrder, KeySearch, UserSearch
from keyturn.errors import NotFound
from keyturn.web.pages.frame.account_lists import PEOPLE, SERVICE_ACCOUNTS, named_ids
from keyturn.web.pages.frame.confirmation import REVOCATION_WORD, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.lists import ListQuery, address
from keyturn.web.pages.frame.paging import read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.secret_texts import looks_secret
from keyturn.web.pages.frame.tabs import KEYS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, SubmittedForm, View
from keyturn.web.pages.keys.forms import project_names, project_of, shown_key
from keyturn.web.pages.keys.key_page import show_key
from keyturn.web.pages.keys.lists import COLUMNS, KEYS_PER_PAGE, key_list, parts_of, search_of
from keyturn.web.pages.keys.pasted import MISSING, UNKNOWN, find_pasted
from keyturn.web.requests import AnyRequest, IdInPath, asked_id, in_thread, read_id

KEY_IDS = "keys"
"""The field of the form that revokes: the numbers of the keys, with commas between."""
ALL = "all"
"""The field that says, in their place, that all keys are meant that match the others."""
SEEN = "seen"
"""The digest of those keys when they were shown."""
MAX_NAMED = 100
"""How many keys are selected one by one at most."""
PARTS = (KeyFilter.ACTIVE, KeyFilter.SOON, KeyFilter.SUSPENDED, KeyFilter.ENDED)
USED = {"30": "Unused for 30 days", "90": "Unused for 90 days", "never": "Never used"}
EXPIRY = {"7": "Expires in 7 days", "never": "Never expires"}
REASONS = {
    "": "No reason",
    RevocationReason.KEY_COMPROMISE: "They have leaked, or may have",
    RevocationReason.SUPERSEDED: "Other keys replace them",
    RevocationReason.CESSATION_OF_OPERATION: "Nothing uses them any more",
}
RECENTLY = timedelta(days=7)
"""Keys that were used within this time are likely to be missed."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_NOTICES = {
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
    asked = _asked(request.query_params)
    if looks_secret(asked.text, view.services.settings.key_prefix):
        asked, notice = _asked({}), UNKNOWN
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
        missing=MISSING.get(notice or ""),
        keys=_shown(view, found),
        at=at,
        total=service.count_parts(view.principal, KeySearch()).total,
        sorting=asked.sorting,
        segments=parts_of(asked, service.count_parts(view.principal, wanted), *PARTS),
        select_all=address(f"{KEYS.path}/revoke", {**asked.query, "sort": "", ALL: "yes"}),
        here=address(KEYS.path, asked.query),
        owner=_owner(view, wanted.user_id),
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
    if count:
        return "Revoked 1 key. It and every token made from it are refused from now on."
    owned = _find(view, asked_id(str(request.query_params.get("key", ""))))
    if owned is not None and owned.key.revoked_at is None:
        return None  # An address that somebody made up.
    name = "the key" if owned is None else Markup("<b>{}</b>").format(owned.key.name or owned.key.masked)
    return Markup("Revoked {}. The key and every token made from it are refused from now on.").format(name)


@form("/find", KEYS, asks=NEVER_ASKS)
def find(sent: InjectedForm) -> Redirect:
    """Lead to the key whose secret was pasted, or to the list of those that the text is part of."""
    service = sent.services.all_keys
    return find_pasted(
        sent,
        lambda secret: service.find_presented(sent.principal, secret),
        KEYS.path,
        lambda: address(KEYS.path, _asked(sent.form).query),
    )


@page("/{key_id:str}", KEYS)
def key_page(key_id: IdInPath, view: InjectedView) -> Response[str]:
    """Show anybody's key: whether it is used, by whom, and what ends with it."""
    owned = view.services.all_keys.get(view.principal, read_id(key_id))
    (key,) = _shown(view, (owned,))
    return show_key(
        view,
        owned.key,
        key,
        whose=owned.owner_name or owned.userid,
        is_administered=True,
        back=KEYS.path,
        back_label=KEYS.label,
    )


@page("/revoke", KEYS)
def revoke_page(
    request: AnyRequest, view: InjectedView, key: FromQuery[list[str] | None] = None
) -> Response[str] | Redirect:
    """Ask before revoking, listing the keys that were selected, or all that match, and are not revoked."""
    if request.query_params.get(ALL):
        return _preview_all(view, _asked(request.query_params))
    if not key:
        return see_other(f"{KEYS.path}?notice=none")
    return _preview_named(view, key)


def _preview_again(view: SubmittedForm) -> Response[str]:
    """Show the same for a form that was sent."""
    if view.form.get(ALL):
        return _preview_all(view, _asked(view.form))
    return _preview_named(view, view.form.get(KEY_IDS, "").split(","))


@form("/revoke", KEYS, asks=NEVER_ASKS, again=_preview_again)
def revoke(sent: InjectedForm) -> Redirect:
    """End the keys that the form names, or all that match, if they are those that were shown."""
    service = sent.services.all_keys
    given = sent.form.get("reason", "")
    reason = RevocationReason(given) if given in set(RevocationReason) else None
    if sent.form.get(ALL):
        wanted = _search(_asked(sent.form), sent.services.system.now())
        if len(service.select(sent.principal, wanted).key_ids) > KEYS_PER_PAGE:
            check_typed(sent, REVOCATION_WORD)
        seen = sent.form.get(SEEN, "")
        count = service.revoke_selected(sent.principal, wanted, sent.origin, seen=seen, reason=reason)
        return see_other(f"{KEYS.path}?notice=revoked&count={count}")
    numbers = named_ids(sent.form.get(KEY_IDS, "").split(","))[:MAX_NAMED]
    count = service.revoke(sent.principal, numbers, sent.origin, reason=reason)
    told = {"key": numbers[0]} if len(numbers) == 1 else {"count": count}
    return see_other(f"{KEYS.path}?{urlencode({'notice': 'revoked', **told})}")


def _preview_all(view: View, asked: ListQuery) -> Response[str]:
    now, service = view.services.system.now(), view.services.all_keys
    wanted = replace(_search(asked, now), is_revoked=False, order=KeyOrder.USED, is_descending=True)
    selection = service.select(view.principal, wanted)
    shown = service.search(view.principal, wanted, size=KEYS_PER_PAGE)
    unused = service.search(
        view.principal, replace(wanted, unused_since=wanted.unused_since or now - RECENTLY), size=1
    )
    mine = view.principal.user_id
    return _preview(
        view,
        shown.items,
        count=len(selection.key_ids),
        word=REVOCATION_WORD if len(selection.key_ids) > KEYS_PER_PAGE else None,
        expired=service.count_parts(view.principal, wanted).ended,
        own=0
        if wanted.user_id not in {None, mine}
        else service.count_parts(view.principal, replace(wanted, user_id=mine)).total,
        used=shown.count - unused.count,
        sent={ALL: "yes", SEEN: selection.digest, **asked.query, "sort": ""},
        owner=_owner(view, wanted.user_id),
        back=address(KEYS.path, asked.query),
    )


def _preview_named(view: View, numbers: Iterable[str]) -> Response[str]:
    found = [_find(view, number) for number in named_ids(numbers)[:MAX_NAMED]]
    living = [owned for owned in found if owned is not None and owned.key.revoked_at is None]
    since = view.services.system.now() - RECENTLY
    return _preview(
        view,
        living,
        count=len(living),
        used=sum(1 for owned in living if owned.key.last_use is not None and owned.key.last_use.at >= since),
        sent={KEY_IDS: ",".join(str(owned.key.key_id) for owned in living)},
    )


def _preview(view: View, keys: Sequence[OwnedKey], *, count: int, **shown: Any) -> Response[str]:
    """Show some of the keys that are to be revoked; raise `NotFound` if there is none."""
    if not count:
        raise NotFound
    return view.render(
        "keys/revoke_many.html",
        **{"back": KEYS.path, "owner": None, **_NOT_ALL, **shown},
        keys=_shown(view, tuple(keys)),
        count=count,
        reasons=list(REASONS.items()),
    )


_NOT_ALL: Mapping[str, Any] = {"word": None, "own": 0, "expired": 0}
"""Of keys that were selected one by one: each is seen."""


def _owner(view: View, user_id: int | None) -> str | None:
    """Return the name of the user whose keys alone are looked for; None if they are not of one user alone."""
    if user_id is None:
        return None
    wanted = UserSearch(ids=frozenset({user_id}))
    found = view.services.user_administration.search(view.principal, wanted, size=1).items
    return found[0].profile.name or found[0].userid if found else f"user {user_id}"


def _find(view: View, number: int) -> OwnedKey | None:
    try:
        return view.services.all_keys.get(view.principal, number)
    except NotFound:
        return None


def _asked(given: Mapping[str, Any]) -> ListQuery:
    """Read what is asked of the list, by an address or a form.

    `owner` is the number of a user; any other text there is looked for as one in the search box is.
    """
    owner = str(given.get("owner", "")).strip()
    number = str(asked_id(owner) or "")
    text = given.get("q") or ("" if number else owner)
    filters = {"used": USED, "expiry": EXPIRY, "owner": {number}}
    return key_list({**given, "q": text, "owner": number}, KEYS.path, COLUMNS, filters)


def _search(asked: ListQuery, now: datetime) -> KeySearch:
    used, expiry = asked.filters["used"], asked.filters["expiry"]
    unused_since = made_before = None
    if used == "never":
        unused_since = LONG_AGO
    elif used:
        # A key of today is not one that nobody used for a month.
        unused_since = made_before = now - timedelta(days=int(used))
    return search_of(
        asked,
        text=None,
        user_id=asked_id(asked.filters["owner"]) or None,
        about=asked.text or None,
        unused_since=unused_since,
        made_before=made_before,
        never_ends=True if expiry == "never" else None,
        ends_within=timedelta(days=int(expiry)) if expiry.isdigit() else None,
    )


def _shown(view: View, found: tuple[OwnedKey, ...]) -> list[dict[str, Any]]:
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
