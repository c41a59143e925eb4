"""Tokens that act for somebody stand on two accounts: never wider than both, and dead with either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.lifetimes import Lifetime
from keyturn.core.people import ServiceOwner
from keyturn.core.permissions import GUARDED, Permission
from keyturn.core.principal import Impersonator
from keyturn.core.records import KeyUsage, LastUse, SessionKind
from keyturn.errors import (
    ChangeRefused,
    CredentialRefused,
    InvalidInput,
    NotFound,
    OAuthRefused,
    PermissionMissing,
    Reason,
    TooManyFailures,
)
from keyturn.services.keys.keys import NewKey
from keyturn.services.people.impersonation import LIFE
from keyturn.services.people.sessions import BrowserSession
from keyturn.store.people.sessions import MAX_LIVING
from keyturn.verifying.origin import COMMAND_LINE, actor_of
from tests.apis import register
from tests.people import (
    HERE,
    NEW_PASSWORD,
    add_holder,
    add_person,
    add_service_account,
    caller,
    holder,
    log_in,
    new_key,
    set_password,
    signed_in,
    unknown_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn.composition import Services
    from keyturn.core.principal import Principal
    from keyturn.services.keys.keys import CreatedKey
    from tests.conftest import Opener
    from tests.fakes import Clock

SOME = (Permission.AUDIT, Permission.GOVERNANCE)


@dataclass(frozen=True)
class World:
    """Ada acts for Bob. Both hold one permission in common, besides what everybody holds."""

    services: Services
    ada: Principal
    key: CreatedKey
    bob: BrowserSession
    token: str
    admin: Principal

    @property
    def acted(self) -> Principal:
        """The caller whom the token makes; raise `CredentialRefused` if it is dead."""
        return caller(self.services, self.token)

    def allow(self, userid: str, *permissions: Permission) -> None:
        self.services.user_administration.set_permissions(self.admin, "bim", userid, permissions, HERE)


def world(services: Services) -> World:
    admin = holder(services, "root", *Permission)
    ada = holder(services, "ada", Permission.IMPERSONATE_USER, Permission.AUDIT)
    add_holder(services, "bob", *SOME)
    key = services.keys.create(ada, HERE, NewKey("for others"))
    bob = signed_in(services, log_in(services, "bob"))
    token = services.impersonation.impersonate(key.secret, "bim", "bob", HERE).token
    return World(services, ada, key, bob, token, admin)


@pytest.fixture
def w(services: Services) -> World:
    return world(services)


def refused(w: World) -> Reason:
    """Return why the token is refused, here and where a change is written down."""
    with pytest.raises(CredentialRefused) as refusal:
        _ = w.acted
    return refusal.value.reason


def test_the_caller_is_the_person_with_what_both_hold(w: World) -> None:
    """The token is Bob's, names Ada and her key, and carries the permissions that both hold."""
    found = w.acted
    assert (found.userid, found.key_id) == ("bob", None)
    assert found.impersonator == Impersonator(w.ada.user_id, "ada", w.key.record.key_id)
    assert found.carried_permissions == {Permission.AUDIT, Permission.CREATE_PROJECT}
    assert not found.is_unbound


def test_it_lives_an_hour_and_never_longer_than_its_key(services: Services, clock: Clock) -> None:
    """It ends after an hour, or with its key, at exactly that instant."""
    holder(services, "root", *Permission)
    ada = holder(services, "ada", Permission.IMPERSONATE_USER)
    add_person(services, "bob")
    for life, lived in ((None, LIFE), (timedelta(minutes=10), timedelta(minutes=10))):
        lifetime = None if life is None else Lifetime(services.system.now() + life)
        key = services.keys.create(ada, HERE, NewKey("key", lifetime))
        issued = services.impersonation.impersonate(key.secret, "bim", "bob", HERE)
        assert (
            timedelta(seconds=0) <= services.system.now() + lived - issued.expires_at < timedelta(seconds=1)
        )
        clock.advance(issued.expires_at - services.system.now() - timedelta(milliseconds=1))
        assert caller(services, issued.token).userid == "bob"
        clock.advance(timedelta(milliseconds=1))
        with pytest.raises(CredentialRefused):
            caller(services, issued.token)


ENDS: dict[str, tuple[Callable[[World], object], Reason]] = {
    "the key is revoked": (
        lambda w: w.services.keys.revoke_own(w.ada, w.key.record.key_id, HERE),
        Reason.REVOKED,
    ),
    "the key is rotated": (
        lambda w: w.services.key_rotation.rotate_own(w.ada, w.key.record.key_id, HERE, overlap=timedelta(0)),
        Reason.REVOKED,
    ),
    "the impersonator is suspended": (
        lambda w: w.services.offboarding.set_disabled(w.admin, "bim", "ada", HERE, disabled=True),
        Reason.OWNER_DISABLED,
    ),
    "the impersonator was suspended": (
        lambda w: [
            w.services.offboarding.set_disabled(w.admin, "bim", "ada", HERE, disabled=disabled)
            for disabled in (True, False)
        ],
        Reason.REVOKED,
    ),
    "the impersonator is signed out": (
        lambda w: w.services.users.sign_out(COMMAND_LINE, "ada"),
        Reason.REVOKED,
    ),
    "the impersonator is deleted": (
        lambda w: w.services.offboarding.delete(w.admin, "bim", "ada", HERE),
        Reason.UNKNOWN,
    ),
    "the impersonator loses the permission": (lambda w: w.allow("ada", Permission.AUDIT), Reason.REVOKED),
    "the person is suspended": (
        lambda w: w.services.offboarding.set_disabled(w.admin, "bim", "bob", HERE, disabled=True),
        Reason.REVOKED,
    ),
    "the person is deleted": (
        lambda w: w.services.offboarding.delete(w.admin, "bim", "bob", HERE),
        Reason.UNKNOWN,
    ),
    "the person is signed out": (lambda w: w.services.users.sign_out(COMMAND_LINE, "bob"), Reason.REVOKED),
    "the person gets a new password": (
        lambda w: set_password(w.services, "bob", NEW_PASSWORD),
        Reason.REVOKED,
    ),
    "the person ends its session": (
        lambda w: w.services.sessions.end_own(
            w.bob.principal, session_of(w), HERE, action=AuditAction.SESSION_ENDED
        ),
        Reason.REVOKED,
    ),
    "the person ends all other sessions": (
        lambda w: w.services.sessions.end_others(w.bob, HERE),
        Reason.REVOKED,
    ),
    **{
        f"the person comes to hold {guarded}": (lambda w, p=guarded: w.allow("bob", p), Reason.REVOKED)  # type: ignore[misc]
        for guarded in GUARDED
    },
    "the person revokes the token": (
        lambda w: revoke(w, new_key(w.services, w.bob.principal).secret),
        Reason.REVOKED,
    ),
    "the impersonator revokes the token": (lambda w: revoke(w, w.key.secret), Reason.REVOKED),
    "the signing keys are replaced": (
        lambda w: w.services.signing_keys.replace_at_once(COMMAND_LINE),
        Reason.SIGNATURE,
    ),
}


def session_of(w: World) -> int:
    (session,) = (one for one in w.services.sessions.list_own(w.bob.principal) if one.impersonator)
    assert (session.kind, session.impersonator) == (SessionKind.TOKEN, "ada")
    return session.session_id


def revoke(w: World, key: str) -> None:
    w.services.oauth.revoke({"token": w.token}, [f"Bearer {key}".encode()], HERE)


@pytest.mark.parametrize("end", ENDS)
def test_it_ends_with_either_account(w: World, reopen: Opener, end: str) -> None:
    """Whatever ends the one half ends the token, at the next request, in each process (R1)."""
    assert w.acted.userid == "bob"
    elsewhere = reopen()
    assert caller(elsewhere, w.token).userid == "bob"
    act, reason = ENDS[end]

    act(w)

    assert refused(w) is reason
    with pytest.raises(CredentialRefused) as there:
        caller(elsewhere, w.token)
    assert there.value.reason is reason


@pytest.mark.parametrize("end", ENDS)
def test_a_request_that_was_judged_before_is_judged_again(services: Services, end: str) -> None:
    """Who asks again whether a caller lives, as at the end of a long request, is told of the end (R1)."""
    if end == "the signing keys are replaced":
        return  # They end tokens by their signature, which was read before the body came.
    w = world(services)
    acted, now = w.acted, services.system.now
    assert services.store._database.check_still_lives(acted, now()) is False
    ENDS[end][0](w)
    with pytest.raises(CredentialRefused):
        services.store._database.check_still_lives(acted, now())


def test_an_overlap_lets_it_go_on(w: World, clock: Clock) -> None:
    """A token of a secret that was rotated away lives while that secret does."""
    w.services.key_rotation.rotate_own(w.ada, w.key.record.key_id, HERE, overlap=timedelta(minutes=5))
    assert w.acted.userid == "bob"
    later = w.services.impersonation.impersonate(w.key.secret, "bim", "bob", HERE)
    assert later.expires_at <= w.services.system.now() + timedelta(minutes=5)
    clock.advance(timedelta(minutes=5))
    assert refused(w) is Reason.EXPIRED
    with pytest.raises(CredentialRefused):
        caller(w.services, later.token)


def test_it_narrows_with_either_account(w: World) -> None:
    """A permission that either account loses is gone from the token."""
    w.allow("ada", Permission.IMPERSONATE_USER)
    assert w.acted.carried_permissions == frozenset()
    w.allow("ada", Permission.IMPERSONATE_USER, *SOME)
    assert w.acted.carried_permissions == set(SOME)
    w.allow("bob", Permission.AUDIT)
    assert w.acted.carried_permissions == {Permission.AUDIT}


@pytest.mark.parametrize("guarded", GUARDED)
def test_administrators_are_impersonated_by_their_like(w: World, guarded: Permission) -> None:
    """Somebody who administers is impersonated by those alone who hold the same permission."""
    add_holder(w.services, "chief", guarded)
    with pytest.raises(PermissionMissing) as missing:
        w.services.impersonation.impersonate(w.key.secret, "bim", "chief", HERE)
    assert missing.value.any_of == (guarded,)
    w.allow("ada", Permission.IMPERSONATE_USER, guarded)
    token = w.services.impersonation.impersonate(w.key.secret, "bim", "chief", HERE).token
    assert caller(w.services, token).carried_permissions == {guarded}


def test_what_cannot_impersonate_is_refused(w: World) -> None:
    """It takes a whole key of somebody with the permission, and a person who is there."""
    services, act = w.services, w.services.impersonation.impersonate
    nobody = new_key(services, w.bob.principal).secret
    register(services, "orders")
    narrowed = new_key(services, w.ada, scopes=["orders:read"]).secret
    project = services.projects.add(w.ada, HERE, name="one", description=None)
    linked = new_key(services, w.ada, project_id=project.project_id).secret
    for weak in (nobody, linked, narrowed):
        with pytest.raises(PermissionMissing):
            act(weak, "bim", "bob", HERE)
    made = services.exchange.exchange(in_header=[], in_body=w.key.secret, origin=HERE).token
    for wrong in (made, w.token, "x", "kt-unknown"):
        with pytest.raises(CredentialRefused):
            act(wrong, "bim", "bob", HERE)
    for iamid, userid in (("bim", "nobody"), ("elsewhere", "bob"), ("bim", "9999")):
        with pytest.raises(NotFound):
            act(w.key.secret, iamid, userid, HERE)
    add_service_account(services, w.admin, ServiceOwner(w.ada.user_id))
    add_person(services, "gone")
    services.offboarding.set_disabled(w.admin, "bim", "gone", HERE, disabled=True)
    for userid in ("ada", "robot", "gone"):
        with pytest.raises(InvalidInput, match=r"own account|not a person|suspended"):
            act(w.key.secret, "bim", userid, HERE)


def test_it_makes_nothing_that_outlasts_it(w: World) -> None:
    """No key, session, account or project is made, changed or ended with it, and no token of it."""
    acted, services = w.acted, w.services
    key = new_key(services, w.bob.principal).record.key_id
    project = services.projects.add(w.bob.principal, HERE, name="one", description=None)
    (own,) = (one for one in services.sessions.list_own(acted) if one.impersonator)
    tries: list[Callable[[], object]] = [
        lambda: services.keys.create(acted, HERE, NewKey("stays")),
        lambda: services.key_rotation.rotate_own(acted, key, HERE, overlap=timedelta(0)),
        lambda: services.keys.update_own(acted, key, name="x", note=None, origin=HERE),
        lambda: services.keys.revoke_own(acted, key, HERE),
        lambda: services.users.update_profile(acted, {"email": "x@example.com"}, HERE),
        lambda: services.projects.add(acted, HERE, name="two", description=None),
        lambda: services.projects.delete(acted, project.project_id, HERE),
        lambda: services.sessions.end_own(acted, own.session_id, HERE, action=AuditAction.SESSION_ENDED),
    ]
    for act in tries:
        with pytest.raises((ChangeRefused, NotFound, PermissionMissing)):
            act()
    for kind in ("access_token", "jwt"):
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": w.token,
            "subject_token_type": f"urn:ietf:params:oauth:token-type:{kind}",
        }
        with pytest.raises(OAuthRefused):
            services.oauth.grant(form, [], HERE)
    assert refused_exchange(w)


def refused_exchange(w: World) -> bool:
    with pytest.raises(CredentialRefused):
        w.services.exchange.exchange(in_header=[], in_body=w.token, origin=HERE)
    return True


def test_the_audit_log_tells_who_acts_for_whom(w: World) -> None:
    """The one row that there is of such a token is the impersonator's, about the person."""
    made = w.services.store.audit_log.list_after(limit=10_000)
    (begun,) = (row for row in made if row.action == AuditAction.USER_IMPERSONATED)
    assert (begun.actor_userid, begun.actor_key_id) == ("ada", w.key.record.key_id)
    assert begun.target_id == str(w.bob.principal.user_id)


@pytest.mark.parametrize("target", Target)
def test_no_change_is_written_down(w: World, target: Target) -> None:
    """Whatever a token that acts for somebody would change, it is refused where changes are written down."""
    entry = AuditEntry(
        w.services.system.now(), AuditAction.CONNECTION_UPDATED, actor_of(w.acted, HERE), target, "1"
    )
    before = w.services.store.installation.revision()
    with pytest.raises(ChangeRefused):
        w.services.store.audit_log.record(entry)
    assert w.services.store.installation.revision() == before


def test_it_reports_no_uses(w: World) -> None:
    """What is written without an audit row asks the same."""
    uses = {w.key.record.key_id: KeyUsage(LastUse(w.services.system.now(), None, None, None), 1)}
    with pytest.raises(ChangeRefused):
        w.services.store.api_keys.record_use(uses, reported=(w.acted, w.services.system.now()))


def test_its_limits_are_those_of_who_acts(w: World, services: Services) -> None:
    """Places of followers and rates are the impersonator's; guesses from its address do not stop it."""
    both = (Permission.IMPERSONATE_USER, Permission.VERIFY_CREDENTIALS)
    for userid in ("ada", "bob"):
        w.allow(userid, *both)
    follower = services.feed.follow(w.acted, lambda: None)
    assert follower.user_id == w.ada.user_id
    services.feed.leave(follower)
    for _ in range(services.settings.failures_per_minute + 1):
        with pytest.raises((CredentialRefused, TooManyFailures)):
            caller(services, unknown_key())
    assert w.acted.userid == "bob"


def test_a_service_acts_for_many(reopen: Opener) -> None:
    """Who may act for people makes more tokens in a minute than others make things."""
    few = 3
    services = reopen(creations_per_minute=few)
    w = world(services)
    for _ in range(few * 3):
        services.impersonation.impersonate(w.key.secret, "bim", "bob", HERE)


def test_nobody_is_signed_out_by_it(w: World) -> None:
    """However many tokens are made for somebody, their own sessions stay."""
    for _ in range(MAX_LIVING + 1):
        w.services.impersonation.impersonate(w.key.secret, "bim", "bob", HERE)
    sessions = w.services.sessions.list_own(w.bob.principal, size=500)
    assert w.bob.session_id in {session.session_id for session in sessions}
    assert sum(session.impersonator is not None for session in sessions) == MAX_LIVING


def test_a_deleted_impersonator_is_told_as_such(w: World) -> None:
    """Their session stays in the list until it ends, and is never taken for one of the person's."""
    w.services.offboarding.delete(w.admin, "bim", "ada", HERE)
    names = [session.impersonator for session in w.services.sessions.list_own(w.bob.principal)]
    assert sorted(filter(None, names)) == ["A deleted user"]


def test_it_shows_as_a_use_of_its_key(w: World) -> None:
    """Each use of the token counts for the key that it was made with."""
    assert w.acted.impersonator is not None
    w.services.usage.flush(everything=True)
    found = w.services.keys.get_own(w.ada, w.key.record.key_id)
    assert found.last_use is not None


def test_both_may_introspect_it(w: World) -> None:
    """The person and the impersonator may ask about it, and a stranger may not."""
    for asks, is_told in ((w.bob.principal, True), (w.ada, True), (holder(w.services, "eve"), False)):
        found = w.services.oauth.introspect_for(asks, w.token)
        assert (found is not None) is is_told
