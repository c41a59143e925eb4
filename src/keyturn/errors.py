"""Errors, as types.

KeyturnError
├── CannotStart               the program stops with one sentence that says what to do
├── CredentialRefused         somebody presented a credential, or none, and may not pass
├── DpopProofRefused          the proof beside a credential is none, or not for this request (RFC 9449)
├── AmbiguousCredential       credentials in more than one place: the request itself is wrong
├── ForeignForm               the form did not come from one of our pages
├── PermissionMissing         the caller is known and may not do this
├── ScopeMissing              the credential is narrower than this needs
├── NotFound                  no such thing, or not the caller's: the two are never told apart
├── InvalidInput              a named field holds something it may not
│   └── Ambiguous             it names several things, of which one is meant
├── MalformedRequest          the request could not be read at all
├── UnknownTransferCoding     its body is coded in a way that is not understood here
├── UnknownAudience           it is asked about for an API that is not registered
├── LimitExceeded             the request is larger or slower than any well-meant one
├── InvalidState              as things are, this cannot be done
├── Conflict                  such a thing exists already, or its state forbids this
│   └── ChangedMeanwhile      somebody else changed it since it was looked at
├── ChangeRefused             the credential may not make this change, whatever its owner may
├── QuotaExceeded             there are as many of these as one account may have
├── OAuthRefused              the token endpoint and its neighbours say no, in the words of OAuth
├── TooManyFailures           this source presented too many wrong credentials: wait
├── TooBusy                   try again after `retry_after` seconds
└── StoreUnavailable          the database did not answer; nothing was decided

An error carries two texts: what a client may read (`str(error)`), and, where they differ, a
`Reason` for the log. `keyturn.web.responses` alone turns them into status codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Reason(StrEnum):
    """Why a credential was refused: for the log, and for a caller that proved it holds the secret."""

    MISSING = "missing"
    MALFORMED = "malformed"
    CHECKSUM = "checksum"
    UNKNOWN = "unknown"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    AUDIENCE = "audience"
    """A token of this installation, for another API."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    OWNER_DISABLED = "owner_disabled"
    SOURCE = "source"
    REQUEST = "request"
    """It may not be used for this method or path, or nobody said which request it came with."""
    RESTRICTION = "restriction"
    """It is restricted in a way that this program, which is older, does not know."""
    SENDER = "sender"
    """It is bound to a key pair, and this was not sent with a proof of it."""
    NOT_BOUND = "not_bound"
    """It was sent as one that is bound to a key pair, and is not."""
    WITHHELD = "withheld"
    LOGIN_FAILED = "login_failed"


HOLDER_IS_TOLD = {
    Reason.AUDIENCE: "This token is for another API: get one whose resource is this API.",
    Reason.EXPIRED: "This credential has expired.",
    Reason.REVOKED: "This credential has been revoked.",
    Reason.OWNER_DISABLED: "The owner of this credential is disabled.",
    Reason.SOURCE: "This credential may not be used from this address.",
    Reason.REQUEST: "This credential may not be used for this request.",
    Reason.RESTRICTION: "This credential is restricted in a way that is not known here.",
    Reason.SENDER: "This credential is bound to a key pair: send it as DPoP, with a proof of that key pair.",
    Reason.NOT_BOUND: "This credential is not bound to a key pair: send it as Bearer.",
    Reason.WITHHELD: "The owner of this credential holds none of its scopes any more.",
}
"""The texts for a holder of the whole secret. Other reasons are told to nobody."""


NOT_AUTHENTICATED = (
    "Not authenticated. Send a key or token in Authorization: alone, after Bearer, or after DPoP "
    "with a proof."
)
"""The text for every stranger."""


class KeyturnError(Exception):
    """The root of everything Keyturn raises on purpose."""


class CannotStart(KeyturnError):
    """The program cannot start; the message is one sentence that says what to do."""


def failure_name(error: KeyturnError) -> str:
    """Return what the log, and the list of a key's callers, call this refusal."""
    return str(getattr(error, "reason", type(error).__name__))


class CredentialRefused(KeyturnError):
    """The credential opens nothing.

    `secret_matched` is true only when the whole secret was right, so that the holder, and nobody
    else, may be told the reason. `until` is how long a sign-in is to wait before the next one, as far as
    anybody may be told.
    """

    def __init__(
        self,
        reason: Reason,
        *,
        key_id: int | None = None,
        secret_matched: bool = False,
        until: datetime | None = None,
    ) -> None:
        super().__init__(f"credential refused: {reason}")
        self.reason = reason
        self.until = until
        self.key_id = key_id
        self.secret_matched = secret_matched


class ProofFault(StrEnum):
    """The fault of a proof of possession, for the log."""

    MISSING = "proof_missing"
    MALFORMED = "proof_malformed"
    HEADER = "proof_header"
    SIGNATURE = "proof_signature"
    CLAIMS = "proof_claims"
    TIME = "proof_time"
    METHOD = "proof_method"
    URL = "proof_url"
    CREDENTIAL = "proof_credential"
    USED = "proof_used"
    UNKNOWN_REQUEST = "proof_unknown_request"


_WRONG_WITH_PROOF = {
    ProofFault.MISSING: "Send a proof of possession with it, in a DPoP header.",
    ProofFault.MALFORMED: "The proof is a signed JWT of at most 4096 bytes.",
    ProofFault.HEADER: "The header of the proof holds typ dpop+jwt, alg ES256 or EdDSA, and jwk, a public "
    "key on P-256 or Ed25519, and nothing else.",
    ProofFault.SIGNATURE: "The signature of the proof is not by the key in its header.",
    ProofFault.CLAIMS: "The claims of the proof are jti, of 1 to 256 characters, htm, htu, and iat in whole "
    "seconds.",
    ProofFault.TIME: "The proof is not of this minute: make one for each request, by a clock that is right.",
    ProofFault.METHOD: "The proof is for another method: htm is that of the request.",
    ProofFault.URL: "The proof is for another URL: htu is that of the request, under the public address of "
    "the server.",
    ProofFault.CREDENTIAL: "The proof is for another credential: ath is the SHA-256 of what is presented.",
    ProofFault.USED: "The proof was used before: make one for each request.",
    ProofFault.UNKNOWN_REQUEST: "Which request this proof is for is not known here: no trusted gateway "
    "says so.",
}


class DpopProofRefused(KeyturnError):
    """The proof of possession shows nothing.

    A type of its own, since it says nothing of the credential: whoever sends a wrong one guesses at no
    secret, may be told what is wrong, and is answered in words of RFC 9449.
    """

    def __init__(self, fault: ProofFault) -> None:
        super().__init__(_WRONG_WITH_PROOF[fault])
        self.reason = fault


class AmbiguousCredential(KeyturnError):
    """Credentials arrived in more than one place (RFC 6750, section 2)."""


class ForeignForm(KeyturnError):
    """A form was sent from elsewhere, or without the token of its session (CSRF)."""


class PermissionMissing(KeyturnError):
    """The caller is authenticated and holds none of the permissions that would allow this."""

    def __init__(self, *any_of: str) -> None:
        super().__init__(f"This needs the permission {' or '.join(any_of)}.")
        self.any_of = any_of


class ScopeMissing(KeyturnError):
    """The credential is good, and narrowed to scopes that do not cover this (RFC 6750, section 3.1).

    Without `scopes`, it covers nothing there: which scopes an API has is not for everybody to know.
    """

    def __init__(self, *scopes: str) -> None:
        super().__init__(
            f"This needs the scopes {' '.join(scopes)}."
            if scopes
            else "This credential covers no scope of this API."
        )
        self.scopes = scopes


class NotFound(KeyturnError):
    """There is no such thing for this caller."""

    def __init__(self, message: str = "Not found.") -> None:
        super().__init__(message)


class InvalidInput(KeyturnError):
    """A field holds a value it may not hold."""

    def __init__(self, field: str, message: str, *, code: str = "invalid") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of several things that somebody may have meant."""

    number: int
    name: str
    note: str
    """Words that tell it from others of the same name."""


class Ambiguous(InvalidInput):
    """The field names several things, of which one is meant; `candidates` are the first of them."""

    def __init__(self, field: str, message: str, candidates: Sequence[Candidate]) -> None:
        super().__init__(field, message)
        self.candidates = tuple(candidates)


class MalformedRequest(KeyturnError):
    """The request could not be read."""


class UnknownTransferCoding(KeyturnError):
    """The body is coded in a way that is not understood here (RFC 9112, section 6.1)."""


class UnknownAudience(KeyturnError):
    """The requested audience is not a registered API: the calling service is misconfigured."""

    def __init__(self, audience: str) -> None:
        super().__init__("There is no API with this identifier: register it, or correct the audience.")
        self.audience = audience


class Limit(StrEnum):
    """A bound on one request."""

    HEADER = "header"
    BODY = "body"
    BODY_TIME = "body_time"


class LimitExceeded(KeyturnError):
    """The request exceeds a bound."""

    def __init__(self, limit: Limit, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class Conflict(KeyturnError):
    """The thing exists already, or is in a state that forbids this."""


class ChangedMeanwhile(Conflict):
    """Somebody else changed the thing since it was looked at: nothing is done, so that nothing is lost."""


class ChangeRefused(KeyturnError):
    """The caller's credential may not make this change, or not any more. Nothing is wrong with the change."""


class QuotaExceeded(KeyturnError):
    """There are as many of these as one account may have: some must go first."""


class InvalidState(KeyturnError):
    """The present state does not allow the request (errors.md, "400 Bad Request")."""


class OAuthCode(StrEnum):
    """The error codes of RFC 6749 (section 5.2), 8628 (3.5), 8707 (2) and 9449 (5)."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    INVALID_DPOP_PROOF = "invalid_dpop_proof"
    INVALID_GRANT = "invalid_grant"
    AUTHORIZATION_PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    ACCESS_DENIED = "access_denied"
    EXPIRED_TOKEN = "expired_token"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    UNSUPPORTED_TOKEN_TYPE = "unsupported_token_type"


class OAuthRefused(KeyturnError):
    """The token endpoint, introspection or revocation refuses a request."""

    def __init__(self, code: OAuthCode, description: str) -> None:
        super().__init__(description)
        self.code = code


WRONG_CREDENTIALS = "Too many wrong credentials came from this address: wait before the next one."


class RateLimit(StrEnum):
    """The limits of how often somebody may do something."""

    CREDENTIALS = "credentials"
    """Wrong credentials, and look-ups of unknown ones, from one address."""
    SIGN_INS = "sign_ins"
    PASSWORDS = "passwords"
    DEVICE_CODES = "device_codes"
    CHANGES = "changes"
    CONNECTION_TESTS = "connection_tests"
    QUESTIONS = "questions"
    """To the documentation."""


class TooManyFailures(KeyturnError):
    """The source has spent its budget of failures; nothing is looked up for it until it refills."""

    def __init__(
        self,
        *,
        retry_after: int,
        message: str = WRONG_CREDENTIALS,
        limit: RateLimit = RateLimit.CREDENTIALS,
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after = retry_after
        """Seconds, at least 1."""


class TooBusy(KeyturnError):
    """The server refuses more of this work for now."""

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds, at least 1."""


class StoreUnavailable(KeyturnError):
    """The database could not be asked, so nothing is known and nothing is allowed."""
