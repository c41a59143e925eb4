"""Who is calling: header, one question to the store, the decision."""

from collections.abc import Sequence

from keyturn.core import verification
from keyturn.core.access_token import AccessTokenFormat, KeyRing
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import (
    AccessTokenCredential,
    ApiKeyCredential,
    Credential,
    read_authorization,
)
from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification, SessionLimits
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.audit import Origin
from keyturn.services.usage import Usage
from keyturn.store import Store
from keyturn.system import System


class Authenticator:
    """Turns what a request presents into a `Principal`, or refuses.

    Asks the store on every call, so that what was revoked is dead at the next request.
    """

    def __init__(
        self,
        store: Store,
        *,
        key_format: ApiKeyFormat,
        token_format: AccessTokenFormat,
        ring: KeyRing,
        session_limits: SessionLimits,
        usage: Usage,
        system: System,
    ) -> None:
        self._store = store
        self._key_format = key_format
        self._token_format = token_format
        self._ring = ring
        self._session_limits = session_limits
        self._usage = usage
        self._system = system

    def authenticate(self, authorization: Sequence[bytes], origin: Origin) -> Principal | None:
        """Return who calls with these `Authorization` field lines, or None if there is none.

        Raise `CredentialRefused`, `AmbiguousCredential`, or `StoreUnavailable` if it cannot be known.
        """
        credential = read_authorization(authorization, self._key_format)
        return None if credential is None else self._principal(credential, origin)

    def check_api_key(self, credential: ApiKeyCredential, origin: Origin) -> KeyForVerification:
        """Return the living key that was presented; raise `CredentialRefused`."""
        record = verification.check_api_key(
            self._store.api_keys.find_for_verification(credential.digest), now=self._system.now()
        )
        self._usage.note(record.key_id, origin)
        return record

    def _principal(self, credential: Credential, origin: Origin) -> Principal:
        match credential:
            case ApiKeyCredential():
                return verification.principal_of_key(self.check_api_key(credential, origin))
            case AccessTokenCredential(token):
                return self._principal_of_token(token, origin)

    def _principal_of_token(self, token: bytes, origin: Origin) -> Principal:
        """Check the token, then that what it stands on still lives."""
        now = self._system.now()
        claims = self._token_format.verify(token, self._ring, now=now)
        if claims.kt_key is not None:
            key = verification.check_api_key(self._store.api_keys.find_for_token(claims.kt_key), now=now)
            principal = verification.principal_of_key_token(claims, key)
            self._usage.note(key.key_id, origin)
            return principal
        if claims.kt_session is not None:
            found = self._store.sessions.find_for_token(claims.kt_session)
            session = verification.check_session(found, self._session_limits, now=now)
            return verification.principal_of_session_token(claims, session)
        raise CredentialRefused(Reason.CLAIMS)
