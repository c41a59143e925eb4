"""Suspending and deleting an account: first what stops is shown, then it is done."""

from typing import Any

from litestar import Response
from litestar.response import Redirect

from keyturn.core.people import UserRecord
from keyturn.services.ownership.offboarding import OffboardingImpact
from keyturn.web.pages.frame.account_lists import (
    ALL_ACCOUNTS,
    AccountList,
    InjectedAccountList,
    find_account,
)
from keyturn.web.pages.frame.confirmation import DELETION_WORD, LISTED, check_typed
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.reauthentication import asks_if
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.views import (
    InjectedForm,
    InjectedView,
    View,
)
from keyturn.web.pages.keys.forms import shown_key
from keyturn.web.pages.people.accounts import account_page
from keyturn.web.pages.people.successors import successor_in
from keyturn.web.requests import IdInPath


@page("/{user_id:str}/disable", *ALL_ACCOUNTS)
def disable_page(user_id: IdInPath, view: InjectedView, account_list: InjectedAccountList) -> Response[str]:
    """Show what stops when the account is disabled."""
    return _ending(view, account_list, find_account(view, account_list, user_id), "ownership/disable.html")


@form("/{user_id:str}/disable", *ALL_ACCOUNTS, asks=asks_if(handOverTo=None), again=disable_page)
def disable(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Disable the account."""
    user = find_account(sent, account_list, user_id)
    successor = successor_in(sent, user)
    sent.services.offboarding.set_disabled(
        sent.principal, user.iamid, user.userid, sent.origin, disabled=True, successor=successor
    )
    return see_other(f"{account_list.path}/{user.user_id}?notice=disabled")


@form("/{user_id:str}/enable", *ALL_ACCOUNTS, again=account_page)
def enable(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Let the account go on."""
    user = find_account(sent, account_list, user_id)
    sent.services.offboarding.set_disabled(
        sent.principal, user.iamid, user.userid, sent.origin, disabled=False
    )
    return see_other(f"{account_list.path}/{user.user_id}?notice=enabled")


@page("/{user_id:str}/delete", *ALL_ACCOUNTS)
def delete_page(user_id: IdInPath, view: InjectedView, account_list: InjectedAccountList) -> Response[str]:
    """Show what ends for ever when the account is deleted."""
    return _ending(view, account_list, find_account(view, account_list, user_id), "ownership/delete.html")


@form("/{user_id:str}/delete", *ALL_ACCOUNTS, asks=asks_if(handOverTo=None), again=delete_page)
def delete(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Delete the account, if the word was typed."""
    user = find_account(sent, account_list, user_id)
    check_typed(sent)
    sent.services.offboarding.delete(
        sent.principal, user.iamid, user.userid, sent.origin, successor=successor_in(sent, user)
    )
    return see_other(f"{account_list.path}?notice=deleted&deleted={user.user_id}")


def _ending(view: View, account_list: AccountList, user: UserRecord, template: str) -> Response[str]:
    stops = view.services.offboarding.what_stops(view.principal, user, named=LISTED)
    return view.render(template, account_list=account_list, user=user, **_shown(view, stops))


def _shown(view: View, stops: OffboardingImpact) -> dict[str, Any]:
    now = view.services.system.now()
    return {
        "keys": [shown_key(key, now) for key in stops.keys],
        "key_count": stops.keys.count,
        "session_count": stops.sessions,
        "owned": stops.service_accounts.items,
        "owned_count": stops.service_accounts.count,
        "word": DELETION_WORD,
    }
