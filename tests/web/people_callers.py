"""People who hold what a test gives them, and how they are refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.web.people_routes import CALLS, Call, fresh_name
from tests.web.sites import ROUTES

if TYPE_CHECKING:
    import httpx

    from tests.web.sites import Site

PERMITTED = ROUTES.permissions
NOBODY: frozenset[str] = frozenset()
PROTECTED = tuple(call for call in CALLS if not call.path.endswith("/authenticate"))
ENDLESS = ("GET", "/feed")
"""Its answer has no end: tests/web/edge/test_feed.py."""
ASKING = tuple(route for route in PERMITTED if route != ENDLESS)
CLOSED = tuple(route for route in ASKING if PERMITTED[route].without is None)


def client_of(site: Site, permissions: frozenset[str], userid: str | None = None) -> httpx.Client:
    """Return a client with the key of somebody new who holds exactly these permissions."""
    userid = userid or f"{fresh_name()}@example.com"
    if userid not in site.users:
        site.add_holder(userid, permissions)
    return site.client(headers={"Authorization": site.key(userid).secret})


def comparable(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    return answer.status_code, headers, answer.content


def needed(answer: httpx.Response) -> list[str]:
    """Return what a refusal names, in header and message alike: permissions; nothing if it is no 403."""
    if answer.status_code != 403:
        return []
    challenge = answer.headers["www-authenticate"]
    found = re.fullmatch(r'Bearer realm="keyturn", error="insufficient_scope", scope="([A-Z_ ]+)"', challenge)
    assert found is not None, challenge
    names = found[1].split()
    assert all(name in answer.json()["message"] for name in names)
    return names


def calls_of(route: tuple[str, str]) -> list[Call]:
    return [call for call in PROTECTED if call.route == route]
