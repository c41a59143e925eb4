"""Look up a credential once, and cache the verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from keyturn.core import verification
from keyturn.core.access_token import AccessTokenClaims, AccessTokenFormat, VerifyingRing
from keyturn.core.principal import AuthMethod, PresentedCredential, Principal
from keyturn.core.records import (
    KeyForVerification,
    OwnerRecord,
    SessionForVerification,
    SessionKind,
    SessionLimits,
)
from keyturn.errors import CredentialRefused, KeyturnError, Reason, ScopeMissing, UnknownAudience
from keyturn.system import System
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.uses import Usage
from keyturn.verifying.verdict_cache import (
    ENDED,
    NEVER_ENDS,
    CachedVerdict,
    Dependency,
    DependencyKind,
    VerdictCache,
)


class Credentials(Protocol):
    """Where credentials are looked up: a database, or a replica of what decides in one."""

    @property
    def changes(self) -> int:
        """A number that moves when what is answered from now on may not go together with what was before.

        Raise `StoreUnavailable` while nothing goes together.
        """

    def find_key(self, digest: bytes) -> KeyForVerification | None:
        """Return the key with this digest, alive or not, with its owner; None if there never was one."""

    def find_key_by_id(self, key_id: int) -> KeyForVerification | None:
        """Return the key that a token names, alive or not, with its owner."""

    def find_session(self, session_id: int) -> SessionForVerification | None:
        """Return the session that a token names, ended or not, with its owner."""

    def is_revoked(self, jti: str) -> bool:
        """Return whether a token was revoked by itself (RFC 7009)."""


class HasRing(Protocol):
    """Where the public keys of this moment are."""

    @property
    def ring(self) -> VerifyingRing:
        """The ring of this moment."""


class Lookup:
    """Fills the index. `since` is its generation from before the first question of a request.

    `audience` is the registered API that is called, None for the installation itself. A source that has spent
    its budget of look-ups has no key or session looked up (Q1).
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        token_format: AccessTokenFormat,
        keys: HasRing,
        session_limits: SessionLimits,
        index: VerdictCache,
        failures: CredentialRateLimit,
        usage: Usage,
        system: System,
    ) -> None:
        self._credentials = credentials
        self._token_format = token_format
        self._keys = keys
        self._session_limits = session_limits
        self._index = index
        self._failures = failures
        self._usage = usage
        self._system = system

    def find_key(self, digest: bytes, source: str | None, since: int, audience: str | None) -> CachedVerdict:
        """Ask for a key, and remember the answer."""
        return self._of_one_state(partial(self._judge_key, digest, source, since, audience))

    def _of_one_state(self, judge: Callable[[], CachedVerdict]) -> CachedVerdict:
        """Judge, and again if a change was taken in meanwhile: a mixture can be wider than both states."""
        while True:
            changes = self._credentials.changes
            known = judge()
            if self._credentials.changes == changes:
                return known

    def _judge_key(
        self, digest: bytes, source: str | None, since: int, audience: str | None
    ) -> CachedVerdict:
        now = self._system.monotonic()
        unknown_until = self._index.find_negative(digest)
        if unknown_until > now:
            raise CredentialRefused(Reason.UNKNOWN)
        was_wrong = bool(unknown_until)
        self._failures.check_look_up(source, was_wrong=was_wrong)
        found = self._credentials.find_key(digest)
        if found is None:
            self._failures.note_unknown(source, was_wrong=was_wrong)
            self._index.add_negative(digest, now=now, since=since)
            raise CredentialRefused(Reason.UNKNOWN)
        record = found  # A name that is never None, for the functions below.
        scopes = _scopes_of(record.owner, audience)
        verdict = _verdict(
            partial(verification.principal_of_key, record, audience_scopes=scopes),
            lambda: verification.powerless(
                record,
                AuthMethod.API_KEY,
                jkt=record.restrictions.jkt,
                credential=verification.presented_key(record),
            ),
        )
        ends_at = _end_of(record, verdict.principal.credential)
        if record.is_by_former_secret:
            # The key's own secret, and its tokens, stand on the same dependency.
            record = replace(record, is_by_former_secret=False)
        return self._remember_key(entry_of(digest, audience), verdict, record, ends_at, since)

    def find_token(
        self, token: bytes, digest: bytes, source: str | None, since: int, audience: str | None
    ) -> CachedVerdict:
        """Check a token's signature, ask for what it stands on, and remember the answer.

        It depends on a key or a session.
        """
        return self._of_one_state(partial(self._judge_token, token, digest, source, since, audience))

    def _judge_token(
        self, token: bytes, digest: bytes, source: str | None, since: int, audience: str | None
    ) -> CachedVerdict:
        asked_at = self._system.now()
        claims = self._token_format.verify(token, self._keys.ring, now=asked_at, audience=audience)
        asked = _PresentedToken(claims, entry_of(digest, audience), source, since, audience, asked_at)
        if claims.act is not None:
            return self._judge_impersonation(asked)
        if claims.kt_key is not None:
            return self._find_key_token(asked, claims.kt_key)
        if claims.kt_session is not None:
            return self._find_session_token(asked, claims.kt_session)
        raise CredentialRefused(Reason.CLAIMS)

    def _find_key_token(self, asked: "_PresentedToken", key_id: int) -> CachedVerdict:
        """Judge a token that was made from a key.

        Of a remembered key it costs one question: whether the token was revoked by itself.
        """
        claims = asked.claims
        dependency = self._index.find_dependency(DependencyKind.KEY, key_id)
        record = None if dependency is None else dependency.key
        if record is None:
            self._failures.check_look_up(asked.source, was_wrong=False)
            record = self._credentials.find_key_by_id(key_id)
        record = verification.check_key_lives(record, now=asked.at)
        self._check_not_revoked(claims)
        scopes = _scopes_of(record.owner, asked.audience)
        verdict = _verdict(
            partial(verification.principal_of_key_token, claims, record, audience_scopes=scopes),
            lambda: verification.powerless(
                record,
                AuthMethod.ACCESS_TOKEN,
                jkt=claims.jkt,
                credential=verification.presented_key_token(claims, record),
            ),
        )
        ends_at = _end_of(record, verdict.principal.credential)
        return self._remember_key(asked.entry, verdict, record, ends_at, asked.since, claims.jti)

    def _find_session_token(self, asked: "_PresentedToken", session_id: int) -> CachedVerdict:
        """Judge a token that was given for a password, and stands on a session of its own."""
        claims = asked.claims
        self._failures.check_look_up(asked.source, was_wrong=False)
        found = self._credentials.find_session(session_id)
        session = verification.check_session(found, self._session_limits, now=asked.at)
        if session.kind is not SessionKind.TOKEN:
            raise CredentialRefused(Reason.CLAIMS)  # No token was ever given for a browser's session.
        self._check_not_revoked(claims)
        principal = verification.principal_of_session_token(
            claims, session, audience_scopes=_scopes_of(session.owner, asked.audience)
        )
        ends_at = min(float(claims.exp), session.expires_at.timestamp())
        is_bound = principal.jkt is not None
        known = CachedVerdict(principal, ends_at, Dependency(), Dependency(), is_conditional=is_bound)
        return self._index.add(
            asked.entry,
            known,
            user_id=session.owner.user_id,
            kind=DependencyKind.SESSION,
            number=session.session_id,
            since=asked.since,
            jti=claims.jti,
        )

    def _judge_impersonation(self, asked: "_PresentedToken") -> CachedVerdict:
        """Judge a token that acts for somebody. It stands on two accounts, and so it is asked for each time.

        The cache knows verdicts of one owner alone.
        """
        claims = asked.claims
        if claims.kt_key is None or claims.kt_session is None or asked.audience is not None:
            raise CredentialRefused(Reason.CLAIMS)
        # Whoever guesses at keys from the same address spends no budget of it: its signature is good.
        found = self._credentials.find_key_by_id(claims.kt_key)
        key = verification.check_key_lives(found, now=asked.at)
        session = verification.check_session(
            self._credentials.find_session(claims.kt_session), self._session_limits, now=asked.at
        )
        if session.kind is not SessionKind.TOKEN:
            raise CredentialRefused(Reason.CLAIMS)
        self._check_not_revoked(claims)
        principal = verification.principal_of_impersonation(claims, key, session)
        ends_at = _end_of(key, principal.credential)
        dependency = Dependency(key, self._usage.of_key(key.key_id))
        return CachedVerdict(principal, ends_at, dependency, Dependency(), is_conditional=True)

    def _remember_key(
        self,
        entry: bytes,
        verdict: "_Verdict",
        record: KeyForVerification,
        ends_at: float,
        since: int,
        jti: str | None = None,
    ) -> CachedVerdict:
        known = CachedVerdict(
            verdict.principal,
            ends_at,
            Dependency(record, self._usage.of_key(record.key_id)),
            Dependency(),
            is_conditional=record.restrictions.is_conditional
            or verdict.principal.jkt is not None
            or verdict.refused is not None,
            refused=verdict.refused,
        )
        return self._index.add(
            entry,
            known,
            user_id=record.owner.user_id,
            kind=DependencyKind.KEY,
            number=record.key_id,
            since=since,
            jti=jti,
        )

    def _check_not_revoked(self, claims: AccessTokenClaims) -> None:
        """Raise `CredentialRefused` if the token was revoked by itself (RFC 7009)."""
        if self._credentials.is_revoked(claims.jti):
            raise CredentialRefused(Reason.REVOKED, key_id=claims.kt_key, secret_matched=True)


@dataclass(frozen=True, slots=True)
class _PresentedToken:
    """A token whose signature and times are good, and what is asked about it."""

    claims: AccessTokenClaims
    entry: bytes
    source: str | None
    since: int
    audience: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The caller, and the refusal where the credential covers nothing."""

    principal: Principal
    refused: KeyturnError | None = None


def _verdict(decide: Callable[[], Principal], powerless: Callable[[], Principal]) -> _Verdict:
    """Decide; that a credential covers nothing here is an answer to be remembered like any other."""
    try:
        return _Verdict(decide())
    except (ScopeMissing, CredentialRefused) as refused:
        if isinstance(refused, CredentialRefused) and refused.reason is not Reason.WITHHELD:
            raise
        return _Verdict(powerless(), refused)


def _scopes_of(owner: OwnerRecord, audience: str | None) -> frozenset[str] | None:
    """Return the scopes of the API that is called; raise `UnknownAudience` if it is not registered.

    The scopes come from the same read as those withheld from the owner: a scope that was registered later
    must not count as withheld from nobody.
    """
    if audience is None:
        return None
    scopes = owner.audiences.get(audience)
    if scopes is None:
        raise UnknownAudience(audience)
    return scopes


def entry_of(digest: bytes, audience: str | None) -> bytes:
    """Return under which name the index keeps a credential that is good for an API (R5)."""
    return digest if audience is None else digest + audience.encode()


def _end_of(record: KeyForVerification, credential: PresentedCredential) -> float:
    """Return when a key or a token of it ends, in seconds since 1970; `ENDED` if it is dead already."""
    if record.revoked_at is not None or record.owner.is_disabled:
        return ENDED
    return NEVER_ENDS if credential.ends_at is None else credential.ends_at.timestamp()
