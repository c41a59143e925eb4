"""The exchange: an API key in, a bearer token out."""

from dataclasses import replace

from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.credentials import ApiKeyCredential, read_api_key, read_authorization
from keyturn.core.dpop import PresentedProof
from keyturn.core.paths import EXCHANGE
from keyturn.core.principal import AuthMethod
from keyturn.errors import AmbiguousCredential, CredentialRefused, InvalidState, Reason
from keyturn.services.tokens.issuer import IssuedToken, TokenIssuer
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.origin import Origin
from keyturn.verifying.uses import use_context_of
from keyturn.verifying.verdict_cache import CachedVerdict


class Exchange:
    """Gives a bearer token for an API key, and for nothing else: a token cannot renew itself."""

    def __init__(self, authenticator: Authenticator, issuer: TokenIssuer, key_format: ApiKeyFormat) -> None:
        self._authenticator = authenticator
        self._issuer = issuer
        self._key_format = key_format

    def exchange(
        self,
        *,
        in_header: list[bytes],
        in_body: str | None,
        origin: Origin,
        presented: PresentedProof | None = None,
    ) -> IssuedToken:
        """Return a token for the key, which is in the `Authorization` header or in the body, not in both.

        A token in the header beside a key in the body is not looked at: clients that exchange again after
        a 401 still send the token that ended. With a proof of possession, `presented`, the token is bound to
        its key pair. Raise `CredentialRefused` for anything that is no living key, or is bound to another key
        pair, and `DpopProofRefused` for a proof that shows nothing.
        """
        at, proofs = self._authenticator.time(), self._authenticator.proofs
        proof = None if presented is None else proofs.check(presented, credential=None)
        known = self._remembered(in_header, in_body, origin)
        if known is None:
            credential = self._counted(in_header, in_body, origin)
            known = self._authenticator.verify_credential(credential, replace(origin, target=EXCHANGE), proof)
        if proof is not None:
            proofs.use(proof)
        assert known.dependency.key is not None, "an API key stands on a key"  # noqa: S101 - for the type checker
        try:
            return self._issuer.for_key(
                known.dependency.key,
                at=at,
                made_with=known.principal.credential,
                not_after=known.end,
                jkt=None if proof is None else proof.jkt,
            )
        except ValueError:
            raise InvalidState(
                "The scopes of this key do not fit into a token: use the key itself."
            ) from None

    def _remembered(
        self, in_header: list[bytes], in_body: str | None, origin: Origin
    ) -> CachedVerdict | None:
        """Return the key if it is in one place and remembered to be good, which spares reading it closely."""
        if in_body is None and len(in_header) == 1:
            presented = in_header[0]
        elif in_body is not None and not in_header and " " not in in_body:  # A scheme belongs in the header.
            presented = in_body.encode("utf-8", "surrogatepass")
        else:
            return None
        known = self._authenticator.recognise(presented, use_context_of(origin))
        if known is None or known.principal.method is not AuthMethod.API_KEY:
            return None
        self._authenticator.count_remembered()
        return known

    def _counted(self, in_header: list[bytes], in_body: str | None, origin: Origin) -> ApiKeyCredential:
        """Read the key; what can be none counts as a failure of its source, as it does everywhere."""
        try:
            return self._presented(in_header, in_body)
        except CredentialRefused as refused:
            self._authenticator.note_failure(refused, origin.address)
            raise

    def _presented(self, in_header: list[bytes], in_body: str | None) -> ApiKeyCredential:
        found = read_authorization(in_header, self._key_format)
        if in_body is not None:
            if isinstance(found, ApiKeyCredential):
                raise AmbiguousCredential("Send the key in the body or in Authorization, not in both.")
            return read_api_key(in_body.encode("utf-8", "surrogatepass"), self._key_format)
        if found is None:
            raise CredentialRefused(Reason.MISSING)
        if not isinstance(found, ApiKeyCredential):
            raise CredentialRefused(Reason.MALFORMED)
        return ApiKeyCredential(found.digest)  # By whatever scheme: the proof is that of the exchange.
