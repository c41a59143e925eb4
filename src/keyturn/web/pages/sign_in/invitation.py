"""The page behind an invitation's link: a person sets their passphrase, once."""

from litestar import Response, get, post
from litestar.params import RawBody

from keyturn.errors import InvalidInput, TooBusy
from keyturn.web.pages.frame.rendering import InjectedPages, see_other
from keyturn.web.pages.frame.visitors import expired_cookie, open_form
from keyturn.web.pages.sign_in.login import check_repeated, end_session
from keyturn.web.requests import AnyRequest, InjectedOrigin, InjectedServices, in_thread


@get("/invitation", include_in_schema=False, sync_to_thread=False)
def invitation_page(pages: InjectedPages) -> Response[str]:
    """Show the form. The code is not here: it stands behind the # of the link, which no browser sends."""
    return pages.render("sign_in/invitation.html")


@post("/invitation", include_in_schema=False)
@in_thread
def accept(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    origin: InjectedOrigin,
) -> Response[str]:
    """Set the passphrase of whoever holds the link, and lead them to the login.

    Whoever is signed in with this browser is signed out: it may be another person.
    """
    form = open_form(request, body, services)
    try:
        check_repeated(form)
        services.invitations.accept(form.get("code", ""), form.get("password", ""), origin)
    except (InvalidInput, TooBusy) as error:
        return pages.render("sign_in/invitation.html", refused=error, values={"code": form.get("code", "")})
    end_session(request, services, origin)
    return see_other("/login?notice=passphrase-set", expired_cookie(services))
