"""Where accounts are managed: people, and service accounts by administrators or by their owners."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from keyturn.core.people import ServiceOwner, UserKind, UserRecord
from keyturn.core.permissions import Permission
from keyturn.core.searches import UserSearch
from keyturn.errors import NotFound
from keyturn.web.pages.frame import tabs
from keyturn.web.pages.frame.views import View
from keyturn.web.requests import asked_id, read_id


@dataclass(frozen=True, slots=True)
class AccountList(tabs.Part):
    """One of the three lists of accounts, with the pages of those that are in it."""

    _: KW_ONLY
    kind: UserKind
    label: str
    base: str
    """The template of its tabs."""
    tab: str
    is_administration: bool


PEOPLE = AccountList(
    tabs.USERS.path,
    tabs.USERS.any_of,
    kind=UserKind.PERSON,
    label=tabs.USERS.label,
    base="frame/administration.html",
    tab="users",
    is_administration=True,
    asks=True,
)
SERVICE_ACCOUNTS = AccountList(
    tabs.SERVICE_ACCOUNTS.path,
    tabs.SERVICE_ACCOUNTS.any_of,
    kind=UserKind.SERVICE,
    label=tabs.SERVICE_ACCOUNTS.label,
    base="frame/administration.html",
    tab="service-accounts",
    is_administration=True,
    asks=True,
)
OWN_SERVICE_ACCOUNTS = AccountList(
    "/profile/service-accounts",
    kind=UserKind.SERVICE,
    label="Service accounts",
    base="frame/profile.html",
    tab="service-accounts",
    is_administration=False,
)
"""For whoever is signed in: those that they own, or a group of theirs."""
ADMINISTERED = (PEOPLE, SERVICE_ACCOUNTS)
OF_SERVICE_ACCOUNTS = (SERVICE_ACCOUNTS, OWN_SERVICE_ACCOUNTS)
ALL_ACCOUNTS = (PEOPLE, SERVICE_ACCOUNTS, OWN_SERVICE_ACCOUNTS)

InjectedAccountList = NamedDependency[SkipValidation[AccountList]]


@dataclass(frozen=True, slots=True)
class ShownOwner:
    """The owner of a service account, for people."""

    name: str
    path: str | None
    """None for somebody who may not see more of them."""


def find_account(view: View, account_list: AccountList, text: str) -> UserRecord:
    """Return the account with this id in this list; raise `NotFound` if it is not there.

    By its number alone: another account may have that number for its name.
    """
    user_id = read_id(text)
    if account_list.is_administration:
        wanted = UserSearch(ids=frozenset({user_id}), kinds=frozenset({account_list.kind}))
        found = view.services.user_administration.search(view.principal, wanted, size=1).items
    else:
        mine = view.services.service_accounts
        found = mine.list_visible(view.principal, user_id=user_id, size=1).items
    if not found:
        raise NotFound
    return found[0]


def place_of_account(view: View, account_list: AccountList, text: str) -> tuple[AccountList, UserRecord]:
    """Return the account with this id and its list, which is not `account_list` if an administrator guessed.

    Members of a group, for one, may be people or service accounts. Raise `NotFound` if it is in none.
    """
    for candidate in (PEOPLE, SERVICE_ACCOUNTS) if account_list.is_administration else (account_list,):
        try:
            return candidate, find_account(view, candidate, text)
        except NotFound:
            continue
    raise NotFound


def owners_of(view: View, users: Iterable[UserRecord]) -> dict[ServiceOwner, ShownOwner]:
    """Return the owners of these accounts, as far as the viewer may see them."""
    owners = {user.owner for user in users if user.owner is not None}
    shown = {owner: ShownOwner("somebody else", None) for owner in owners}
    is_admin = view.principal.may(Permission.USER_ADMIN)
    ids = frozenset(owner.user_id for owner in owners if owner.user_id is not None)
    if ids:
        for user in view.services.user_administration.search(view.principal, UserSearch(ids=ids)).items:
            path = f"{PEOPLE.path}/{user.user_id}" if is_admin else None
            shown[ServiceOwner(user.user_id)] = ShownOwner(user.profile.name or user.userid, path)
    group_ids = {owner.group_id for owner in owners if owner.group_id is not None}
    if group_ids:
        for group_id, name in view.services.groups.names(view.principal, group_ids).items():
            path = f"{tabs.GROUPS.path}/{group_id}" if is_admin else None
            shown[ServiceOwner(group_id=group_id)] = ShownOwner(f"the group {name}", path)
    return shown


def named_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids among these texts, each once, in order."""
    return sorted({asked_id(text) for text in texts} - {0})
