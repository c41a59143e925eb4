"""What a secret may do that was rotated away, until its overlap ends (fault B10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keyturn.core.permissions import Permission
from keyturn.errors import Conflict
from keyturn.services.key_rotation import MAX_OVERLAP
from keyturn.store.key_rotation import FORMER_RETRY_LIFE
from keyturn.store.schema import api_key, profile, user
from tests.conftest import PASSPHRASE
from tests.services.people import HERE, caller, is_accepted, person
from tests.web.people_callers import PROTECTED
from tests.web.people_routes import Call, add_things, fresh_name

if TYPE_CHECKING:
    from keyturn.services.keys import CreatedKey
    from tests.web.sites import Site

EVERY_PERMISSION = frozenset(permission.value for permission in Permission)
CHANGING = tuple(call for call in PROTECTED if call.method != "GET")
KEYS = ("/apikey", "/rotate", "/apikey/system")
"""How the paths end of the routes that make keys, or show a key's secret."""


def rotated(site: Site) -> tuple[str, CreatedKey, CreatedKey]:
    """Return an administrator, a key of theirs, and the same key with its new secret; both secrets work."""
    name = f"{fresh_name()}@example.com"
    site.add_user(name, EVERY_PERMISSION)
    made = site.key(name)
    who = person(site.services, name)
    again = site.services.key_rotation.rotate_own(who, made.record.key_id, HERE, overlap=MAX_OVERLAP)
    return name, made, again


def state_of(site: Site, userid: str) -> list[Any]:
    """Return the rows of an account, and of the keys of all."""
    number = site.users[userid].user_id
    keys = (api_key.c.id, api_key.c.digest, api_key.c.revoked_at, api_key.c.user_id)
    with site.services.store._database.reading() as connection:
        return [
            connection.execute(select(user).where(user.c.id == number)).all(),
            connection.execute(select(profile).where(profile.c.user_id == number)).all(),
            connection.execute(select(*keys).where(api_key.c.user_id == number)).all(),
        ]


def key_count(site: Site) -> int:
    with site.services.store._database.reading() as connection:
        return len(connection.execute(select(api_key.c.id)).all())


@pytest.mark.parametrize("call", CHANGING, ids=lambda call: f"{call.method} {call.path}")
def test_fault_b10_a_former_secret_makes_no_key_and_changes_no_account(site: Site, call: Call) -> None:
    """No route that changes something gives it a key, ends the other secret, or changes its account."""
    name, made, new = rotated(site)
    things = add_things(site, password=PASSPHRASE)
    oneself = {} if call.path.startswith("/serviceaccount") else {"userid": name}
    own = {} if "/system/" in call.path or "/serviceaccount" in call.path else {"keyid": made.record.key_id}
    before, keys = state_of(site, name), key_count(site)
    with site.client(headers={"Authorization": made.secret}) as client:
        answer = call.send(client, {**things.of(call), **oneself, **own})
    assert (state_of(site, name), key_count(site)) == (before, keys)
    assert is_accepted(site.services, new.secret)
    if call.path.endswith(KEYS):
        assert answer.status_code == 409, answer.text
        assert "rotated away" in answer.json()["message"]


def test_fault_b10_a_former_secret_reads_what_the_new_one_does(site: Site) -> None:
    """Programs that do not have the new secret yet go on: they read, and change what is not their own."""
    _, made, new = rotated(site)
    things = add_things(site, password=PASSPHRASE)
    reading = [call for call in PROTECTED if call.method == "GET"]
    with (
        site.client(headers={"Authorization": made.secret}) as former,
        site.client(headers={"Authorization": new.secret}) as current,
    ):
        for call in reading:
            values = things.of(call)
            answers = [call.send(client, values) for client in (former, current)]
            assert answers[0].content == answers[1].content, call
        project = former.post("/project", json={"name": fresh_name()})
        assert project.status_code == 200, project.text


@pytest.mark.parametrize("way", ["Authorization", "client"])
def test_fault_b10_a_former_secret_revokes_no_key(site: Site, way: str) -> None:
    """Revocation, which ends a key by any of its secrets, is refused to the former one, and says so."""
    _, made, new = rotated(site)
    identity = {"client_id": f"key-{made.record.key_id}", "client_secret": made.secret}
    headers = {"Authorization": f"Bearer {made.secret}"} if way == "Authorization" else {}
    with site.client(headers=headers) as client:
        for token in (made.secret, new.secret):
            form = {"token": token, **({} if headers else identity)}
            answer = client.post("/oauth/revoke", data=form)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert is_accepted(site.services, new.secret)


def test_fault_b10_nor_does_a_token_of_it_make_a_key(site: Site) -> None:
    """A token that a former secret may have made makes no key; one that outlives that secret may."""
    name = f"{fresh_name()}@example.com"
    site.add_user(name)
    services = site.services
    made = site.key(name)
    who = person(services, name)
    new = services.key_rotation.rotate_own(who, made.record.key_id, HERE, overlap=timedelta(minutes=10))

    def token_of(secret: str) -> str:
        return services.exchange.exchange(in_header=[secret.encode()], in_body=None, origin=HERE).token

    with pytest.raises(Conflict, match="former secret"):
        services.keys.create(caller(services, token_of(made.secret)), HERE, name=None, lifetime=None)
    services.keys.create(caller(services, token_of(new.secret)), HERE, name=None, lifetime=None)


def test_fault_b10_a_lost_rotation_is_retried_for_five_minutes_alone(site: Site) -> None:
    """Its holder may have lost the answer, so the same rotation can be asked for again, but not late (D5)."""
    services, name = site.services, f"{fresh_name()}@example.com"
    site.add_user(name)
    made = site.key(name)

    def rotate() -> CreatedKey:
        return services.key_rotation.rotate_own(
            caller(services, made.secret),
            made.record.key_id,
            HERE,
            overlap=MAX_OVERLAP,
            idempotency_key="one",
        )

    rotate()
    site.clock.advance(FORMER_RETRY_LIFE - timedelta(milliseconds=1))
    again = rotate()
    site.clock.advance(timedelta(milliseconds=1))
    with pytest.raises(Conflict, match="rotated away"):
        rotate()
    assert is_accepted(services, again.secret)
