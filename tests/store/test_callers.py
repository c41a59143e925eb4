"""Whoever makes a change must live until it is committed: whatever ends them first ends the change."""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, text

from keyturn.core.access_token import AccessTokenClaims
from keyturn.core.apis import ResourceScope
from keyturn.core.audit import AuditEntry, Target
from keyturn.core.connections import ConnectionRecord, ConnectionState, JobType, ObjectSettings
from keyturn.core.permissions import ADMINISTRATION
from keyturn.core.records import KeyCaller, KeyUsage, LastUse, SessionKind
from keyturn.core.verification import principal_of_key_token, principal_of_session_token
from keyturn.errors import ChangeRefused, CredentialRefused, StoreUnavailable
from keyturn.store import Store
from keyturn.store.apis import ApiFields
from keyturn.store.database.schema import signing_key
from keyturn.store.keys.rotation import Rotation
from keyturn.store.oauth.device_logins import DeviceLoginToAdd
from keyturn.store.people.logins import KeptSession
from keyturn.verifying.origin import actor_of
from tests.store.crowds import at_the_commit_of
from tests.store.database.test_transactions import (
    CHANGES,
    LATER,
    WITH_CONSEQUENCES,
    Attempt,
    World,
    contents,
    new_signing_key,
    new_world,
)
from tests.store.rows import HERE, NOW, a_key, a_session, a_user, an_entry, in_session, with_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Engine

    from keyturn.core.audit import Actor

_numbers = itertools.count(1)
READ = ResourceScope("orders:read", None, is_for_everyone=True, group_ids=frozenset())
API = ApiFields("Orders", "https://orders.example.com", None, (READ,))

MORE_CHANGES: dict[str, Attempt] = {
    "users.add_first": lambda w, e: w.store.users.add_first(a_user("first"), b"code", e),
    "audit_log.record_archive": lambda w, e: w.store.audit_log.record_archive(e, after=0),
    "audit_log.record": lambda w, e: w.store.audit_log.record(e),
    "key_rotation.rotate": lambda w, e: w.store.key_rotation.rotate(
        Rotation(w.key_id, w.user_id, b"n" * 32, "new", "kt_x_…abcd", NOW, LATER), e, retried=None
    ),
    "tokens.revoke": lambda w, e: w.store.tokens.revoke("other", LATER, "a-kid", e),
    "device_logins.approve": lambda w, e: w.store.device_logins.approve(b"typed", w.session_id, None, NOW, e),
    "device_logins.deny": lambda w, e: w.store.device_logins.deny(b"typed", NOW, e),
    "device_logins.take": lambda w, e: w.store.device_logins.take(b"approved", a_key(w.user_id), NOW, e),
    "apis.add": lambda w, e: w.store.apis.add(
        ApiFields("New", "https://n", None, (replace(READ, name="n"),)), NOW, e
    ),
    "apis.update": lambda w, e: w.store.apis.update(1, replace(API, name="Changed"), NOW, e),
    "apis.delete": lambda w, e: w.store.apis.delete(1, e),
    "signing_keys.add_next": lambda w, e: w.store.signing_keys.add_next(
        new_signing_key("next"), e, others_verify_until=LATER
    ),
    "connections.update": lambda w, e: w.store.connections.update(
        connection(w), {"details": {"technology": "Y"}}, w.user_id, e
    ),
    "connections.replace_seal": lambda w, e: w.store.connections.replace_seal(
        connection(w).connection_id, None, None, e
    ),
    "connections.change_state": lambda w, e: w.store.connections.change_state(
        connection(w).connection_id, list(ConnectionState), ConnectionState.INACTIVE, e
    ),
    "object_settings.change": lambda w, e: w.store.object_settings.change(
        connection(w).connection_id, (), lambda _: ObjectSettings(is_active=False), e
    ),
    "jobs.add": lambda w, e: w.store.jobs.add(
        "new", JobType.CRAWL, (connection(w).connection_id, "there"), (), by=None, audit=e
    ),
    "jobs.ask_cancel": lambda w, e: w.store.jobs.ask_cancel("under way", e),
    "connections.delete": lambda w, e: w.store.connections.delete(connection(w).connection_id, e),
    "signing_keys.retire": lambda w, e: w.store.signing_keys.retire(LATER, e),
    "api_keys.update": lambda w, e: w.store.api_keys.update(w.key_id, w.user_id, {"name": "renamed"}, e),
    "logins.record_further_session": lambda w, e: w.store.logins.record_further_session(
        a_session(w.user_id), e
    ),
    "sessions.prove": lambda w, e: w.store.sessions.prove(w.session_id, b"proved", NOW, e),
}
"""The changes that other tests try, so that with those of `test_database` all are here."""


def connection(world: World) -> ConnectionRecord:
    found = world.store.connections.find("there")
    assert found is not None
    return found


def add_more(world: World) -> None:
    """Add what these changes are about."""
    store = world.store
    free = store.connections.find("free")
    assert free is not None
    store.jobs.add("under way", JobType.CRAWL, (free.connection_id, "free"), (), by=None, audit=an_entry())
    store.apis.add(API, NOW, an_entry())
    for digest, typed in ((b"waiting", b"typed"), (b"approved", b"seen")):
        new = DeviceLoginToAdd(digest, typed, "laptop", None, None, None, NOW, LATER)
        assert store.device_logins.begin(new, forget_before=NOW, at_most=9)
    assert store.device_logins.approve(b"seen", world.session_id, None, NOW, an_entry())
    with store._database.writing() as connection:
        connection.execute(text("UPDATE installation SET setup_completed_at = NULL"))
        connection.execute(
            insert(signing_key).values(
                kid="ended",
                algorithm="EdDSA",
                sealed_jwk=b"",
                created_at=NOW,
                signs_from=NOW,
                verifies_until=NOW,
            )
        )
    store.installation.set_setup_code(b"code")


def test_every_change_of_the_store_is_tried_here(store: Store) -> None:
    """The tables name each method that is given what the audit log is to say of a change."""
    changing = {
        f"{part}.{name}"
        for part, questions in vars(store).items()
        if not part.startswith("_")
        for name, method in inspect.getmembers(questions, inspect.ismethod)
        if not name.startswith("_") and AuditEntry.__name__ in str(inspect.signature(method))
    }
    changing.remove("failed_sign_ins.count")  # Of strangers, who present nothing that could end.
    assert changing == {name.partition(",")[0] for name in CHANGES | WITH_CONSEQUENCES | MORE_CHANGES}


@dataclass
class Callers:
    """Somebody who holds all that anybody here does, in each way in which one can call."""

    store: Store
    user_id: int
    key_id: int
    session_id: int

    def with_token(self) -> Actor:
        key = self.store.api_keys.find_for_token(self.key_id)
        assert key is not None
        claims = self._claims(kt_key=self.key_id, kt_epoch=key.token_epoch, kt_secret=key.secret_number)
        return actor_of(principal_of_key_token(claims, key), HERE)

    def with_password_token(self) -> Actor:
        session = self.store.sessions.find_for_token(self.session_id)
        assert session is not None
        return actor_of(principal_of_session_token(self._claims(kt_session=self.session_id), session), HERE)

    def with_former_secret(self) -> Actor:
        """Rotate the key with an overlap; return who acts with the secret that it had."""
        actor = with_key(self.store, self.key_id)
        self.rotate(former_ends_at=LATER)
        return actor

    def with_former_token(self) -> Actor:
        """Do the same with a token that was made before."""
        actor = self.with_token()
        self.rotate(former_ends_at=LATER)
        return actor

    def rotate(self, *, former_ends_at: datetime) -> None:
        masked = "".join(key.masked for key in self.store.api_keys.list_of_user(self.user_id))
        new = a_key(self.user_id)
        rotation = Rotation(self.key_id, self.user_id, new.digest, f"{masked}+", masked, NOW, former_ends_at)
        assert self.store.key_rotation.rotate(rotation, an_entry(), retried=None) is not None

    def _claims(self, **stands_on: int) -> AccessTokenClaims:
        at = int(NOW.timestamp())
        return AccessTokenClaims(
            iss="",
            sub=str(self.user_id),
            aud="",
            client_id="",
            exp=at + 86_400,
            iat=at,
            jti=f"jti{self.user_id}",
            scope="",
            **stands_on,
        )


def add_caller(store: Store) -> Callers:
    user_id = store.users.add(a_user(f"caller{next(_numbers)}"), an_entry()).user_id
    key_id = store.api_keys.add(a_key(user_id, masked="own"), an_entry()).key_id
    session = a_session(user_id, kind=SessionKind.BROWSER, expires_at=NOW + timedelta(days=1))
    session_id = store.logins.record_login(session, an_entry(), checked="hash", rehashed=None)
    assert session_id is not None
    return Callers(store, user_id, key_id, session_id)


def disable(c: Callers) -> None:
    assert c.store.users.set_disabled(c.user_id, NOW, NOW, an_entry())


def revoke_key(c: Callers) -> None:
    assert c.store.api_keys.revoke(c.key_id, c.user_id, NOW, an_entry())


def sign_out(c: Callers) -> None:
    c.store.users.sign_out(c.user_id, NOW, an_entry())


def end_session(c: Callers) -> None:
    assert c.store.sessions.end(c.session_id, c.user_id, NOW, an_entry())


def change_password(c: Callers) -> None:
    """Change the password in the very session, which gets another cookie."""
    kept = KeptSession(c.session_id, b"renewed %d" % c.user_id)
    c.store.logins.set_password(c.user_id, "hash", NOW, an_entry(), kept=kept)


def revoke_token(c: Callers) -> None:
    assert c.store.tokens.revoke(f"jti{c.user_id}", LATER, NOW, an_entry())


def delete(c: Callers) -> None:
    assert c.store.users.delete(c.user_id, NOW, an_entry())


ENDS: dict[str, tuple[Callable[[Callers], Actor], Callable[[Callers], None]]] = {
    "key, revoked": (lambda c: with_key(c.store, c.key_id), revoke_key),
    "key, of who is disabled": (lambda c: with_key(c.store, c.key_id), disable),
    "key, of who is deleted": (lambda c: with_key(c.store, c.key_id), delete),
    "key, rotated without overlap": (
        lambda c: with_key(c.store, c.key_id),
        lambda c: c.rotate(former_ends_at=NOW),
    ),
    "former secret, rotated once more": (
        Callers.with_former_secret,
        lambda c: c.rotate(former_ends_at=LATER + timedelta(days=1)),
    ),
    "former secret, of a key that is revoked": (Callers.with_former_secret, revoke_key),
    "token of a former secret, rotated once more": (
        Callers.with_former_token,
        lambda c: c.rotate(former_ends_at=LATER + timedelta(days=1)),
    ),
    "token of a former secret, of a key that is revoked": (Callers.with_former_token, revoke_key),
    "token, revoked by itself": (Callers.with_token, revoke_token),
    "token, of who signs out everywhere": (Callers.with_token, sign_out),
    "token, of who is disabled": (Callers.with_token, disable),
    "token, of a key that is revoked": (Callers.with_token, revoke_key),
    "token, of a key that is rotated": (Callers.with_token, lambda c: c.rotate(former_ends_at=NOW)),
    "token of a password, its session ended": (Callers.with_password_token, end_session),
    "token of a password, revoked by itself": (Callers.with_password_token, revoke_token),
    "session, ended": (lambda c: in_session(c.store, c.session_id), end_session),
    "session, of who signs out everywhere": (lambda c: in_session(c.store, c.session_id), sign_out),
    "session, of who is disabled": (lambda c: in_session(c.store, c.session_id), disable),
    "session, with another cookie": (lambda c: in_session(c.store, c.session_id), change_password),
}
"""How somebody calls, and what ends that."""


def test_fault_a1_every_end_of_a_caller_is_seen(store: Store) -> None:
    """However somebody called, and whatever ended that: until then they make changes, and none afterwards."""
    store.users.add(a_user("admin", permissions=frozenset(ADMINISTRATION)), an_entry())
    made = []
    for name, (calling, end) in ENDS.items():
        callers = add_caller(store)
        actor = calling(callers)
        entry = an_entry(actor=actor, target_type=Target.PROJECT)  # Which a former secret may change.
        store.audit_log.record(entry)
        end(callers)
        revision = store.installation.revision()
        try:
            store.audit_log.record(entry)
        except CredentialRefused:
            assert store.installation.revision() == revision
            continue
        made.append(name)
    assert made == []


@pytest.mark.parametrize("name", ["key, revoked", "session, of who is disabled"])
def test_fault_a1_whoever_was_ended_changes_nothing(store: Store, engine: Engine, name: str) -> None:
    """Of all changes none is made by a caller who was judged, and ended before the change was committed.

    Until then each of them is made (A1, R3).
    """
    calling, end = ENDS[name]
    world, callers = new_world(store), add_caller(store)
    add_more(world)
    actor = calling(callers)
    store.users.update_profile(world.user_id, {"name": "Rob"}, NOW, an_entry(actor=actor))

    end(callers)

    before = contents(engine)
    made = []
    for change_name, change in (WITH_CONSEQUENCES | MORE_CHANGES | CHANGES).items():
        try:
            change(world, an_entry(actor=actor))
        except CredentialRefused:
            continue
        made.append(change_name)
    assert made == []
    assert contents(engine) == before


def test_fault_a1_whoever_may_less_tries_again(store: Store, engine: Engine) -> None:
    """A caller who lost a permission after they were judged has to be judged again."""
    callers = add_caller(store)
    actor = with_key(store, callers.key_id)
    store.users.change_permissions(callers.user_id, lambda held: held | {"USER_ADMIN"}, NOW, an_entry())
    store.users.sign_out(callers.user_id, NOW, an_entry(actor=actor))
    store.users.change_permissions(callers.user_id, lambda held: held - {"AUDIT"}, NOW, an_entry())
    before = contents(engine)

    with pytest.raises(ChangeRefused):
        store.users.sign_out(callers.user_id, NOW, an_entry(actor=actor))

    assert contents(engine) == before


def test_fault_a1_a_former_secret_that_works_makes_changes(store: Store, engine: Engine) -> None:
    """A request that came with a secret which was rotated with an overlap meanwhile goes on.

    It may do what a former secret may: it is judged by what it is when the change is committed (fault B10).
    """
    for calling in (lambda c: with_key(c.store, c.key_id), Callers.with_token):
        callers = add_caller(store)
        actor = calling(callers)
        callers.rotate(former_ends_at=LATER)
        entry = an_entry(actor=actor, target_type=Target.PROJECT)
        store.audit_log.record(entry)
        before = contents(engine)

        with pytest.raises(ChangeRefused, match="rotated away"):
            store.users.sign_out(callers.user_id, NOW, an_entry(actor=actor))
        with pytest.raises(CredentialRefused):
            store.audit_log.record(replace(entry, at=LATER))
        assert contents(engine) == before


@pytest.mark.parametrize(
    "last",
    [
        lambda c, e: c.store.api_keys.revoke(c.key_id, c.user_id, NOW, e),
        lambda c, e: c.store.sessions.end(c.session_id, c.user_id, NOW, e),
        lambda c, e: c.store.users.sign_out(c.user_id, NOW, e),
        lambda c, e: c.store.users.set_disabled(c.user_id, NOW, NOW, e),
        lambda c, e: c.store.users.delete(c.user_id, NOW, e),
    ],
    ids=["revoke", "end the session", "sign out", "disable", "delete"],
)
@pytest.mark.parametrize("calling", ["key", "session", "token"])
def test_a_change_that_ends_its_own_maker_is_made(
    store: Store, last: Callable[[Callers, AuditEntry], object], calling: str
) -> None:
    """Whoever revokes the key that they call with, or signs out, is not refused for it."""
    store.users.add(a_user("admin", permissions=frozenset(ADMINISTRATION)), an_entry())
    callers = add_caller(store)
    revision = store.installation.revision()
    actor = {
        "key": lambda: with_key(store, callers.key_id),
        "session": lambda: in_session(store, callers.session_id),
        "token": callers.with_token,
    }[calling]()

    last(callers, an_entry(actor=actor))

    assert store.installation.revision() == revision + 1


@pytest.mark.parametrize("name", ["key, of who is disabled", "session, ended", "token, revoked by itself"])
def test_fault_a1_a_change_that_waits_for_the_lock_sees_what_it_waited_for(store: Store, name: str) -> None:
    """What ends a caller while their change queues behind it is seen when the change has its turn."""
    calling, end = ENDS[name]
    callers = add_caller(store)
    actor = calling(callers)

    outcome = at_the_commit_of(
        store,
        lambda: end(callers),
        lambda: store.api_keys.add(a_key(callers.user_id), an_entry(actor=actor)),
    )

    assert isinstance(outcome, CredentialRefused)
    assert len(store.api_keys.list_of_user(callers.user_id)) == 1


def test_fault_a1_whoever_was_ended_reports_no_uses(store: Store, engine: Engine) -> None:
    """A verifier elsewhere whose key was revoked says no more when keys were used."""
    callers = add_caller(store)
    principal = with_key(store, callers.key_id).principal
    assert principal is not None
    caller = KeyCaller(None, None, None, 1, 1, "revoked", LATER, LATER)
    uses = {callers.key_id: KeyUsage(LastUse(LATER, None, None, None), 1, 1, LATER, (caller,))}
    store.api_keys.record_use({}, reported=(principal, NOW))
    revoke_key(callers)
    before = contents(engine)

    with pytest.raises(CredentialRefused):
        store.api_keys.record_use(uses, reported=(principal, NOW))

    assert contents(engine) == before


def test_fault_a5_nothing_is_changed_on_an_older_database(store: Store, engine: Engine) -> None:
    """A database that was left behind in a failover draws revisions that were read before: no change is made.

    Not of the command line either, and whether it was this process that wrote them or another (D7).
    """
    world = new_world(store)
    add_more(world)
    newest = store.audit_log.newest().revision
    with store._database.writing() as connection:
        connection.execute(text("DELETE FROM audit WHERE revision = :newest"), {"newest": newest})
        connection.execute(text("UPDATE installation SET revision = revision - 1"))
    before = contents(engine)

    for change in (WITH_CONSEQUENCES | MORE_CHANGES | CHANGES).values():
        with pytest.raises(StoreUnavailable):
            change(world, an_entry())

    assert contents(engine) == before
    reopened = Store(engine)
    reopened.audit_log.record(an_entry())
    assert reopened.installation.revision() == newest
