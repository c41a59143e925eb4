"""Verifying by asking the server (RFC 7662), without the feed: answers are remembered for a short time."""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Annotated

import httpx
import msgspec

from keyturn.core.access_token import AccessTokenFormat, Confirmation
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import (
    AccessTokenCredential,
    Credential,
    Presented,
    read_credential,
    read_presented,
)
from keyturn.core.dpop import PresentedProof
from keyturn.core.oauth import API_KEY, BEARER, DPOP, INTROSPECTION_PATH
from keyturn.core.permissions import Permission
from keyturn.core.principal import AuthMethod, Impersonator, PresentedCredential, Principal
from keyturn.core.scopes import NO_SCOPES, covers
from keyturn.errors import CannotStart, CredentialRefused, Reason, StoreUnavailable
from keyturn.replica.bounded_http import ANSWER_SECONDS, ask, start_in_thread
from keyturn.replica.published_keys import PublishedKeys
from keyturn.system import System
from keyturn.verifying.callers import UseContext
from keyturn.verifying.origin import Origin
from keyturn.verifying.proofs import Proofs
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.verdict_cache import (
    MAX_ENTRIES,
    MAX_NEGATIVES,
    NEGATIVE_SECONDS,
    NEVER_ENDS,
)

LONGEST_TOKEN_LIFE = timedelta(days=366)
"""The server's answer decides. This check only keeps out texts that it never issued."""

_TOO_LATE = "the Keyturn server takes too long to answer"
_MAY_NOT_ASK = (
    "the key that this verifier asks with lacks the permission VERIFY_CREDENTIALS: give it to its owner, and "
    "use a key that is neither narrowed to scopes nor linked to a project"
)
_NOT_GOOD = (
    "the key that this verifier asks with is not good without a network or a request: use one that is "
    "bound to no network, method or path"
)
_KEY_CLIENT = re.compile(r"key-([1-9][0-9]{0,18})")
_SESSION_CLIENT = re.compile(r"session-([1-9][0-9]{0,18})")


class ActorAnswer(msgspec.Struct, frozen=True):
    """The account that acts for the subject."""

    sub: Annotated[str, msgspec.Meta(pattern=r"\A[1-9][0-9]{0,18}\Z")]
    username: str


class IntrospectionAnswer(msgspec.Struct, frozen=True):
    """The members of the server's answer that are read."""

    active: bool
    sub: str = "0"
    username: str = ""
    iamid: str = ""
    client_id: str = ""
    token_type: str = ""
    scope: str | None = None
    permissions: list[str] = []
    project_id: int | None = None
    withheld: list[str] = []
    exp: int | None = None
    iat: int | None = None
    jti: str | None = None
    cnf: Confirmation | None = None
    """One of another kind than a key pair makes the answer unreadable, and so nothing good."""
    act: ActorAnswer | None = None


@dataclass(frozen=True, slots=True)
class CachedIntrospection:
    """A good credential."""

    principal: Principal
    ends_at: float
    """Seconds since 1970."""
    good_until: float
    """Monotonic: then the server is asked again."""


@dataclass(frozen=True, slots=True)
class _Query:
    """A question that was sent."""

    good_until: float
    """Monotonic: an answer that comes then, or later, is too old."""
    answer: Future[CachedIntrospection | None]


class NoAudiences:
    """In the place of the registered APIs, which nobody tells without the feed."""

    SENTENCE = "Verifying for {} takes the feed, which this verifier does not follow."

    def scopes_of(self, audience: str) -> frozenset[str] | None:
        """Raise `CannotStart`."""
        raise CannotStart(self.SENTENCE.format(audience))


class IntrospectingAuthenticator:
    """Asks of each credential once in `max_staleness`, however many present it at once.

    A key with a wrong checksum, and a token that no published key has signed, are refused without asking.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        own_key: str,
        issuer: str,
        key_format: ApiKeyFormat,
        max_staleness_seconds: float,
        failures: CredentialRateLimit,
        system: System,
    ) -> None:
        self._http = http
        self._own_key = own_key
        self._may_ask_until = system.monotonic() + max_staleness_seconds
        self._key_format = key_format
        self._token_format = AccessTokenFormat(issuer, issuer, LONGEST_TOKEN_LIFE)
        self._max_staleness = max_staleness_seconds
        self._patience = min(max_staleness_seconds, ANSWER_SECONDS)
        self._failures = failures
        self._system = system
        self.keys = PublishedKeys(http, system)
        self._proofs = Proofs(system)
        self._lock = threading.Lock()
        self._good: OrderedDict[bytes, CachedIntrospection] = OrderedDict()
        self._bad: OrderedDict[bytes, float] = OrderedDict()
        self._asking: dict[bytes, _Query] = {}

    def at(self, audience: str) -> "IntrospectingAuthenticator":
        """Raise `CannotStart`: nobody can be asked what is good for a registered API."""
        raise CannotStart(NoAudiences.SENTENCE.format(audience))

    def recognise(
        self, value: bytes, _trace: UseContext, scopes: frozenset[str] = NO_SCOPES
    ) -> CachedIntrospection | None:
        """Return what is remembered to be good of an `Authorization` value; None says nothing at all.

        With `scopes`, only what covers them all is.
        """
        presented = read_presented([value])
        if presented is None or presented.is_with_proof:
            return None
        known = self._remembered(sha256(presented.value).digest())
        if known is None or known.principal.jkt is not None or not covers(known.principal, scopes):
            return None
        return known

    def authenticate(
        self,
        authorization: Sequence[bytes],
        origin: Origin,
        proof: PresentedProof | None = None,
        _scopes: frozenset[str] = NO_SCOPES,
    ) -> Principal | None:
        """Return who calls, or None without a credential; raise as `Authenticator.authenticate` does.

        Neither uses nor refusals are noted here.
        """
        try:
            presented = read_presented(authorization)
            return None if presented is None else self._judged(presented, origin, proof)
        except CredentialRefused as refused:
            self._failures.note_refused(refused, origin.address)
            raise

    def _judged(self, presented: Presented, origin: Origin, given: PresentedProof | None) -> Principal:
        """Return who calls, if the credential is good and sent as what it is: bound to a key pair, or not."""
        credential, proof = read_credential(presented.value, self._key_format), None
        if presented.is_with_proof:
            proof = self._proofs.check(given, credential=credential.digest)
        principal = self._verified(credential, presented.value, origin.address).principal
        self._proofs.check_sender(principal, proof, is_with_proof=presented.is_with_proof)
        return principal

    def _verified(self, credential: Credential, presented: bytes, source: str | None) -> CachedIntrospection:
        digest = credential.digest
        known = self._remembered(digest)
        if known is not None:
            return known
        if self._bad.get(digest, 0.0) > self._system.monotonic():
            raise CredentialRefused(Reason.UNKNOWN)
        if isinstance(credential, AccessTokenCredential):
            ring = self.keys.ring_for(credential.token)
            self._token_format.verify(credential.token, ring, now=self._system.now())
        was_wrong = digest in self._bad
        self._failures.check_look_up(source, was_wrong=was_wrong)
        found = self._ask_once(digest, presented)
        if found is None:
            self._failures.note_unknown(source, was_wrong=was_wrong)
            raise CredentialRefused(Reason.UNKNOWN)
        return found

    def _remembered(self, digest: bytes) -> CachedIntrospection | None:
        known = self._good.get(digest)
        if known is None or self._system.monotonic() >= known.good_until:
            return None
        return known if self._system.timestamp() < known.ends_at else None

    def _ask_once(self, digest: bytes, presented: bytes) -> CachedIntrospection | None:
        """Ask, or wait for the answer to whoever asks of the same credential now.

        Raise `StoreUnavailable` for an answer that comes when it is too old already.
        """
        with self._lock:
            asked_at = self._system.monotonic()
            asking = self._asking.get(digest)
            if asking is None or asked_at >= asking.good_until:
                question = partial(self._ask, digest, presented, asked_at)
                asking = _Query(asked_at + self._patience, start_in_thread(question, "keyturn-question"))
                self._asking[digest] = asking
        try:
            found = asking.answer.result(self._patience)
        except TimeoutError:
            raise StoreUnavailable(_TOO_LATE) from None
        finally:
            with self._lock:
                if self._asking.get(digest) is asking:
                    del self._asking[digest]
        self._check_young(asking.good_until)
        return found

    def _ask(self, digest: bytes, presented: bytes, asked_at: float) -> CachedIntrospection | None:
        answer = introspect(self._http, presented.decode("ascii"), self._system)
        principal = principal_of(answer) if answer.active else None
        if principal is None:
            self._check_may_ask(asked_at)
        self._check_young(asked_at + self._patience)  # Else another was asked since, who may know better.
        with self._lock:
            self._good.pop(digest, None)
            if principal is None:
                self._bad[digest] = asked_at + min(NEGATIVE_SECONDS, self._max_staleness)
                if len(self._bad) > MAX_NEGATIVES:
                    self._bad.popitem(last=False)
                return None
            ends_at = NEVER_ENDS if answer.exp is None else float(answer.exp)
            known = CachedIntrospection(principal, ends_at, asked_at + self._max_staleness)
            self._good[digest] = known
            if len(self._good) > MAX_ENTRIES:
                self._good.popitem(last=False)
        return known

    def _check_may_ask(self, at: float) -> None:
        """Raise `StoreUnavailable` if `{"active": false}` may mean nothing, since the own key may not ask."""
        if at >= self._may_ask_until:
            check_may_ask(self._http, self._own_key, self._system)
            self._may_ask_until = at + self._max_staleness

    def _check_young(self, good_until: float) -> None:
        if self._system.monotonic() >= good_until:
            raise StoreUnavailable(_TOO_LATE)


def introspect(http: httpx.Client, presented: str, system: System) -> IntrospectionAnswer:
    """Return what the server says of a credential; raise `StoreUnavailable` if it says nothing."""
    try:
        answer, content = ask(http, "POST", INTROSPECTION_PATH, system=system, data={"token": presented})
    except httpx.HTTPError as error:
        raise StoreUnavailable(f"the Keyturn server cannot be asked ({type(error).__name__})") from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise StoreUnavailable("the Keyturn server refuses the key that this verifier asks with")
    if answer.status_code != httpx.codes.OK:
        raise StoreUnavailable(f"the Keyturn server answers {answer.status_code} to who asks of a credential")
    try:
        return msgspec.json.decode(content, type=IntrospectionAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise StoreUnavailable("the server at this address is not Keyturn") from None


def check_may_ask(http: httpx.Client, own_key: str, system: System) -> None:
    """Raise `StoreUnavailable` unless the key that asks is good, and carries VERIFY_CREDENTIALS.

    Without it the server answers about other people's credentials as if there were none.
    """
    own = introspect(http, own_key, system)
    if not own.active:
        raise StoreUnavailable(_NOT_GOOD)
    if Permission.VERIFY_CREDENTIALS not in own.permissions:
        raise StoreUnavailable(_MAY_NOT_ASK)


def principal_of(answer: IntrospectionAnswer) -> Principal:
    """Return who calls; raise `CredentialRefused` for a credential that is bound to something else."""
    if answer.token_type not in {API_KEY, BEARER, DPOP}:
        raise CredentialRefused(Reason.SENDER, secret_matched=True)
    if not answer.sub.isdecimal():
        raise StoreUnavailable("the Keyturn server does not say whose credential it is")
    impersonator = None
    key, session = _KEY_CLIENT.fullmatch(answer.client_id), _SESSION_CLIENT.fullmatch(answer.client_id)
    if answer.act is not None:
        if key is None:
            raise StoreUnavailable("the Keyturn server does not say which key acts for somebody")
        impersonator, key = Impersonator(int(answer.act.sub), answer.act.username, int(key[1])), None
    return Principal(
        user_id=int(answer.sub),
        userid=answer.username,
        iamid=answer.iamid,
        name=None,
        permissions=frozenset(answer.permissions),
        scopes=None if answer.scope is None else frozenset(answer.scope.split()),
        method=AuthMethod.API_KEY if answer.token_type == API_KEY else AuthMethod.ACCESS_TOKEN,
        key_id=None if key is None else int(key[1]),
        project_id=answer.project_id,
        withheld=frozenset(answer.withheld),
        jkt=None if answer.cnf is None else answer.cnf.jkt,
        impersonator=impersonator,
        requests=None,  # A credential with such a rule is not active for those who ask about it.
        credential=PresentedCredential(
            _time(answer.exp),
            session_id=None if session is None else int(session[1]),
            jti=answer.jti,
            issued_at=_time(answer.iat),
        ),
    )


def _time(seconds: int | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise StoreUnavailable("the Keyturn server tells a time that no clock shows") from None
