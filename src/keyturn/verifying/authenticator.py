"""Authentication: parse the header, look in the cache, query the store at most once, decide."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol, Self

from keyturn.core import verification
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import (
    AccessTokenCredential,
    ApiKeyCredential,
    Credential,
    find_flaw,
    is_token,
    read_authorization,
    read_credential,
    read_presented,
)
from keyturn.core.dpop import PresentedProof, Proof
from keyturn.core.principal import Principal
from keyturn.core.scopes import NO_SCOPES, covers
from keyturn.counting.counts import Counts
from keyturn.counting.table import VERIFICATIONS, Result, Way
from keyturn.errors import (
    CredentialRefused,
    DpopProofRefused,
    KeyturnError,
    Reason,
    ScopeMissing,
    StoreUnavailable,
)
from keyturn.system import System
from keyturn.verifying.callers import UseContext
from keyturn.verifying.lookup import Lookup, entry_of
from keyturn.verifying.origin import Origin
from keyturn.verifying.proofs import Proofs
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.uses import Usage, use_context_of
from keyturn.verifying.verdict_cache import ENDED, CachedVerdict, VerdictCache

MAX_PLAIN_BYTES = 1024
"""Nothing longer is looked for among the remembered: hashing what strangers send is bounded work."""
MAX_AUDIENCES = 1024
"""For how many APIs the one that judges for it is kept at hand."""
_BEARER = frozenset({b"Bearer ", b"bearer "})
"""How clients spell the scheme. Other spellings are as good, and take the longer way."""


class Counter(Protocol):
    """A number that moves with every change."""

    cell: memoryview


class TellsFreshness(Protocol):
    """Says whether what is remembered may be trusted, as `Freshness` does."""

    @property
    def counter(self) -> Counter:
        """A number that moves with every change."""

    seen: int
    """The counter that was looked up for."""
    trusted_until: float
    """Monotonic."""

    def ensure(self) -> None:
        """Return when it may be trusted now; raise `StoreUnavailable` if it may not."""


class InstantRefusal(NamedTuple):
    """Why a credential is refused that is known to be wrong without asking anybody."""

    reason: Reason
    wait: int
    """Seconds, if the address has spent its budget: then that is what it is told; else 0."""


class Authenticator:
    """Turns what a request presents into a `Principal`, or refuses.

    Verdicts are cached, and trusted for as long as `Freshness` says that nothing has changed: a revoked
    credential is dead at the next request.

    It speaks for the installation itself; `at` gives the one that speaks for a registered API.
    """

    def __init__(
        self,
        *,
        key_format: ApiKeyFormat,
        index: VerdictCache,
        freshness: TellsFreshness,
        lookup: Lookup,
        failures: CredentialRateLimit,
        usage: Usage,
        system: System,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._key_format = key_format
        self._index = index
        self._freshness = freshness
        self._lookup = lookup
        self._failures = failures
        self._usage = usage
        self._system = system
        self._entries = index.entries
        self._counter = freshness.counter
        self._monotonic = system.monotonic
        self._timestamp = system.timestamp
        self._audience: str | None = None
        self._entry_suffix = b""
        self.proofs = Proofs(system)
        """Of possession, for what is bound to a key pair: one memory for all APIs."""
        self.at = lru_cache(MAX_AUDIENCES)(self._at)
        """Return the one that judges for the registered API with this identifier, which is a URI.

        A token is good there only if it is for that API. Asking raises `UnknownAudience` if there is none.
        """

    def _at(self, audience: str) -> Self:
        there = copy(self)
        there._audience, there._entry_suffix = audience, entry_of(b"", audience)  # noqa: SLF001 - of its own kind
        return there

    def recognise(  # noqa: C901 - flat, since each call costs
        self, value: bytes, trace: UseContext, scopes: frozenset[str] = NO_SCOPES
    ) -> CachedVerdict | None:
        """Return what is remembered to be good of one `Authorization` value, and note its use.

        With `scopes`, only what covers them all is plainly good.

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
        entry = sha256(value).digest()
        if self._entry_suffix:
            entry += self._entry_suffix
        known = self._entries.get(entry)
        if known is None or known.is_conditional:
            return None
        now, dependency = self._timestamp(), known.dependency
        if known.ends_at <= now or not dependency.is_valid or not known.owner.is_valid:
            return None
        if scopes and not covers(known.principal, scopes):
            return None
        known.used = True
        use = dependency.use
        if use is not None:  # As `KeyUse.note` does it, whose call would cost as much as the look-up.
            if now >= use.observed_until:
                use.observe(now, trace)
            use.at, use.trace = now, trace
            use.uses += 1
            if not use.is_noted:
                use.keep()
        return known

    def count_remembered(self) -> None:
        """Count a verification that `recognise` was enough for; who asks it a million times counts alone."""
        self._counts.add(VERIFICATIONS.cell(Way.CACHE, Result.GOOD))

    def time(self) -> float:
        """Return the time by which credentials are judged, in seconds since 1970."""
        return self._timestamp()

    def find_refusal(self, value: bytes, address: str | None, *, may_ask: bool) -> InstantRefusal | None:
        """Return why one `Authorization` value is refused, and count the failure; None if that takes longer.

        Refused are values that have the form of no credential, and, while the cache may be trusted, keys that
        the store did not know when it was asked last. With `may_ask`, an unseen key is looked up as well, and
        `recognise` knows it afterwards if it is good. A guess must cost the server no more than the guesser,
        so a refusal is returned and not raised.
        """
        presented = read_presented((value,))
        if presented is None or presented.is_with_proof:
            return None
        digest = sha256(presented.value).digest()
        freshness, now = self._freshness, self._monotonic()
        if self._counter.cell[0] == freshness.seen and now < freshness.trusted_until:
            unknown_until = self._index.find_negative(digest)
            if unknown_until > now:
                return InstantRefusal(Reason.UNKNOWN, self._failures.spend_wrong(address))
            if unknown_until and (wait := self._failures.wait_of_wrong(address)):
                return InstantRefusal(Reason.UNKNOWN, wait)
        flaw = find_flaw(presented.value, self._key_format)
        if flaw is not None:
            return InstantRefusal(flaw, self._failures.spend_wrong(address))
        if may_ask and not is_token(presented.value):
            self._learn(digest, address)
        return None

    def _learn(self, digest: bytes, address: str | None) -> None:
        """Look up a key. Whatever is wrong is found again by `authenticate`: nothing is counted or raised."""
        try:
            self._freshness.ensure()
            if self._index.find(digest + self._entry_suffix) is None:
                self._lookup.find_key(digest, address, self._index.generation, self._audience)
        except Exception:  # noqa: BLE001 - a defect too is met again, where it gets an answer
            return

    def note_failure(self, refused: CredentialRefused, address: str | None) -> None:
        """Count a wrong credential; raise `TooManyFailures` instead if there were too many."""
        self._failures.note_refused(refused, address)

    def authenticate(
        self,
        authorization: Sequence[bytes],
        origin: Origin,
        presented: PresentedProof | None = None,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> Principal | None:
        """Return who calls with these `Authorization` field lines, or None if there is none.

        `presented` is the proof of possession that came with them; it is read with the scheme `DPoP` alone.
        `scopes` are those that `check_scopes` is asked for next: a credential that does not cover them was
        not used, it is noted as refused.

        Raise `CredentialRefused`, `DpopProofRefused`, `AmbiguousCredential`, `TooManyFailures`, `TooBusy`, or
        `StoreUnavailable` if it cannot be known.
        """
        try:
            with self._refusals_counted(Way.CACHE):
                credential = read_authorization(authorization, self._key_format)
                if credential is None:
                    return None
                proof = self._proof(credential, presented, origin) if credential.is_with_proof else None
            return self._verified(credential, origin, proof, scopes).principal
        except CredentialRefused as refused:
            self.note_failure(refused, origin.address)
            raise

    def authenticate_again(
        self, authorization: Sequence[bytes], origin: Origin, judged: Principal
    ) -> Principal:
        """Return who calls now with the `Authorization` of a request that was `judged` before its body came.

        Its proof of possession was used up then, and its use noted. Raise as `authenticate` does.
        """
        credential = read_authorization(authorization, self._key_format)
        if credential is None:
            raise CredentialRefused(Reason.MISSING)
        known = self._living(credential, origin)
        if known.principal.jkt != judged.jkt:
            raise CredentialRefused(Reason.SENDER, key_id=known.principal.acts_by_key_id, secret_matched=True)
        if known.refused is not None:
            raise known.refused.with_traceback(None)
        return known.principal

    def identify(self, presented: bytes) -> CachedVerdict:
        """Return a key or token that is good now; raise `CredentialRefused` for any other.

        For whoever proved who they are and asks about a credential of somebody else: what turns out wrong
        counts as nobody's failure, and what is good was not used.
        """
        return self._verified(read_credential(presented, self._key_format), None)

    def verify_presented(self, presented: bytes, origin: Origin, proof: Proof | None = None) -> CachedVerdict:
        """Return what stands behind a key or token that was presented outside of `Authorization`.

        `proof` is that of the request; it is not used up, since it may be for more than one. Raise as
        `authenticate` does.
        """
        try:
            credential = read_credential(presented, self._key_format)
        except CredentialRefused as refused:
            self.note_failure(refused, origin.address)
            raise
        return self.verify_credential(credential, origin, proof)

    def verify_credential(
        self, credential: Credential, origin: Origin, proof: Proof | None = None
    ) -> CachedVerdict:
        """Return what stands behind a credential that was read already; raise as `authenticate` does."""
        try:
            return self._verified(credential, origin, proof)
        except CredentialRefused as refused:
            self.note_failure(refused, origin.address)
            raise

    @contextmanager
    def _refusals_counted(self, way: Way) -> Iterator[None]:
        """Count what is refused in this block, and what cannot be known."""
        try:
            yield
        except StoreUnavailable:
            self._counts.add(VERIFICATIONS.cell(way, Result.FAILED))
            raise
        except KeyturnError:
            self._counts.add(VERIFICATIONS.cell(way, Result.REFUSED))
            raise

    def _proof(self, credential: Credential, presented: PresentedProof | None, origin: Origin) -> Proof:
        """Return the proof that came with a credential; raise `DpopProofRefused` if it shows nothing.

        That is known before the credential is looked up: only of one in the cache the refusal is noted.
        """
        try:
            return self.proofs.check(presented, credential=credential.digest)
        except DpopProofRefused as refused:
            self._note_refused(refused, self._index.find(credential.digest + self._entry_suffix), origin)
            raise

    def _verified(
        self,
        credential: Credential,
        origin: Origin | None,
        proof: Proof | None = None,
        scopes: frozenset[str] = NO_SCOPES,
    ) -> CachedVerdict:
        """Return the credential if it is good now, from the index or by asking the store.

        Its use is noted, or its refusal if it is a key or a token of one. Without `origin` it is only asked
        about: neither is noted, and whoever holds its key pair may be.
        """
        way = self._way_to(credential) if origin is not None else Way.INTROSPECTION
        with self._refusals_counted(way):
            known = self._judged(credential, origin, proof, scopes)
        is_good = covers(known.principal, scopes)
        self._counts.add(VERIFICATIONS.cell(way, Result.GOOD if is_good else Result.REFUSED))
        return known

    def _way_to(self, credential: Credential) -> Way:
        is_known = self._index.find(credential.digest + self._entry_suffix) is not None
        return Way.CACHE if is_known else Way.STORE

    def _judged(
        self, credential: Credential, origin: Origin | None, proof: Proof | None, scopes: frozenset[str]
    ) -> CachedVerdict:
        if origin is None:
            return _not_refused(self._living(credential, None))
        found: CachedVerdict | None = None
        try:
            found = self._living(credential, origin)
            self.proofs.check_sender(found.principal, proof, is_with_proof=credential.is_with_proof)
            known = _not_refused(found)
        except (CredentialRefused, DpopProofRefused, ScopeMissing) as refused:
            self._note_refused(refused, found, origin)
            raise
        if not covers(known.principal, scopes):
            self._note_refused(ScopeMissing(*scopes), known, origin)
        elif known.dependency.use is not None:
            known.dependency.use.note(self._timestamp(), use_context_of(origin))
        return known

    def _note_refused(self, refused: KeyturnError, known: CachedVerdict | None, origin: Origin) -> None:
        """Note that a key was refused, if it was one and its whole secret was right.

        `known` is what stands behind the credential, if that was found before it was refused.
        """
        key_id = None if known is None else known.principal.acts_by_key_id
        if isinstance(refused, CredentialRefused) and refused.secret_matched:
            key_id = refused.key_id
        if key_id is not None:
            self._usage.note_refused(key_id, origin, refused)

    def _living(self, credential: Credential, origin: Origin | None) -> CachedVerdict:
        """Return the credential if it lives and this request may use it; who holds it is not asked.

        Without `origin`, whose request it came with is not known.
        """
        self._freshness.ensure()
        source, target = (None, None) if origin is None else (origin.address, origin.target)
        digest = credential.digest
        known = self._index.find(digest + self._entry_suffix)
        if known is None:
            since = self._index.generation
            match credential:
                case ApiKeyCredential():
                    known = self._lookup.find_key(digest, source, since, self._audience)
                case AccessTokenCredential(token):
                    known = self._lookup.find_token(token, digest, source, since, self._audience)
        now = self._system.now()
        if known.dependency.key is not None:
            verification.check_api_key(known.dependency.key, now=now, source=source, target=target)
        if known.ends_at <= now.timestamp():
            reason = Reason.REVOKED if known.ends_at == ENDED else Reason.EXPIRED
            raise CredentialRefused(reason, key_id=known.principal.acts_by_key_id, secret_matched=True)
        return known


def _not_refused(known: CachedVerdict) -> CachedVerdict:
    """Return what opens something here; raise why it does not."""
    if known.refused is not None:
        raise known.refused.with_traceback(None)
    return known
