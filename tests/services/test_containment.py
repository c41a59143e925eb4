"""What is narrowed, borrowed or ended never becomes broad or living again (A2, A3, R3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from keyturn.core.oauth import CLIENT_CREDENTIALS
from keyturn.core.people import ServiceOwner, UserKind
from keyturn.core.permissions import Permission
from keyturn.errors import (
    Conflict,
    CredentialRefused,
    InvalidInput,
    InvalidState,
    NotFound,
    OAuthCode,
    OAuthRefused,
    PermissionMissing,
)
from keyturn.services.keys.keys import NewKey
from keyturn.services.tokens.signing_keys import LEAD
from keyturn.verifying.origin import COMMAND_LINE
from tests.conftest import PASSWORD
from tests.people import HERE, add_person, caller, holder, person, put_together, restricted

if TYPE_CHECKING:
    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from tests.fakes import Clock


def key_of(services: Services, principal: Principal) -> str:
    return services.keys.create(principal, HERE, NewKey()).secret


def narrow_token(services: Services, key: str, *, scope: str = "orders:read") -> str:
    """Return a token of the key for one scope."""
    number = caller(services, key).key_id
    form = {
        "grant_type": CLIENT_CREDENTIALS,
        "client_id": f"key-{number}",
        "client_secret": key,
        "scope": scope,
    }
    return services.oauth.grant(form, [], HERE).issued.token


def test_a_token_is_no_client(services: Services, bob: Principal, clock: Clock) -> None:
    """A token, narrowed or about to end, gets no fresh one: it is not the secret of a client (T15)."""
    key = key_of(services, bob)
    token = narrow_token(services, key)
    clock.advance(timedelta(minutes=59))

    for authorization in ([f"Bearer {token}".encode()], [token.encode()], [f"Bearer {key}".encode()]):
        with pytest.raises(OAuthRefused) as refused:
            services.oauth.grant({"grant_type": CLIENT_CREDENTIALS}, authorization, HERE)
        assert refused.value.code is OAuthCode.INVALID_CLIENT


def test_a_retry_wins_no_broader_key(services: Services, bob: Principal) -> None:
    """With the Idempotency-Key of a broad key a narrowed credential does not get that key (A3)."""
    broad = services.keys.create(bob, HERE, NewKey(idempotency_key="deploy-1"))
    token = narrow_token(services, key_of(services, bob))

    with pytest.raises(Conflict):
        services.keys.create(caller(services, token), HERE, NewKey(idempotency_key="deploy-1"))

    assert caller(services, broad.secret).scopes is None


def test_a_link_does_not_outlive_the_right_to_make_it(services: Services, admin: Principal) -> None:
    """A link that somebody kept opens nothing once the account holds more than they may give."""
    limited = holder(services, "lim", Permission.USER_ADMIN)
    carol = services.user_administration.add(
        limited, HERE, userid="carol", profile={}, password=None, permissions=()
    )
    assert carol.invitation is not None
    code = carol.invitation.link.partition("#")[2]
    services.user_administration.set_permissions(admin, "bim", "carol", [Permission.APPLICATION_ADMIN], HERE)

    with pytest.raises(InvalidInput, match="used or has expired"):
        services.invitations.accept(code, PASSWORD, HERE)
    with pytest.raises(PermissionMissing):
        services.user_administration.invite(limited, "bim", "carol", HERE)


def test_what_is_bound_to_networks_is_revoked_from_anywhere(services: Services, bob: Principal) -> None:
    """A key, and a token of it, are ended by OAuth's revocation though not good here (R9)."""
    proof = key_of(services, bob)
    bound = services.keys.create_for(
        bob.user_id, COMMAND_LINE, NewKey(restrictions=restricted(allowFrom=["192.0.2.0/24"]))
    )
    there = replace(HERE, address="192.0.2.1")
    token = services.exchange.exchange(in_header=[], in_body=bound.secret, origin=there).token

    for credential in (token, bound.secret):
        assert services.authenticator.authenticate([credential.encode()], there) is not None
        services.oauth.revoke({"token": credential}, [f"Bearer {proof}".encode()], HERE)
        with pytest.raises(CredentialRefused):
            services.authenticator.authenticate([credential.encode()], there)


def test_nobody_finds_people_with_a_project(services: Services, bob: Principal, admin: Principal) -> None:
    """Whoever owns a project adds those whom they see in a group or project; others are as absent (A2)."""
    alice, carol = add_person(services, "alice"), add_person(services, "carol")
    project = services.projects.add(bob, HERE, name="p", description=None)
    unknown = ("alice", str(alice.user_id), "nobody", "987654321", "keyturn system")
    for act in (partial(services.projects.set_member, is_owner=False), services.projects.remove_member):
        told = set()
        for userid in unknown:
            with pytest.raises(InvalidInput) as refused:
                act(bob, project.project_id, userid, HERE)
            told.add(str(refused.value))
        assert len(told) == 1
    put_together(services, admin, "bob", "alice")
    services.projects.set_member(bob, project.project_id, "alice", HERE, is_owner=True)
    shared = services.projects.add(admin, HERE, name="shared", description=None)
    for userid in ("alice", "carol"):
        services.projects.set_member(admin, shared.project_id, userid, HERE, is_owner=False)
    seen = services.projects.set_member(
        person(services, "alice"), project.project_id, str(carol.user_id), HERE, is_owner=False
    )
    assert [member.userid for member in seen.members] == ["bob", "alice", "carol"]


def test_a_narrowed_credential_tells_of_no_permission(services: Services, admin: Principal) -> None:
    """What a credential carries is the same for us, for services behind a gateway, and in introspection."""
    key = key_of(services, admin)
    project = services.projects.add(admin, HERE, name="p", description=None)
    linked = services.keys.create(admin, HERE, NewKey(project_id=project.project_id)).secret

    assert caller(services, key).carried_permissions == admin.permissions
    for narrowed in (narrow_token(services, key), linked):
        assert caller(services, narrowed).carried_permissions == frozenset()
        with pytest.raises(PermissionMissing):
            services.user_administration.add(
                caller(services, narrowed), HERE, userid="x", profile={}, password=None, permissions=()
            )


def test_a_disabled_owner_gets_nothing(services: Services, admin: Principal) -> None:
    """An owner who was disabled after they were chosen does not get a service account (R3)."""
    for userid in ("first", "second"):
        add_person(services, userid)
    successor = services.service_accounts.find_successor(admin, "second")
    assert successor is not None
    made = services.service_accounts.add(
        admin,
        HERE,
        userid="robot",
        name=None,
        owner=services.service_accounts.find_owner(admin, userid="first"),
    )
    services.offboarding.set_disabled(admin, "bim", "second", HERE, disabled=True)

    with pytest.raises(InvalidState):
        services.offboarding.delete(admin, "bim", "first", HERE, successor=successor)
    with pytest.raises(InvalidState):
        services.service_accounts.transfer(admin, "robot", successor, HERE)
    with pytest.raises(InvalidState):
        services.service_accounts.add(admin, HERE, userid="other", name=None, owner=successor)
    owner = services.user_administration.get(admin, "bim", "first").user_id
    assert services.service_accounts.get(admin, made.userid).owner == ServiceOwner(owner)


def test_a_key_that_ended_meanwhile_makes_no_key(services: Services, bob: Principal) -> None:
    """A request that was let in before its key was revoked makes no key that outlives it (R3)."""
    key = key_of(services, bob)
    let_in = caller(services, key)
    assert let_in.key_id is not None
    services.keys.revoke_any(let_in.key_id, COMMAND_LINE)

    with pytest.raises(CredentialRefused):
        services.keys.create(let_in, HERE, NewKey())


def test_a_narrowed_credential_changes_no_account(services: Services, bob: Principal) -> None:
    """It ends no other key of its owner's, and changes neither their profile nor their password."""
    key = key_of(services, bob)
    narrowed = caller(services, narrow_token(services, key))
    other = services.keys.create(bob, HERE, NewKey())

    with pytest.raises(NotFound):
        services.keys.revoke_own(narrowed, other.record.key_id, HERE)
    with pytest.raises(PermissionMissing):
        services.user_administration.update_profile(
            narrowed, "bim", "bob", {"email": "evil@example.com"}, HERE
        )
    with pytest.raises(PermissionMissing):
        services.user_administration.set_password(
            narrowed, "bim", "bob", password="eleven quiet harbours at dusk", current=PASSWORD, origin=HERE
        )
    assert narrowed.key_id is not None
    services.keys.revoke_own(narrowed, narrowed.key_id, HERE)
    assert caller(services, other.secret).userid == "bob"


def test_a_linked_key_sees_its_project_alone(services: Services, bob: Principal) -> None:
    """A key that is linked to one project finds no other of its owner's."""
    one, two = (services.projects.add(bob, HERE, name=name, description=None) for name in ("one", "two"))
    linked = caller(
        services,
        services.keys.create(bob, HERE, NewKey(project_id=one.project_id)).secret,
    )

    assert [project.name for project in services.projects.list_visible(linked)] == ["one"]
    assert services.projects.get(linked, one.project_id).name == "one"
    with pytest.raises(NotFound):
        services.projects.get(linked, two.project_id)


def test_a_rotation_overtakes_one_that_waits(services: Services, clock: Clock) -> None:
    """After a rotation with a shorter lead the key that was to sign later never does (T13)."""
    services.signing_keys.rotate(COMMAND_LINE)
    clock.advance(timedelta(minutes=1))
    newest = services.signing_keys.rotate(COMMAND_LINE, lead=timedelta(0)).kid

    for _ in range(3):
        assert services.signing_keys.ring.signing.kid == newest
        clock.advance(LEAD)


def test_the_last_administrator_can_sign_in(services: Services, admin: Principal) -> None:
    """Somebody who was invited, and never set a password, is not the administrator who stays (A5)."""
    services.user_administration.add(
        admin, HERE, userid="invited", profile={}, password=None, permissions=list(Permission)
    )

    with pytest.raises(Conflict, match="last person"):
        services.offboarding.delete(admin, "bim", "ada", HERE)


def test_a_person_with_the_name_of_the_system_owns_no_system_key(
    services: Services, admin: Principal
) -> None:
    """A database from before may hold a person of that name: they get no key of Keyturn itself."""
    services.connections.register(COMMAND_LINE, admin.user_id, "c", {})
    person(services, add_person(services, "impostor").userid)
    with services.store._database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE user_account SET userid = 'Keyturn System', canonical_userid = 'keyturn system' "
            "WHERE userid = 'impostor'"
        )

    with pytest.raises(InvalidState, match="taken by a person"):
        services.system_keys.get_or_create(
            admin, HERE, name="t", scopes=["plugin:trino"], connection_key="c", regenerate=False
        )
    impostor = services.store.users.find_by_name("bim", "keyturn system")
    assert impostor is not None
    assert impostor.kind is UserKind.PERSON


def test_having_a_system_key_again_is_written_down(services: Services, admin: Principal) -> None:
    """Each time that its secret is shown again, the audit log says to whom."""
    services.connections.register(COMMAND_LINE, admin.user_id, "c", {})

    def get() -> str:
        return services.system_keys.get_or_create(
            admin, HERE, name="t", scopes=["plugin:trino"], connection_key="c", regenerate=False
        ).secret

    assert get() == get() == get()
    rows = services.store.audit_log.list_after(limit=1000)
    assert [row.action for row in rows if "ApiKey" in row.action] == [
        "ApiKeyCreated",
        "ApiKeyRevealed",
        "ApiKeyRevealed",
    ]
    assert caller(services, get()).scopes == frozenset({"plugin:trino"})
