"""No text that is taken or shown holds what nobody sees: over every field and every page (fault B3)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Text, select, update

from keyturn.store.database.schema import audit, metadata
from tests.conftest import PASSWORD
from tests.web.people_routes import ADMIN, CALLS, Call, add_things
from tests.web.sites import filled

if TYPE_CHECKING:
    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

OVERRIDE = "\u202e"
OPAQUE = {"apikey", "password", "externalUserIds", "preferences", "token", "jobIds"}
"""What is never shown as text: a password, JSON of other programs, and what is only looked for."""
SHOWN = {
    ("user_account", "userid"), ("profile", "name"), ("profile", "email"), ("profile", "about"),
    ("profile", "location"), ("api_key", "name"), ("user_group", "name"), ("user_group", "description"),
    ("user_group", "email"), ("project", "name"), ("project", "description"), ("resource", "name"),
    ("resource", "description"), ("resource_scope", "description"), ("audit", "actor_userid"),
    ("audit", "user_agent"), ("user_attribute", "value"), ("group_attribute", "value"),
}  # fmt: skip
"""Columns of text that people or their programs chose, and that pages show."""


def spoiled(body: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Give the body once for each text in it, which then holds an override."""
    if isinstance(body, str):
        yield ".".join(path), f"x{OVERRIDE}y"
    elif isinstance(body, dict):
        for name, value in body.items():
            if name not in OPAQUE:
                for told, changed in spoiled(value, (*path, name)):
                    yield told, {**body, name: changed}
    elif isinstance(body, list):
        for at, value in enumerate(body):
            for told, changed in spoiled(value, (*path, str(at))):
                yield told, [*body[:at], changed, *body[at + 1 :]]


@pytest.mark.parametrize(
    "call",
    [call for call in CALLS if call.body and not call.path.endswith("/authenticate")],
    ids=lambda call: f"{call.method} {call.path} {sorted(call.body)}",
)
def test_fault_b3_no_field_takes_what_nobody_sees(site: Site, call: Call) -> None:
    """Each text in the body of each route, with an override in it, is refused, and nothing is made."""
    key = site.key(ADMIN).secret
    values = {**add_things(site, password=PASSWORD).of(call), "caller": key}
    with site.client(headers={"Authorization": key}) as client:
        for field, body in spoiled(call.body):
            answer = call.send(client, values, body=_with(body, values))
            assert answer.status_code in {400, 422}, (field, answer.text)
            assert OVERRIDE not in answer.text


def _with(body: Any, values: Any) -> Any:
    if isinstance(body, str):
        return values.get(body[1:-1], body) if body.startswith("{") else body
    if isinstance(body, dict):
        return {name: _with(value, values) for name, value in body.items()}
    return [_with(value, values) for value in body] if isinstance(body, list) else body


def test_fault_b3_no_page_or_export_shows_what_is_not_seen(open_site: SiteOpener) -> None:
    """Texts from before the rule stand with the code of what would turn the line around."""
    with open_site() as site:
        site.add_people()
        things = add_things(site, password=PASSWORD)
        values = {
            **things.values, "user_id": things.user.user_id, "project_id": things.values["projectid"],
            "group_id": things.values["groupid"], "resource_id": things.values["serviceid"],
            "key_id": things.values["keyid"], "service_id": things.service.user_id,
        }  # fmt: skip
        with closing(site.browser(ADMIN)) as browser:
            spoil_everything(site)
            seen = 0
            for method, path in site.routes():
                if method != "GET" or not path.startswith(("/profile", "/admin")):
                    continue
                if "service-accounts/{" in path:
                    values["user_id"] = things.service.user_id
                names = re.findall(r"\{(\w+)", path)
                if any(name not in values for name in names):
                    continue
                answer = browser.get(filled(path, **values))
                values["user_id"] = things.user.user_id
                assert OVERRIDE not in answer.text, path
                seen += "U+202E" in answer.text or "u202e" in answer.text
            assert seen > 15


def spoil_everything(site: Site) -> None:
    """Put an override behind each text that people chose, as a program from before could have."""
    engine = site.services.store._database.writes._engine
    with engine.connect() as connection, connection.begin():
        for table in metadata.sorted_tables:
            for column in table.columns:
                if (table.name, column.name) in SHOWN:
                    kept = column.cast(Text) + OVERRIDE
                    connection.execute(update(table).where(column.is_not(None)).values({column.name: kept}))
        assert connection.execute(select(audit.c.actor_userid).limit(1)).scalar_one().endswith(OVERRIDE)
    names = {(table.name, column.name) for table in metadata.sorted_tables for column in table.columns}
    assert names >= SHOWN
