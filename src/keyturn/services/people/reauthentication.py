"""The password once more: what a browser must give before it makes keys or gives rights (ASVS 7.5.3).

A session lives for half a day, and a screen that is left open is somebody else's for a minute.
"""

from datetime import timedelta

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.people.sessions import BrowserSession, digest_session_token, new_session_token
from keyturn.services.people.users import Users
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of


class Reauthentication:
    """Says when a session must prove the password again, and takes the proof."""

    def __init__(self, store: Store, *, users: Users, life: timedelta, system: System) -> None:
        self._store = store
        self._users = users
        self._life = life
        self._system = system

    def is_due(self, session: BrowserSession) -> bool:
        """Return whether the password was given too long ago in this session."""
        proved_at = self._store.sessions.find_proved_at(session.session_id)
        return proved_at is None or proved_at + self._life <= self._system.now()

    def prove(self, session: BrowserSession, password: str, *, field: str, origin: Origin) -> str:
        """Take the password, and give the session a new id; return its cookie (L5).

        Raise `InvalidInput` at `field` for a wrong one, which counts as a guess, and `CredentialRefused` if
        the session has ended meanwhile.
        """
        self._users.check_own_password(session.principal, password, field=field, origin=origin)
        cookie, now = new_session_token(self._system), self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.SESSION_PROVED,
            actor_of(session.principal, origin),
            Target.SESSION,
            str(session.session_id),
        )
        if not self._store.sessions.prove(session.session_id, digest_session_token(cookie), now, audit):
            raise CredentialRefused(Reason.REVOKED, secret_matched=True)
        return cookie
