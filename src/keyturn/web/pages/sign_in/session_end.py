"""A form that is sent after its session has ended: the person signs in, and it comes back as they left it.

    POST /profile/keys, without a session          the page says what was not done, and asks who it is
      with name=nightly&expiry=90&csrf=…           hidden in it: what the form said, without what is secret
    POST /profile/keys, with own_userid,           a session starts, and the form's page is shown, filled in
      own_password and the same fields             nothing is done until the person sends it again

The gate leads here whatever path the form was sent to, whether there is such a form or not: what a stranger
sees follows from their own request alone. The values travel in the page and nowhere else, and only where the
browser says that a page of ours sent them, so that no other site fills in a form. The path is that of the
request, so there is no address to forge.
"""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from litestar import Response
from litestar.params import RawBody

from keyturn.errors import (
    CredentialRefused,
    InvalidInput,
    NotFound,
    TooBusy,
    TooManyFailures,
)
from keyturn.web.navigation import ENDED_AT, SESSION_END_PATH
from keyturn.web.pages.frame.forms import Forms, form, without_secrets
from keyturn.web.pages.frame.reauthentication import keep_session
from keyturn.web.pages.frame.rendering import InjectedPages, see_other
from keyturn.web.pages.frame.tabs import ANYBODY
from keyturn.web.pages.frame.views import OpenForm, SubmittedForm
from keyturn.web.pages.frame.visitors import (
    MAX_FIELDS_OF_A_PAGE,
    is_surely_ours,
    known_visitor,
    open_form,
)
from keyturn.web.pages.sign_in.attempts import told_of
from keyturn.web.pages.sign_in.login import local_target, providers_of, started_session
from keyturn.web.requests import AnyRequest, InjectedServices, origin_of

USERID, PASSWORD, PROVIDER = "own_userid", "own_password", "iamid"
_NOT_DONE = {
    "/profile": "Your details were not saved.",
    "/profile/keys": "The key was not created.",
    "/profile/security": "Your password was not changed.",
}
_ABOUT_US = frozenset({"csrf", "form_id", USERID, PASSWORD, PROVIDER})
"""Fields that belong to the session, and not to what was typed."""
_COMES_BACK = "You’re signed in. Nothing was sent yet: look at the form, then send it."


@form(SESSION_END_PATH, ANYBODY)
def form_without_session(
    request: AnyRequest, body: RawBody, services: InjectedServices, pages: InjectedPages
) -> Response[Any]:
    """Ask who it is that sent a form without a session; once they have said it, show the form again."""
    path: str | None = request.scope["state"].get(ENDED_AT)
    if path is None:
        raise NotFound
    if path == "/logout":
        return see_other("/login?notice=signed-out")
    typed = open_form(request, body, services, max_fields=MAX_FIELDS_OF_A_PAGE)
    sent = OpenForm(services=services, pages=pages, origin=origin_of(request), form=typed)
    kept: dict[str, str] = {}
    if is_surely_ours(request, services):
        kept = without_secrets(typed, services.settings.key_prefix, but=_ABOUT_US)
    if USERID not in typed:
        request.scope["state"]["failure"] = "session_ended"
        return _ask(sent, path, kept)
    try:
        started = started_session(sent, name=USERID, password=PASSWORD)
    except (CredentialRefused, InvalidInput, TooBusy, TooManyFailures) as error:
        return _ask(replace(sent, error=error), path, kept)
    visitor = known_visitor(services, keep_session(request, services, started.cookie))
    forms: Forms = request.app.state.forms
    found = forms.find(path, visitor.session.principal)
    if found is None:
        return see_other(path if forms.has_page(path) else local_target(None))
    view = SubmittedForm(
        services=services,
        pages=pages,
        origin=sent.origin,
        visitor=visitor,
        form=kept,
        values=kept if found.keeps else {},
        notice=_COMES_BACK,
    )
    return found.show(view)


def _ask(sent: OpenForm, path: str, kept: Mapping[str, str]) -> Response[str]:
    page = sent.render(
        "sign_in/session_end.html",
        action=path,
        not_done=_NOT_DONE.get(path, "Nothing was changed."),
        sent=kept,
        is_complete=sent.form.keys() - _ABOUT_US <= kept.keys(),
        providers=providers_of(sent.services),
        values={USERID: sent.form.get(USERID, ""), PROVIDER: sent.form.get(PROVIDER, "")},
        **told_of(sent, PASSWORD),
    )
    if sent.error is None:
        page.status_code = HTTPStatus.FORBIDDEN
    return page
