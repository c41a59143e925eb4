"""Static files."""

import mimetypes
from functools import cache
from importlib.resources import files

from litestar import Response
from litestar.params import FromPath

from keyturn.errors import NotFound
from keyturn.web.pages.frame.forms import asset
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest

_OURS = "keyturn.web"
_MAX_AGE_SECONDS = 3600


@asset("/static/{name:str}")
def static_file(name: FromPath[str], request: AnyRequest) -> Response[bytes]:
    """Answer one of our own files."""
    return _file(_OURS, name, request)


def _file(package: str, name: str, request: AnyRequest) -> Response[bytes]:
    if name not in _names(package):
        raise NotFound
    return _read(package, name).answer(request, f"public, max-age={_MAX_AGE_SECONDS}")


@cache
def _names(package: str) -> frozenset[str]:
    return frozenset(entry.name for entry in (files(package) / "static").iterdir())


@cache
def _read(package: str, name: str) -> Representation:
    """Return a file of the package, which is read once: there are few, and they never change."""
    media_type, _ = mimetypes.guess_type(name)
    content = (files(package) / "static" / name).read_bytes()
    return Representation.of(content, media_type or "application/octet-stream", packs=True)
