"""Where browsers go, and what tells a browser from a program."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

LOGIN_PATH = "/login"
DEVICE_PAGE_PATH = "/device"
"""Where a person types the code that a device shows."""
SESSION_END_PATH = "/login/again"
"""Where the form of a person is led whose session has ended, whatever path it was sent to."""
ENDED_AT = "ended_at"
"""Under which the request then keeps the path that it was sent to."""
NO_PAGE = "/profile/no-such-page"
"""Where a person who is signed in is led who looks for a page where there is none."""

_HTML = re.compile(
    rb"(?:^|,)[ \t]*text/html[ \t]*(?:;(?![ \t]*q=0(?:\.0*)?[ \t]*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE
)


def wants_page(scope: Mapping[str, Any]) -> bool:
    """Return whether a browser goes to an address or sends a form: `Accept` names HTML (RFC 9110, 12.5.1)."""
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    modes = {value for name, value in scope["headers"] if name == b"sec-fetch-mode"}
    # Java's HttpURLConnection names HTML, and next to it GIF, for every program.
    is_html = any(_HTML.search(value) and b"image/gif" not in value for value in accepted)
    return is_html and modes <= {b"navigate"}


def login_path(wanted: str) -> str:
    """Return where a browser signs in that wanted this path and query."""
    return f"{LOGIN_PATH}?then={quote(wanted, safe='/?=-')}"
