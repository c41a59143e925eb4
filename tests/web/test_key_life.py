"""How long a key lives is chosen on every door by which it is made, by one rule (fault G10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest

from keyturn.cli.main import cli
from keyturn.core.lifetimes import MAX_LIFE
from keyturn.core.people import ServiceOwner
from keyturn.core.times import wire_time
from keyturn.services.keys.keys import NewKey
from tests.people import HERE, person
from tests.web.sites import CONNECTION, filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.conftest import SiteOpener
    from tests.web.sites import Site

ADMIN = "admin@example.com"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def strict_site(open_site: SiteOpener) -> Iterator[Site]:
    """A server on which every key has an end."""
    with open_site(allow_keys_without_expiry=False) as opened:
        opened.add_people()
        administrator = person(opened.services, ADMIN)
        opened.users["robot"] = opened.services.service_accounts.add(
            administrator, HERE, userid="robot", name=None, owner=ServiceOwner(administrator.user_id)
        )
        yield opened


def doors(site: Site) -> dict[str, dict[str, Any]]:
    """Return the operations that answer with the secret of a key, by path, from the API's own description."""
    with site.client() as client:
        told = client.get("/openapi.json").json()
    with_secret = {
        name
        for name, shape in told["components"]["schemas"].items()
        if "apikey" in shape.get("properties", {})
    }
    return {
        path: operation["post"]
        for path, operation in told["paths"].items()
        if "post" in operation
        and any(name in str(operation["post"]["responses"].get("200")) for name in with_secret)
    }


def body_of(path: str, **chosen: object) -> dict[str, object]:
    required = {"name": f"trino {chosen}", "scopes": ["plugin:trino"], "connectionKey": CONNECTION}
    return {**(required if path.endswith("/system") else {}), **chosen}


def test_fault_g10_every_route_that_makes_a_key_takes_an_expiry(strict_site: Site) -> None:
    """A key ends when its maker chose, on each route that answers with a new one, and by one rule on all."""
    secret = person_key(strict_site)
    now = strict_site.clock.now
    made = doors(strict_site)
    assert {path.rpartition("/")[2] for path in made} == {"apikey", "system", "rotate"}
    with strict_site.client(headers={"Authorization": secret}) as client:
        for path, operation in made.items():
            fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
            if path.endswith("/rotate"):  # A rotation keeps the end that the key was made with.
                assert "expiresAt" not in fields
                continue
            assert "expiresAt" in fields, path
            url = filled(path.replace("{userid}", "robot"))
            chosen = wire_time(now + 3 * DAY)
            answer = client.post(url, json=body_of(path, expiresAt=chosen))
            assert (answer.status_code, answer.json()["expiresAt"]) == (200, chosen), answer.text
            default = client.post(url, json=body_of(path))
            assert default.json()["expiresAt"] == wire_time(now + 365 * DAY), default.text
            for unfit in (
                None,
                wire_time(now),
                wire_time(now + MAX_LIFE + DAY),
                "2027-01-31T00:00:00",
                "9999-12-31T23:59:59Z",
                "tomorrow",
                1,
            ):
                refused = client.post(url, json=body_of(path, expiresAt=unfit))
                assert refused.status_code == 422, (path, unfit, refused.text)
                assert refused.json()["validation"][0]["field"] == "expiresAt"


def person_key(site: Site) -> str:
    """Return a key of the administrator, which outlives what is made here."""
    administrator = site.users[ADMIN].user_id
    return site.services.keys.create(
        person(site.services, ADMIN), HERE, NewKey(), for_user=administrator
    ).secret


def test_fault_g10_null_is_never_where_that_is_allowed(site: Site) -> None:
    """`expiresAt: null` makes a key that never ends, and leaving it out one that lives for the default."""
    key = site.key(ADMIN, never=True).secret
    with site.client(headers={"Authorization": key}) as client:
        never = client.post("/bim/apikey", json={"expiresAt": None}).json()
        default = client.post("/bim/apikey", json={}).json()
    assert never["expiresAt"] is None
    assert default["expiresAt"] == wire_time(site.clock.now + 365 * DAY)


def commands(group: click.Group, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield (*names, name), found
        if isinstance(found, click.Group):
            yield from commands(found, *names, name)


def test_fault_g10_every_command_that_makes_a_key_takes_an_expiry() -> None:
    """Each command below `key`, but those that list, end or rotate, has `--expires`."""
    keeping = {"list", "revoke", "rotate"}
    makers = {
        " ".join(path): {option for parameter in command.params for option in parameter.opts}
        for path, command in commands(cli)
        if path[-2:-1] == ("key",) and path[-1] not in keeping
    }
    assert {"key create", "admin key add", "admin key import"} <= set(makers)
    assert all("--expires" in options for options in makers.values()), makers
