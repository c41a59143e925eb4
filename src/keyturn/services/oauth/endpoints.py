"""The OAuth endpoints: tokens, introspection and revocation.

The client is an API key (`clients`), so every OAuth library can use a key as it is.

- Client credentials (RFC 6749, section 4.4) and token exchange (RFC 8693) give a bearer token for a key,
  narrowed to scopes if that is asked for; token exchange also narrows a token. With `resource` (RFC 8707) the
  token is for one registered API, and good nowhere else. With a proof of possession it is bound to a key pair
  (RFC 9449, section 5).
- Introspection (RFC 7662) says what a key or token is, to its owner and to holders of VERIFY_CREDENTIALS.
- Revocation (RFC 7009) ends a token or key of the caller's own.
"""

from dataclasses import dataclass, replace

from keyturn.core import verification
from keyturn.core.access_token import AccessTokenClaims, AccessTokenFormat
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.apis import MAX_IDENTIFIER_CHARACTERS
from keyturn.core.credentials import AccessTokenCredential, ApiKeyCredential, read_credential
from keyturn.core.dpop import PresentedProof, Proof
from keyturn.core.oauth import (
    ACCESS_TOKEN_TYPE,
    API_KEY_TYPE,
    CLIENT_CREDENTIALS,
    DEVICE_CODE,
    TOKEN_EXCHANGE,
)
from keyturn.core.paths import EXCHANGE
from keyturn.core.permissions import Permission
from keyturn.core.principal import AuthMethod, Principal
from keyturn.core.records import KeyForVerification
from keyturn.core.scopes import is_scope
from keyturn.errors import (
    ChangeRefused,
    CredentialRefused,
    NotFound,
    OAuthCode,
    OAuthRefused,
    ScopeMissing,
    UnknownAudience,
)
from keyturn.services.keys.keys import Keys
from keyturn.services.oauth.clients import (
    Form,
    OAuthClients,
    check_is_no_sender,
    parameter,
)
from keyturn.services.tokens.issuer import IssuedToken, TokenIssuer, TokenRevocation
from keyturn.services.tokens.signing_keys import VerifyingKeys
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.origin import Origin, actor_of
from keyturn.verifying.verdict_cache import NEVER_ENDS, CachedVerdict

JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
SUBJECT_TOKEN_TYPES = (API_KEY_TYPE, ACCESS_TOKEN_TYPE, JWT_TYPE)

_NO_SUCH_SERVICE = "There is no API with this identifier."


@dataclass(frozen=True, slots=True)
class Grant:
    """A token in the one answer that carries it."""

    issued: IssuedToken
    scopes: frozenset[str] | None
    """None for a token that is not narrowed."""
    is_exchange: bool


@dataclass(frozen=True, slots=True)
class Introspection:
    """The introspection of a living key or token."""

    principal: Principal
    claims: AccessTokenClaims | None
    """None for an API key."""
    ends_at: float | None
    """Seconds since 1970; None for a key that never ends."""
    withheld: frozenset[str]
    """The scopes of services that the user may not hold, for a caller who verifies for others: they name what
    is hidden from the user."""


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
        self._clients = OAuthClients(authenticator)
        self._issuer = issuer
        self._revocation = revocation
        self._keys = keys
        self._signing_keys = signing_keys
        self._format = token_format
        self._key_format = key_format

    def grant(
        self,
        form: Form,
        authorization: list[bytes],
        origin: Origin,
        presented: PresentedProof | None = None,
    ) -> Grant:
        """Give a token, bound to the key pair of the proof that is presented; raise `OAuthRefused`."""
        grant_type = parameter(form, "grant_type")
        proof = self._clients.check_proof(presented)
        origin = replace(origin, target=EXCHANGE)
        if grant_type == CLIENT_CREDENTIALS:
            return self._by_client_credentials(form, authorization, origin, proof)
        if grant_type == TOKEN_EXCHANGE:
            return self._by_exchange(form, authorization, origin, proof)
        raise OAuthRefused(
            OAuthCode.UNSUPPORTED_GRANT_TYPE,
            f"The grant types are {CLIENT_CREDENTIALS}, {TOKEN_EXCHANGE} and {DEVICE_CODE}.",
        )

    def introspect(
        self,
        form: Form,
        authorization: list[bytes],
        origin: Origin,
        presented: PresentedProof | None = None,
    ) -> Introspection | None:
        """Say what a key or token is; None if it is not good now, or is not the caller's to ask about (T17).

        Callers may ask about credentials of their own, and with VERIFY_CREDENTIALS about everybody's.
        """
        caller = self._clients.find_caller(form, authorization, origin, presented)
        return self.introspect_for(caller, parameter(form, "token"))

    def introspect_for(self, caller: Principal, token: str) -> Introspection | None:
        """Say the same to a caller who is known already."""
        try:
            known = self._authenticator_at(self._audience_of(token)).identify(
                token.encode("utf-8", "surrogatepass")
            )
        except (CredentialRefused, ScopeMissing, UnknownAudience):
            return None
        verifies = caller.may(Permission.VERIFY_CREDENTIALS)
        if not verifies and caller.user_id not in _accounts_of(known.principal):
            return None
        claims = None
        if known.principal.method is AuthMethod.ACCESS_TOKEN:
            claims = self._claims_of(token)
        ends_at = None if known.ends_at == NEVER_ENDS else known.ends_at
        withheld = known.principal.withheld if verifies else frozenset()
        return Introspection(known.principal, claims, ends_at, withheld)

    def revoke(
        self,
        form: Form,
        authorization: list[bytes],
        origin: Origin,
        presented: PresentedProof | None = None,
    ) -> None:
        """End a token or key of the caller's own; nothing happens for any other, and nothing is said (R9).

        Whether it could be used now, or from here, does not matter. Raise `OAuthRefused` for a former secret
        that would end its key, and with it the new secret.
        """
        caller = self._clients.find_caller(form, authorization, origin, presented)
        token = parameter(form, "token")
        actor = actor_of(caller, origin)
        try:
            match read_credential(token.encode("utf-8", "surrogatepass"), self._key_format):
                case ApiKeyCredential(digest):
                    self._keys.revoke_presented(caller.user_id, digest, actor)
                case AccessTokenCredential():
                    claims = self._claims_of(token)
                    acts = None if claims.act is None else claims.act.sub
                    if str(caller.user_id) in {claims.sub, acts}:
                        self._revocation.revoke(token, actor)
        except (CredentialRefused, NotFound):
            return
        except ChangeRefused as refused:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, str(refused)) from None

    def _by_client_credentials(
        self, form: Form, authorization: list[bytes], origin: Origin, proof: Proof | None
    ) -> Grant:
        at = self._authenticator.time()
        client = self._clients.find_client(form, authorization, origin, proof)
        if client is None:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, "Send a client id and the key as its secret.")
        audience = self._target(form)
        scopes = self._narrowed(form, client, audience)
        issued = self._issued(client, at, scopes, audience, proof)
        return Grant(issued, scopes, is_exchange=False)

    def _by_exchange(
        self, form: Form, authorization: list[bytes], origin: Origin, proof: Proof | None
    ) -> Grant:
        at = self._authenticator.time()
        if authorization or "client_secret" in form:
            self._clients.find_client(form, authorization, origin, proof)
        for unsupported in ("actor_token", "actor_token_type"):
            if unsupported in form:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, "There is no delegation here: no actor_token.")
        if form.get("requested_token_type", ACCESS_TOKEN_TYPE) not in {ACCESS_TOKEN_TYPE, JWT_TYPE}:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"Only {ACCESS_TOKEN_TYPE} can be requested.")
        audience = self._target(form)
        known = self._subject(form, origin, audience, proof)
        scopes = self._narrowed(form, known, audience)
        return Grant(self._issued(known, at, scopes, audience, proof), scopes, is_exchange=True)

    def _issued(
        self,
        known: CachedVerdict,
        at: float,
        scopes: frozenset[str] | None,
        audience: str | None,
        proof: Proof | None,
    ) -> IssuedToken:
        key, jkt = _key_of(known), None if proof is None else proof.jkt
        self._clients.use_proof(proof)
        try:
            return self._issuer.for_key(
                key,
                at=at,
                made_with=known.principal.credential,
                scopes=scopes,
                audience=audience,
                not_after=known.end,
                jkt=jkt,
            )
        except CredentialRefused:
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token ends this second.") from None
        except ValueError:
            raise OAuthRefused(OAuthCode.INVALID_SCOPE, "So many scopes do not fit into a token.") from None

    def _subject(
        self, form: Form, origin: Origin, audience: str | None, proof: Proof | None
    ) -> CachedVerdict:
        """Return the living key or token that is to be exchanged; a wrong one counts as a guess.

        A token for one API becomes one for that API alone.
        """
        token, kind = parameter(form, "subject_token"), parameter(form, "subject_token_type")
        if kind not in SUBJECT_TOKEN_TYPES:
            raise OAuthRefused(
                OAuthCode.INVALID_REQUEST, f"The subject token types are {', '.join(SUBJECT_TOKEN_TYPES)}."
            )
        try:
            meant = self._audience_of(token)
            if meant not in {None, audience}:
                raise OAuthRefused(OAuthCode.INVALID_TARGET, "The subject token is for another service.")
            authenticator = self._authenticator_at(meant)
            known = authenticator.verify_presented(token.encode("utf-8", "surrogatepass"), origin, proof)
        except (CredentialRefused, ScopeMissing, UnknownAudience) as refused:
            check_is_no_sender(refused)
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token is not valid.") from None
        is_key = known.principal.method is AuthMethod.API_KEY
        if is_key != (kind == API_KEY_TYPE):
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The subject token is of another type.")
        return known

    def _target(self, form: Form) -> str | None:
        """Return the API that the token is to be for, registered or not; None for the installation itself.

        By its resource (RFC 8707, section 2) or audience (RFC 8693, section 2.1). Raise `OAuthRefused` for
        several.
        """
        targets = {form[name] for name in ("resource", "audience") if name in form}
        if len(targets) > 1:
            raise OAuthRefused(OAuthCode.INVALID_TARGET, "A token is for one service, not for several.")
        if targets <= {self._format.audience}:
            return None
        if len(target := targets.pop()) > MAX_IDENTIFIER_CHARACTERS:
            raise OAuthRefused(OAuthCode.INVALID_TARGET, _NO_SUCH_SERVICE)
        return target

    def _narrowed(self, form: Form, known: CachedVerdict, audience: str | None) -> frozenset[str] | None:
        """Return the scopes that are asked for, or all that are held there; raise `OAuthRefused` for more.

        By the rules that were read with the key's owner: which scopes there are, and which are withheld. A
        service of which the owner may hold nothing is hidden from them: it is answered as none.
        """
        owner = _key_of(known).owner
        withheld = owner.withheld | known.principal.withheld
        is_linked = known.principal.project_id is not None
        wanted = frozenset(form.get("scope", "").split(" ")) - {""}
        if not all(map(is_scope, wanted)):
            raise OAuthRefused(OAuthCode.INVALID_SCOPE, "A scope is printable ASCII without quotes.")
        audience_scopes = None if audience is None else owner.audiences.get(audience)
        sees_all = known.principal.may(Permission.APPLICATION_ADMIN)
        if audience is not None and (audience_scopes is None or not (sees_all or audience_scopes - withheld)):
            raise OAuthRefused(OAuthCode.INVALID_TARGET, _NO_SUCH_SERVICE)
        try:
            held = verification.scopes_at(
                known.principal.scopes, audience_scopes, withheld, is_linked=is_linked
            )
        except ScopeMissing:
            raise OAuthRefused(OAuthCode.INVALID_SCOPE, "The key covers no scope of this API.") from None
        if wanted & withheld or (wanted and is_linked) or (held is not None and not held >= wanted):
            raise OAuthRefused(OAuthCode.INVALID_SCOPE, "The key does not cover these scopes.")
        return wanted or held

    def _audience_of(self, presented: str) -> str | None:
        """Return the API that a token of ours is for; None for the installation, and what is no token."""
        try:
            audience = self._claims_of(presented).aud
        except CredentialRefused:
            return None
        return None if audience == self._format.audience else audience

    def _authenticator_at(self, audience: str | None) -> Authenticator:
        return self._authenticator if audience is None else self._authenticator.at(audience)

    def _claims_of(self, token: str) -> AccessTokenClaims:
        return self._format.read(token.encode("utf-8", "surrogatepass"), self._signing_keys.ring)


def _accounts_of(principal: Principal) -> set[int]:
    """Return the users whose credential this is: two, if one of them acts with it for the other."""
    acts = principal.impersonator
    return {principal.user_id} if acts is None else {principal.user_id, acts.user_id}


def _key_of(known: CachedVerdict) -> KeyForVerification:
    """Return the key that a credential is, or came from; raise `OAuthRefused` if there is none."""
    if known.dependency.key is None or known.principal.impersonator is not None:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, "This token did not come from a key of its user.")
    return known.dependency.key
