"""Attempts to sign in: who may try, whether their proof is right, and what a wrong one costs.

The same rules hold for every identity provider: an attempt is counted before it is judged, an absent account
costs the work of one that is there, and wrong attempts lock the account.
"""

from datetime import datetime, timedelta

from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.people import LoginRecord
from keyturn.core.principal import Principal
from keyturn.counting.counts import Counts
from keyturn.counting.table import SIGN_INS, Result
from keyturn.errors import CredentialRefused, InvalidInput, RateLimit, Reason, TooManyFailures
from keyturn.services.people.identity.provider import Credentials, Identity, IdentityProvider
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.services.people.identity.turns import account_of, asker_at
from keyturn.services.people.identity.waits import ToldWaits
from keyturn.services.text import canonical_userid
from keyturn.store import Store
from keyturn.system import System
from keyturn.verifying.origin import Origin, actor_of, stranger
from keyturn.verifying.rate_limit import RateLimiter, network_of

SIGN_INS_FAILED = "Too many sign-ins failed from this address: wait {wait} before the next one."
PASSWORD_GIVEN = "You gave your password many times just now: wait {wait} before the next time."
FREE_FAILURES = 5
"""Failed logins in a row before the delay begins."""
MAX_DELAY = timedelta(minutes=15)
MAX_DELAY_DOUBLINGS = 10
"""2**10 seconds exceed `MAX_DELAY`; more doublings would overflow a time."""
MAX_FAILURES = 100
"""After this many failed logins in a row only an administrator opens the account again (NIST SP 800-63B)."""
FOR_GOOD = timedelta(days=36_500)


class SignInAttempts:
    """Judges attempts to sign in, and to prove again who one is."""

    def __init__(
        self,
        store: Store,
        providers: IdentityProviders,
        *,
        failures_per_minute: int,
        passwords_per_minute: int,
        system: System,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._store = store
        self._providers = providers
        self._system = system
        self._failures = RateLimiter(
            failures_per_minute, system, refusal=SIGN_INS_FAILED, limit=RateLimit.SIGN_INS
        )
        self._waits = ToldWaits(locked_until)
        self._given = RateLimiter(
            passwords_per_minute, system, refusal=PASSWORD_GIVEN, limit=RateLimit.PASSWORDS
        )

    def verify(
        self, iamid: str | None, userid: str, password: str, origin: Origin
    ) -> tuple[LoginRecord, Identity]:
        """Return the account whose password this is; raise `CredentialRefused` for anything wrong alike (L3).

        The refusal says until when it is no use to try again, by what `waits` tells of any name.
        `iamid` is None for the built-in provider. Raise `TooManyFailures`, before anything is judged, if too
        many attempts failed from this address, or the person has signed in too often (Q1).
        """
        result = Result.FAILED
        try:
            found = self._verify(iamid, userid, password, origin)
            result = Result.GOOD
        except (CredentialRefused, TooManyFailures):
            result = Result.REFUSED
            raise
        finally:
            self._counts.add(SIGN_INS.cell(result))
        return found

    def _verify(
        self, iamid: str | None, userid: str, password: str, origin: Origin
    ) -> tuple[LoginRecord, Identity]:
        self._failures.note(origin.address)  # Before, since many may try at once.
        try:
            found = self._judge(iamid, userid, password, origin)
        except CredentialRefused as refused:
            until = self._waits.note(origin.address, canonical_userid(userid), self._system.now())
            raise CredentialRefused(refused.reason, until=until) from None
        except BaseException:
            self._failures.give_back(origin.address)
            raise
        self._failures.give_back(origin.address)
        return found

    def _judge(
        self, iamid: str | None, userid: str, password: str, origin: Origin
    ) -> tuple[LoginRecord, Identity]:
        """Return the account; raise `CredentialRefused`, after the same work whatever was wrong (L3).

        A failure that counts against the account is a row of the audit log: 100 of them close it. All others
        are counted in a table that has a bound, since a stranger could cause any number of rows.
        """
        name = canonical_userid(userid)
        provider, found = self._find(iamid, name)
        account = f"name {name}"
        if found is not None:
            account = account_of(found.user_id)
            self._given.check(account)
        now = self._system.now()
        is_locked = found is not None and found.locked_until is not None and found.locked_until > now
        may_try = found is not None and not found.is_disabled and not is_locked
        identity = provider.verify(
            Credentials(name, password, found if may_try else None, asker_at(origin.address, account))
        )
        if found is not None and may_try and identity is not None and identity.user_id == found.user_id:
            # Only now: with what turns out to be wrong, a stranger could spend it for the account's holder.
            self._given.charge(account)
            return found, identity
        target = str(found.user_id) if found is not None else "unknown"
        audit = _failure(now, stranger(origin), target)
        if found is not None and may_try:
            self._count_failure(found.user_id, audit)
        else:
            self._store.failed_sign_ins.count(audit, network_of(origin.address or "unknown")[:64])
        raise CredentialRefused(Reason.LOGIN_FAILED)

    def _find(self, iamid: str | None, name: str) -> tuple[IdentityProvider, LoginRecord | None]:
        """Return who judges, and the account; the built-in provider, and none, for what takes no password."""
        built_in = self._providers.built_in
        provider = built_in if iamid is None else self._providers.find(iamid)
        if provider is None or not provider.takes_password:
            return built_in, None
        return provider, self._store.logins.find_for_login(provider.iamid, name)

    def is_own_password(self, principal: Principal, password: str, origin: Origin, *, field: str) -> bool:
        """Return whether somebody who is signed in knows their password; a wrong one counts as a guess.

        Raise `TooManyFailures` if they gave one, right or wrong, too often, and `InvalidInput` at `field` if
        their provider cannot ask again.
        """
        found = self._store.logins.find_for_password_change(principal.user_id)
        now = self._system.now()
        if found is None or (found.locked_until is not None and found.locked_until > now):
            return False
        provider = self._providers.find(found.iamid)
        if provider is None or not (provider.takes_password and provider.can_reauthenticate):
            raise InvalidInput(field, "You cannot confirm here who you are: sign out and in again.")
        account = account_of(found.user_id)
        self._given.note(account)
        name = canonical_userid(found.userid)
        identity = provider.verify(Credentials(name, password, found, asker_at(origin.address, account)))
        if identity is not None and identity.user_id == found.user_id:
            return True
        self._count_failure(found.user_id, _failure(now, actor_of(principal, origin), str(principal.user_id)))
        return False

    def _count_failure(self, user_id: int, audit: AuditEntry) -> None:
        self._store.logins.record_failed_login(
            user_id, lambda failures: locked_until(failures, audit.at), audit
        )


def _failure(now: datetime, actor: Actor, target: str) -> AuditEntry:
    return AuditEntry(now, AuditAction.USER_LOGIN_FAILED, actor, Target.USER, target, succeeded=False)


def locked_until(failures: int, now: datetime) -> datetime | None:
    """Return until when the account refuses logins after this many failures in a row."""
    if failures >= MAX_FAILURES:
        return now + FOR_GOOD
    if failures < FREE_FAILURES:
        return None
    doublings = min(failures - FREE_FAILURES, MAX_DELAY_DOUBLINGS)
    return now + min(timedelta(seconds=2**doublings), MAX_DELAY)
