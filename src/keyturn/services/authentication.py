"""Who is calling: header, what is remembered, one question to the store at most, the decision."""

from collections.abc import Sequence
from hashlib import sha256

from keyturn.core import verification
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import (
    AccessTokenCredential,
    ApiKeyCredential,
    Credential,
    read_authorization,
    read_credential,
)
from keyturn.core.principal import Principal
from keyturn.core.records import KeyForVerification
from keyturn.errors import CredentialRefused, Reason
from keyturn.services.audit import Origin
from keyturn.services.failures import FailureBudget
from keyturn.services.freshness import Freshness
from keyturn.services.lookup import Lookup
from keyturn.services.usage import Trace, trace_of
from keyturn.services.verification_index import ENDED, KnownCredential, VerificationIndex
from keyturn.system import System

MAX_PLAIN_BYTES = 1024
"""Nothing longer is looked for among the remembered: hashing what strangers send is bounded work."""
_BEARER = frozenset({b"Bearer ", b"bearer "})
"""How clients spell the scheme. Other spellings are as good, and take the longer way."""


class Authenticator:
    """Turns what a request presents into a `Principal`, or refuses.

    What was verified before is remembered, and trusted for as long as `Freshness` says that nothing has
    changed: what was revoked is dead at the next request.
    """

    def __init__(
        self,
        *,
        key_format: ApiKeyFormat,
        index: VerificationIndex,
        freshness: Freshness,
        lookup: Lookup,
        failures: FailureBudget,
        system: System,
    ) -> None:
        self._key_format = key_format
        self._index = index
        self._freshness = freshness
        self._lookup = lookup
        self._failures = failures
        self._system = system
        self._entries = index.entries
        self._counter = freshness.counter
        self._monotonic = system.monotonic
        self._timestamp = system.timestamp

    def recognise(self, value: bytes, trace: Trace) -> KnownCredential | None:
        """Return what is remembered to be good of one `Authorization` value, and note its use.

        None says nothing at all: whatever is not plainly good is left to `authenticate`. This is the one path
        that a million verifications for each new key take, so it takes no lock, allocates next to nothing
        and is written out flat.
        """
        freshness = self._freshness
        if self._counter.cell[0] != freshness.seen or self._monotonic() >= freshness.trusted_until:
            return None
        if value[6:7] == b" " and value[:7] in _BEARER:
            value = value[7:]
        if len(value) > MAX_PLAIN_BYTES:
            return None
        known = self._entries.get(sha256(value).digest())
        if known is None or known.is_bound_to_sources:
            return None
        now, subject = self._timestamp(), known.subject
        if known.ends_at <= now or not subject.holds or not known.owner.holds:
            return None
        known.used = True
        use = subject.use
        if use is not None:  # As `KeyUse.note` does it, whose call would cost as much as the look-up.
            if now >= use.at:
                use.at, use.trace = now, trace
            use.uses += 1
            if not use.is_noted:
                use.keep()
        return known

    def time(self) -> float:
        """Return the time by which credentials are judged, in seconds since 1970."""
        return self._timestamp()

    def note_failure(self, refused: CredentialRefused, origin: Origin) -> None:
        """Count a wrong credential; raise `TooManyFailures` instead if there were too many.

        One that was good once is no guess: whoever goes on using it must not use up their neighbours' budget.
        """
        if not refused.secret_matched and refused.reason is not Reason.MISSING:
            self._failures.note(origin.address)

    def authenticate(self, authorization: Sequence[bytes], origin: Origin) -> Principal | None:
        """Return who calls with these `Authorization` field lines, or None if there is none.

        Raise `CredentialRefused`, `AmbiguousCredential`, `TooManyFailures`, or `StoreUnavailable` if it
        cannot be known.
        """
        try:
            credential = read_authorization(authorization, self._key_format)
            return None if credential is None else self._verified(credential, origin).principal
        except CredentialRefused as refused:
            self.note_failure(refused, origin)
            raise

    def identify(self, presented: bytes) -> KnownCredential:
        """Return a key or token that is good now; raise `CredentialRefused` for any other.

        For whoever proved who they are and asks about a credential of somebody else: what turns out wrong
        counts as nobody's failure, and what is good was not used.
        """
        return self._verified(read_credential(presented, self._key_format), None)

    def verify_presented(self, presented: bytes, origin: Origin) -> KnownCredential:
        """Return what stands behind a key or token that was presented outside of `Authorization`.

        Raise as `authenticate` does.
        """
        try:
            return self._verified(read_credential(presented, self._key_format), origin)
        except CredentialRefused as refused:
            self.note_failure(refused, origin)
            raise

    def check_api_key(self, credential: ApiKeyCredential, origin: Origin) -> KeyForVerification:
        """Return the living key that was presented; raise as `authenticate` does."""
        try:
            known = self._verified(credential, origin)
        except CredentialRefused as refused:
            self.note_failure(refused, origin)
            raise
        assert known.subject.key is not None, "an API key stands on a key"  # noqa: S101 - for the type checker
        return known.subject.key

    def _verified(self, credential: Credential, origin: Origin | None) -> KnownCredential:
        """Return the credential if it is good now, from the index or by asking the store.

        Without `origin` it is only asked about: no use is noted.
        """
        source = None if origin is None else origin.address
        self._freshness.ensure()
        digest = credential.digest
        known = self._index.find(digest)
        if known is None:
            since = self._index.generation
            match credential:
                case ApiKeyCredential():
                    known = self._lookup.find_key(digest, source, since)
                case AccessTokenCredential(token):
                    known = self._lookup.find_token(token, digest, source, since)
        now = self._system.now()
        if known.subject.key is not None:
            verification.check_api_key(known.subject.key, now=now, source=source)
        if known.ends_at <= now.timestamp():
            reason = Reason.REVOKED if known.ends_at == ENDED else Reason.EXPIRED
            raise CredentialRefused(reason, key_id=known.principal.key_id, secret_matched=True)
        if known.subject.use is not None and origin is not None:
            known.subject.use.note(self._timestamp(), trace_of(origin))
        return known
