"""Logins: what a proof of identity opens."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.people import LoginRecord
from keyturn.core.records import SessionKind, SessionLimits
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.people.identity.attempts import SignInAttempts
from keyturn.services.people.identity.provider import Identity
from keyturn.services.people.sessions import BrowserSession, digest_session_token, new_session_token
from keyturn.services.tokens.issuer import IssuedToken, TokenIssuer
from keyturn.store import Store
from keyturn.store.people.sessions import SessionToAdd
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of

TRIAL_LIFE = timedelta(minutes=15)
"""The life of a token that is made in a browser."""


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A browser session in the one answer that sets its cookie."""

    cookie: str = field(repr=False)
    userid: str


@dataclass(frozen=True, slots=True)
class IssuedLogin(IssuedToken):
    """A token for a password, in the one answer that carries it."""

    profile_id: int = field(kw_only=True)
    """Of whoever signed in."""


class Logins:
    """Starts sessions for those who prove who they are."""

    def __init__(
        self,
        store: Store,
        *,
        attempts: SignInAttempts,
        issuer: TokenIssuer,
        session_limits: SessionLimits,
        token_life: timedelta,
        system: System,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._issuer = issuer
        self._limits = session_limits
        self._token_life = token_life
        self._system = system

    def log_in_browser(
        self, userid: str, password: str, origin: Origin, *, iamid: str | None = None
    ) -> StartedSession:
        """Start a session for a person; raise `CredentialRefused` for a wrong name or password alike.

        `iamid` names their identity provider; None for the built-in one. Raise `TooManyFailures`, before
        anything is hashed, if too many failed from this address, or the person has signed in too often (Q1).
        """
        login, identity = self._attempts.verify(iamid, userid, password, origin)
        cookie = new_session_token(self._system)
        self._start(
            login, identity, SessionKind.BROWSER, digest_session_token(cookie), self._limits.absolute, origin
        )
        return StartedSession(cookie, login.userid)

    def log_in_api(self, iamid: str, userid: str, password: str, origin: Origin) -> IssuedLogin:
        """Give a bearer token for a password. It shows, and can be ended, among the person's sessions."""
        login, identity = self._attempts.verify(iamid, userid, password, origin)
        digest = digest_session_token(new_session_token(self._system))
        started_at, session_id = self._start(
            login, identity, SessionKind.TOKEN, digest, self._token_life, origin
        )
        issued = self._issuer.for_session(session_id, login.user_id, started_at + self._token_life)
        user = self._store.users.find_by_id(login.user_id)
        if user is None:
            raise CredentialRefused(Reason.LOGIN_FAILED)  # Deleted since.
        return IssuedLogin(issued.token, issued.expires_at, issued.key_id, profile_id=user.profile.profile_id)

    def token_for(self, current: BrowserSession, origin: Origin) -> IssuedToken:
        """Give a bearer token to somebody who is signed in, for some minutes, to try the API with.

        It may do what they may do, shows among their sessions, and can be ended there.
        """
        now, life = self._system.now(), min(TRIAL_LIFE, self._token_life)
        session = _session(
            current.principal.user_id,
            SessionKind.TOKEN,
            digest_session_token(new_session_token(self._system)),
            (now, now + life),
            origin,
        )
        audit = AuditEntry(
            now,
            AuditAction.TOKEN_ISSUED,
            actor_of(current.principal, origin),
            Target.USER,
            str(session.user_id),
        )
        session_id = self._store.logins.record_further_session(session, audit)
        return self._issuer.for_session(session_id, session.user_id, session.expires_at)

    def _start(
        self,
        login: LoginRecord,
        identity: Identity,
        kind: SessionKind,
        digest: bytes,
        life: timedelta,
        origin: Origin,
    ) -> tuple[datetime, int]:
        """Store the session that a right password opens; return its start and id."""
        now = self._system.now()
        rehashed = None if identity.rehash is None else identity.rehash()
        session = _session(login.user_id, kind, digest, (now, now + life), origin)
        actor = Actor(login.user_id, login.userid, None, origin.address, origin.user_agent, origin.request_id)
        audit = AuditEntry(
            now,
            AuditAction.USER_LOGGED_IN,
            actor,
            Target.USER,
            str(login.user_id),
            details={"kind": kind.value},
        )
        session_id = self._store.logins.record_login(
            session, audit, checked=login.password_hash, rehashed=rehashed
        )
        if session_id is None:
            raise CredentialRefused(Reason.LOGIN_FAILED)
        return now, session_id


def _session(
    user_id: int, kind: SessionKind, digest: bytes, span: tuple[datetime, datetime], origin: Origin
) -> SessionToAdd:
    """Return a session to store, from the first to the second moment of `span`."""
    return SessionToAdd(
        user_id=user_id,
        digest=digest,
        kind=kind,
        created_at=span[0],
        expires_at=span[1],
        address=origin.address,
        user_agent=origin.user_agent,
    )
