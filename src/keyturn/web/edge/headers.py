"""The headers of every answer (OWASP ASVS 3.4)."""

import re

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
_API_PAGE_POLICY = (
    # Swagger UI sets style attributes, shows its icons as data: images, and calls the API.
    b"default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)

API_PAGE_PATH = "/docs/api"

_DATA = re.compile(
    r"/(bim|apikey|iam|project|services|serviceaccount|oauth|data|feed|health|verify|openapi\.json|\.well-known)(/.*)?",
    re.DOTALL,
)
"""Paths of the API. Everything else may be shown as a document, and gets what documents need."""

Headers = tuple[tuple[bytes, bytes], ...]


class SecurityHeaders:
    """Three fixed sets: for data, for the interactive API page, and for everything else.

    What only concerns documents is left out of data: writing a header costs the server more than a look-up.
    """

    def __init__(self, *, https: bool) -> None:
        hsts: Headers = ()
        if https:
            hsts = ((b"strict-transport-security", b"max-age=%d; includeSubDomains" % HSTS_SECONDS),)
        self._data: Headers = (_NO_SNIFFING, *hsts, (b"content-security-policy", _DATA_POLICY))
        self._pages: Headers = (*_DOCUMENTS, *hsts, (b"content-security-policy", _PAGES_POLICY))
        self._api_page: Headers = (*_DOCUMENTS, *hsts, (b"content-security-policy", _API_PAGE_POLICY))

    def for_path(self, path: str) -> Headers:
        """Return the headers of an answer under `path`."""
        if _DATA.fullmatch(path):
            return self._data
        return self._api_page if path == API_PAGE_PATH else self._pages
