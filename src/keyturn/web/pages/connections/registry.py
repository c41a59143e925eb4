"""The list of connections, and the forms that register one and change one."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby

from litestar import Response
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from keyturn.adapters.technologies import BY_NAME, TECHNOLOGIES, AuthenticationType, Technology, Tier
from keyturn.adapters.validation import AUTHENTICATION_TYPE
from keyturn.core.connections import ConnectionRecord, ConnectionState
from keyturn.core.pages import Page
from keyturn.core.permissions import Permission
from keyturn.core.records import PersonReference
from keyturn.errors import NotFound
from keyturn.services.connections.registry import ChangedConnection, NewConnection
from keyturn.web.pages.connections.fields import (
    TIERS,
    groups,
    inputs_of_fields,
    names_in,
    place_of,
    technology_of,
    values_in,
    way_to_sign_in,
)
from keyturn.web.pages.connections.places import address_of, managed
from keyturn.web.pages.frame.forms import at_field, form, page
from keyturn.web.pages.frame.lists import Column, read_list
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.reauthentication import NEVER_ASKS
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedForm, InjectedView, View
from keyturn.web.requests import AnyRequest

COLUMNS: Mapping[str, Column] = {"name": Column("Name")}
GONE: Mapping[str, str] = {
    "deleted": "Deleted the connection, and all that crawls had found behind it.",
    "deleting": "Deleting the connection. It leaves this list when all behind it is deleted.",
}
"""Sentences about a connection that has no page any more. No address can name it."""
STATES: Mapping[str, ConnectionState] = {one.value.lower(): one for one in ConnectionState}
Search = Callable[..., Page[ConnectionRecord]]
TEST, ACTIVE = "test", "active"


@page("/", CONNECTIONS)
def connections_page(
    request: AnyRequest,
    view: InjectedView,
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show the connections that the person sees and looks for, by name."""
    asked = read_list(request.query_params, CONNECTIONS.path, COLUMNS, {"state": STATES})
    search = partial(view.services.connections.search, view.principal, asked.text or None)
    listed = partial(search, state=STATES.get(asked.filters["state"]), is_descending=asked.is_descending)
    at, records = read_page(
        lambda offset, size: listed(offset=offset, size=size),
        page,
        CONNECTIONS.path,
        size=ROWS,
        **asked.query,
    )
    return view.render(
        "connections/list.html",
        connections=records,
        places={one.connection_key: place_of(one) for one in records},
        owners=_owners(view, records),
        at=at,
        segments=asked.segments(search(size=0).count, _parts(search)),
        sorting=asked.sorting,
        values=asked.values,
        may_register=_may_register(view),
        notice=GONE.get(notice or ""),
    )


def _parts(search: Search) -> dict[str, tuple[str, int]]:
    """Return the states in which there is a connection, each with how many are."""
    counts = {name: search(state=state, size=0).count for name, state in STATES.items()}
    return {name: (name.capitalize(), count) for name, count in counts.items() if count}


def _owners(view: View, records: tuple[ConnectionRecord, ...]) -> dict[str, list[str]]:
    """Return who owns these connections, by their roles, and else who added them."""
    service = view.services.data_objects
    owners = {one.connection_key: service.owners(one) for one in records}
    names = service.names_of(holder for some in owners.values() for holder in some)
    shown = {key: sorted(names[one] for one in some if one in names) for key, some in owners.items()}
    return {one.connection_key: shown[one.connection_key] or [_name(one.creator)] for one in records}


def _name(person: PersonReference) -> str:
    return person.name or person.email or "Unknown"


@page("/new", CONNECTIONS)
def new_page(
    view: InjectedView,
    technology: FromQuery[str] = "",
    authentication_type: FromQuery[str] = "",
) -> Response[str]:
    """Show the technologies to choose from, or the form for a connection of one."""
    if not _may_register(view):
        raise NotFound
    chosen = BY_NAME.get(view.values.get("technology", technology))
    if chosen is None:
        tiers = [(*TIERS[tier], list(some)) for tier, some in groupby(TECHNOLOGIES, lambda one: one.tier)]
        return view.render("connections/technologies.html", tiers=tiers)
    return _form(view, chosen, view.values.get(AUTHENTICATION_TYPE, authentication_type), None)


@form("/new", CONNECTIONS, asks=NEVER_ASKS, again=new_page)
def create(sent: InjectedForm) -> Redirect:
    """Register a connection.

    The password is not asked for: the page that asks would have to send back the secrets that were typed.
    """
    if not _may_register(sent):
        raise NotFound
    technology = BY_NAME.get(sent.form.get("technology", ""))
    if technology is None:
        return see_other(f"{CONNECTIONS.path}/new")
    way = way_to_sign_in(technology, sent.form.get(AUTHENTICATION_TYPE))
    values = values_in(sent, technology, way)
    new = NewConnection(sent.form.get("connectionKey", "").strip(), values)
    with at_field(**inputs_of_fields(technology, way)):
        record = sent.services.connections.add(sent.principal, new, sent.origin)
    if sent.form.get("then") == TEST and technology.tier is not Tier.KEPT:
        return see_other(address_of(record.connection_key, "/test?notice=created"))
    return see_other(address_of(record.connection_key, "?notice=created"))


@page("/{connection_key:str}/edit", CONNECTIONS)
def edit_page(
    connection_key: FromPath[str], view: InjectedView, authentication_type: FromQuery[str] = ""
) -> Response[str]:
    """Show the form of a connection, without its secrets."""
    record = managed(view, connection_key)
    technology = technology_of(record)
    if technology is None:
        raise NotFound
    way = view.values.get(AUTHENTICATION_TYPE, authentication_type) or record.details.get(AUTHENTICATION_TYPE)
    return _form(view, technology, way, record)


@form("/{connection_key:str}/edit", CONNECTIONS, asks=NEVER_ASKS, again=edit_page)
def update(connection_key: FromPath[str], sent: InjectedForm) -> Redirect:
    """Change a connection; secrets that were not entered anew stay, unless they would go elsewhere (S4).

    The password is not asked for, as in `create`.
    """
    record = managed(sent, connection_key)
    technology = technology_of(record)
    if technology is None:
        raise NotFound
    way = way_to_sign_in(technology, sent.form.get(AUTHENTICATION_TYPE))
    wanted = ChangedConnection(values_in(sent, technology, way), replaces=_is_another_way(record, way))
    with at_field(**inputs_of_fields(technology, way)):
        sent.services.connections.update(sent.principal, connection_key, wanted, sent.origin)
    return see_other(address_of(connection_key, "?notice=saved"))


def _form(
    view: View, technology: Technology, way_name: object, record: ConnectionRecord | None
) -> Response[str]:
    way = way_to_sign_in(technology, way_name)
    shown = groups(technology, way, None if record is None else record.details)
    return view.render(
        "connections/form.html",
        technology=technology,
        way=way,
        groups=shown,
        names=["connectionKey", *names_in(shown)],
        tier=TIERS[technology.tier][1] if technology.tier is not Tier.RUN else "",
        is_kept=technology.tier is Tier.KEPT,
        connection=record,
        is_off=record is not None and record.state is ConnectionState.INACTIVE,
        path=f"{CONNECTIONS.path}/new" if record is None else address_of(record.connection_key, "/edit"),
        back=CONNECTIONS.path if record is None else address_of(record.connection_key),
    )


def _is_another_way(record: ConnectionRecord, way: AuthenticationType) -> bool:
    """Return whether the account signs in otherwise from now on: nothing of the former way is left then."""
    return bool(record.details.get(AUTHENTICATION_TYPE, way.name) != way.name)


def _may_register(view: View) -> bool:
    return view.principal.may(Permission.APPLICATION_ADMIN)
