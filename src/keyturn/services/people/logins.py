"""Logins: who knows the passphrase of an account, and what wrong guesses cost."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.people import LoginRecord
from keyturn.core.principal import BUILT_IN_IAM, Principal
from keyturn.core.records import SessionKind, SessionLimits
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.people.passwords import Passwords
from keyturn.services.people.sessions import digest_session_token, new_session_token
from keyturn.services.people.turns import account_of, asker_at
from keyturn.services.text import canonical_userid
from keyturn.services.tokens.issuer import IssuedToken, TokenIssuer
from keyturn.store import Store
from keyturn.store.people.sessions import SessionToAdd
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of, stranger
from keyturn.verifying.rate_limit import RateLimiter, network_of

SIGN_INS_FAILED = "Too many sign-ins failed from this address: wait {seconds} seconds before the next one."
PASSPHRASE_GIVEN = (
    "You gave your passphrase many times just now: wait {seconds} seconds before the next time."
)
FREE_FAILURES = 5
"""Failed logins in a row before the delay begins."""
MAX_DELAY = timedelta(minutes=15)
MAX_DELAY_DOUBLINGS = 10
"""2**10 seconds exceed `MAX_DELAY`; more doublings would overflow a time."""
MAX_FAILURES = 100
"""After this many failed logins in a row only an administrator opens the account again (NIST SP 800-63B)."""
FOR_GOOD = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class StartedSession:
    """A browser session in the one answer that sets its cookie."""

    cookie: str = field(repr=False)
    userid: str


class Logins:
    """Checks passphrases and starts what they open."""

    def __init__(
        self,
        store: Store,
        *,
        passwords: Passwords,
        issuer: TokenIssuer,
        session_limits: SessionLimits,
        token_life: timedelta,
        failures_per_minute: int,
        passphrases_per_minute: int,
        system: System,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._issuer = issuer
        self._limits = session_limits
        self._token_life = token_life
        self._system = system
        self._failures = RateLimiter(failures_per_minute, system, refusal=SIGN_INS_FAILED)
        self._given = RateLimiter(passphrases_per_minute, system, refusal=PASSPHRASE_GIVEN)

    def log_in_browser(self, userid: str, password: str, origin: Origin) -> StartedSession:
        """Start a session for a person; raise `CredentialRefused` for a wrong name or passphrase alike.

        Raise `TooManyFailures`, before anything is hashed, if too many failed from this address, or the
        person has signed in too often (Q1).
        """
        login = self._check_password(BUILT_IN_IAM, userid, password, origin)
        cookie = new_session_token(self._system)
        self._start(
            login, password, SessionKind.BROWSER, digest_session_token(cookie), self._limits.absolute, origin
        )
        return StartedSession(cookie, login.userid)

    def log_in_api(self, iamid: str, userid: str, password: str, origin: Origin) -> IssuedToken:
        """Give a bearer token for a passphrase. It shows, and can be ended, among the person's sessions."""
        login = self._check_password(iamid, userid, password, origin)
        digest = digest_session_token(new_session_token(self._system))
        started_at, session_id = self._start(
            login, password, SessionKind.TOKEN, digest, self._token_life, origin
        )
        return self._issuer.for_session(session_id, login.user_id, started_at + self._token_life)

    def _check_password(self, iamid: str, userid: str, password: str, origin: Origin) -> LoginRecord:
        """Return the account if this address may try, and knows the passphrase."""
        self._failures.note(origin.address)  # Before, since many may try at once.
        try:
            found = self._judge(iamid, userid, password, origin)
        except CredentialRefused:
            raise
        except BaseException:
            self._failures.give_back(origin.address)
            raise
        self._failures.give_back(origin.address)
        return found

    def _judge(self, iamid: str, userid: str, password: str, origin: Origin) -> LoginRecord:
        """Return the account; raise `CredentialRefused`, after the same work whatever was wrong (L3).

        A failure that counts against the account is a row of the audit log: 100 of them close it. All others
        are counted in a table that has a bound, since a stranger could cause any number of rows.
        """
        found = None
        if iamid == BUILT_IN_IAM:
            found = self._store.logins.find_for_login(BUILT_IN_IAM, canonical_userid(userid))
        account = f"name {canonical_userid(userid)}"
        if found is not None:
            account = account_of(found.user_id)
            self._given.check(account)
        now = self._system.now()
        is_locked = found is not None and found.locked_until is not None and found.locked_until > now
        may_try = found is not None and not found.is_disabled and not is_locked
        is_right = self._passwords.is_right(
            password,
            found.password_hash if found and may_try else None,
            asker_at(origin.address, account),
        )
        if found is not None and is_right:
            # Only now: with what turns out to be wrong, a stranger could spend it for the account's holder.
            self._given.charge(account)
            return found
        audit = AuditEntry(
            now,
            AuditAction.USER_LOGIN_FAILED,
            stranger(origin),
            Target.USER,
            str(found.user_id) if found is not None else "unknown",
            succeeded=False,
        )
        if found is not None and may_try:
            self._count_failure(found.user_id, audit)
        else:
            self._store.failed_sign_ins.count(audit, network_of(origin.address or "unknown")[:64])
        raise CredentialRefused(Reason.LOGIN_FAILED)

    def _start(
        self,
        login: LoginRecord,
        password: str,
        kind: SessionKind,
        digest: bytes,
        life: timedelta,
        origin: Origin,
    ) -> tuple[datetime, int]:
        """Store the session that a right passphrase opens; return its start and id."""
        now = self._system.now()
        rehashed = None
        if login.password_hash is not None and self._passwords.is_outdated(login.password_hash):
            rehashed = self._passwords.hash(password, asker_at(origin.address, account_of(login.user_id)))
        session = SessionToAdd(
            user_id=login.user_id,
            digest=digest,
            kind=kind,
            created_at=now,
            expires_at=now + life,
            address=origin.address,
            user_agent=origin.user_agent,
        )
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

    def is_own_password(self, principal: Principal, password: str, origin: Origin) -> bool:
        """Return whether somebody who is signed in knows their passphrase; a wrong one counts as a guess.

        Raise `TooManyFailures` if they gave one, right or wrong, too often.
        """
        found = self._store.logins.find_for_password_change(principal.user_id)
        now = self._system.now()
        if found is None or (found.locked_until is not None and found.locked_until > now):
            return False
        account = account_of(found.user_id)
        self._given.note(account)
        if self._passwords.is_right(password, found.password_hash, asker_at(origin.address, account)):
            return True
        audit = AuditEntry(
            now,
            AuditAction.USER_LOGIN_FAILED,
            actor_of(principal, origin),
            Target.USER,
            str(principal.user_id),
            succeeded=False,
        )
        self._count_failure(found.user_id, audit)
        return False

    def _count_failure(self, user_id: int, audit: AuditEntry) -> None:
        self._store.logins.record_failed_login(
            user_id, lambda failures: locked_until(failures, audit.at), audit
        )


def locked_until(failures: int, now: datetime) -> datetime | None:
    """Return until when the account refuses logins after this many failures in a row."""
    if failures >= MAX_FAILURES:
        return now + FOR_GOOD
    if failures < FREE_FAILURES:
        return None
    doublings = min(failures - FREE_FAILURES, MAX_DELAY_DOUBLINGS)
    return now + min(timedelta(seconds=2**doublings), MAX_DELAY)
