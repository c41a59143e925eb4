"""The page of one account: what it is, what it may do, its keys, and how it is changed."""

from collections.abc import Mapping
from typing import Any

from litestar import Response
from litestar.params import FromQuery
from litestar.response import Redirect

from keyturn.core.pages import Page
from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.records import ApiKeyRecord, SessionKind, SessionRecord
from keyturn.core.searches import GroupSearch, UserSearch
from keyturn.web.pages.audit.activity import activity_of_user
from keyturn.web.pages.frame.account_lists import (
    ADMINISTERED,
    ALL_ACCOUNTS,
    AccountList,
    InjectedAccountList,
    find_account,
    owners_of,
    place_of_account,
)
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.paging import Paging, read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import KEYS
from keyturn.web.pages.frame.views import WAS, InjectedForm, InjectedView, SubmittedForm, View
from keyturn.web.pages.keys.forms import project_names, project_of, shown_key
from keyturn.web.pages.keys.key_page import uses_of
from keyturn.web.pages.keys.lists import KEYS_PER_PAGE
from keyturn.web.pages.people.account_notices import notice_of
from keyturn.web.pages.people.devices import device_of
from keyturn.web.pages.people.permission_boxes import (
    ADMINISTRATORS,
    BOX,
    may_give,
    permission_groups,
    permission_words,
)
from keyturn.web.requests import IdInPath, asked_id

LISTED_KEYS = 10
"""Of a person: the others are a link away. Those of a service account have pages."""
LISTED_SESSIONS = 5
LISTED_ACCOUNTS = 10
LISTED_GROUPS = 50
OFFERED_GROUPS = 200
"""How many groups stand in a choice; where there are more, a number is typed instead."""


@page("/{user_id:str}", *ALL_ACCOUNTS)
def account_page(
    user_id: IdInPath,
    view: InjectedView,
    account_list: InjectedAccountList,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
    about: FromQuery[str | None] = None,
) -> Response[str] | Redirect:
    """Show an account; lead to the list that it is in.

    `about` is the number of what the notice tells of: a key, a session or a group.
    """
    found_in, user = place_of_account(view, account_list, user_id)
    if found_in is not account_list:
        return see_other(f"{found_in.path}/{user_id}")
    told = notice_of(view, account_list, user, notice or "", asked_id(about or ""))
    return show_account(view, account_list, user, page=page, notice=told)


@form("/{user_id:str}/permissions", *ADMINISTERED, again=account_page)
def set_permissions(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give what was ticked and take what was unticked, of what the administrator may give."""
    user = find_account(sent, account_list, user_id)
    invited = sent.services.user_administration.invitation_ends(sent.principal, [user.user_id])
    offered = {name for name in Permission if may_give(sent.principal, name)}
    ticked, shown = offered & set(sent.ticked(BOX)), offered & set(sent.ticked(WAS + BOX))
    sent.services.user_administration.give_and_take(
        sent.principal,
        user.iamid,
        user.userid,
        sent.origin,
        given=ticked - shown,
        taken=shown - ticked,
    )
    left = sent.services.user_administration.invitation_ends(sent.principal, [user.user_id])
    notice = "permissions-without-link" if invited and not left else "permissions"
    return see_other(f"{account_list.path}/{user.user_id}?notice={notice}")


@form("/{user_id:str}/profile", *ADMINISTERED, asks=NEVER_ASKS, again=account_page)
def save_profile(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Change what is said of the account, of what was typed anew."""
    user = find_account(sent, account_list, user_id)
    service = sent.services.user_administration
    fields = {name: text or None for name, text in sent.changed("name", "email").items()}
    service.update_profile(sent.principal, user.iamid, user.userid, fields, sent.origin)
    for userid in sent.changed("userid").values() if "userid" in sent.form else ():
        service.rename(sent.principal, user.iamid, user.userid, userid, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=profile")


@form("/{user_id:str}/attributes/add", *ADMINISTERED, again=account_page)
def add_attribute(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Give the account an attribute."""
    return _change_attribute(sent, account_list, user_id, is_given=True)


@form("/{user_id:str}/attributes/remove", *ADMINISTERED, asks=NEVER_ASKS, again=account_page)
def remove_attribute(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Take an attribute from the account."""
    return _change_attribute(sent, account_list, user_id, is_given=False)


def _change_attribute(
    sent: SubmittedForm, account_list: AccountList, user_id: str, *, is_given: bool
) -> Redirect:
    user = find_account(sent, account_list, user_id)
    value = sent.form.get("value", "") if is_given else sent.text("value")
    attribute = (sent.form.get("key", ""), value)
    sent.services.user_administration.change_attribute(
        sent.principal, user.iamid, user.userid, attribute, sent.origin, is_given=is_given
    )
    return see_other(f"{account_list.path}/{user.user_id}?notice=attribute")


def show_account(
    view: View, account_list: AccountList, user: UserRecord, *, page: int = 1, notice: str | None = None
) -> Response[str]:
    """Return the page of an account, with what went wrong there and what was typed."""
    return view.render(
        "people/account.html",
        account_list=account_list,
        user=user,
        rule=view.services.user_administration.rule,
        administration=ADMINISTRATORS,
        permission_words=permission_words(user.permissions),
        is_named_here=user.iamid == view.services.identity.built_in.iamid,
        has_password_here=user.kind is UserKind.PERSON and view.services.identity.stores_password_of(user),
        owner=owners_of(view, [user])[user.owner] if user.owner is not None else None,
        notice=notice,
        **_keys(view, account_list, user, page),
        **(_administered(view, user) if account_list.is_administration else {"invitations": {}}),
    )


def _administered(view: View, user: UserRecord) -> dict[str, Any]:
    """Return what only administrators see of an account."""
    theirs = GroupSearch(members=frozenset({user.user_id}))
    groups = view.services.groups.list_visible(view.principal, theirs, size=LISTED_GROUPS)
    held, choices = {group.group_id for group in groups}, group_choices(view)
    service = view.services.user_administration
    return {
        **(_of_person(view, user) if user.kind is UserKind.PERSON else _OF_NO_PERSON),
        "permission_groups": permission_groups(view.principal, user.permissions, view.values),
        "invitations": service.invitation_ends(view.principal, [user.user_id]),
        "groups": groups,
        "joinable": [choice for choice in choices["all_groups"] if choice[0] not in held],
        **choices,
        "activity": activity_of_user(view, user.user_id),
    }


def _of_person(view: View, user: UserRecord) -> dict[str, Any]:
    """Return what a service account has none of: sessions, and service accounts of its own."""
    sessions = view.services.sessions.list_of(user.user_id, size=LISTED_SESSIONS)
    owned = UserSearch(owners=frozenset({ServiceOwner(user.user_id)}))
    service = view.services.user_administration
    return {
        "sessions": Page(sessions.count, tuple(map(shown_session, sessions))),
        "owned": service.search(view.principal, owned, size=LISTED_ACCOUNTS),
        "missing": service.missing_permissions(view.principal, user),
        "is_own": user.user_id == view.principal.user_id,
    }


_OF_NO_PERSON: Mapping[str, Any] = {"sessions": Page(0, ()), "owned": Page(0, ()), "missing": ()}


def shown_session(record: SessionRecord) -> dict[str, Any]:
    """Return what a page shows of a session."""
    return {
        "id": record.session_id,
        "device": device_of(record.user_agent),
        "is_token": record.kind is SessionKind.TOKEN,
        "impersonator": record.impersonator,
        "address": record.address,
        "created_at": record.created_at,
        "last_seen_at": record.last_seen_at,
        "expires_at": record.expires_at,
    }


def _keys(view: View, account_list: AccountList, user: UserRecord, page: int) -> dict[str, Any]:
    services, now = view.services, view.services.system.now()
    at, active = _listed_keys(view, account_list, user, page)
    names = project_names(services, view.principal, active)
    uses = uses_of(view, active)
    counts = services.keys.count_parts(user.user_id)
    shown = [
        shown_key(
            key,
            now,
            **paths_of_key(account_list, user, key.key_id),
            project=project_of(key, names),
            **uses[key.key_id],
            owner_is_disabled=user.is_disabled,
        )
        for key in active
    ]
    return {
        "keys": shown,
        "at_keys": at,
        "key_count": services.keys.count_living([user.user_id]).get(user.user_id, 0),
        "soon_count": counts.soon,
    }


def _listed_keys(
    view: View, account_list: AccountList, user: UserRecord, page: int
) -> tuple[Paging | None, tuple[ApiKeyRecord, ...]]:
    keys = view.services.keys
    if user.kind is not UserKind.SERVICE:
        return None, keys.list_active(user.user_id, size=LISTED_KEYS).items
    return read_page(
        lambda offset, size: keys.list_active(user.user_id, offset=offset, size=size),
        page,
        f"{account_list.path}/{user.user_id}",
        size=KEYS_PER_PAGE,
    )


def paths_of_key(account_list: AccountList, user: UserRecord, key_id: int) -> dict[str, Any]:
    """Return where a key of an account is shown and revoked. Only its owner, or the key, rotates it."""
    if user.kind is UserKind.SERVICE:
        return {"path": f"{account_list.path}/{user.user_id}/keys/{key_id}", "may_rotate": False}
    return {
        "path": f"{KEYS.path}/{key_id}",
        "revoke": f"{KEYS.path}/revoke?key={key_id}",
        "may_rotate": False,
    }


def group_choices(view: View) -> dict[str, Any]:
    """Return the groups that the viewer may name: the first, and whether there are others."""
    offered = view.services.groups.list_visible(view.principal, size=OFFERED_GROUPS)
    return {
        "all_groups": [(group.group_id, group.name) for group in offered],
        "has_more_groups": offered.count > len(offered),
    }
