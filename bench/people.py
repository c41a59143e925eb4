"""What people wait for, with ten thousand users, a thousand groups and as many keys in the database.

One question at a time, on one connection, each asked many times; the database is written past Keyturn,
straight into the tables. The pages are asked for with the session of a browser, the others with a key.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, insert, select

from bench.errors import NotMeasured, reason_of
from bench.installations import PASSWORD, Installation, new_installation
from bench.percentiles import percentile
from bench.postgresql import new_database, running_postgresql
from bench.servers import Server
from bench.wire import KeptConnection, Request
from keyturn.core.folding import searched_text
from keyturn.core.records import SessionKind
from keyturn.services.people.sessions import LOOPBACK_SESSION_COOKIE, digest_session_token
from keyturn.store import open_engine
from keyturn.store.database.schema import (
    api_key,
    api_key_use,
    group,
    group_attribute,
    group_member,
    profile,
    session,
    user,
    user_attribute,
)

USERS, GROUPS, MEMBERS = 10_000, 1_000, 20
OWN_KEYS = 300
"""Of the administrator; each of the others has one."""
DAYS_OF_USES = 90
ADMINISTRATOR = "admin"
WARM_UPS = 10
TARGET_MS = 100.0
"""The p99 of each must stay under it."""

QUESTIONS = {
    "GET /bim/user, 200 users": "/bim/user?size=200",
    "the same, the last page": "/bim/user?size=200&offset=9800",
    "the same, with a name that all have": "/bim/user?size=200&name=person",
    "the same, with a name that one has": "/bim/user?size=200&name=09876",
    "the same, with a name that nobody has": "/bim/user?size=200&name=nobody%20at%20all",
    "GET /bim/group, 1,000 groups": "/bim/group",
    "one user": "/bim/iam/bim/user/person-05000",
}
PAGES = [
    "/profile/keys",
    "/profile/keys?page=15",
    "/profile/keys?q=export&sort=-used",
    "/profile/keys?state=active&sort=name",
    "/admin/users",
    "/admin/users?page=200",
    "/admin/users?q=number",
    "/admin/users?q=09876",
    "/admin/users?state=active",
    "/admin/groups",
    "/admin/keys",
    "/admin/keys?page=500",
    "/admin/keys?sort=owner",
    "/admin/keys?q=person-09876",
    "/admin/keys?state=active&sort=-used",
    "/admin/audit",
]


def measure_people(directory: Path, times: int) -> list[dict[str, Any]]:
    """Return the figures of each question on each database, or why a database has none."""
    results: list[dict[str, Any]] = []
    for title, opened in (("SQLite", _on_sqlite), ("PostgreSQL", _on_postgresql)):
        try:
            with opened(directory) as (installation, place):
                results += [{"database": title, **row} for row in _measure(installation, place, times)]
        except (NotMeasured, OSError) as error:
            results.append({"database": title, "not_measured": reason_of(error)})
    return results


@contextmanager
def _on_sqlite(directory: Path) -> Iterator[tuple[Installation, Path]]:
    place = directory / "sqlite"
    place.mkdir()
    yield new_installation(place), place


@contextmanager
def _on_postgresql(directory: Path) -> Iterator[tuple[Installation, Path]]:
    place = directory / "on-postgresql"
    place.mkdir()
    with running_postgresql(directory) as server:
        yield new_installation(place, new_database(server)), place


def _measure(installation: Installation, directory: Path, times: int) -> list[dict[str, Any]]:
    permissions = ("--permission", "USER_ADMIN", "--permission", "AUDIT")
    installation.run("admin", "user", "add", ADMINISTRATOR, *permissions, "--password-stdin", stdin=PASSWORD)
    key = installation.run("admin", "key", "add", "--user", ADMINISTRATOR, "--name", "bench")
    cookie = secrets.token_urlsafe(32)
    engine = open_engine(installation.database)
    try:
        with engine.connect() as connection:
            _fill(connection, cookie)
    finally:
        engine.dispose()
    with_key = {"Authorization": key}
    with_session = {"Cookie": f"{LOOPBACK_SESSION_COOKIE}={cookie}"}
    with installation.serving(directory) as server:
        return [
            *(
                _figures(server, title, Request("GET", path, with_key), times)
                for title, path in QUESTIONS.items()
            ),
            *(_figures(server, f"page {path}", Request("GET", path, with_session), times) for path in PAGES),
        ]


def _figures(server: Server, title: str, request: Request, times: int) -> dict[str, Any]:
    """Ask again and again; raise `NotMeasured` if any answer is an error."""
    took = []
    size = 0
    with KeptConnection(server.port) as connection:
        for _ in range(WARM_UPS + times):
            began_at = time.perf_counter()
            answer = connection.ask(request)
            took.append((time.perf_counter() - began_at) * 1000)
            if answer.status != 200:
                raise NotMeasured(f"{request.path} was answered with {answer.status}")
            size = len(answer.body)
    ascending = sorted(took[WARM_UPS:])
    return {
        "title": title,
        "bytes": size,
        "p50_ms": median(ascending),
        "p99_ms": percentile(ascending, 99),
    }


def _fill(connection: Connection, cookie: str) -> None:
    """Write the people, and a session of the administrator's with this cookie."""
    now = datetime.now(UTC)
    made = {"created_at": now, "updated_at": now}
    administrator: int = connection.execute(
        select(user.c.id).where(user.c.canonical_userid == ADMINISTRATOR)
    ).scalar_one()
    first = administrator + 1
    ids = range(first, first + USERS)
    connection.execute(
        insert(user),
        [
            {
                "id": number,
                "iamid": "bim",
                "userid": f"Person-{number - first:05}",
                "canonical_userid": f"person-{number - first:05}",
                "permissions": ["CREATE_PROJECT"],
                "failed_logins": 0,
                **made,
            }
            for number in ids
        ],
    )
    connection.execute(
        insert(profile),
        [
            {
                "user_id": number,
                "name": f"Person Number {number - first:05}",
                "email": f"person-{number - first:05}@example.com",
                "external_user_ids": {},
                "searched": searched_text(
                    f"Person-{number - first:05}",
                    f"Person Number {number - first:05}",
                    f"person-{number - first:05}@example.com",
                ),
                **made,
            }
            for number in ids
        ],
    )
    connection.commit()  # Each part by itself: a transaction has seconds.
    connection.execute(
        insert(user_attribute),
        [{"user_id": number, "name": "team", "value": f"team {number % 50}"} for number in ids],
    )
    connection.execute(
        insert(group),
        [{"id": number, "iamid": "bim", "name": f"Group {number:04}", **made} for number in _groups()],
    )
    connection.execute(
        insert(group_attribute),
        [{"group_id": number, "name": "country", "value": f"c{number % 100}"} for number in _groups()],
    )
    connection.commit()
    connection.execute(
        insert(group_member),
        [
            {"group_id": number, "user_id": first + (number * MEMBERS + place) % USERS, **made}
            for number in _groups()
            for place in range(MEMBERS)
        ],
    )
    connection.commit()
    _fill_keys(connection, [*[administrator] * OWN_KEYS, *ids], now)
    connection.execute(
        insert(session),
        {
            "user_id": administrator,
            "digest": digest_session_token(cookie),
            "kind": SessionKind.BROWSER.value,
            "created_at": now,
            "last_seen_at": now,
            "expires_at": now + timedelta(hours=1),
        },
    )
    connection.commit()


def _fill_keys(connection: Connection, owners: Sequence[int], now: datetime) -> None:
    """Write a key for each of these owners, and for those of the first one that it is used each day."""
    first: int = connection.execute(select(func.max(api_key.c.id))).scalar_one() + 1
    hour = int(now.timestamp()) // 3600
    connection.execute(
        insert(api_key),
        [
            {
                "id": number,
                "user_id": owner,
                "digest": secrets.token_bytes(32),
                "name": f"nightly export {number:05}",
                "masked": f"kt_{number:012}_…{number % 10_000:04}",
                "created_at": now - timedelta(days=DAYS_OF_USES, seconds=number),
                "expires_at": now + timedelta(days=1 + number % 400),
                "last_used_at": now - timedelta(minutes=number),
            }
            for number, owner in enumerate(owners, first)
        ],
    )
    connection.execute(
        insert(api_key_use),
        [
            {"key_id": first + key, "hour": hour - 24 * day, "uses": 100 + key + day}
            for key in range(OWN_KEYS)
            for day in range(DAYS_OF_USES)
        ],
    )


def _groups() -> range:
    return range(1, GROUPS + 1)
