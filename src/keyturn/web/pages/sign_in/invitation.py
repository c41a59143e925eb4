"""The page behind an invitation's link: a person sees whom it is for, and sets their password, once.

The code stands behind the # of the link, which no browser sends. So the first page asks for it: script fills
it in and sends it at once, and without script a person does. Only then is it known whether the link works.
"""

from litestar import Response
from litestar.response import Redirect

from keyturn.errors import InvalidInput
from keyturn.web.pages.frame.confirmation import check_repeated
from keyturn.web.pages.frame.forms import form, page
from keyturn.web.pages.frame.tabs import ANYBODY
from keyturn.web.pages.frame.views import InjectedOpenForm, InjectedOpenView, OpenForm, OpenView
from keyturn.web.pages.sign_in.login import end_session, signed_in
from keyturn.web.requests import AnyRequest


@page("/invitation", ANYBODY)
def invitation_page(view: InjectedOpenView) -> Response[str]:
    """Ask for the code of the link."""
    return view.render("sign_in/invitation_code.html")


def _link_is_void(view: OpenView) -> Response[str]:
    """Say that the link no longer works, before anything is typed."""
    return view.render(
        "frame/message.html",
        picture="mail",
        title="This link no longer works",
        text=str(view.error),
        link_href="/login",
        link_text="Sign in",
    )


@form("/invitation", ANYBODY, again=_link_is_void)
def look_at_invitation(sent: InjectedOpenForm) -> Response[str]:
    """Greet whom the link invites, and let them choose a password. Nothing is used up."""
    return _greet(sent, sent.form.get("code", ""))


def _greet(view: OpenView, code: str) -> Response[str]:
    invited = view.services.invitations.look(code)
    return view.render("sign_in/invitation.html", invited=invited, code=code.strip())


def _again(view: OpenForm) -> Response[str]:
    """Show what is wrong with the password; of a link that is over meanwhile, that it is."""
    if isinstance(view.error, InvalidInput) and view.error.field == "code":
        return _link_is_void(view)
    try:
        return _greet(view, view.form.get("code", ""))
    except InvalidInput:
        return _link_is_void(view)


@form("/invitation/password", ANYBODY, again=_again)
def accept(request: AnyRequest, sent: InjectedOpenForm) -> Redirect:
    """Set the password of whoever holds the link, and sign them in.

    A person who is signed in with this browser is signed out: it may be another one.
    """
    check_repeated(sent.form)
    password = sent.form.get("password", "")
    userid = sent.services.invitations.accept(sent.form.get("code", ""), password, sent.origin)
    end_session(request, sent.services, sent.origin)
    return signed_in(sent, userid, password, otherwise="password-set")
