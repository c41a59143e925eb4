"""Any WSGI application behind a verifier, closed but for the paths that are opened."""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from keyturn.integrations.open_paths import OpenPaths
from keyturn.integrations.protection import (
    UNQUOTED,
    Presented,
    Protection,
    VerifierSource,
    checked_scopes,
)
from keyturn.integrations.refusals import REFUSALS, Refusal, refusal_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CALLER = "keyturn.principal"
"""Where the `Principal` is in the environment. No header can be there: those begin with `HTTP_`."""


class KeyturnMiddleware:
    """Lets through who may pass, with `environ["keyturn.principal"]`, and answers everybody else.

    `verifier` is one, or a function that returns one, to be called for each request.
    `open_paths` and `open_prefixes` (like `/static/`) ask for no credential; there is no caller there. They
    are named as `app` routes them: by `PATH_INFO`, without the mount.
    `scopes` are needed for every other path. `trusted_proxies` are networks whose `X-Forwarded-For` counts.
    `public_url`, like `https://api.example.com`, is what clients put before a path: with it, credentials that
    are bound to a key pair are good here (RFC 9449).
    """

    def __init__(
        self,
        app: "WSGIApplication",
        verifier: VerifierSource,
        *,
        open_paths: Iterable[str] = (),
        open_prefixes: Iterable[str] = (),
        scopes: Iterable[str] = (),
        trusted_proxies: Iterable[str] = (),
        public_url: str | None = None,
    ) -> None:
        self._app = app
        self._protection = Protection(verifier, trusted_proxies=trusted_proxies, public_url=public_url)
        self._open = OpenPaths(open_paths, open_prefixes)
        self._scopes = checked_scopes(scopes)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, or hand it on."""
        if _decoded(environ.get("PATH_INFO", "")) in self._open:
            environ.pop(CALLER, None)  # Of another verifier, in front of this application.
        else:
            try:
                environ[CALLER] = self._protection.check(presented_in(environ), self._scopes)
            except REFUSALS as error:
                return _refuse(environ, start_response, refusal_of(error))
        return self._app(environ, start_response)


def presented_in(environ: MutableMapping[str, Any]) -> Presented:
    """Read what the request says of its caller.

    WSGI has one place for a header: servers join the lines of a repeated one with commas (RFC 9110, section
    5.3). No credential of ours holds a comma, nor any proof, so each of them stands between two. It shows a
    path decoded: a proof for one with an encoded slash fits no request.
    """
    proofs = environ.get("HTTP_DPOP")
    authorization = environ.get("HTTP_AUTHORIZATION")
    forwarded_for = environ.get("HTTP_X_FORWARDED_FOR")
    return Presented(
        authorization=[] if authorization is None else authorization.encode("latin-1", "replace").split(b","),
        peer=environ.get("REMOTE_ADDR") or None,
        forwarded_for=[] if forwarded_for is None else [forwarded_for.encode("latin-1", "replace")],
        request=environ,
        proofs=[] if proofs is None else proofs.encode("latin-1", "replace").split(b","),
        method=environ.get("REQUEST_METHOD", ""),
        path=quote(_whole_path(environ), safe=UNQUOTED),
        routed_path=quote(_decoded(environ.get("PATH_INFO", "")), safe=UNQUOTED),
    )


def _whole_path(environ: Mapping[str, Any]) -> str:
    """Return what clients ask for, mount and all; what is open is never judged by it.

    The mount may be the client's choice: gunicorn takes it from a header, and so does what reads
    `X-Forwarded-Prefix`.
    """
    return _decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _decoded(path: str) -> str:
    """Return a path as text (PEP 3333 shows its bytes as Latin-1, with escapes decoded once)."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


def _refuse(environ: "WSGIEnvironment", start_response: "StartResponse", refusal: Refusal) -> Iterable[bytes]:
    body = refusal.encoded()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers()}
    start_response(f"{int(refusal.status)} {refusal.status.phrase}", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
