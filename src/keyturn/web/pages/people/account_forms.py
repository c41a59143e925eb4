"""The sessions, the lock and the groups of somebody: forms of the page of an account."""

from litestar import Response
from litestar.response import Redirect

from keyturn.errors import InvalidInput, NotFound
from keyturn.web.pages.frame.account_lists import (
    ADMINISTERED,
    PEOPLE,
    InjectedAccountList,
    find_account,
)
from keyturn.web.pages.frame.forms import at_field, form, page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.views import InjectedForm, InjectedView
from keyturn.web.pages.people.accounts import account_page
from keyturn.web.requests import IdInPath, asked_id, read_id


@form("/{user_id:str}/sessions/{session_id:str}/end", PEOPLE, asks=NEVER_ASKS)
def end_session(
    user_id: IdInPath, session_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList
) -> Redirect:
    """End one session of a person."""
    user, number = find_account(sent, account_list, user_id), read_id(session_id)
    sent.services.sessions.end_of(sent.principal, user.user_id, number, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=session&about={number}")


@page("/{user_id:str}/sign-out", PEOPLE)
def sign_out_page(user_id: IdInPath, view: InjectedView, account_list: InjectedAccountList) -> Response[str]:
    """Ask before all sessions of a person end."""
    user = find_account(view, account_list, user_id)
    return view.render(
        "people/sign_out.html",
        user=user,
        session_count=view.services.sessions.list_of(user.user_id, size=1).count,
        own_id=view.principal.user_id,
    )


@form("/{user_id:str}/sign-out", PEOPLE, asks=NEVER_ASKS)
def sign_out(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """End all sessions and tokens of a person."""
    user = find_account(sent, account_list, user_id)
    ended = sent.services.sessions.sign_out(sent.principal, user.user_id, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=signed-out&about={ended}")


@form("/{user_id:str}/unlock", PEOPLE, again=account_page)
def unlock(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Let a person sign in again after wrong passwords."""
    user = find_account(sent, account_list, user_id)
    sent.services.user_administration.unlock(sent.principal, user.iamid, user.userid, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=unlocked")


@form("/{user_id:str}/groups/add", *ADMINISTERED, again=account_page)
def join_group(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Put the account into a group."""
    user, group_id = find_account(sent, account_list, user_id), asked_id(sent.form.get("to_group", ""))
    try:
        with at_field(userid="to_group"):
            sent.services.groups.add_member(
                sent.principal, group_id, sent.origin, iamid=user.iamid, userid=user.userid
            )
    except NotFound:
        raise InvalidInput("to_group", "Choose a group.") from None
    return see_other(f"{account_list.path}/{user.user_id}?notice=joined&about={group_id}")


@form("/{user_id:str}/groups/remove", *ADMINISTERED, asks=NEVER_ASKS)
def leave_group(user_id: IdInPath, sent: InjectedForm, account_list: InjectedAccountList) -> Redirect:
    """Take the account out of a group."""
    user, group_id = find_account(sent, account_list, user_id), asked_id(sent.form.get("from_group", ""))
    sent.services.groups.remove_user(sent.principal, group_id, user.user_id, sent.origin)
    return see_other(f"{account_list.path}/{user.user_id}?notice=left&about={group_id}")
