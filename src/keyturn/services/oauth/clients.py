"""Callers of the OAuth endpoints: a client whose secret is a key, or a holder of a key or token.

The id of a client is `key-` and the number of the key, or the public id that stands in the key. Its secret
is the key, sent as RFC 6749 says (section 2.3.1): by `Basic`, or in the form. A proof of possession may come
with it (RFC 9449, section 5).
"""

from collections.abc import Mapping

from keyturn.core.credentials import is_basic, read_basic
from keyturn.core.dpop import PresentedProof, Proof
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import (
    AmbiguousCredential,
    CredentialRefused,
    DpopProofRefused,
    KeyturnError,
    OAuthCode,
    OAuthRefused,
    Reason,
)
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.origin import Origin
from keyturn.verifying.verdict_cache import CachedVerdict

Form = Mapping[str, str]

_ONE_WAY = "Prove who asks in one way, not in several."
_UNKNOWN_CLIENT = "This client is not known."


class OAuthClients:
    """Authenticates whoever asks, in the words of OAuth."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def find_caller(
        self, form: Form, authorization: list[bytes], origin: Origin, presented: PresentedProof | None
    ) -> Principal:
        """Return who asks: with any key or token, or as a client; raise `OAuthRefused`."""
        if len(authorization) == 1 and not is_basic(authorization[0]):
            if "client_secret" in form or "client_id" in form:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, _ONE_WAY)
            return self._bearer(authorization, origin, presented)
        proof = self.check_proof(presented)
        client = self.find_client(form, authorization, origin, proof)
        if client is None:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, "Prove who asks: with a key, or as an OAuth client.")
        self.use_proof(proof)
        return client.principal

    def _bearer(
        self, authorization: list[bytes], origin: Origin, presented: PresentedProof | None
    ) -> Principal:
        """Return who asks with a key or token; raise `OAuthRefused`."""
        try:
            caller = self._authenticator.authenticate(authorization, origin, presented)
        except CredentialRefused as refused:
            check_is_no_sender(refused)
            caller = None
        except (AmbiguousCredential, DpopProofRefused) as refused:
            raise OAuthRefused(OAuthCode.INVALID_DPOP_PROOF, str(refused)) from None
        if caller is None:
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
        return caller

    def check_proof(self, presented: PresentedProof | None) -> Proof | None:
        """Return the proof of possession, which stands beside no credential here; raise `OAuthRefused`."""
        if presented is None:
            return None
        try:
            return self._authenticator.proofs.check(presented, credential=None)
        except (AmbiguousCredential, DpopProofRefused) as refused:
            raise OAuthRefused(OAuthCode.INVALID_DPOP_PROOF, str(refused)) from None

    def use_proof(self, proof: Proof | None) -> None:
        """Use the proof up, if there is one; raise `OAuthRefused` if it was before."""
        try:
            if proof is not None:
                self._authenticator.proofs.use(proof)
        except DpopProofRefused as refused:
            raise OAuthRefused(OAuthCode.INVALID_DPOP_PROOF, str(refused)) from None

    def find_client(
        self, form: Form, authorization: list[bytes], origin: Origin, proof: Proof | None
    ) -> CachedVerdict | None:
        """Return the key that is the client's secret; None if the request names no client.

        A token is none: it must not become one that lives longer, or covers more (T15).
        """
        if len(authorization) > 1 or (authorization and "client_secret" in form):
            raise OAuthRefused(OAuthCode.INVALID_REQUEST, _ONE_WAY)
        if authorization:
            client = read_basic(authorization[0])
            if client is None:
                raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
            client_id, secret = client
            if form.get("client_id", client_id) != client_id:
                raise OAuthRefused(OAuthCode.INVALID_REQUEST, "The client has two different ids.")
        elif "client_secret" in form:
            client_id, secret = parameter(form, "client_id"), form["client_secret"]
        else:
            return None
        known = self._verified(secret.encode("utf-8", "surrogatepass"), origin, proof)
        is_key = known.principal.method is AuthMethod.API_KEY
        if not is_key or client_id not in _client_ids(known, secret):
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT)
        return known

    def _verified(self, presented: bytes, origin: Origin, proof: Proof | None) -> CachedVerdict:
        """Return what a client proves itself with; raise `OAuthRefused`."""
        try:
            return self._authenticator.verify_presented(presented, origin, proof)
        except CredentialRefused as refused:
            check_is_no_sender(refused)
            raise OAuthRefused(OAuthCode.INVALID_CLIENT, _UNKNOWN_CLIENT) from None


def parameter(form: Form, name: str) -> str:
    """Return a parameter that must be there; raise `OAuthRefused`."""
    value = form.get(name)
    if not value:
        raise OAuthRefused(OAuthCode.INVALID_REQUEST, f"The parameter {name} is missing.")
    return value


def check_is_no_sender(refused: KeyturnError) -> None:
    """Raise `OAuthRefused` if nothing but the proof of its key pair is missing (RFC 9449, section 5)."""
    if isinstance(refused, CredentialRefused) and refused.reason is Reason.SENDER:
        raise OAuthRefused(
            OAuthCode.INVALID_DPOP_PROOF,
            "This credential is bound to a key pair: send a proof of that key pair in a DPoP header.",
        )


def _client_ids(known: CachedVerdict, secret: str) -> frozenset[str]:
    """Return what a client may be called whose secret this key is."""
    parts = secret.split("_")
    public_ids = parts[1:2] if len(parts) == 3 else []
    return frozenset({f"key-{known.principal.key_id}", *public_ids})
