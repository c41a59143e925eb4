"""Paths of objects: the key of a connection and names behind it, each percent-encoded, joined by slashes."""

from urllib.parse import unquote

from keyturn.core.connections import ObjectPath
from keyturn.errors import NotFound
from keyturn.web.requests import AnyRequest

MAX_NAMES = 8


def names_in(request: AnyRequest, object_path: str) -> ObjectPath:
    """Return the names of `object_path`, the end of the path, as they were sent; raise `NotFound` for none.

    A decoded path does not tell a slash in a name from one between two.
    """
    sent = request.scope["raw_path"].decode("ascii")
    wanted = object_path.removeprefix("/")
    for count in range(1, min(MAX_NAMES, sent.count("/")) + 1):
        _, *last = sent.rsplit("/", count)
        try:
            names = tuple(unquote(segment, errors="strict") for segment in last)
        except UnicodeDecodeError:
            break
        if "/".join(names) == wanted and all(names):
            return names
    raise NotFound("There is no such object.")
