"""Proofs of possession, each of which is good once (RFC 9449, section 11.1)."""

import hashlib
import threading

from keyturn.core.dpop import LEEWAY, PresentedProof, Proof, check_proof
from keyturn.core.principal import Principal
from keyturn.core.verification import check_sender
from keyturn.errors import CredentialRefused, DpopProofRefused, ProofFault, Reason, TooBusy
from keyturn.system import System

MAX_REMEMBERED = 200_000
"""About 25 MB. A proof is remembered for a minute, or for two by a clock that is ahead: that is room for more
than three thousand a second, as many as one process checks."""
_NAME_BYTES = 16


class Proofs:
    """Checks proofs, and remembers those that were used, in this process, for as long as they are good.

    Nothing fails open: when there is no room for another, it is refused, and none is forgotten early.
    """

    def __init__(self, system: System, max_remembered: int = MAX_REMEMBERED) -> None:
        self._system = system
        self._max_remembered = max_remembered
        self._lock = threading.Lock()
        self._used: dict[int, set[bytes]] = {}
        """By the second in which they say that they were made."""
        self._count = 0
        self._forgotten_until = -1
        """The last such second that was forgotten: when the clock is set back, no proof is good again."""

    def check(self, presented: PresentedProof | None, *, credential: bytes | None) -> Proof:
        """Return the proof of this request; raise `DpopProofRefused` as `core.dpop.check_proof` does.

        `use` it when everything else about the request is good: then strangers take no room here.
        """
        return check_proof(presented, now=self._system.now(), credential=credential)

    def check_sender(self, principal: Principal, proof: Proof | None, *, is_with_proof: bool) -> None:
        """Raise `CredentialRefused` unless a credential is sent as what it is: bound to a key pair, or not.

        With the scheme `DPoP`, `is_with_proof`, the proof is used up.
        """
        check_sender(principal, None if proof is None else proof.jkt)
        if is_with_proof and proof is not None:
            if principal.jkt is None:
                raise CredentialRefused(
                    Reason.NOT_BOUND, key_id=principal.acts_by_key_id, secret_matched=True
                )
            self.use(proof)

    def use(self, proof: Proof) -> None:
        """Use a proof up; raise `DpopProofRefused` if it was used before, `TooBusy` if there is no room."""
        name = hashlib.sha256((proof.jkt + proof.jti).encode("utf-8", "surrogatepass")).digest()[:_NAME_BYTES]
        oldest_good = int(self._system.timestamp() - LEEWAY.total_seconds())
        with self._lock:
            self._forget_before(oldest_good)
            if proof.iat <= self._forgotten_until:
                raise DpopProofRefused(ProofFault.TIME)
            of_second = self._used.setdefault(proof.iat, set())
            if name in of_second:
                raise DpopProofRefused(ProofFault.USED)
            if self._count >= self._max_remembered:
                raise TooBusy("Too many proofs of possession at once: try again in a moment.", retry_after=1)
            of_second.add(name)
            self._count += 1

    def _forget_before(self, second: int) -> None:
        for made_at in [made_at for made_at in self._used if made_at < second]:
            self._count -= len(self._used.pop(made_at))
            self._forgotten_until = max(self._forgotten_until, made_at)
