"""What a credential is, asked of the store once and remembered."""

from keyturn.core import verification
from keyturn.core.access_token import AccessTokenClaims, AccessTokenFormat
from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification, SessionKind, SessionLimits
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.failures import FailureBudget
from keyturn.services.signing_keys import VerifyingKeys
from keyturn.services.usage import Usage
from keyturn.services.verification_index import (
    ENDED,
    NEVER_ENDS,
    Ground,
    KnownCredential,
    Subject,
    VerificationIndex,
)
from keyturn.store import Store
from keyturn.system import System


class Lookup:
    """Fills the index. `since` is its generation from before the first question of a request.

    A source that has spent its budget of failures has no key or session looked up (Q1).
    """

    def __init__(
        self,
        store: Store,
        *,
        token_format: AccessTokenFormat,
        keys: VerifyingKeys,
        session_limits: SessionLimits,
        index: VerificationIndex,
        failures: FailureBudget,
        usage: Usage,
        system: System,
    ) -> None:
        self._store = store
        self._token_format = token_format
        self._keys = keys
        self._session_limits = session_limits
        self._index = index
        self._failures = failures
        self._usage = usage
        self._system = system

    def find_key(self, digest: bytes, source: str | None, since: int) -> KnownCredential:
        """Ask the store for a key, and remember the answer."""
        now = self._system.monotonic()
        if self._index.is_negative(digest, now):
            raise CredentialRefused(Reason.UNKNOWN)
        self._failures.check(source)
        record = self._store.api_keys.find_for_verification(digest)
        if record is None:
            self._index.add_negative(digest, now=now, since=since)
            raise CredentialRefused(Reason.UNKNOWN)
        return self._remember_key(
            digest, verification.principal_of_key(record), record, _end_of(record), since
        )

    def find_token(self, token: bytes, digest: bytes, source: str | None, since: int) -> KnownCredential:
        """Check a token's signature, ask the store for what it stands on, and remember the answer.

        A token of a remembered key costs one question: whether it was revoked by itself.
        """
        now = self._system.now()
        claims = self._token_format.verify(token, self._keys.ring, now=now)
        if claims.kt_key is not None:
            ground = self._index.find_ground(Subject.KEY, claims.kt_key)
            record = None if ground is None else ground.key
            if record is None:
                self._failures.check(source)
                record = self._store.api_keys.find_for_token(claims.kt_key)
            record = verification.check_api_key(record, now=now, source=source)
            principal = verification.principal_of_key_token(claims, record)
            self._check_not_revoked(claims)
            ends_at = min(_end_of(record), float(claims.exp))
            return self._remember_key(digest, principal, record, ends_at, since, claims.jti)
        if claims.kt_session is not None:
            self._failures.check(source)
            found = self._store.sessions.find_for_token(claims.kt_session)
            session = verification.check_session(found, self._session_limits, now=now)
            if session.kind is not SessionKind.TOKEN:
                raise CredentialRefused(Reason.CLAIMS)  # No token was ever given for a browser's session.
            principal = verification.principal_of_session_token(claims, session)
            self._check_not_revoked(claims)
            ends_at = min(float(claims.exp), session.expires_at.timestamp())
            known = KnownCredential(principal, ends_at, Ground(), Ground(), is_bound_to_sources=False)
            return self._index.add(
                digest,
                known,
                user_id=session.owner.user_id,
                subject=Subject.SESSION,
                number=session.session_id,
                since=since,
                jti=claims.jti,
            )
        raise CredentialRefused(Reason.CLAIMS)

    def _remember_key(
        self,
        digest: bytes,
        principal: Principal,
        record: KeyForVerification,
        ends_at: float,
        since: int,
        jti: str | None = None,
    ) -> KnownCredential:
        known = KnownCredential(
            principal,
            ends_at,
            Ground(record, self._usage.of_key(record.key_id)),
            Ground(),
            is_bound_to_sources=record.sources is not None,
        )
        return self._index.add(
            digest,
            known,
            user_id=record.owner.user_id,
            subject=Subject.KEY,
            number=record.key_id,
            since=since,
            jti=jti,
        )

    def _check_not_revoked(self, claims: AccessTokenClaims) -> None:
        """Raise `CredentialRefused` if the token was revoked by itself (RFC 7009)."""
        if self._store.tokens.is_revoked(claims.jti):
            raise CredentialRefused(Reason.REVOKED, key_id=claims.kt_key, secret_matched=True)


def _end_of(record: KeyForVerification) -> float:
    """Return when a key ends, in seconds since 1970; `ENDED` if it is dead already."""
    if record.revoked_at is not None or record.owner.is_disabled:
        return ENDED
    return NEVER_ENDS if record.expires_at is None else record.expires_at.timestamp()
