"""The API Keys tab."""

import re
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Any

from litestar import Response, get, post
from litestar.params import FromQuery, RawBody
from litestar.response import Redirect

from keyturn.composition import Services
from keyturn.core.encoding import base64url_encode
from keyturn.core.records import ApiKeyRecord, KeyState
from keyturn.errors import Conflict, ForeignForm, InvalidInput, NotFound
from keyturn.services.keys import Lifetime
from keyturn.web.pages.rendering import InjectedPages, Pages, see_other
from keyturn.web.pages.sessions import InjectedVisitor, Visitor, session_form
from keyturn.web.requests import AnyRequest, IdInPath, InjectedOrigin, InjectedServices, in_thread, read_id

DAY_CHOICES = (7, 30, 90, 365)
PRESELECTED_DAYS = 90
FORM_ID_BYTES = 16
KEYS_PER_PAGE = 30
"""So that a page of them stays under 60 KB."""
MAX_LIFE = timedelta(days=3650)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CHOOSE_A_DATE = "Choose the date on which the key ends."
_FORM_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")

_NOTICES = {"revoked": "The key is revoked. It and every token made from it are refused from now on."}


@get("/profile/keys", include_in_schema=False)
@in_thread
def keys_page(
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    notice: FromQuery[str | None] = None,
    page: FromQuery[int] = 1,
) -> Response[str]:
    """Show the person's keys, and the form for a new one."""
    return _keys(services, pages, visitor, notice=_NOTICES.get(notice or ""), page=page)


@post("/profile/keys", include_in_schema=False)
@in_thread
def create_key(
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    pages: InjectedPages,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Response[str]:
    """Make a key and show it, this once: the answer itself holds it, so nothing keeps it in between."""
    form = session_form(request, body, services, visitor)
    try:
        created = services.keys.create(
            visitor.session.principal,
            origin,
            name=form.get("name"),
            lifetime=_lifetime(form, services.system.now()),
            idempotency_key=f"page {_form_id(form)}",
            replaces_on_retry=False,
        )
    except InvalidInput as error:
        return _keys(services, pages, visitor, error=error, values=form)
    except Conflict:
        return pages.render(
            "message.html",
            visitor,
            status=HTTPStatus.CONFLICT,
            title="This key was shown already",
            text="The form was sent a second time, so no second key was made. A key is shown only once: "
            "if you did not keep it, revoke it and generate another.",
            link_href="/profile/keys",
            link_text="Back to your API keys",
        )
    return pages.render(
        "profile_key_created.html",
        visitor,
        tab="keys",
        secret=created.secret,
        key=_shown(created.record, services.system.now()),
        curl_direct=_curl_direct(services.settings.public_url, created.secret),
        curl_exchange=_curl_exchange(services.settings.public_url, created.secret),
    )


@get("/profile/keys/{key_id:str}/revoke", include_in_schema=False)
@in_thread
def revoke_page(
    key_id: IdInPath, services: InjectedServices, pages: InjectedPages, visitor: InjectedVisitor
) -> Response[str]:
    """Ask before revoking, saying when and from where the key was last used."""
    record = services.keys.get_own(visitor.session.principal, read_id(key_id))
    now = services.system.now()
    if record.state(now) is KeyState.REVOKED:
        raise NotFound
    return pages.render("profile_key_revoke.html", visitor, tab="keys", key=_shown(record, now))


@post("/profile/keys/{key_id:str}/revoke", include_in_schema=False)
@in_thread
def revoke_key(
    key_id: IdInPath,
    request: AnyRequest,
    body: RawBody,
    services: InjectedServices,
    visitor: InjectedVisitor,
    origin: InjectedOrigin,
) -> Redirect:
    """End the key."""
    session_form(request, body, services, visitor)
    services.keys.revoke_own(visitor.session.principal, read_id(key_id), origin)
    return see_other("/profile/keys?notice=revoked")


def _keys(
    services: Services,
    pages: Pages,
    visitor: Visitor,
    *,
    notice: str | None = None,
    page: int = 1,
    error: InvalidInput | None = None,
    values: dict[str, str] | None = None,
) -> Response[str]:
    now = services.system.now()
    records = services.keys.list_own(visitor.session.principal)
    records.sort(key=lambda record: record.state(now) is not KeyState.ACTIVE)
    active_count = sum(record.state(now) is KeyState.ACTIVE for record in records)
    page_count = max(1, -(-len(records) // KEYS_PER_PAGE))
    page = min(max(page, 1), page_count)
    on_page = records[(page - 1) * KEYS_PER_PAGE : page * KEYS_PER_PAGE]
    return pages.render(
        "profile_keys.html",
        visitor,
        status=HTTPStatus.OK if error is None else HTTPStatus.UNPROCESSABLE_ENTITY,
        tab="keys",
        keys=[_shown(record, now) for record in on_page],
        active_count=active_count,
        ended_count=len(records) - active_count,
        page=page,
        page_count=page_count,
        expiry_choices=_choices(allows_never=services.keys.allows_never),
        tomorrow=(now + timedelta(days=1)).date().isoformat(),
        form_id=base64url_encode(services.system.random_bytes(FORM_ID_BYTES)).decode("ascii"),
        notice=notice,
        problem=None if error is None else str(error),
        field=None if error is None else error.field,
        values=values or {},
    )


def _choices(*, allows_never: bool) -> list[tuple[str, str, bool]]:
    days = [(str(count), f"{count} days", count == PRESELECTED_DAYS) for count in DAY_CHOICES]
    rest = [("date", "On a date", False), ("never", "Never", False)]
    return days + (rest if allows_never else rest[:1])


def _form_id(form: dict[str, str]) -> str:
    """Return the id that the page gave this form; raise `ForeignForm` for one that is not ours."""
    form_id = form.get("form_id", "")
    if _FORM_ID.fullmatch(form_id) is None:
        raise ForeignForm("This form did not come from this page: reload it and try again.")
    return form_id


def _lifetime(form: dict[str, str], now: datetime) -> Lifetime:
    """Read the choice of the form; a key that ends on a date works through that day, in UTC."""
    choice = form.get("expiry", "")
    if choice == "never":
        return Lifetime(None)
    if choice == "date":
        text = form.get("expiry_date", "")
        if _DATE.fullmatch(text) is None:
            raise InvalidInput("expiry_date", _CHOOSE_A_DATE)
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise InvalidInput("expiry_date", _CHOOSE_A_DATE) from None
        end = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if not now.date() <= day <= (now + MAX_LIFE).date():
            raise InvalidInput("expiry_date", "Choose a date between today and ten years from now.")
        return Lifetime(end + timedelta(days=1))
    if choice not in {str(days) for days in DAY_CHOICES}:
        raise InvalidInput("expiry", "Choose when the key ends.")
    return Lifetime(now + timedelta(days=int(choice)))


def _shown(record: ApiKeyRecord, now: datetime) -> dict[str, Any]:
    use = record.last_use
    return {
        "id": record.key_id,
        "name": record.name,
        "masked": record.masked,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "state": record.state(now).value,
        "last_used_at": use.at if use else None,
        "last_used_address": use.address if use else None,
        "last_used_via": use.via if use else None,
        "last_used_agent": use.agent if use else None,
    }


def _curl_direct(public_url: str, secret: str) -> str:
    return f"curl {public_url}/bim/rpc/user/current \\\n  --header 'Authorization: {secret}'"


def _curl_exchange(public_url: str, secret: str) -> str:
    return (
        f"curl {public_url}/bim/apikey/authenticate \\\n  --header 'Content-Type: application/json' \\\n"
        f'  --data \'{{"apikey": "{secret}"}}\''
    )
