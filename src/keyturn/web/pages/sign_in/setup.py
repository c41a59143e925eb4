"""The very first set-up: whoever has the printed code makes the first administrator, once."""

from litestar import Response
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.errors import InvalidInput, NotFound
from keyturn.web.pages.frame.confirmation import check_repeated
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.tabs import ANYBODY
from keyturn.web.pages.frame.views import InjectedOpenForm, InjectedOpenView
from keyturn.web.pages.frame.visitors import AnyConnection
from keyturn.web.pages.sign_in.login import signed_in
from keyturn.web.requests import check_not_refused


def while_setup_is_open(connection: AnyConnection, _handler: BaseRouteHandler) -> None:
    """Raise `NotFound` once there is a user, unless the gate found the request wrong already."""
    check_not_refused(connection.scope)  # The framework asks guards before anything else.
    services: Services = connection.app.state.services
    if not services.installation.is_setup_open():
        raise NotFound


@page("/setup", ANYBODY, guard=while_setup_is_open)
def setup_page(view: InjectedOpenView) -> Response[str]:
    """Show the form that makes the first administrator, while there is no user."""
    return view.render("sign_in/setup.html")


@form("/setup", ANYBODY, guard=while_setup_is_open, again=setup_page)
def set_up(sent: InjectedOpenForm) -> Redirect:
    """Make the first administrator with the printed code, once, and sign them in."""
    check_repeated(sent.form)
    userid, password = sent.form.get("userid", ""), sent.form.get("password", "")
    if not userid.strip():
        raise InvalidInput("userid", "Enter a user name.")
    user = sent.services.users.add_first(
        code=sent.form.get("code", ""),
        userid=userid,
        name=sent.form.get("name"),
        password=password,
        origin=sent.origin,
    )
    if user is None:
        raise InvalidInput("code", "That code doesn’t match. Use the one from the server’s latest start.")
    return signed_in(sent, user.userid, password, otherwise="set-up")
