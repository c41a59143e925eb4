"""Sessions of people in a browser, and the list of what is signed in."""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo

from keyturn.core import verification
from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.encoding import base64url_encode
from keyturn.core.pages import MAX_PAGE, Page
from keyturn.core.permissions import Permission
from keyturn.core.principal import Principal
from keyturn.core.records import SessionLimits, SessionRecord, is_id
from keyturn.errors import CredentialRefused, NotFound
from keyturn.services.people.authority import allow_acting_on
from keyturn.services.people.time_zones import find_time_zone
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

SESSION_TOKEN_BYTES = 32
SESSION_COOKIE = "__Host-keyturn"
"""RFC 6265bis: with this prefix a browser takes the cookie only over https, for this host, for all paths."""
LOOPBACK_SESSION_COOKIE = "keyturn"
"""Over http, which only loopback may use, no browser would take the other."""
SESSION_COOKIES = (b"__Host-keyturn=", b"keyturn=")
MAX_TOUCH_INTERVAL = timedelta(seconds=60)
"""How far `last_seen_at` may lag: a write per page would make every read a write."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The person who is signed in by the session token of this request."""

    session_id: int
    principal: Principal
    csrf_token: str = field(repr=False)
    time_zone: ZoneInfo | None = None
    """The one that they chose; None for that of the browser."""


class Sessions:
    """Checks, lists and ends sessions. They begin at a login, in `Accounts`."""

    def __init__(self, store: Store, limits: SessionLimits, system: System) -> None:
        self._store = store
        self._limits = limits
        self._system = system

    def find(self, cookie: str) -> BrowserSession | None:
        """Return the living session of a cookie, and move its idle limit; None for anything else."""
        now = self._system.now()
        try:
            found = self._store.sessions.find_for_verification(digest_session_token(cookie))
            record = verification.check_session(found, self._limits, now=now)
        except CredentialRefused:
            return None
        if record.last_seen_at + min(MAX_TOUCH_INTERVAL, self._limits.idle / 4) <= now:
            self._store.sessions.touch(record.session_id, now)
        return BrowserSession(
            record.session_id,
            verification.principal_of_session(record),
            csrf_token(cookie),
            find_time_zone(record.time_zone),
        )

    def list_own(
        self, principal: Principal, *, first: int | None = None, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[SessionRecord]:
        """Return a page of the caller's living sessions: `first`, then the others, the last seen first."""
        return self.list_of(principal.user_id, first=first, offset=offset, size=size)

    def list_of(
        self, user_id: int, *, first: int | None = None, offset: int = 0, size: int = MAX_PAGE
    ) -> Page[SessionRecord]:
        """Return a page of any user's living sessions: for administrators."""
        now = self._system.now()
        return self._store.sessions.list_living(
            user_id, now, now - self._limits.idle, first=first, offset=offset, size=size
        )

    def find_of(self, user_id: int, session_id: int) -> SessionRecord | None:
        """Return a session of this user, ended or not; None for anybody else's: to tell which it was."""
        return self._store.sessions.find_of_user(session_id, user_id) if is_id(session_id) else None

    def end_own(self, principal: Principal, session_id: int, origin: Origin, *, action: AuditAction) -> None:
        """End one of the caller's sessions, with the token that stands on it; raise `NotFound` otherwise."""
        now = self._system.now()
        audit = AuditEntry(now, action, actor_of(principal, origin), Target.SESSION, str(session_id))
        if not is_id(session_id) or not self._store.sessions.end(session_id, principal.user_id, now, audit):
            raise NotFound

    def end_of(self, principal: Principal, user_id: int, session_id: int, origin: Origin) -> None:
        """End a session of any user, for a holder of USER_ADMIN; raise `NotFound` if it is not theirs.

        Raise `PermissionMissing` if they may do more than the caller. The audit row is one about the user, in
        whose history it belongs.
        """
        principal.check_may(Permission.USER_ADMIN)
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.SESSION_ENDED,
            actor_of(principal, origin),
            Target.USER,
            str(user_id),
            details={"session": session_id},
        )
        allow = allow_acting_on(principal, user_id)
        if not is_id(session_id) or not self._store.sessions.end(
            session_id, user_id, now, audit, allow=allow
        ):
            raise NotFound

    def sign_out(self, principal: Principal, user_id: int, origin: Origin) -> int:
        """End all sessions and tokens of any user, for a holder of USER_ADMIN; return how many lived.

        Their keys go on working. Raise `PermissionMissing` if they may do more than the caller.
        """
        principal.check_may(Permission.USER_ADMIN)
        now = self._system.now()
        living = self.list_of(user_id, size=1).count
        actor = actor_of(principal, origin)
        audit = AuditEntry(now, AuditAction.USER_SIGNED_OUT, actor, Target.USER, str(user_id))
        self._store.users.sign_out(user_id, now, audit, allow=allow_acting_on(principal, user_id))
        return living

    def end_others(self, current: BrowserSession, origin: Origin) -> int:
        """End all of the caller's sessions but this one; return how many ended."""
        now = self._system.now()
        audit = AuditEntry(
            now,
            AuditAction.SESSION_ENDED,
            actor_of(current.principal, origin),
            Target.USER,
            str(current.principal.user_id),
            details={"kept": current.session_id},
        )
        return self._store.sessions.end_all(current.principal.user_id, now, audit, keep=current.session_id)


def new_session_token(system: System) -> str:
    """Return the value of a session cookie: 256 random bits."""
    return base64url_encode(system.random_bytes(SESSION_TOKEN_BYTES)).decode("ascii")


def digest_session_token(token: str) -> bytes:
    """Return what a session is stored and looked up by."""
    return hashlib.sha256(b"session " + token.encode("utf-8", "surrogatepass")).digest()


def csrf_token(cookie: str) -> str:
    """Return the token that forms of this session carry: bound to its cookie, and stored nowhere."""
    mac = hmac.digest(cookie.encode("utf-8", "surrogatepass"), b"keyturn csrf", "sha256")
    return base64url_encode(mac).decode("ascii")


def is_csrf_token(presented: str, expected: str) -> bool:
    """Compare without telling by the time taken how much was right."""
    return hmac.compare_digest(
        presented.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )
