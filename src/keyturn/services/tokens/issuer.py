"""Writing bearer tokens: the one place where claims are filled in."""

from dataclasses import dataclass, field
from datetime import datetime

from keyturn.core.access_token import (
    AccessTokenClaims,
    AccessTokenFormat,
    ActorClaim,
    Confirmation,
)
from keyturn.core.audit import Actor, AuditAction, AuditEntry, Target
from keyturn.core.encoding import base64url_encode
from keyturn.core.principal import PresentedCredential
from keyturn.core.records import KeyForVerification
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.tokens.signing_keys import SigningKeys, VerifyingKeys
from keyturn.store import Store
from keyturn.system import System

JTI_BYTES = 16


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token in the one answer that carries it."""

    token: str = field(repr=False)
    expires_at: datetime
    key_id: int | None
    jkt: str | None = None
    """The thumbprint of the key pair that it is bound to; None for none."""


class TokenIssuer:
    """Signs tokens that stand on a key or on a session."""

    def __init__(self, token_format: AccessTokenFormat, keys: SigningKeys, system: System) -> None:
        self._format = token_format
        self._keys = keys
        self._system = system

    def for_key(
        self,
        key: KeyForVerification,
        *,
        at: float,
        made_with: PresentedCredential,
        scopes: frozenset[str] | None = None,
        audience: str | None = None,
        not_after: datetime | None = None,
        jkt: str | None = None,
    ) -> IssuedToken:
        """Issue a token that is no wider than the key, and does not outlive it (T15).

        It carries the epoch of the key as it was looked up, and is dead when that has grown since.
        `made_with` is the secret of the key, or its token, that asks: it ends with that secret.
        `at` is the time that it says. `scopes`, which the key must cover, and `not_after` narrow it further.
        `audience` is the registered API that it is for, where `scopes` are said; None for the installation
        itself.
        With `jkt` it is bound to that key pair (RFC 9449).
        """
        ends = [end for end in (key.expires_at, not_after) if end is not None]
        return self._issue(
            user_id=key.owner.user_id,
            client_id=f"key-{key.key_id}",
            scope=" ".join(sorted(scopes or key.restrictions.scopes or ())),
            not_after=min(ends, default=None),
            audience=audience,
            jkt=jkt,
            kt_key=key.key_id,
            kt_epoch=key.token_epoch,
            kt_secret=made_with.secret_number or 0,  # Of a key it is always known here.
            issued_at=int(at),
        )

    def for_session(self, session_id: int, user_id: int, expires_at: datetime) -> IssuedToken:
        """Issue a token that was given for a password, and dies with its session."""
        return self._issue(
            user_id=user_id,
            client_id=f"session-{session_id}",
            scope="",
            not_after=expires_at,
            kt_session=session_id,
        )

    def for_impersonation(
        self,
        key: KeyForVerification,
        *,
        session_id: int,
        user_id: int,
        made_with: PresentedCredential,
        not_after: datetime,
        jkt: str | None = None,
    ) -> IssuedToken:
        """Issue a token with which the owner of `key` acts for another user (RFC 8693, section 4.1).

        It dies with the key and with the session, which is one of that user.
        """
        return self._issue(
            user_id=user_id,
            client_id=f"key-{key.key_id}",
            scope="",
            not_after=not_after if key.expires_at is None else min(not_after, key.expires_at),
            jkt=jkt,
            kt_key=key.key_id,
            kt_session=session_id,
            kt_epoch=key.token_epoch,
            kt_secret=made_with.secret_number or 0,
            act=ActorClaim(str(key.owner.user_id)),
        )

    def _issue(  # noqa: PLR0913 - the claims
        self,
        *,
        user_id: int,
        client_id: str,
        scope: str,
        not_after: datetime | None,
        audience: str | None = None,
        jkt: str | None = None,
        kt_key: int | None = None,
        kt_session: int | None = None,
        kt_epoch: int = 0,
        kt_secret: int = 0,
        issued_at: int | None = None,
        act: ActorClaim | None = None,
    ) -> IssuedToken:
        issued_at = int(self._system.timestamp()) if issued_at is None else issued_at
        expires_at = issued_at + int(self._format.max_life.total_seconds())
        if not_after is not None:
            expires_at = min(expires_at, int(not_after.timestamp()))
        if expires_at <= issued_at:
            # Less than the one second that a token can express is left.
            raise CredentialRefused(Reason.EXPIRED, key_id=kt_key, secret_matched=True)
        claims = AccessTokenClaims(
            iss=self._format.issuer,
            sub=str(user_id),
            aud=self._format.audience if audience is None else audience,
            client_id=client_id,
            exp=expires_at,
            iat=issued_at,
            jti=base64url_encode(self._system.random_bytes(JTI_BYTES)).decode("ascii"),
            scope=scope,
            kt_key=kt_key,
            kt_session=kt_session,
            kt_epoch=kt_epoch,
            kt_secret=kt_secret,
            cnf=None if jkt is None else Confirmation(jkt),
            act=act,
        )
        return IssuedToken(self._format.sign(claims, self._keys.ring), claims.expires_at, kt_key, jkt)


class TokenRevocation:
    """Ends single tokens before their time (RFC 7009)."""

    def __init__(
        self, store: Store, token_format: AccessTokenFormat, keys: VerifyingKeys, system: System
    ) -> None:
        self._store = store
        self._format = token_format
        self._keys = keys
        self._system = system

    def revoke(self, token: str, actor: Actor) -> bool:
        """End a token; return False if it was ended by itself already.

        Whether it has ended by this clock does not matter: by the right one, it may not have. Raise
        `CredentialRefused` if it is none of ours.
        """
        presented, ring = token.encode("utf-8", "surrogatepass"), self._keys.ring
        claims = self._format.read(presented, ring)
        audit = AuditEntry(self._system.now(), AuditAction.TOKEN_REVOKED, actor, Target.TOKEN, claims.jti)
        return self._store.tokens.revoke(claims.jti, claims.expires_at, ring.kid_of(presented), audit)
