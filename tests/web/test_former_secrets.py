"""What a secret may do that was rotated away, or a token of it, until its overlap ends (fault B10)."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keyturn.core.permissions import Permission
from keyturn.errors import ChangeRefused
from keyturn.services.keys.keys import NewKey
from keyturn.services.keys.rotation import MAX_OVERLAP
from keyturn.store.database.schema import (
    api_key,
    invitation,
    profile,
    service_account,
    session,
    user,
)
from keyturn.store.keys.rotation import FORMER_RETRY_LIFE
from tests.conftest import PASSWORD
from tests.people import HERE, caller, is_accepted, person
from tests.web.people_callers import PROTECTED
from tests.web.people_routes import Call, add_things, fresh_name

if TYPE_CHECKING:
    from keyturn.services.keys.keys import CreatedKey
    from tests.web.sites import Site

EVERY_PERMISSION = frozenset(permission.value for permission in Permission)
CHANGING = tuple(call for call in PROTECTED if call.method != "GET" and not call.takes_key)
"""Calls that change something; not those that exchange a key, whose token ends with its secret."""
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


def ways_in(site: Site) -> list[Any]:
    """Return all accounts, keys, sessions and links to set a password: how anybody gets in."""
    keys = (api_key.c.id, api_key.c.digest, api_key.c.revoked_at, api_key.c.user_id)
    with site.services.store._database.reading() as connection:
        return [
            connection.execute(query).all()
            for query in (
                select(user).order_by(user.c.id),
                select(profile).order_by(profile.c.id),
                select(service_account).order_by(service_account.c.user_id),
                select(*keys).order_by(api_key.c.id),
                select(session.c.id, session.c.ended_at).order_by(session.c.id),
                select(invitation).order_by(invitation.c.user_id),
            )
        ]


def token_of(site: Site, secret: str) -> str:
    return site.services.exchange.exchange(in_header=[secret.encode()], in_body=None, origin=HERE).token


def token_of_token(site: Site, secret: str) -> str:
    """Return a token for a token of this secret (RFC 8693)."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": token_of(site, secret),
    }
    return site.services.oauth.grant(form, [], HERE).issued.token


FORMER = {
    "secret": lambda _, secret: secret,
    "token": token_of,
    "token for a token": token_of_token,
}
"""What one gets of a secret that was rotated away."""


@pytest.mark.parametrize("call", CHANGING, ids=lambda call: f"{call.method} {call.path}")
def test_fault_b10_a_former_secret_makes_no_key_and_changes_no_account(site: Site, call: Call) -> None:
    """No route that changes something makes or ends a way in: of its owner, of service accounts, of others.

    Nor with a token of it.
    """
    name, made, new = rotated(site)
    things = add_things(site, password=PASSWORD)
    oneself = {} if call.path.startswith("/serviceaccount") else {"userid": name}
    own = {} if "/system/" in call.path or "/serviceaccount" in call.path else {"keyid": made.record.key_id}
    with_tokens = [make(site, made.secret) for make in FORMER.values()]
    before = ways_in(site)
    for credential in with_tokens:
        with site.client(headers={"Authorization": credential}) as client:
            answers = [call.send(client, things.of(call) | values) for values in ({}, {**oneself, **own})]
        assert ways_in(site) == before
        if call.path.endswith(KEYS) and not call.path.startswith("/data/"):
            assert answers[1].status_code == 409, answers[1].text
            assert "rotate" in answers[1].json()["message"]
    assert is_accepted(site.services, new.secret)


def test_fault_b10_a_former_secret_reads_what_the_new_one_does(site: Site) -> None:
    """Programs that do not have the new secret yet go on: they read, and change what is not their own."""
    _, made, new = rotated(site)
    things = add_things(site, password=PASSWORD)
    reading = [call for call in PROTECTED if call.method == "GET"]
    with (
        site.client(headers={"Authorization": made.secret}) as former,
        site.client(headers={"Authorization": token_of(site, made.secret)}) as with_token,
        site.client(headers={"Authorization": new.secret}) as current,
    ):
        for call in reading:
            values = things.of(call)
            answers = [call.send(client, values) for client in (former, with_token, current)]
            assert answers[0].content == answers[1].content == answers[2].content, call
        project = former.post("/project", json={"name": fresh_name()})
        assert project.status_code == 200, project.text


@pytest.mark.parametrize("way", [*FORMER, "client"])
def test_fault_b10_a_former_secret_revokes_no_key(site: Site, way: str) -> None:
    """Revocation, which ends a key by any of its secrets, is refused to the former one, and says so."""
    _, made, new = rotated(site)
    identity = {"client_id": f"key-{made.record.key_id}", "client_secret": made.secret}
    headers = {} if way == "client" else {"Authorization": f"Bearer {FORMER[way](site, made.secret)}"}
    with site.client(headers=headers) as client:
        for token in (made.secret, new.secret):
            form = {"token": token, **({} if headers else identity)}
            answer = client.post("/oauth/revoke", data=form)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert is_accepted(site.services, new.secret)


def test_fault_b10_nor_does_a_token_of_it_make_a_key(site: Site) -> None:
    """A token of a former secret makes no key, one of the present secret does, also if they end together."""
    name = f"{fresh_name()}@example.com"
    site.add_user(name)
    services = site.services
    made = site.key(name)
    who = person(services, name)
    earlier = token_of(site, made.secret)
    new = services.key_rotation.rotate_own(who, made.record.key_id, HERE, overlap=MAX_OVERLAP)
    for former in (earlier, token_of(site, made.secret), token_of_token(site, made.secret)):
        with pytest.raises(ChangeRefused, match="rotated away"):
            services.keys.create(caller(services, former), HERE, NewKey())
    for present in (token_of(site, new.secret), token_of_token(site, new.secret)):
        services.keys.create(caller(services, present), HERE, NewKey())


def test_fault_b10_a_token_of_a_former_secret_dies_with_it(site: Site) -> None:
    """With the overlap, at the next rotation, and with a lost answer: introspection says that it is over."""
    services, name = site.services, f"{fresh_name()}@example.com"
    site.add_user(name)
    made = site.key(name)
    who, number = person(services, name), made.record.key_id
    rotate = partial(services.key_rotation.rotate_own, who, number, HERE)
    tokens = {"before": token_of(site, made.secret)}
    lost = rotate(overlap=timedelta(minutes=10), idempotency_key="one")
    tokens |= {"former": token_of(site, made.secret), "lost": token_of(site, lost.secret)}
    found = rotate(overlap=timedelta(minutes=10), idempotency_key="one")
    tokens |= {"former again": token_of_token(site, made.secret), "new": token_of(site, found.secret)}

    def living() -> set[str]:
        with site.client(headers={"Authorization": found.secret}) as client:
            told = {
                text: client.post("/oauth/introspect", data={"token": token}).json()
                for text, token in tokens.items()
            }
        accepted = {text for text, token in tokens.items() if is_accepted(services, token)}
        assert {text for text, answer in told.items() if answer["active"]} == accepted
        formers = {told[text]["exp"] for text in accepted - {"new", "newest"}}
        assert formers <= {int((start + timedelta(minutes=10)).timestamp())}
        return accepted

    start = site.clock.now
    assert living() == tokens.keys() - {"lost"}
    site.clock.advance(timedelta(minutes=10))
    assert living() == {"new"}

    found = rotate(overlap=timedelta(minutes=10))
    start, tokens["newest"] = site.clock.now, token_of(site, found.secret)
    assert living() == {"new", "newest"}
    found = rotate(overlap=timedelta(minutes=10))
    tokens["newest"], tokens["new"] = tokens["new"], tokens["newest"]
    assert living() == {"new"}, "rotating again ends the one before at once"


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
    with pytest.raises(ChangeRefused, match="rotated away"):
        rotate()
    assert is_accepted(services, again.secret)
