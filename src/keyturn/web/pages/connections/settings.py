"""The forms that change the settings of a connection, or of an object behind it."""

from litestar import Response
from litestar.params import FromPath
from litestar.response import Redirect

from keyturn.services.connections.objects import Location
from keyturn.services.connections.settings import ChangedSettings
from keyturn.web.pages.connections.connection import show_connection
from keyturn.web.pages.connections.objects import show_object
from keyturn.web.pages.connections.places import AT, address_of, address_of_object, read_path, seen_place
from keyturn.web.pages.connections.roles import inheriting, wanted_settings, with_holder, without_holder
from keyturn.web.pages.frame.forms import form
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedForm, SubmittedForm


def _again(view: SubmittedForm, connection_key: str) -> Response[str]:
    """Show the page again on which the form stands."""
    path = read_path(view.form.get(AT, ""))
    return show_object(view, connection_key, path) if path else show_connection(view, connection_key)


@form("/{connection_key:str}/settings", CONNECTIONS, asks=NEVER_ASKS, again=_again)
def save_settings(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Say whether an object is active, and those that come."""
    return _changed(sent, connection_key, _place(sent, connection_key), wanted_settings(sent))


@form("/{connection_key:str}/roles/add", CONNECTIONS, again=_again)
def add_holder(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Give somebody a role on an object, beside those who have it."""
    place = _place(sent, connection_key)
    return _changed(sent, connection_key, place, with_holder(sent, place))


@form("/{connection_key:str}/roles/remove", CONNECTIONS, asks=NEVER_ASKS, again=_again, keeps=False)
def remove_holder(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Take a role on an object from somebody."""
    place = _place(sent, connection_key)
    return _changed(sent, connection_key, place, without_holder(sent, place))


@form("/{connection_key:str}/roles/inherit", CONNECTIONS, again=_again, keeps=False)
def inherit(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Let those have a role who have it above."""
    return _changed(sent, connection_key, _place(sent, connection_key), inheriting(sent))


def _place(sent: SubmittedForm, connection_key: str) -> Location:
    return seen_place(sent, connection_key, read_path(sent.form.get(AT, "")))


def _changed(sent: SubmittedForm, connection_key: str, place: Location, wanted: ChangedSettings) -> Redirect:
    if wanted != ChangedSettings():
        names = (connection_key, *place.path)
        sent.services.data_objects.change_settings(sent.principal, names, wanted, sent.origin)
    if not place.path:
        return see_other(address_of(connection_key, "?notice=settings"))
    return see_other(address_of_object(connection_key, place.path, notice="settings"))
