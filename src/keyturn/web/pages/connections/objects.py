"""The tree behind a connection: what the last crawl found, and the settings of each object."""

from collections.abc import Callable
from dataclasses import dataclass

from litestar import Response
from litestar.params import FromPath, FromQuery

from keyturn.core.connections import ObjectPath
from keyturn.core.pages import Page
from keyturn.services.connections.objects import Location
from keyturn.web.pages.connections.fields import is_crawled
from keyturn.web.pages.connections.places import AT, address_of, address_of_object, seen_place
from keyturn.web.pages.connections.roles import names_of, settings_shown
from keyturn.web.pages.frame.forms import page
from keyturn.web.pages.frame.lists import MAX_TEXT
from keyturn.web.pages.frame.notices import counted
from keyturn.web.pages.frame.paging import ROWS, read_page
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import InjectedView, View
from keyturn.web.requests import AnyRequest


@dataclass(frozen=True, slots=True)
class Row:
    """An object in a list."""

    place: Location
    name: str
    above: str
    """The names above it, in a list of all that a search found."""
    address: str
    columns: str
    """How many it has, in words."""


@page("/{connection_key:str}/objects", CONNECTIONS)
def objects_page(
    request: AnyRequest,
    connection_key: FromPath[str],
    view: InjectedView,
    q: FromQuery[str] = "",
    page: FromQuery[int] = 1,
    notice: FromQuery[str | None] = None,
) -> Response[str]:
    """Show what is at a path behind a connection, or what a search finds in the whole of it."""
    path = tuple(map(str, request.query_params.getall(AT, [])))
    told = "Saved the settings of this object." if notice == "settings" else None
    return show_object(view, connection_key, path, text=q.strip()[:MAX_TEXT], page=page, notice=told)


def show_object(
    view: View,
    connection_key: str,
    path: ObjectPath,
    *,
    text: str = "",
    page: int = 1,
    notice: str | None = None,
) -> Response[str]:
    """Return the page of an object, or, without a path, of all that is behind a connection."""
    place = seen_place(view, connection_key, path)
    here = address_of_object(connection_key, path)
    at, places = read_page(_reading(view, place, text), page, here, size=ROWS, q=text)
    is_leaf = place.found is not None and place.found.column_count > 0
    return view.render(
        "connections/objects.html",
        connection=place.connection,
        place=place,
        name=path[-1] if path else connection_key,
        above=[(address_of_object(connection_key, path[:end]), path[end - 1]) for end in range(1, len(path))],
        path=address_of(connection_key),
        rows=[_row(one, is_search=bool(text)) for one in places],
        columns=view.services.data_objects.columns(place) if is_leaf else [],
        at_page=at,
        may_crawl=is_crawled(place.connection)
        and view.services.connection_access.owns(view.principal, place.connection, path),
        text=text,
        values={"q": text, **view.values},
        **settings_shown(view, place),
        notice=view.notice or notice,
    )


def _reading(view: View, place: Location, text: str) -> Callable[[int, int], Page[Location]]:
    service, key = view.services.data_objects, place.connection.connection_key
    if text and not place.path:
        return lambda offset, size: service.search(view.principal, (key,), text, offset=offset, size=size)
    return lambda offset, size: service.children(view.principal, (key, *place.path), offset=offset, size=size)


def _row(place: Location, *, is_search: bool) -> Row:
    above = names_of(place.path[:-1]) if is_search else ""
    address = address_of_object(place.connection.connection_key, place.path)
    columns = counted(0 if place.found is None else place.found.column_count, "column")
    return Row(place, place.path[-1], above, address, columns)
