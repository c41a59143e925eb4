"""The headers of every answer (OWASP ASVS 3.4)."""

HSTS_SECONDS = 31_536_000

_BASE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
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

Headers = tuple[tuple[bytes, bytes], ...]


class SecurityHeaders:
    """The two fixed sets: for the interactive API page, and for all else."""

    def __init__(self, *, https: bool) -> None:
        base: Headers = _BASE
        if https:
            base += ((b"strict-transport-security", b"max-age=%d; includeSubDomains" % HSTS_SECONDS),)
        self._all: Headers = (*base, (b"content-security-policy", _PAGES_POLICY))
        self._api_page: Headers = (*base, (b"content-security-policy", _API_PAGE_POLICY))

    def for_path(self, path: str) -> Headers:
        """Return the headers of an answer under `path`."""
        return self._api_page if path == API_PAGE_PATH else self._all
