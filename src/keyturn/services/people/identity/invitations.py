"""Invitations: a link with which a person sets a password, once. Nobody else ever knows it."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.encoding import base64url_encode
from keyturn.core.people import UserRecord
from keyturn.errors import InvalidInput, InvalidState, NotFound
from keyturn.services.people.identity.passwords import Passwords
from keyturn.services.people.identity.turns import account_of, asker_at
from keyturn.store import Store
from keyturn.store.ownership.control import Allow
from keyturn.system import System
from keyturn.verifying.origin import Origin, stranger

CODE_BYTES = 32
LIFE = timedelta(days=7)
PATH = "/invitation"
VOID = (
    "It has been used or has expired. If you set a password with it, sign in. Otherwise ask the "
    "administrator who sent it for a new one."
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link in the one answer that carries it."""

    link: str = field(repr=False)
    """The code stands behind the #, which no browser sends and no server logs."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Invited:
    """The holder of a link sees this before they use it."""

    userid: str
    name: str | None
    invited_by: str | None
    """The name of who made the link; None for the command line."""
    expires_at: datetime


class Invitations:
    """Makes and accepts invitations."""

    def __init__(self, store: Store, *, passwords: Passwords, public_url: str, system: System) -> None:
        self._store = store
        self._passwords = passwords
        self._public_url = public_url
        self._system = system

    def invite(self, user: UserRecord, actor: Actor, *, allow: Allow) -> Invitation:
        """Return a new link for this person, an earlier one is void; raise `NotFound` if they are gone.

        It ends no later than the key or token that makes it (A3), and dies with its maker. `allow` is asked
        about the permissions that come with the account.
        """
        code = base64url_encode(self._system.random_bytes(CODE_BYTES)).decode("ascii")
        now = self._system.now()
        until = None if actor.principal is None else actor.principal.makes_until
        expires_at = now + LIFE if until is None else min(now + LIFE, until)
        audit = AuditEntry(now, AuditAction.USER_INVITED, actor, Target.USER, str(user.user_id))
        if not self._store.logins.invite(user.user_id, _digest(code), expires_at, audit, allow=allow):
            raise NotFound
        return Invitation(f"{self._public_url}{PATH}#{code}", expires_at)

    def look(self, code: str) -> Invited:
        """Return whom a link invites; raise `InvalidInput` as `accept` does. Nothing is used up."""
        found = self._store.logins.look_at_invitation(_digest(code), self._system.now())
        if found is None:
            raise _void()
        return Invited(found.userid, found.name, found.maker, found.expires_at)

    def accept(self, code: str, password: str, origin: Origin) -> str:
        """Set the password of whoever holds the link; return their user name.

        All their sessions end. Raise `InvalidInput` for a link that is wrong, used or over, or whose maker
        was ended.
        """
        now = self._system.now()
        invited = self._store.logins.find_invited(_digest(code), now)
        if invited is None:
            raise _void()
        self._passwords.check_acceptable(password, field="password", personal=(invited.userid, None))
        audit = AuditEntry(now, AuditAction.USER_PASSWORD_UPDATED, stranger(origin), Target.USER, None)
        hashed = self._passwords.hash(password, asker_at(origin.address, account_of(invited.user_id)))
        try:
            is_set = self._store.logins.accept_invitation(_digest(code), hashed, now, audit)
        except InvalidState:  # Its maker was ended meanwhile.
            is_set = False
        if not is_set:
            raise _void()
        return invited.userid


def _void() -> InvalidInput:
    return InvalidInput("code", VOID, code="void")


def _digest(code: str) -> bytes:
    return hashlib.sha256(b"invitation " + code.strip().encode("utf-8", "surrogatepass")).digest()
