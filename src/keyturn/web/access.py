"""What anybody may ask without a credential. Everything else is closed, whether it exists or not.

A route that is added later is closed until somebody writes it down here.
"""

import re

EXCHANGE_PATHS = frozenset({"/bim/apikey/authenticate", "/apikey/authenticate"})
OPEN_PATHS = frozenset(
    {
        ("GET", "/"),
        ("GET", "/health/live"),
        ("GET", "/health/ready"),
        ("GET", "/.well-known/jwks.json"),
        ("GET", "/openapi.json"),
        *(("POST", path) for path in EXCHANGE_PATHS),
    }
)

OPEN_PATTERNS = (
    ("POST", re.compile(r"/bim/iam/[^/]+/user/authenticate")),
    ("GET", re.compile(r"/static/[^/]+")),
    ("GET", re.compile(r"/docs/api(/assets/[^/]+)?")),
)

PAGE_PATTERN = re.compile(r"/(login|logout|setup|profile(/.*)?)")
"""Pages ask for a session, by cookie, and send a stranger to the login: they take no `Authorization`."""


def is_open(method: str, path: str) -> bool:
    """Return whether anybody may make this request. HEAD is what GET is."""
    method = "GET" if method == "HEAD" else method
    return (method, path) in OPEN_PATHS or any(
        method == open_method and pattern.fullmatch(path) for open_method, pattern in OPEN_PATTERNS
    )
