"""What OAuth clients ask: tokens, what a token is, and its end.

The client is an API key: its id is `key-` and the number of the key, or the public id that stands in the
key, and its secret is the key. So every OAuth library can use a key as it is.

- Client credentials (RFC 6749, section 4.4) and token exchange (RFC 8693) give a bearer token for a key,
  narrowed to scopes if that is asked for; token exchange also narrows a token.
- Introspection (RFC 7662) says what a key or token is, to a caller who proves to be somebody.
- Revocation (RFC 7009) ends a token or key of the caller's own.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus

from keyturn.core import verification
from keyturn.core.access_token import AccessTokenClaims, AccessTokenFormat
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import AccessTokenCredential, ApiKeyCredential, read_credential
from keyturn.core.principal import AuthMethod, Principal
from keyturn.core.records import KeyForVerification
from keyturn.core.scopes import is_scope
from keyturn.errors import CredentialRefused, NotFound, OAuthCode, OAuthRefused
from keyturn.services.audit import Origin, actor_of
from keyturn.services.authentication import Authenticator
from keyturn.services.keys import Keys
from keyturn.services.signing_keys import VerifyingKeys
from keyturn.services.tokens import IssuedToken, TokenIssuer, TokenRevocation
from keyturn.services.verification_index import NEVER_ENDS, KnownCredential

CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
API_KEY_TYPE = "urn:keyturn:token-type:api_key"
SUBJECT_TOKEN_TYPES = (API_KEY_TYPE, ACCESS_TOKEN_TYPE, JWT_TYPE)

Form = Mapping[str, str]

_ONE_WAY = "Prove who asks in one way, not in several."
_UNKNOWN_CLIENT = "This client is not known."


@dataclass(frozen=True, slots=True)
class Grant:
    """A token in the one answer that carries it."""

    issued: IssuedToken
    scopes: frozenset[str] | None
    """None for a token that is not narrowed."""
    is_exchange: bool


@dataclass(frozen=True, slots=True)
class Introspection:
    """What is told of a living key or token."""

    principal: Principal
    claims: AccessTokenClaims | None
    """None for an API key."""
    ends_at: float | None
    """Seconds since 1970; None for a key that never ends."""


class OAuth:
    """Answers the token endpoint, introspection and revocation."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        issuer: TokenIssuer,
        revocation: TokenRevocation,
        keys: Keys,
        signing_keys: VerifyingKeys,
        token_format: AccessTokenFormat,
        key_format: ApiKeyFormat,
    ) -> None:
        self._authenticator = authenticator
        self._issuer = issuer
        self._revocation = revocation
        self._keys = keys
        self._signing_keys = signing_keys
        self._format = token_format
        self._key_format = key_format

    def grant(self, form: Form, authorization: list[bytes], origin: Origin) -> Grant:
        """Give a token; raise `OAuthRefused`."""
        grant_type = _parameter(form, "grant_type")
        if grant_type == CLIENT_CREDENTIALS:
            return self._by_client_credentials(form, authorization, origin)
        if grant_type == TOKEN_EXCHANGE:
            return self._by_exchange(form, authorization, origin)
        raise OAuthRefused(
            OAuthCode.UNSUPPORTED_GRANT_TYPE,
            f"The grant types are {CLIENT_CREDENTIALS} and {TOKEN_EXCHANGE}.",
        )

    def introspect(self, form: Form, authorization: list[bytes], origin: Origin) -> Introspection | None:
        """Say what a key or token is; None for whatever is not good now, without saying why (T17)."""
        self._caller(form, authorization, origin)
        token = _parameter(form, "token")
        try:
            known = self._authenticator.identify(token.encode("utf-8", "surrogatepass"))
        except CredentialRefused:
            return None
        claims = None
        if known.principal.method is AuthMethod.ACCESS_TOKEN:
            claims = self._claims_of(token)
        return Introspection(known.principal, claims, None if known.ends_at == NEVER_ENDS else known.ends_at)

    def revoke(self, form: Form, authorization: list[bytes], origin: Origin) -> None:
        """End a token or key of the caller's own; nothing happens for any other, and nothing is said (R9).

        Whether it could be used now, or from here, does not matter.
        """
        caller = self._caller(form, authorization, origin)
        presented = _parameter(form, "token")
        actor = actor_of(caller, origin)
        try:
            match read_credential(presented.encode("utf-8", "surrogatepass"), self._key_format):
                case ApiKeyCredential(digest):
                    self._keys.revoke_presented(caller.user_id, digest, actor)
                case AccessTokenCredential():
                    if self._claims_of(presented).sub == str(caller.user_id):
                        self._revocation.revoke(presented, actor)
        except (CredentialRefused, NotFound):
            return

    def _by_client_credentials(self, form: Form, authorization: list[bytes], origin: Origin) -> Grant:
        at = self._authenticator.time()
        key = self._client(form, authorization, origin)
        if key is None:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, "Send a client id and the key as its secret.")
        self._check_target(form)
        scopes = _narrowed(form, key.scopes)
        return Grant(self._issued(key, at, scopes, None), scopes, is_exchange=False)

    def _by_exchange(self, form: Form, authorization: list[bytes], origin: Origin) -> Grant:
        at = self._authenticator.time()
        if authorization or "client_secret" in form:
            self._client(form, authorization, origin)
        for unsupported in ("actor_token", "actor_token_type"):
            if unsupported in form:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, "There is no delegation here: no actor_token.")
        if form.get("requested_token_type", ACCESS_TOKEN_TYPE) not in {ACCESS_TOKEN_TYPE, JWT_TYPE}:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"Only {ACCESS_TOKEN_TYPE} can be requested.")
        self._check_target(form)
        known = self._subject(form, origin)
        key = known.subject.key
        if key is None:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "This token did not come from a key.")
        scopes = _narrowed(form, known.principal.scopes)
        not_after = None
        if known.principal.method is AuthMethod.ACCESS_TOKEN:
            not_after = datetime.fromtimestamp(known.ends_at, UTC)
        return Grant(self._issued(key, at, scopes, not_after), scopes, is_exchange=True)

    def _issued(
        self, key: KeyForVerification, at: float, scopes: frozenset[str] | None, not_after: datetime | None
    ) -> IssuedToken:
        try:
            return self._issuer.for_key(key, at=at, scopes=scopes, not_after=not_after)
        except CredentialRefused:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token ends this second.") from None
        except ValueError:
            raise OAuthRefused(OAuthCode.INVALID_SCOPE, "So many scopes do not fit into a token.") from None

    def _subject(self, form: Form, origin: Origin) -> KnownCredential:
        """Return the living key or token that is to be exchanged; a wrong one counts as a guess."""
        token, kind = _parameter(form, "subject_token"), _parameter(form, "subject_token_type")
        if kind not in SUBJECT_TOKEN_TYPES:
            raise OAuthRefused(
                OAuthCode.INVALID_REQUEST, f"The subject token types are {', '.join(SUBJECT_TOKEN_TYPES)}."
            )
        try:
            known = self._authenticator.verify_presented(token.encode("utf-8", "surrogatepass"), origin)
        except CredentialRefused:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token is not valid.") from None
        is_key = known.principal.method is AuthMethod.API_KEY
        if is_key != (kind == API_KEY_TYPE):
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token is of another type.")
        return known

    def _caller(self, form: Form, authorization: list[bytes], origin: Origin) -> Principal:
        """Return who asks: with any key or token as `Bearer`, or as a client; raise `OAuthRefused`."""
        if len(authorization) == 1 and not _is_basic(authorization[0]):
            if "client_secret" in form or "client_id" in form:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, _ONE_WAY)
            presented = _without_scheme(authorization[0])
            return self._verified(presented, origin).principal
        key = self._client(form, authorization, origin)
        if key is None:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, "Prove who asks: with a key, or as an OAuth client.")
        return verification.principal_of_key(key)

    def _client(self, form: Form, authorization: list[bytes], origin: Origin) -> KeyForVerification | None:
        """Return the key that is the client's secret; None if the request names no client.

        A token is none: it must not become one that lives longer, or covers more (T15).
        """
        if len(authorization) > 1 or (authorization and "client_secret" in form):
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, _ONE_WAY)
        if authorization:
            if not _is_basic(authorization[0]):
                raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
            client_id, secret = _basic(authorization[0][6:])
            if form.get("client_id", client_id) != client_id:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The client has two different ids.")
        elif "client_secret" in form:
            client_id, secret = _parameter(form, "client_id"), form["client_secret"]
        else:
            return None
        known = self._verified(secret.encode("utf-8", "surrogatepass"), origin)
        is_key = known.principal.method is AuthMethod.API_KEY
        if not is_key or client_id not in _client_ids(known, secret):
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
        return known.subject.key

    def _verified(self, presented: bytes, origin: Origin) -> KnownCredential:
        """Return what a client proves itself with; raise `OAuthRefused`."""
        try:
            return self._authenticator.verify_presented(presented, origin)
        except CredentialRefused:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT) from None

    def _check_target(self, form: Form) -> None:
        """Raise `OAuthRefused` for a resource or audience that no token is issued for (RFC 8707)."""
        for name in ("resource", "audience"):
            if form.get(name, self._format.audience) != self._format.audience:
                raise OAuthRefused(
                    OAuthCode.INVALID_TARGET, f"Tokens are issued for {self._format.audience} alone."
                )

    def _claims_of(self, token: str) -> AccessTokenClaims:
        return self._format.read(token.encode("utf-8", "surrogatepass"), self._signing_keys.ring)


def _parameter(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"The parameter {name} is missing.")
    return value


def _narrowed(form: Form, held: frozenset[str] | None) -> frozenset[str] | None:
    """Return the scopes that are asked for, or all that are held; raise `OAuthRefused` for more."""
    wanted = frozenset(form.get("scope", "").split(" ")) - {""}
    if not all(map(is_scope, wanted)):
        raise OAuthRefused(OAuthCode.INVALID_SCOPE, "A scope is printable ASCII without quotes.")
    if held is not None and not held >= wanted:
        raise OAuthRefused(OAuthCode.INVALID_SCOPE, "The key does not cover these scopes.")
    return wanted or held


def _client_ids(known: KnownCredential, secret: str) -> frozenset[str]:
    """Return what a client may be called whose secret this key is."""
    parts = secret.split("_")
    public_ids = parts[1:2] if len(parts) == 3 else []
    return frozenset({f"key-{known.principal.key_id}", *public_ids})


def _without_scheme(value: bytes) -> bytes:
    return value[7:].lstrip(b" ") if value[:7].lower() == b"bearer " else value


def _is_basic(value: bytes) -> bool:
    return value[:6].lower() == b"basic "


def _basic(encoded: bytes) -> tuple[str, str]:
    """Read a client id and secret (RFC 6749, section 2.3.1: both are form-encoded first).

    Base64 in the one spelling that encoding writes.
    """
    given = encoded.strip(b" ")
    try:
        decoded = base64.b64decode(given, validate=True)
        client_id, found, secret = decoded.decode("ascii").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT) from None
    if not found or base64.b64encode(decoded) != given:
        raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
    return unquote_plus(client_id), unquote_plus(secret)
