"""The page behind an invitation's link: a person sets their password, once."""

from litestar import Response
from litestar.response import Redirect

from keyturn.web.pages.frame.confirmation import check_repeated
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import ANYBODY
from keyturn.web.pages.frame.views import InjectedOpenForm, InjectedOpenView
from keyturn.web.pages.frame.visitors import expired_cookie
from keyturn.web.pages.sign_in.login import end_session
from keyturn.web.requests import AnyRequest


@page("/invitation", ANYBODY)
def invitation_page(view: InjectedOpenView) -> Response[str]:
    """Show the form. The code is not here: it stands behind the # of the link, which no browser sends."""
    return view.render("sign_in/invitation.html")


@form("/invitation", ANYBODY, again=invitation_page)
def accept(request: AnyRequest, sent: InjectedOpenForm) -> Redirect:
    """Set the password of whoever holds the link, and lead them to the login.

    A person who is signed in with this browser is signed out: it may be another one.
    """
    check_repeated(sent.form)
    sent.services.invitations.accept(sent.form.get("code", ""), sent.form.get("password", ""), sent.origin)
    end_session(request, sent.services, sent.origin)
    return see_other("/login?notice=password-set", expired_cookie(sent.services))
