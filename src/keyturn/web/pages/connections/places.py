"""A connection or an object behind it, as an address names it, for whoever may see it.

    /connections/sales/objects?at=public&at=orders

The names are in the query, each as a parameter: names of databases are anybody's, and a path takes no name
like `..`, and no slash that every proxy leaves alone (decision 95).
"""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

import msgspec

from keyturn.core.connections import ConnectionRecord, ObjectPath
from keyturn.errors import NotFound, PermissionMissing
from keyturn.services.connections.objects import Location
from keyturn.web.pages.frame.tabs import CONNECTIONS
from keyturn.web.pages.frame.views import View

AT = "at"
"""The parameter of an address, and the field of a form, that names an object."""

_PATH = msgspec.json.Decoder(tuple[str, ...])


def address_of(connection_key: str, below: str = "") -> str:
    """Return where the page of a connection is, or one below it."""
    return f"{CONNECTIONS.path}/{quote(connection_key, safe='')}{below}"


def address_of_object(connection_key: str, path: ObjectPath, **query: str) -> str:
    """Return where an object is; for the connection itself, where what is behind it begins."""
    named = [*((AT, name) for name in path), *query.items()]
    return address_of(connection_key, "/objects") + (f"?{urlencode(named)}" if named else "")


def sent_path(path: ObjectPath) -> str:
    """Return a path for a hidden field: as JSON in ASCII, since a form changes line ends."""
    return json.dumps(path)


def read_path(text: str) -> ObjectPath:
    """Return the path that a hidden field says; raise `NotFound` for anything else."""
    try:
        return _PATH.decode(text or "[]")
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise NotFound from None


def seen(view: View, connection_key: str) -> ConnectionRecord:
    """Return a connection that the visitor sees; raise `NotFound` for a hidden and an absent one alike."""
    try:
        return view.services.connections.get_now(view.principal, connection_key)
    except PermissionMissing:
        raise NotFound from None


def managed(view: View, connection_key: str) -> ConnectionRecord:
    """Return a connection that the visitor may change; for anybody else its form is not there."""
    record = seen(view, connection_key)
    if not view.services.connection_access.manages(view.principal, record):
        raise NotFound
    return record


def seen_place(view: View, connection_key: str, path: Sequence[str]) -> Location:
    """Return what is at this path, as `seen` does."""
    try:
        return view.services.data_objects.get(view.principal, (connection_key, *path))
    except PermissionMissing:
        raise NotFound from None
