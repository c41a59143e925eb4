"""Static files, and the interactive API page with its assets from their package."""

import mimetypes
from importlib.resources import files
from importlib.resources.abc import Traversable

from litestar import Response, get
from litestar.params import FromPath

from keyturn.errors import NotFound
from keyturn.web.pages.rendering import InjectedPages
from keyturn.web.requests import in_thread

_STATIC = files("keyturn.web") / "static"
_SWAGGER = files("swagger_ui") / "static"
_SWAGGER_FILES = frozenset({"swagger-ui.css", "swagger-ui-bundle.js"})
_MAX_AGE_SECONDS = 3600


@get("/static/{name:str}", include_in_schema=False)
@in_thread
def static_file(name: FromPath[str]) -> Response[bytes]:
    """Answer one of our own files."""
    if name not in {entry.name for entry in _STATIC.iterdir()}:
        raise NotFound
    return _file(_STATIC / name)


@get("/docs/api", include_in_schema=False)
@in_thread
def api_page(pages: InjectedPages) -> Response[str]:
    """Show the description of the API, to try out."""
    return pages.render("api_docs.html")


@get("/docs/api/assets/{name:str}", include_in_schema=False)
@in_thread
def api_page_asset(name: FromPath[str]) -> Response[bytes]:
    """Answer a file of Swagger UI."""
    if name not in _SWAGGER_FILES:
        raise NotFound
    return _file(_SWAGGER / name)


def _file(found: Traversable) -> Response[bytes]:
    media_type, _ = mimetypes.guess_type(found.name)
    return Response(
        found.read_bytes(),
        media_type=media_type or "application/octet-stream",
        headers={"Cache-Control": f"public, max-age={_MAX_AGE_SECONDS}"},
    )
