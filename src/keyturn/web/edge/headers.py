"""The headers of every answer (OWASP ASVS 3.4)."""

from keyturn.web.route_table import RouteTable
from keyturn.web.routes import HeaderSet

HSTS_SECONDS = 31_536_000

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
_DOCUMENTS = (
    _NO_SNIFFING,
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
_PAGES_POLICY = (
    b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'"
)
_CONNECTING_POLICY = _PAGES_POLICY + b"; connect-src 'self'"
"""Script searches the documentation and calls the API; in the administration it suggests users."""

Headers = tuple[tuple[bytes, bytes], ...]


class SecurityHeaders:
    """Three fixed sets: for data, for documents whose script asks this server, and for all others.

    Headers that only concern documents are left out of data: writing a header costs the server more than a
    look-up.
    """

    def __init__(self, routes: RouteTable, *, https: bool) -> None:
        hsts: Headers = ()
        if https:
            hsts = ((b"strict-transport-security", b"max-age=%d; includeSubDomains" % HSTS_SECONDS),)
        self._set_at = routes.headers_at
        self._sets: dict[HeaderSet, Headers] = {
            HeaderSet.DATA: (_NO_SNIFFING, *hsts, (b"content-security-policy", _DATA_POLICY)),
            HeaderSet.DOCUMENT: (*_DOCUMENTS, *hsts, (b"content-security-policy", _PAGES_POLICY)),
            HeaderSet.CONNECTING_DOCUMENT: (
                *_DOCUMENTS,
                *hsts,
                (b"content-security-policy", _CONNECTING_POLICY),
            ),
        }

    def for_path(self, path: str) -> Headers:
        """Return the headers of an answer under `path`."""
        return self._sets[self._set_at(path)]
