"""Keyturn: API keys and bearer tokens, self-hosted.

What is importable from here is the public interface; nothing else is promised.
"""

from keyturn.core.access_token import AccessTokenClaims
from keyturn.core.dpop import PresentedProof
from keyturn.core.principal import AuthMethod, Principal
from keyturn.errors import (
    AmbiguousCredential,
    CannotStart,
    CredentialRefused,
    DpopProofRefused,
    KeyturnError,
    PermissionMissing,
    ProofFault,
    Reason,
    ScopeMissing,
    StoreUnavailable,
    TooBusy,
    TooManyFailures,
    UnknownAudience,
)
from keyturn.verifier import Verifier

__all__ = [
    "AccessTokenClaims",
    "AmbiguousCredential",
    "AuthMethod",
    "CannotStart",
    "CredentialRefused",
    "DpopProofRefused",
    "KeyturnError",
    "PermissionMissing",
    "PresentedProof",
    "Principal",
    "ProofFault",
    "Reason",
    "ScopeMissing",
    "StoreUnavailable",
    "TooBusy",
    "TooManyFailures",
    "UnknownAudience",
    "Verifier",
    "__version__",
]

__version__ = "0.1.0"
